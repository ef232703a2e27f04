"""Rows of prompts in and out of JSONL, Parquet and Hugging Face datasets; no meaning here."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple, NoReturn

from trait_probe.errors import BadInputError

Row = dict[str, Any]
# Kept as JSON text in a table: a column of structs would give every row the keys of all the others.
JSON_COLUMNS = ("spans", "labels")


def canonical_json(value: object) -> str:
    """One text per value: sorted keys, no spaces, no NaN."""
    return json.dumps(
        value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False
    )


def sha256(value: object) -> str:
    """Hex digest of the canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode("utf-8")).hexdigest()


class Place(NamedTuple):
    """Where a row of a file begins, so that reading can start there.

    `offset` counts bytes in JSONL and rows in Parquet; `number` is the line or row, from 1.
    """

    offset: int
    number: int


START = Place(0, 1)


def read_rows(path: Path, start: Place = START) -> Iterator[tuple[str, Place, object]]:
    """Yield ("file, line 3", its place, row), one row at a time, by the file's ending.

    Raises:
        BadInputError: no such file, an unknown ending, or a malformed row.
    """
    readers = {".jsonl": read_jsonl, ".parquet": read_parquet}
    if path.suffix not in readers:
        raise BadInputError(
            "Files of prompts end in .jsonl or .parquet.",
            got=str(path),
            valid=tuple(readers),
            fix="Rename or convert the file (PromptSet.to_jsonl, PromptSet.to_parquet).",
        )
    return readers[path.suffix](path, start)


def read_jsonl(path: Path, start: Place = START) -> Iterator[tuple[str, Place, object]]:
    """Yield ("file, line 3", its place, parsed value) per line that is not blank."""
    offset = start.offset
    with _opened(path) as file:
        file.seek(offset)
        # Binary lines end at \n only: JSON strings may hold U+2028 and other separators.
        for number, line in enumerate(file, start=start.number):
            where = f"{path}, line {number}"
            if line.strip():
                yield where, Place(offset, number), parse_line(line, where)
            offset += len(line)


def write_jsonl(path: Path, rows: Iterable[Row]) -> None:
    """Write one JSON object per line, all or nothing."""
    _write_atomically(path, lambda file: file.writelines(map(json_line, rows)))


def json_line(row: Row) -> bytes:
    """One line of a file."""
    return (json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")


def read_parquet(path: Path, start: Place = START) -> Iterator[tuple[str, Place, object]]:
    """Yield ("file, row 3", its place, row) per row, counted from 1."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with _opened(path) as file:
        try:
            parquet = pq.ParquetFile(file)
            groups, before = _groups_from(parquet.metadata, start.offset)
            number = before
            for batch in parquet.iter_batches(batch_size=1024, row_groups=groups):
                for row in batch.to_pylist():
                    number += 1
                    if number > start.offset:
                        where = f"{path}, row {number}"
                        yield where, Place(number - 1, number), from_cells(row, where)
        except (pa.ArrowException, OSError) as error:
            raise BadInputError(f"{path} is not a Parquet file: {error}.") from error


def _groups_from(metadata: Any, first: int) -> tuple[list[int], int]:
    """The row groups that hold rows from `first` on, and how many rows come before them."""
    before = 0
    for group in range(metadata.num_row_groups):
        rows = metadata.row_group(group).num_rows
        if before + rows > first:
            return list(range(group, metadata.num_row_groups)), before
        before += rows
    return [], before


def write_parquet(path: Path, rows: Iterable[Row]) -> None:
    """Write the rows as one Parquet file, all or nothing."""
    import pyarrow.parquet as pq

    table = to_table(rows)
    _write_atomically(path, lambda file: pq.write_table(table, file))


def table_rows(rows: Iterable[Row], name: str) -> Iterator[tuple[str, object]]:
    """Undo what a table does to rows: JSON columns parsed, filled-in nulls dropped."""
    for number, row in enumerate(rows, start=1):
        where = f"{name}, row {number}"
        yield where, from_cells(row, where)


def to_table(rows: Iterable[Row]) -> Any:
    """A `pyarrow.Table` with one column per prompt field; `spans` and `labels` are JSON text."""
    import pyarrow as pa

    message = pa.struct([("role", pa.string()), ("content", pa.string())])
    texts = ("id", "text", "prefill", "response", "spans", "labels", "group")
    schema = pa.schema([(name, pa.string()) for name in texts] + [("messages", pa.list_(message))])
    cells = [{key: _to_cell(key, value) for key, value in row.items()} for row in rows]
    return pa.Table.from_pylist(cells, schema=schema)


def _to_cell(key: str, value: object) -> object:
    return canonical_json(value) if key in JSON_COLUMNS else value


def from_cells(row: Row, where: str) -> Row:
    """Undo what a table does to one row."""
    return {key: _from_cell(key, value, where) for key, value in row.items()}


def _from_cell(key: str, value: object, where: str) -> object:
    if key not in JSON_COLUMNS:
        return value
    if isinstance(value, str):
        return _parse(value, f"{where}, field {key!r}")
    if isinstance(value, Mapping):  # a struct column: keys of other rows arrive as nulls
        return {name: item for name, item in value.items() if item is not None}
    return value


def _opened(path: Path) -> IO[bytes]:
    try:
        file = open(path, "rb")  # noqa: SIM115  # the caller closes it
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            file.close()
            raise BadInputError(
                "A file of prompts is read twice; this is a pipe or a device.",
                got=str(path),
                fix="Write it to a file first, or give the prompts from Python as an iterable.",
            )
        return file
    except (FileNotFoundError, IsADirectoryError) as error:
        raise BadInputError(
            "There is no such file of prompts.", got=str(path), fix="Check the path."
        ) from error


def parse_line(line: bytes, where: str) -> object:
    """The JSON value of one line of a file; errors begin with where it stands."""
    try:
        text = line.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInputError(f"{where} is not UTF-8 text.", fix="Save it as UTF-8.") from error
    return _parse(text, where)


def _parse(text: str, where: str) -> object:
    try:
        return json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BadInputError(
            f"{where} is not valid JSON: {error}.",
            got=text if len(text) <= 80 else text[:77] + "...",
            fix='Write one object per line: {"id": "a", "text": "..."}.',
        ) from error


def _unique_keys(pairs: list[tuple[str, object]]) -> Row:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the field {twice!r} occurs twice")
    return row


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write to a neighbour and rename, so that a reader never meets half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
