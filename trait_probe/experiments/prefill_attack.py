"""Do activations recognize harm when a prefill forces compliance?

Method. Pairs of a harmful and a benign request about the same thing are put to a chat model without
and with a prefill, words put into its mouth: four cells, C1 harmful, C2 harmful with prefill, C3
benign, C4 benign with prefill. Trait vectors fitted on other requests are read where C2 and C4 have
the same word: at the last prefill token, and at the assistant header put in again behind the
prefill; each position is a claim of its own. The layer is chosen on one half of the pairs and
reported on the other, which is opened once. The harm projection must tell C2 from C4 better than
chance, than permuted labels, than random directions of the same covariance, and by a paired
interval better than foil traits, a topic direction (first component of the pairs' mid-points), the
embedding of the token that is read (of the whole text, where prefills differ), and length. How well
the words do, by a classifier and by the embeddings of the whole text along the trait's own
direction, is printed beside it: what is told inside may be in the words. The same studies are
repeated with harm labels shuffled within pairs. Beside the claims: C1 against C2 and the
interaction (C2 - C1) - (C4 - C3) at the header, the paths of C2 and C4 token by token with
simultaneous bands, other prefills and lengths, a prefill that forces both cells to refuse, the
answers after the header is put in again, and a probe of who recovers within C2.
(Prefills and the header put in again from Zhang et al. 2025, "Any-Depth Alignment", arXiv
2510.18081; matched prompts from Chao et al. 2024, JailbreakBench.)

Command: python -m trait_probe.experiments.prefill_attack --model M --harmful jailbreakbench
Other sources: --harmful advbench --benign xstest (AdvBench has a target for each prompt:
--target-prefill True), --harmful harmbench --benign xstest, or files.
Without arguments: the embedded base organism on its own pairs of requests.
Output: results.json, condition_comparison.json, claims.json, figures/ (2x2_grid,
trajectory_divergence, prefill_length), report.html, projections/*.parquet, behaviour/*.parquet,
vectors.safetensors, pairs.jsonl.
--config FILE takes all fields from a run's config.json, which reproduces its results.
Exit code: 0 when it ran, 2 for bad input, 130 after Ctrl-C (the same command resumes).

What would falsify it: a supported claim where harm labels are shuffled within pairs, or in a model
that knows no harm (random weights).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trait_probe.experiments import _cli
from trait_probe.experiments._prefill.config import NAME, Config

if TYPE_CHECKING:
    from rich.console import Console

    from trait_probe.experiments._prefill.find import Found
    from trait_probe.experiments._run import Result
    from trait_probe.identity import HookedModel
    from trait_probe.judges.judge import Judge
    from trait_probe.prompts.prompt import PromptSet

# The steps, in order, for notebooks; loaded on first use, so that --help needs no torch.
_STEPS = {
    "harm_pairs": "organisms.harm_pairs",
    "load_pairs": "experiments._prefill.pairs",
    "fitted_texts": "experiments._fitting",
    "plain_cells": "experiments._prefill.cells",
    "prefilled_cells": "experiments._prefill.cells",
    "target_cells": "experiments._prefill.cells",
    "assistant_header": "experiments._prefill.cells",
    "prepare": "experiments._prefill.pipeline",
    "behaviour_of": "experiments._prefill.behaviour",
    "answer": "experiments._prefill.behaviour",
    "rates": "experiments._prefill.behaviour",
    "study_bank": "experiments._prefill.reading",
    "read_cells": "experiments._prefill.reading",
    "embedding_scores": "experiments._prefill.reading",
    "study": "experiments._prefill.study",
    "compared": "experiments._prefill.compare",
    "continued": "experiments._prefill.compare",
    "path": "experiments._prefill.compare",
    "outcomes": "experiments._prefill.outcome",
    "find": "experiments._prefill.find",
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
    prompts: PromptSet | None = None,
    judge: Judge | None = None,
    console: Console | None = None,
) -> Result[Found]:
    """The whole experiment.

    Args:
        config: see `Config`; its `resolved()` form is written to the run's config.json.
        out: the run's folder, default runs/prefill_attack/HASH-OF-CONFIG; an unfinished run with
            the same configuration is resumed.
        model, prompts: used in place of what the configuration names, and marked in config.json as
            handed in. Prompts are conversations with the label `harmful` (true or false); a group
            with both labels is a matched pair.
        judge: scores how far an answer refuses, 0 to 100; without one only the organisms' answers
            to their own pairs are judged (by rule), others stay unscored.
        console: where the tables are printed; default standard output.

    Raises:
        TraitProbeError: bad input, before anything is written.
    """
    from trait_probe.experiments._prefill import pipeline

    return pipeline.run(config, out, model=model, prompts=prompts, judge=judge, console=console)


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m trait_probe.experiments.prefill_attack`; see the module's docstring."""
    return _cli.main(
        Config,
        run,
        prog=f"python -m trait_probe.experiments.{NAME}",
        description=__doc__ or "",
        argv=argv,
    )


if __name__ == "__main__":
    sys.exit(main())
