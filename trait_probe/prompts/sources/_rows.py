"""Rows of a file, one at a time: JSON lines, compressed or not, and Parquet."""

from __future__ import annotations

import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from trait_probe.errors import BadInputError, first_line
from trait_probe.prompts import _files
from trait_probe.prompts.sources._answers import PlacedRow

_OPENERS: Mapping[str, Callable[..., Any]] = {".jsonl.gz": gzip.open, ".jsonl.xz": lzma.open}
ENDINGS = (".jsonl", ".parquet", *_OPENERS)


def ending_of(path: Path) -> str:
    """One of `ENDINGS`, or the last suffix, in lower case."""
    name = path.name.lower()
    return next((ending for ending in ENDINGS if name.endswith(ending)), path.suffix.lower())


def read(path: Path) -> Iterator[PlacedRow]:
    """Each row with its place ("file.jsonl, line 3"); blank lines are skipped.

    Raises:
        BadInputError: while iterating: no such file, a malformed row, or damaged compression.
    """
    ending = ending_of(path)
    if ending in _OPENERS:
        return _compressed(path, _OPENERS[ending])
    reader = _files.read_parquet if ending == ".parquet" else _files.read_jsonl
    return ((where, row) for where, _, row in reader(path))


def columns_of(path: Path) -> list[str] | None:
    """Names of the columns: a Parquet file's, or those of the first row; None if it has none.

    Raises:
        BadInputError: the first line is malformed.
    """
    if ending_of(path) == ".parquet":
        return _parquet_columns(path)
    _, row = next(read(path), ("", None))
    return [str(name) for name in row] if isinstance(row, Mapping) else None


def _parquet_columns(path: Path) -> list[str] | None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        names: list[str] = pq.read_schema(path).names
    except (pa.ArrowException, OSError):
        return None
    return names


def _compressed(path: Path, opener: Callable[..., Any]) -> Iterator[PlacedRow]:
    try:
        with opener(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                where = f"{path}, line {number}"
                if line.strip():
                    yield where, _files.parse_line(line, where)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise BadInputError(
            f"{path} cannot be unpacked: {first_line(error)}",
            fix="Fetch the file again, or unpack it and give the .jsonl file.",
        ) from error
