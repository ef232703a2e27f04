"""JailbreakBench: 100 harmful requests, each matched with a benign one of the same topic.

Chao et al. 2024, "JailbreakBench: An Open Robustness Benchmark for Jailbreaking Large Language
Models" (arXiv 2404.01318). The public files, and the hub form `JailbreakBench/JBB-Behaviors`
(config `behaviors`, splits `harmful` and `benign`), have
`Index,Goal,Target,Behavior,Category,Source`; the index column of early versions has no name.
Transcribed benign goals come as `index,goal,category`.
"""

from __future__ import annotations

from collections.abc import Iterator

from trait_probe.errors import BadInputError
from trait_probe.prompts.prompt import Prompt, PromptSet, Scalar
from trait_probe.prompts.sources._table import (
    AnyPath,
    Row,
    Table,
    collect,
    read_csv,
    user_prompt,
)

SIDES = ("harmful", "benign")
_LABELS = {
    "target": "Target",
    "behavior": "Behavior",
    "category": "Category",
    "source": "Source",
}


def read_pairs(harmful: AnyPath, benign: AnyPath) -> PromptSet:
    """Both files, matched by index: each harmful request followed by its benign partner.

    Ids are `jbb-harmful-017` and `jbb-benign-017`, their group `jbb-017`. Labels: `harmful`, and
    where given `target` (the start of a compliant answer), `behavior`, `category` and `source`.

    Raises:
        BadInputError: no such file, a missing column, an empty cell, an index that is no number or
            comes twice, or a request without partner.
    """
    return pair(read_side(harmful, harmful=True), read_side(benign, harmful=False))


def read_side(path: AnyPath, *, harmful: bool) -> PromptSet:
    """One file; both have the same columns, so which one it is has to be said."""
    return from_table(read_csv(path), harmful=harmful)


def from_table(table: Table, *, harmful: bool) -> PromptSet:
    """As `read_side`, from the rows of a file or of one split of the hub's data set."""
    return collect(table.name, _prompts(table, SIDES[not harmful], harmful))


def pair(harmful: PromptSet, benign: PromptSet) -> PromptSet:
    """The two sides as one set, pair by pair, in the order of the harmful side.

    Raises:
        BadInputError: a prompt has no partner in the same group.
    """
    partners = {prompt.cluster: prompt for prompt in benign}
    groups = {prompt.cluster for prompt in harmful}
    alone = sorted(groups ^ partners.keys())
    if alone:
        sides = [f"{name} ({'harmful' if name in groups else 'benign'} only)" for name in alone]
        raise BadInputError(
            f"{len(alone)} requests have no partner of the same index on the other side.",
            got=", ".join(sides[:5]),
            fix="Give the two public files whole, or leave the same indices out of both.",
        )
    return PromptSet(both for first in harmful for both in (first, partners[first.cluster]))


def _prompts(table: Table, side: str, harmful: bool) -> Iterator[tuple[str, Prompt]]:
    index = table.choose("Index", "index", "")
    goal = table.choose("Goal", "goal")
    table.require("Category" if goal == "Goal" else "category")
    columns = _LABELS if goal == "Goal" else {name: name for name in _LABELS}
    seen: dict[int, str] = {}
    for row in table.rows:
        number = _index(row, index)
        if number in seen:
            raise BadInputError(
                f"{row.where}: the index must be unique, and {seen[number]} already has this one.",
                got=number,
                fix="Give harmful and benign requests as two files, and each index once.",
            )
        seen[number] = row.where
        labels: dict[str, Scalar] = {"harmful": harmful, **row.labels(columns)}
        name = f"jbb-{side}-{number:03d}"
        yield user_prompt(row.where, name, row.text(goal), labels, group=f"jbb-{number:03d}")


def _index(row: Row, column: str) -> int:
    text = row.cells[column].strip()
    if not (text.isascii() and text.isdigit()):
        raise BadInputError(
            f"{row.where}: the index must be a number from 0.",
            got=text,
            fix="Number the requests as the public files do.",
        )
    return int(text)
