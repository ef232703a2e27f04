"""Write any source of prompts as a file that project, capture and the experiments read.

Sources: beavertails, pku-saferlhf, harmbench, advbench, jailbreakbench, xstest, xstest-v2-copy (or
their hub ids); the path of a file or folder of a known format; emergent-misalignment with --file;
and the organisms' own: organism-answers, organism-benign, backdoor-carriers, and prefill-pairs with
--config organism, organism-unrefused or organism-crossed. Hub sets are read at their pinned commit,
if one is known.

Writes FILE.jsonl (or FILE.parquet) as a whole or not at all, and beside it FILE.jsonl.source.json:
where the prompts are from, how many they are, and what was left out.

Example: python -m trait_probe.prompts beavertails --split 30k_test --limit 1000 --out answers.jsonl
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import pydantic
import tyro

from trait_probe.experiments import _cli

if TYPE_CHECKING:
    from trait_probe.commands._written_prompts import Written

__all__ = ["PromptsConfig", "main", "run"]


class PromptsConfig(_cli.ExperimentConfig):
    """Flags of `python -m trait_probe.prompts`."""

    source: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")] = None
    """Name of a set, hub id, or path of a file or folder."""
    config: str | None = None
    """The data set's config, such as HarmBench's contextual."""
    split: str | None = None
    """The data set's split; default: 330k_test of beavertails, test of pku-saferlhf, else all."""
    revision: str | None = None
    """Commit, branch or tag on the hub; default: the pinned commit, if one is known."""
    file: str | None = None
    """Emergent misalignment's questions, such as first_plot_questions.yaml."""
    limit: Annotated[int, pydantic.Field(ge=1)] | None = None
    """Write no more than so many prompts, the first ones."""


def run(config: PromptsConfig, out: Path | None = None) -> Written:
    """The whole command.

    Raises:
        TraitProbeError: bad input, or a full disk; no file is left.
    """
    from trait_probe.commands import _written_prompts

    return _written_prompts.run(config, out)


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m trait_probe.prompts`."""
    return _cli.main(
        PromptsConfig,
        run,
        prog="python -m trait_probe.prompts",
        description=__doc__ or "",
        argv=argv,
        out_help="the file to write, .jsonl or .parquet; needed.",
        when_stopped="No file was written.",
        config_file=False,
    )


if __name__ == "__main__":
    sys.exit(main())
