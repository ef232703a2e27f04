"""How far is an extracted vector from an optimized one?

Method. A trait vector is extracted from contrasting instructions and steers at its best layer and
strength, chosen on validation questions. CMA-ES then searches the first principal components of
activations at that layer for a direction and, apart from it, a strength. A candidate's fitness is
the share of training questions whose answer shows the trait and is coherent, plus a graded term
(how much likelier, per token, an answer that shows the trait becomes than the model's own), minus a
price beyond two bounds: the 95th percentile of the divergence from the unsteered predictions on
other prompts' answers, and the share of coherent answers. A whole generation is generated in one
batch. The best candidates so far are evaluated again with every generation, and the finalists anew
on validation questions, at several strengths, within the bounds. Everything reported is of test
questions that nothing else has seen. There the optimized vector (three seeds or more, which count
as a sample) must beat the extracted one at its best strength, more strengths of it, a random search
of equal budget from the same start, and asking for the trait in words. Beside the claim: random
directions of the subspace at the same divergence, the optimized direction's part along the
extracted one and the rest, directions ablated while the trait is asked for, cosines, the components
that differ most, and what each search cost.
(CMA-ES: Hansen 2016, arXiv 1604.00772; persona vectors and coherence: Chen et al. 2025, arXiv
2507.21509; prompting as the baseline to beat: Wu et al. 2025, "AxBench", arXiv 2501.17148.)

Command: python -m trait_probe.experiments.vector_optimization --model M --judge claude
Without arguments: the embedded base organism, evil and sycophancy, judged by exact rules.
Output: results.json, extraction_gap.json, claims.json, vectors/optimized/TRAIT/layerL.safetensors,
figures/ (optimization_curves, component_differences, arms, questions), report.html, search/,
sweep/, validation/, test/ (Parquet), questions/*.jsonl.
--config FILE takes all fields from a run's config.json, which reproduces its results.
Exit code: 0 when it ran, 2 for bad input, 130 after Ctrl-C (the same command resumes; every
generation is kept as it is made).

What would falsify it: a supported gain where the search starts from the best direction there is, or
where it is given an objective that means nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trait_probe.experiments import _cli
from trait_probe.experiments._optimization.config import NAME, Config

if TYPE_CHECKING:
    from rich.console import Console

    from trait_probe.experiments._optimization.find import Found
    from trait_probe.experiments._optimization.judging import MakeJudges
    from trait_probe.experiments._run import Result
    from trait_probe.identity import HookedModel

# The steps, in order, for notebooks; loaded on first use, so that --help needs no torch.
_STEPS = {
    "traits_of": "experiments._optimization.questions",
    "questions_of": "experiments._optimization.questions",
    "judges_for": "experiments._optimization.judging",
    "prepare": "experiments._optimization.pipeline",
    "panel": "vectors.panel",
    "measure": "vectors.panel",
    "sweep": "vectors.strength",
    "principal_subspace": "vectors.subspace",
    "typical_answers": "vectors.objective",
    "Objective": "vectors.objective",
    "Terms": "vectors.objective",
    "search": "vectors.search",
    "Settings": "vectors.search",
    "Bounds": "vectors.search",
    "Candidates": "vectors.search",
    "set_up": "experiments._optimization.setting",
    "find_trait": "experiments._optimization.find",
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
    judges: MakeJudges | None = None,
    console: Console | None = None,
) -> Result[Found]:
    """The whole experiment.

    Args:
        config: see `Config`; its `resolved()` form is written to the run's config.json.
        out: the run's folder, default runs/vector_optimization/HASH-OF-CONFIG; an unfinished run
            with the same configuration is resumed.
        model: used in place of what the configuration names, and marked in config.json as handed
            in.
        judges: gives, for a trait's questions, the judges of trait and coherence in place of those
            the configuration names; marked likewise.
        console: where the tables are printed; default standard output.

    Raises:
        TraitProbeError: bad input, before anything is written.
    """
    from trait_probe.experiments._optimization import pipeline

    return pipeline.run(config, out, model=model, judges=judges, console=console)


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m trait_probe.experiments.vector_optimization`; see the module's docstring."""
    return _cli.main(
        Config,
        run,
        prog=f"python -m trait_probe.experiments.{NAME}",
        description=__doc__ or "",
        argv=argv,
    )


if __name__ == "__main__":
    sys.exit(main())
