"""Sets of labelled answers, too large to hold: rows are read anew for each pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from trait_probe.errors import BadInputError
from trait_probe.prompts.prompt import Prompt
from trait_probe.prompts.sources import _formats, _hub, _rows, beavertails, saferlhf
from trait_probe.prompts.sources._answers import (
    AnswerFormat,
    PlacedRow,
    Skipped,
    require_columns,
)

FORMATS: Mapping[str, AnswerFormat] = MappingProxyType(
    {known.name: known for known in (beavertails.FORMAT, saferlhf.FORMAT)}
)


@dataclass(frozen=True)
class Stream:
    """One split of a set of labelled answers, or one file of it, found to have the right schema.

    Attributes:
        name: path or hub id.
        format: which it is of.
        rows: begins a pass over the rows.
        config: the config that is read; None for a file.
        split: the split that is read; None for a file.
    """

    name: str
    format: AnswerFormat
    rows: Callable[[], Iterator[PlacedRow]]
    config: str | None = None
    split: str | None = None

    def __post_init__(self) -> None:
        first = next(iter(self.rows()), None)
        if first is None:
            raise BadInputError(f"{self.name} holds no prompts.", fix="Give a file with rows.")
        if isinstance(first[1], Mapping):
            require_columns(self.name, first[1], self.format.columns)
        list(self.format.prompts([first], Skipped()))

    def prompts(self, skipped: Skipped) -> Iterator[Prompt]:
        """A new pass over the prompts; what it leaves out is added to the count.

        Raises:
            BadInputError: while iterating: a malformed row, by its place.
        """
        return self.format.prompts(self.rows(), skipped)


def of_hub(
    known: _hub.HubSet, config: str | None, split: str | None, revision: str | None
) -> Stream:
    """A set on the hub, memory-mapped.

    Raises:
        BadInputError: unknown config or split, a wrong schema, or `datasets` cannot load it.
    """
    name, (chosen,) = _hub.choose(known, config, split)
    dataset = _hub.load(known.hub_id, name, chosen, revision or known.revision)
    return of_dataset(known.hub_id, FORMATS[known.format], dataset, name, chosen)


def of_dataset(
    name: str, found: AnswerFormat, dataset: Any, config: str | None, split: str
) -> Stream:
    """A loaded split.

    Raises:
        BadInputError: a wrong schema, or no rows.
    """
    require_columns(f"{name} ({split})", dataset.column_names, found.columns)

    def rows() -> Iterator[PlacedRow]:
        for number, row in enumerate(dataset, start=1):
            yield f"{name} ({split}), row {number}", row

    return Stream(name, found, rows, config, split)


def of_file(path: Path) -> Stream | None:
    """A file with the public columns; None if it has those of no such format.

    Raises:
        BadInputError: a wrong schema, or a malformed first line.
    """
    if _rows.ending_of(path) not in _rows.ENDINGS:
        return None
    columns = _rows.columns_of(path)
    if columns is None or _formats.is_own(columns):
        return None
    found = FORMATS.get(_formats.format_of(columns) or "")
    if found is None:
        return None
    require_columns(str(path), columns, found.columns)
    return Stream(str(path), found, lambda: _rows.read(path))
