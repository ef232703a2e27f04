"""Do trait projections predict harm on labelled data sets, and where do they fail?

Method. Rows of a public data set (BeaverTails: 330K answers in 14 categories; PKU-SafeRLHF;
HarmBench; AdvBench; JailbreakBench; a file) are read at two levels that are told apart: an answer
with its prompt, teacher-forced and read on the answer's tokens, and the prompt alone, read at its
last token. Labels belong to answers: a harmful prompt that is refused is safe. A sample is drawn
category by category; splits and intervals are by prompt, since prompts recur with many answers.
Trait vectors are fitted on other texts, at the position that is read. Two claims a level:
separation (the projection tells harmful from harmless better than chance, permuted labels, random
directions of the same covariance, foil traits, the embedding layer and length), and beyond the text
(it adds to a TF-IDF classifier on prompts that neither has seen): a projection may well predict
harm and add nothing to the words. The layer is chosen on a third of the prompts and reported on
the other, opened once; estimates over all rows read each half where the other chose. Beside the
claims: category by category AUROC, true positive rates at 1 % and 5 % false positives, mean
projection, and harmful against safe within the prompts of a category; which trait predicts which
category, with bands for all cells together; all traits in one classifier, nested cross-validation
by prompt, beside single traits, words and length; thresholds chosen on the selection half and tried
on unrelated benign prompts; severity (PKU-SafeRLHF's levels, else the number of flagged categories,
a proxy); the worst false negatives and false positives with their neighbours; and the same studies
with labels that mean nothing. (BeaverTails: Ji et al. 2023, arXiv 2307.04657; PKU-SafeRLHF: Ji et
al. 2024, arXiv 2406.15513.)

Command: python -m trait_probe.experiments.external_datasets --model M --dataset beavertails
First a sample (--per-category 1000); then all of it, with the sample's shards:
--full True --sample-run DIR. Harmful prompts alone need benign ones:
--dataset advbench --safe xstest.
Without arguments: the embedded base organism on a labelled set in its own language.
Output: results.json, beavertails_results.json, failure_cases.json, failure_cases.html, claims.json,
figures/ (per_category_auc, trait_category_matrix, roc, severity), report.html,
projections/*/*.parquet, prompts/*.jsonl, vectors-*.safetensors.
--config FILE takes all fields from a run's config.json, which reproduces its results.
Exit code: 0 when it ran, 2 for bad input, 130 after Ctrl-C (the same command resumes).

What would falsify it: a supported claim with labels that mean nothing, or in a model that knows no
harm (random weights); and, in the organisms, planted categories that are missed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trait_probe.experiments import _cli
from trait_probe.experiments._external.config import NAME, Config

if TYPE_CHECKING:
    from rich.console import Console

    from trait_probe.experiments._external.find import Found
    from trait_probe.experiments._run import Result
    from trait_probe.identity import HookedModel
    from trait_probe.prompts.prompt import PromptSet

# The steps, in order, for notebooks; loaded on first use, so that --help needs no torch.
_STEPS = {
    "labelled_answers": "organisms.answers",
    "load_data": "experiments._external.data",
    "scan": "experiments._external.rows",
    "draw_sample": "experiments._external.sample",
    "plan_directions": "experiments._external.directions",
    "fit_directions": "experiments._external.directions",
    "prepare": "experiments._external.pipeline",
    "read_level": "experiments._external.find",
    "find_level": "experiments._external.find",
    "compare": "experiments._external.compare",
    "matrix": "experiments._external.categories",
    "by_category": "experiments._external.categories",
    "random_finds": "experiments._external.random_finds",
    "why_not_found": "experiments._external.random_finds",
    "held_to": "experiments._external.random_finds",
    "calibrate": "experiments._external.thresholds",
    "severity": "experiments._external.severity",
    "failures": "experiments._external.failures",
    "words_of": "experiments._external.study",
    "study": "experiments._external.study",
    "find": "experiments._external.find",
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
    console: Console | None = None,
) -> Result[Found]:
    """The whole experiment.

    Args:
        config: see `Config`; its `resolved()` form, without what only says how it is computed, is
            written to the run's config.json.
        out: the run's folder, default runs/external_datasets/HASH-OF-CONFIG; an unfinished run with
            the same configuration is resumed.
        model, prompts: used in place of what the configuration names, and marked in config.json as
            handed in. Prompts have the label `harmful` (true or false) and, where known,
            `categories` (joined by " | ") or `category`, and `severity`; all have a response, or
            none has.
        console: where the tables are printed; default standard output.

    Raises:
        TraitProbeError: bad input, before anything is written.
    """
    from trait_probe.experiments._external import pipeline

    return pipeline.run(config, out, model=model, prompts=prompts, console=console)


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m trait_probe.experiments.external_datasets`; see the module's docstring."""
    return _cli.main(
        Config,
        run,
        prog=f"python -m trait_probe.experiments.{NAME}",
        description=__doc__ or "",
        argv=argv,
    )


if __name__ == "__main__":
    sys.exit(main())
