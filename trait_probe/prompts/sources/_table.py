"""Tables of public prompt files: rows that know where they stand, checked and made into prompts."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from trait_probe.errors import BadInputError, nearest
from trait_probe.prompts import _record
from trait_probe.prompts.prompt import Message, Prompt, PromptSet, Scalar

AnyPath = str | PathLike[str]


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        where: its place, such as "file.csv, line 3".
        number: of the row, from 1; the header does not count.
        cells: text by column, exactly as it stands; empty where there is none.
    """

    where: str
    number: int
    cells: Mapping[str, str]

    def text(self, column: str) -> str:
        """The cell, as it stands.

        Raises:
            BadInputError: it is blank.
        """
        if not self.cells[column].strip():
            raise BadInputError(
                f"{self.where}: the column {column!r} is empty.", fix="Fill it, or remove the row."
            )
        return self.cells[column]

    def labels(self, columns: Mapping[str, str]) -> dict[str, Scalar]:
        """Labels by name from the columns that are there and not blank, without outer spaces."""
        texts = {name: self.cells.get(column, "").strip() for name, column in columns.items()}
        return {name: text for name, text in texts.items() if text}


@dataclass(frozen=True)
class Table:
    """A file, or a split of a data set, as rows of text.

    Attributes:
        name: the file's path or the data set's id.
        columns: in their order; an index column may have an empty name.
        rows: at least one.
    """

    name: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    def require(self, *columns: str) -> None:
        """Refuse a table that lacks one of these columns, naming those there and those needed."""
        missing = [column for column in columns if column not in self.columns]
        if missing:
            raise BadInputError(
                f"{self.name} lacks the column{'s' * (len(missing) > 1)} "
                f"{', '.join(map(repr, missing))}.",
                got=", ".join(self.columns),
                valid=columns,
                fix="Rename the columns in the first line, or give the public file unchanged.",
            )

    def choose(self, *columns: str) -> str:
        """The first of these columns that is there: the files and the hub name one thing twice."""
        present = [column for column in columns if column in self.columns]
        if not present:
            raise BadInputError(
                f"{self.name} lacks the column {' or '.join(map(repr, columns))}.",
                got=", ".join(self.columns),
                valid=columns,
                fix="Rename the columns in the first line, or give the public file unchanged.",
            )
        return present[0]


def read_text(path: AnyPath, *suffixes: str) -> str:
    """A UTF-8 text file, with or without byte-order mark.

    Raises:
        BadInputError: no such file, another ending, or bytes that are not UTF-8.
    """
    data = existing(path, *suffixes).read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise BadInputError(
            f"{path}, line {line} is not UTF-8 text.",
            got=f"byte {data[error.start]:#04x}",
            fix="Save the file as UTF-8.",
        ) from error


def existing(path: AnyPath, *suffixes: str) -> Path:
    """The path of a file that is there and ends in one of the suffixes."""
    path = Path(path)
    if not path.is_file():
        neighbours = sorted(entry.name for entry in path.parent.glob("*") if entry != path)
        raise BadInputError(
            "There is no such file of prompts.",
            got=str(path),
            valid=nearest(path.name, neighbours),
            fix="Check the path.",
        )
    if path.suffix.lower() not in suffixes:
        raise BadInputError(
            f"This format's files end in {' or '.join(suffixes)}.",
            got=path.name,
            valid=suffixes,
            fix="Give the public file, or load_prompts(path), which tells the format.",
        )
    return path


def read_csv(path: AnyPath) -> Table:
    """A CSV file whose first line names the columns; cells may be quoted and hold line ends.

    Raises:
        BadInputError: as `read_text`; no rows, malformed quotes, a column named twice, or a row
            with more or fewer cells than columns.
    """
    lines = list(_csv_lines(read_text(path, ".csv"), str(path)))
    if len(lines) < 2:
        raise _no_rows(str(path))
    columns = tuple(name.strip() for name in lines[0][1])
    if twice := sorted({name for name in columns if columns.count(name) > 1}):
        raise BadInputError(f"{path}, line 1 names a column twice.", got=twice[0])
    rows = (
        _csv_row(f"{path}, line {line}", number, columns, cells)
        for number, (line, cells) in enumerate(lines[1:], start=1)
    )
    return Table(str(path), columns, tuple(rows))


def _csv_lines(text: str, name: str) -> Iterator[tuple[int, list[str]]]:
    """Each record with the line it begins on; blank lines are skipped."""
    reader, line = csv.reader(io.StringIO(text, newline=""), strict=True), 1
    try:
        for cells in reader:
            if cells:
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise BadInputError(
            f"{name}, line {line} is not valid CSV: {error}.",
            fix='Put cells with commas or line ends in quotes, and double each quote in them: "".',
        ) from error


def _csv_row(where: str, number: int, columns: Sequence[str], cells: Sequence[str]) -> Row:
    if len(cells) != len(columns):
        raise BadInputError(
            f"{where} has {len(cells)} cells for {len(columns)} columns.",
            got=", ".join(cells)[:80],
            valid=columns,
            fix="Put cells with commas in quotes.",
        )
    return Row(where, number, dict(zip(columns, cells, strict=True)))


def table_of(name: str, columns: Iterable[str], rows: Iterable[Mapping[str, object]]) -> Table:
    """Rows of a data set as a table of text; nulls become empty cells.

    Raises:
        BadInputError: there are no rows.
    """
    columns = tuple(columns)
    made = tuple(
        Row(f"{name}, row {number}", number, {key: _cell(row.get(key)) for key in columns})
        for number, row in enumerate(rows, start=1)
    )
    if not made:
        raise _no_rows(name)
    return Table(name, columns, made)


def _cell(value: object) -> str:
    return "" if value is None or value != value else str(value)


def _no_rows(name: str) -> BadInputError:
    return BadInputError(
        f"{name} holds no prompts.", fix="Give a file with a line of column names and rows below."
    )


def user_prompt(
    where: str,
    name: str,
    content: str,
    labels: Mapping[str, Scalar],
    *,
    group: str | None = None,
    system: str | None = None,
) -> tuple[str, Prompt]:
    """A user's message (after a system message, if any) with its place, for `collect`.

    Raises:
        BadInputError: the prompt breaks a rule; the error begins with the place.
    """
    opening = () if system is None else (Message("system", system),)
    try:
        messages = (*opening, Message("user", content))
        return where, Prompt(id=name, messages=messages, labels=labels, group=group)
    except BadInputError as error:
        raise _record.located(where, error) from error


def collect(name: str, placed: Iterable[tuple[str, Prompt]]) -> PromptSet:
    """The prompts of one source.

    Raises:
        BadInputError: none, or two with one id; names both places.
    """
    found = list(placed)
    if not found:
        raise BadInputError(f"{name} holds no prompts.", fix="Give a file with at least one.")
    _record.check_unique((where, prompt.id) for where, prompt in found)
    return PromptSet(prompt for _, prompt in found)


def check_choice(kind: str, value: str, valid: Sequence[str], of: str) -> None:
    """Refuse a config or split that the source does not have."""
    if value not in valid:
        raise BadInputError(
            f"{of} has no {kind} of this name." if valid else f"{of} has no {kind}s.",
            got=value,
            valid=nearest(value, valid, n=len(valid)) if valid else (),
            fix=f"Choose one of these as {kind}." if valid else f"Leave {kind} out.",
        )
