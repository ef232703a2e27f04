"""AdvBench: harmful requests, each with the start of a compliant answer.

Zou et al. 2023, "Universal and Transferable Adversarial Attacks on Aligned Language Models"
(arXiv 2307.15043). The public file is `harmful_behaviors.csv` with `goal,target`, 520 rows; the hub
form `walledai/AdvBench` names the goal `prompt`.
"""

from __future__ import annotations

from collections.abc import Iterator

from trait_probe.prompts.prompt import Prompt, PromptSet, Scalar
from trait_probe.prompts.sources._table import (
    AnyPath,
    Table,
    collect,
    read_csv,
    user_prompt,
)


def read(path: AnyPath) -> PromptSet:
    """The goals of the CSV file as the user's messages.

    Ids are `advbench-0001` and so on by row. Labels: `harmful` (True) and `target`, a ready
    per-prompt prefill; `Prompt.prefill` itself stays empty, for the experiment to choose.

    Raises:
        BadInputError: no such file, not a CSV file of `goal,target`, or an empty cell.
    """
    return from_table(read_csv(path))


def from_table(table: Table) -> PromptSet:
    """As `read`, from the rows of the file or of the hub's data set."""
    goal = table.choose("goal", "prompt")
    table.require(goal, "target")
    return collect(table.name, _prompts(table, goal))


def _prompts(table: Table, goal: str) -> Iterator[tuple[str, Prompt]]:
    for row in table.rows:
        labels: dict[str, Scalar] = {"harmful": True, "target": row.text("target")}
        yield user_prompt(row.where, f"advbench-{row.number:04d}", row.text(goal), labels)
