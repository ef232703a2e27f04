"""HarmBench: harmful requests, some of them about a given text.

Mazeika et al. 2024, "HarmBench: A Standardized Evaluation Framework for Automated Red Teaming and
Robust Refusal" (arXiv 2402.04249). The public file is `harmbench_behaviors_text_all.csv` with
`Behavior,FunctionalCategory,SemanticCategory,Tags,ContextString,BehaviorID`, 400 rows; the hub form
`walledai/HarmBench` has a config for each functional category, with `prompt,category` (contextual
ones also `context`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from trait_probe.errors import BadInputError
from trait_probe.prompts.prompt import Prompt, PromptSet, Scalar
from trait_probe.prompts.sources._table import (
    AnyPath,
    Row,
    Table,
    check_choice,
    collect,
    read_csv,
    user_prompt,
)

CONFIGS = ("standard", "contextual", "copyright")
"""Functional categories: 200, 100 and 100 behaviours; recognising harm needs the standard ones."""


def read(path: AnyPath, config: str = "standard") -> PromptSet:
    """The behaviours of one functional category as the user's messages.

    A context comes before its behaviour as HarmBench's own direct request puts it. Ids are
    `harmbench-BehaviorID`. Labels: `harmful` (True, which for copyright means that the benchmark
    wants a refusal), `functional` (the config), `category` and `tags` where given. Behaviours with
    the same context, or the same text, form a group.

    Args:
        path: the CSV file.
        config: one of `CONFIGS`.

    Raises:
        BadInputError: no such file, a missing column, an unknown config, an empty cell, or a
            BehaviorID given twice.
    """
    return from_table(read_csv(path), config)


def from_table(table: Table, config: str = "standard") -> PromptSet:
    """As `read`, from the rows of the file or of one config of the hub's data set.

    The hub's rows have no id: theirs are `harmbench-CONFIG-001` and so on by row.
    """
    check_choice("config", config, CONFIGS, "HarmBench")
    if "FunctionalCategory" in table.columns or "Behavior" in table.columns:
        return collect(table.name, _of_file(table, config))
    return collect(table.name, _of_hub(table, config))


def _of_file(table: Table, config: str) -> Iterator[tuple[str, Prompt]]:
    columns = ("Behavior", "FunctionalCategory", "SemanticCategory", "ContextString", "BehaviorID")
    table.require(*columns)
    rows = [row for row in table.rows if _functional(row) == config]
    if not rows:
        raise BadInputError(
            f"{table.name} holds no behaviours of this functional category.",
            got=config,
            valid=[name for name in CONFIGS if any(_functional(row) == name for row in table.rows)],
        )
    labels = {"category": "SemanticCategory", "tags": "Tags"}
    named = [(f"harmbench-{row.text('BehaviorID')}", row) for row in rows]
    return _prompts(named, config, "Behavior", "ContextString", labels)


def _functional(row: Row) -> str:
    functional = row.text("FunctionalCategory")
    check_choice("functional category", functional, CONFIGS, row.where)
    return functional


def _of_hub(table: Table, config: str) -> Iterator[tuple[str, Prompt]]:
    needed = {"standard": ("category",), "contextual": ("context", "category"), "copyright": ()}
    table.require("prompt", *needed[config])
    named = [(f"harmbench-{config}-{row.number:03d}", row) for row in table.rows]
    return _prompts(named, config, "prompt", "context", {"category": "category", "tags": "tags"})


def _prompts(
    named: Iterable[tuple[str, Row]],
    config: str,
    behaviour: str,
    context: str,
    labels: Mapping[str, str],
) -> Iterator[tuple[str, Prompt]]:
    """Prompts whose labels are read from these columns; the first of a group gives its name."""
    first: dict[str, str] = {}
    for name, row in named:
        given = row.text(context) if config == "contextual" else row.cells.get(context, "")
        request = row.text(behaviour)
        group = first.setdefault(given.strip() or request, name)
        facts: dict[str, Scalar] = {"harmful": True, "functional": config, **row.labels(labels)}
        text = f"{given}\n\n---\n\n{request}" if given.strip() else request
        yield user_prompt(row.where, name, text, facts, group=group)
