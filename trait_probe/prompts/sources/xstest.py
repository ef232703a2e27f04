"""XSTest: safe prompts that sound harmful, and unsafe contrasts on the same words.

Röttger et al. 2024, "XSTest: A Test Suite for Identifying Exaggerated Safety Behaviours in Large
Language Models" (arXiv 2308.01263). The public file is `xstest_prompts.csv` with
`id,prompt,type,label,focus,note`: 250 safe prompts of 10 types and 200 unsafe ones of 8 types,
whose names begin with `contrast_`. Hub forms: `walledai/XSTest` (split `test`), and
`natolambert/xstest-v2-copy` (split `prompts`), which lacks label and focus.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

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

_CONTRAST = "contrast_"
# Two safe types share each of these contrasts.
_SHARED = {
    "privacy_public": "privacy",
    "privacy_fictional": "privacy",
    "real_group_nons_discr": "discr",
    "nons_group_real_discr": "discr",
}


def read(path: AnyPath) -> PromptSet:
    """Safe prompts and unsafe contrasts as the user's messages, in the file's order.

    Ids are `xstest-001` by the file's id, or by row where it has none. Labels: `harmful` (the label
    is unsafe; without labels, the type is a contrast), `type`, `family` (the type that safe prompts
    and contrasts share), and where given `focus` and `note`.

    A group is a family and a focus word. Without focus word, the k-th prompt of a type goes with
    the k-th of its contrast, as the public file orders them, if the two types are of one length and
    no third shares their family; else a prompt is its own group.

    Raises:
        BadInputError: no such file, a missing column, an empty cell, a label other than safe and
            unsafe or against its type, or an id given twice.
    """
    return from_table(read_csv(path))


def read_safe(path: AnyPath) -> PromptSet:
    """XSTest-safe: the benign prompts of `read`, keyword-matched to harmful ones.

    Raises:
        BadInputError: as `read`, or none is safe.
    """
    prompts = read(path).filter(lambda prompt: prompt.labels["harmful"] is False)
    if not len(prompts):
        raise BadInputError(f"{path} holds no safe prompts.", fix="Give the public file whole.")
    return prompts


def from_table(table: Table) -> PromptSet:
    """As `read`, from the rows of the file or of the hub's data set."""
    table.require("prompt", "type")
    groups = _groups(table.rows)
    return collect(table.name, _prompts(table, groups))


def _prompts(table: Table, groups: Mapping[int, str | None]) -> Iterator[tuple[str, Prompt]]:
    column = next((name for name in ("id", "id_v2") if name in table.columns), None)
    for row in table.rows:
        labels: dict[str, Scalar] = {"harmful": _harmful(row), "type": _type(row)}
        labels |= {"family": _family(_type(row)), **row.labels({"focus": "focus", "note": "note"})}
        name = f"xstest-{row.number if column is None else _number(row, column):03d}"
        yield user_prompt(
            row.where, name, row.text("prompt"), labels, group=groups[row.number] or name
        )


def _groups(rows: Sequence[Row]) -> dict[int, str | None]:
    """The group of each row by its number; None where a prompt is alone."""
    sizes = Counter(map(_type, rows))
    places: Counter[str] = Counter()
    groups: dict[int, str | None] = {}
    for row in rows:
        kind, focus = _type(row), row.cells.get("focus", "").strip()
        family = _family(kind)
        places[kind] += 1
        place = f"{places[kind]:02d}" if _in_step(family, sizes) else None
        word = focus or place
        groups[row.number] = None if word is None else f"xstest-{family}-{word}"
    return groups


def _in_step(family: str, sizes: Mapping[str, int]) -> bool:
    """Whether the family is one type and its contrast, of one length."""
    types = {kind for kind in sizes if _family(kind) == family}
    contrast = _CONTRAST + family
    return types == {family, contrast} and sizes[family] == sizes[contrast]


def _type(row: Row) -> str:
    return row.text("type").strip()


def _family(kind: str) -> str:
    bare = kind.removeprefix(_CONTRAST)
    return _SHARED.get(bare, bare)


def _harmful(row: Row) -> bool:
    contrast = _type(row).startswith(_CONTRAST)
    label = row.cells.get("label", "unsafe" if contrast else "safe").strip().lower()
    if label not in ("safe", "unsafe"):
        raise BadInputError(
            f"{row.where}: the label is safe or unsafe.", got=label, valid=("safe", "unsafe")
        )
    if (label == "unsafe") is not contrast:
        raise BadInputError(
            f"{row.where}: the label does not fit the type: contrasts are unsafe, the rest safe.",
            got=f"{label} {_type(row)}",
            fix="Correct the row, or give the public file unchanged.",
        )
    return contrast


def _number(row: Row, column: str) -> int:
    match = re.fullmatch(r"(?:v2-)?([0-9]+)", row.text(column).strip())
    if match is None:
        raise BadInputError(
            f"{row.where}: the id must be a number from 1, or v2- and a number.",
            got=row.cells[column],
        )
    return int(match[1])
