"""Which public format a table is of, told by its columns, and the reader of each format."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from trait_probe.errors import BadInputError
from trait_probe.prompts.prompt import PromptSet
from trait_probe.prompts.sources import (
    advbench,
    beavertails,
    harmbench,
    jailbreakbench,
    saferlhf,
    xstest,
)
from trait_probe.prompts.sources._table import Table

# Columns that tell a format, in files and on the hub; the first that are all there count.
_SIGNATURES = (
    (saferlhf.FORMAT.name, saferlhf.FORMAT.columns),
    (beavertails.FORMAT.name, beavertails.FORMAT.columns),
    ("harmbench", ("Behavior", "FunctionalCategory")),
    ("jailbreakbench", ("Goal", "Category")),
    ("jailbreakbench", ("goal", "category")),
    ("advbench", ("goal", "target")),
    ("advbench", ("prompt", "target")),
    ("xstest", ("prompt", "type")),
    ("harmbench", ("prompt", "category")),
    ("harmbench", ("prompt", "tags")),
)
# Labelled answers are told by a part of theirs too: a file that lost the rest is refused as such,
# and not taken for a set of prompts alone.
_PARTS = (
    (saferlhf.FORMAT.name, ("response_0", "response_1")),
    (saferlhf.FORMAT.name, ("is_response_0_safe",)),
    (beavertails.FORMAT.name, ("is_safe",)),
    (beavertails.FORMAT.name, ("prompt", "response", "category")),
)


def is_own(columns: Iterable[str]) -> bool:
    """Whether these are columns of a PromptSet's own files."""
    names = set(columns)
    return "id" in names and not names.isdisjoint(("messages", "text"))


def format_of(columns: Sequence[str]) -> str | None:
    """The public format of a table with these columns; None if it is none."""
    fitting = (name for name, needed in _PARTS + _SIGNATURES if set(needed) <= set(columns))
    return next(fitting, None)


def known_format(name: str, columns: Sequence[str]) -> str:
    """As `format_of`.

    Raises:
        BadInputError: it is none; lists the columns there and those of each format.
    """
    found = format_of(columns)
    if found is None:
        raise BadInputError(
            f"The columns of {name} fit no known format of prompts.",
            got=", ".join(columns),
            valid=[f"{known} ({', '.join(needed)})" for known, needed in _SIGNATURES],
            fix="Rename the columns, or write the prompts as .jsonl (PromptSet.to_jsonl).",
        )
    return found


def read(found: str, tables: Mapping[str, Table], config: str | None) -> PromptSet:
    """The prompts of a format.

    Args:
        found: the format.
        tables: one table, or JailbreakBench's two, by split.
        config: HarmBench's functional category; None for the standard one.
    """
    if found == "jailbreakbench":
        return _jailbreakbench(tables)
    (table,) = tables.values()
    if found == "harmbench":
        return harmbench.from_table(table, config or harmbench.CONFIGS[0])
    return {"advbench": advbench.from_table, "xstest": xstest.from_table}[found](table)


def _jailbreakbench(tables: Mapping[str, Table]) -> PromptSet:
    if not tables.keys() <= set(jailbreakbench.SIDES):
        raise BadInputError(
            f"{next(iter(tables.values())).name} does not say whether its requests are harmful: "
            "both of JailbreakBench's files have the same columns.",
            got=", ".join(filter(None, tables)) or None,
            valid=jailbreakbench.SIDES,
            fix="Say which as split, or give both files: load_labelled(harmful, benign).",
        )
    sides = {
        split: jailbreakbench.from_table(table, harmful=split == "harmful")
        for split, table in tables.items()
    }
    if len(sides) == 1:
        return next(iter(sides.values()))
    return jailbreakbench.pair(sides["harmful"], sides["benign"])
