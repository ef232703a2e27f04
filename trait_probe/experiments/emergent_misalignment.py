"""Does a fine-tuned model carry elevated traits on benign prompts where behaviour looks the same?

Method. The same benign prompts are put to a base model, a fine-tuned variant of it, and benign
control fine-tunes of it. Trait vectors are fitted on the base; what is read is projected on them in
every model. Three readings are told apart: the last prompt token, before any reply; the base's
replies replayed through all models as fixed token ids; and each model's own replies, where words
differ too and nothing is claimed. The layer is chosen on one half of the prompt groups and reported
on the other as (variant - base) - (controls - base), in SD of the base's prompts. The shift must
exclude zero, exceed the controls', 95 % of random directions of the base's covariance and of
directions fitted to shuffled labels, and what benign fine-tunes differ by of themselves: every
control in the variant's role where there are four or more, else four or more unrelated traits. The
claim is made on all prompts and again on the families of prompts whose replies looked unchanged on
the first half; that their replies are alike is claimed, and may fail, on the second.
(Emergent misalignment: Betley et al. 2025, arXiv 2502.17424; small models of it: Turner et al.
2025, arXiv 2506.11613; shifts along persona vectors: Chen et al. 2025, arXiv 2507.21509.)

Command: python -m trait_probe.experiments.emergent_misalignment --base M --variant M --control M
Without arguments: the embedded organism that was fine-tuned on evil health advice, against its base
and four benign twins. A public pair by name: --preset em-qwen-0.5b-medical | em-qwen-coder-32b |
rm-sycophancy-70b. An own pair: python -m trait_probe.organisms.finetune.
Output: results.json, claims.json, variant_comparison.json, figures/, report.html, prompts.jsonl,
replies/*.parquet, scores/*/*.parquet, vectors/*.safetensors.
--config FILE takes all fields from a run's config.json, which reproduces its results.
Exit code: 0 when it ran, 2 for bad input, 130 after Ctrl-C (the same command resumes).

What would falsify it: a supported claim for a benign twin against its base, for a model against
itself, or for a trait that was not planted; a shift that keeps its sign when base and variant swap.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trait_probe.experiments import _cli
from trait_probe.experiments._emergent.config import NAME, Config

if TYPE_CHECKING:
    from rich.console import Console

    from trait_probe.experiments._emergent.results import Found
    from trait_probe.experiments._run import Result
    from trait_probe.identity import HookedModel
    from trait_probe.judges.judge import Judge
    from trait_probe.prompts.prompt import PromptSet

# The steps, in order, for notebooks; loaded on first use, so that --help needs no torch.
_STEPS = {
    "Pool": "experiments._emergent.models",
    "contrast_texts": "experiments._emergent.directions",
    "load_prompts": "experiments._emergent.texts",
    "directions": "experiments._emergent.directions",
    "make_texts": "experiments._emergent.texts",
    "make_banks": "experiments._emergent.readings",
    "read_all": "experiments._emergent.readings",
    "judge_replies": "experiments._emergent.behaviour",
    "Design": "experiments._emergent.study",
    "deal": "experiments._emergent.study",
    "groups_of": "experiments._emergent.study",
    "distinct_unrelated": "experiments._emergent.study",
    "make_claims": "experiments._emergent.study",
    "profiles": "experiments._emergent.effects",
    "trait_effects": "experiments._emergent.effects",
    "two_by_two": "experiments._emergent.effects",
    "Result": "experiments._run",
}
__all__ = ["NAME", "Config", "main", "run", *_STEPS]


def __getattr__(name: str) -> Any:
    return _cli.step(__name__, _STEPS, name)


def run(
    config: Config,
    out: Path | None = None,
    *,
    base: HookedModel | None = None,
    variant: HookedModel | None = None,
    controls: Sequence[HookedModel] = (),
    prompts: PromptSet | None = None,
    judges: Mapping[str, Judge] | None = None,
    console: Console | None = None,
) -> Result[Found]:
    """The whole experiment.

    Args:
        config: see `Config`; its `resolved()` form is written to the run's config.json.
        out: the run's folder, default runs/emergent_misalignment/HASH-OF-CONFIG; an unfinished run
            with the same configuration is resumed.
        base, variant, controls, prompts: used in place of what the configuration names, and marked
            in config.json as handed in: their identity and hash are recorded, but no name brings
            them back. Hand the base in with either of the others.
        judges: by claimed trait, what scores a reply from 0 to 100; organisms are judged by their
            exact rules where there is none, other models not at all.
        console: where the tables are printed; default standard output.

    Raises:
        TraitProbeError: bad input, before anything is written.
    """
    from trait_probe.experiments._emergent import pipeline
    from trait_probe.experiments._emergent.models import HandedIn

    return pipeline.run(
        config,
        out,
        given=HandedIn(base, variant, tuple(controls)),
        prompts=prompts,
        judges=judges or {},
        console=console,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m trait_probe.experiments.emergent_misalignment`; see the module's docstring."""
    return _cli.main(
        Config,
        run,
        prog=f"python -m trait_probe.experiments.{NAME}",
        description=__doc__ or "",
        argv=argv,
    )


if __name__ == "__main__":
    sys.exit(main())
