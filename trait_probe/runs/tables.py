"""Arrow tables with a declared schema, and their Parquet files."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from trait_probe.errors import BadInputError, nearest
from trait_probe.runs.files import atomic_file

COMPRESSION = "zstd"


def make_table(schema: pa.Schema, columns: Mapping[str, Any]) -> pa.Table:
    """A table with exactly the columns of `schema`, in its order.

    Args:
        schema: names, types, and which columns may hold nulls.
        columns: name -> list, numpy array or arrow array, all of one length.

    Raises:
        BadInputError: a column is missing, unknown, of another length or type, holds a null where
            the schema forbids it, or a float that is not finite (a missing number is a null).
    """
    _require_same_names(schema, list(columns))
    arrays = [_column(field, columns[field.name]) for field in schema]
    lengths = {field.name: len(array) for field, array in zip(schema, arrays, strict=True)}
    if len(set(lengths.values())) > 1:
        raise BadInputError(
            "The columns of one table must have one length.",
            got=lengths,
            fix="Build every column from the same rows.",
        )
    return pa.Table.from_arrays(arrays, schema=schema)


def write_table(path: Path, table: pa.Table) -> None:
    """Write a Parquet file atomically; equal tables give equal bytes.

    Raises:
        RunError: the disk is full, or the place cannot be written.
    """
    with atomic_file(path) as handle:
        pq.write_table(table, handle, compression=COMPRESSION)


def parquet_bytes(table: pa.Table) -> bytes:
    """The exact bytes that `write_table` writes."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression=COMPRESSION)
    return buffer.getvalue()


def read_table(path: Path) -> pa.Table:
    """Read a Parquet file written by `write_table`.

    Raises:
        BadInputError: the file is absent, truncated or no Parquet.
    """
    try:
        # ParquetFile, not read_table: the latter turns folder names like `seed=1` into columns.
        with pq.ParquetFile(path) as parquet:
            return parquet.read()
    except FileNotFoundError as error:
        raise BadInputError(f"{path} does not exist.", fix="Check the path.") from error
    except (pa.ArrowException, OSError) as error:
        raise BadInputError(
            f"{path} is not a readable Parquet file; it may be truncated.",
            got=str(error),
            fix="Delete the file and run the same command again.",
        ) from error


def _require_same_names(schema: pa.Schema, names: list[str]) -> None:
    for name in names:
        if name not in schema.names:
            raise BadInputError(
                "The table has a column that its schema does not declare.",
                got=name,
                valid=nearest(name, schema.names),
                fix="Rename the column, or declare it.",
            )
    missing = [name for name in schema.names if name not in names]
    if missing:
        raise BadInputError(
            "The table lacks columns that its schema declares.",
            got=names,
            valid=schema.names,
            fix=f"Add {', '.join(missing)}.",
        )


def _column(field: pa.Field, values: Any) -> pa.Array:
    try:
        # from_pandas=False: a NaN stays a NaN and is refused below, instead of becoming a null.
        array = (
            values.cast(field.type)
            if isinstance(values, pa.Array)
            else pa.array(values, type=field.type, from_pandas=False)
        )
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise BadInputError(
            f"Column {field.name!r} cannot be stored as {field.type}.",
            got=str(error),
            fix="Convert the values where they are made.",
        ) from error
    if array.null_count and not field.nullable:
        raise BadInputError(
            f"Column {field.name!r} must not hold nulls.",
            got=f"{array.null_count} of {len(array)}",
            fix="Fill or drop those rows, or declare the column nullable.",
        )
    _require_finite(field, array)
    return array


def _require_finite(field: pa.Field, array: pa.Array) -> None:
    if not pa.types.is_floating(field.type):
        return
    bad = pc.sum(pc.invert(pc.is_finite(array))).as_py()
    if bad:
        raise BadInputError(
            f"Column {field.name!r} holds numbers that are not finite.",
            got=f"{bad} of {len(array)}",
            fix="Store a null in a nullable column for a number that could not be computed.",
        )
