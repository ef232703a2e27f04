"""The table form of projections: one line per row and vector, vector after vector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int

from trait_probe.basis import Site
from trait_probe.errors import BadInputError, nearest
from trait_probe.runs.tables import make_table

if TYPE_CHECKING:
    from trait_probe.forward.projections import Projections

_WORDS = pa.dictionary(pa.int32(), pa.string())
SCHEMA = pa.schema(
    [
        pa.field("prompt_id", _WORDS, nullable=False),
        pa.field("trait", _WORDS, nullable=False),
        pa.field("site", _WORDS, nullable=False),
        pa.field("span", _WORDS, nullable=False),
        pa.field("position", pa.int32()),
        pa.field("offset", pa.int32()),
        pa.field("token", _WORDS),
        pa.field("dot", pa.float32(), nullable=False),
        pa.field("z", pa.float32(), nullable=False),
    ]
)


def span_name(span: str, pooling: str) -> str:
    """How a table writes position rule and pooling: `response[:]|mean`."""
    return f"{span}|{pooling}"


def to_table(projections: Projections) -> pa.Table:
    """See `Projections.to_table`."""
    n, rows = len(projections.columns), len(projections.prompt)
    traits = [trait for trait, _ in projections.columns]
    sites = [str(site) for _, site in projections.columns]
    columns = {
        "prompt_id": _words(np.tile(projections.prompt, n), projections.prompt_ids),
        "trait": _words(np.repeat(np.arange(n), rows), traits),
        "site": _words(np.repeat(np.arange(n), rows), sites),
        "span": _words(
            np.zeros(n * rows, np.int64), [span_name(projections.span, projections.pooling)]
        ),
        "position": _numbers(projections.position, n, rows),
        "offset": _numbers(projections.offset, n, rows),
        "token": _tokens(projections.token, n, rows),
        "dot": projections.dot.T.reshape(-1),
        "z": projections.z.T.reshape(-1),
    }
    return make_table(SCHEMA, columns)


def from_table(table: pa.Table, prompt_ids: Sequence[str] | None) -> dict[str, Any]:
    """The fields of the `Projections` that `to_table` made the table from; see there."""
    codes = {name: _codes(table[name]) for name in ("prompt_id", "trait", "site", "span", "token")}
    columns, rows = _blocks(codes["trait"], codes["site"], len(table))
    _require_blocks(table, codes, columns, rows)
    numbers, names = codes["prompt_id"][0][:rows], codes["prompt_id"][1]
    ids, index = _prompt_index([names[number] for number in numbers], prompt_ids)
    (span,) = {codes["span"][1][number] for number in codes["span"][0]}
    rule, pooling = span.rsplit("|", 1)
    first = table.slice(0, rows)
    token_codes, words = codes["token"]
    return {
        "prompt_ids": ids,
        "columns": tuple((trait, Site.parse(site)) for trait, site in columns),
        "span": rule,
        "pooling": pooling,
        "prompt": index,
        "position": _integers(first["position"]),
        "offset": _integers(first["offset"]),
        "token": tuple(words[code] for code in token_codes[:rows]) if words else None,
        "dot": _grid(table["dot"], len(columns)),
        "z": _grid(table["z"], len(columns)),
    }


def _words(codes: Int[np.ndarray, " _line"], words: Sequence[str]) -> pa.Array:
    """A dictionary column of the words in use; equal words get one code."""
    used, codes = np.unique(codes, return_inverse=True)
    number: dict[str, int] = {}
    renamed = np.array([number.setdefault(words[code], len(number)) for code in used], np.int32)
    return pa.DictionaryArray.from_arrays(
        pa.array(renamed[codes.reshape(-1)]), pa.array(list(number), type=pa.string())
    )


def _tokens(tokens: Sequence[str] | None, n: int, rows: int) -> pa.Array:
    if tokens is None:
        return pa.nulls(n * rows, _WORDS)
    number: dict[str, int] = {}
    codes = np.array([number.setdefault(token, len(number)) for token in tokens], dtype=np.int64)
    return _words(np.tile(codes, n), list(number))


def _numbers(values: Int[np.ndarray, " row"] | None, n: int, rows: int) -> pa.Array:
    if values is None:
        return pa.nulls(n * rows, pa.int32())
    return pa.array(np.tile(values, n).astype(np.int32))


def _codes(column: pa.ChunkedArray) -> tuple[Int[np.ndarray, " line"], list[str]]:
    """Numbers of the words of a column, and the words; no words where all is null."""
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    whole = column.unify_dictionaries().combine_chunks()
    if isinstance(whole, pa.ChunkedArray):  # an empty column stays in pieces
        return np.zeros(0, np.int64), []
    if whole.null_count:
        return np.full(len(whole), -1, np.int64), []
    return whole.indices.to_numpy(zero_copy_only=False).astype(
        np.int64
    ), whole.dictionary.to_pylist()


Codes = tuple[np.ndarray, list[str]]


def _blocks(trait: Codes, site: Codes, lines: int) -> tuple[list[tuple[str, str]], int]:
    """Trait and site of each vector in order of appearance, and the lines of each."""
    pairs = trait[0] * max(len(site[1]), 1) + site[0]
    _, starts = np.unique(pairs, return_index=True)
    columns = [(trait[1][trait[0][at]], site[1][site[0][at]]) for at in sorted(starts)]
    return columns, lines // max(len(columns), 1)


def _require_blocks(
    table: pa.Table, codes: dict[str, Codes], columns: list[tuple[str, str]], rows: int
) -> None:
    """One block of the same lines for each vector; anything else would be read wrongly."""
    n = len(columns)
    if rows and len(table) == n * rows:
        blocks = [codes[name][0].reshape(n, rows) for name in ("trait", "site")]
        same = [codes[name][0] for name in ("prompt_id", "token")]
        same += [_filled(table[name]) for name in ("position", "offset")]
        in_order = all(bool((block == block[:, :1]).all()) for block in blocks)
        repeated = all(bool((one.reshape(n, rows) == one[:rows]).all()) for one in same)
        if in_order and repeated and len(np.unique(codes["span"][0])) == 1:
            return
    raise BadInputError(
        "The table is not one that Projections.to_table made.",
        got=f"{len(table)} lines",
        fix="Give it whole and in its order; read tables of several runs one by one.",
    )


def _prompt_index(
    names: list[str], prompt_ids: Sequence[str] | None
) -> tuple[tuple[str, ...], Int[np.ndarray, " row"]]:
    ids = tuple(dict.fromkeys(names)) if prompt_ids is None else tuple(prompt_ids)
    index = {name: place for place, name in enumerate(ids)}
    unknown = next((name for name in names if name not in index), None)
    if unknown is not None:
        raise BadInputError(
            "The table has a prompt that is not among the given ones.",
            got=unknown,
            valid=nearest(unknown, index),
        )
    return ids, np.array([index[name] for name in names], dtype=np.int64)


def _filled(column: pa.ChunkedArray) -> Int[np.ndarray, " line"]:
    filled: Int[np.ndarray, " line"] = column.fill_null(-1).to_numpy().astype(np.int64)
    return filled


def _integers(column: pa.ChunkedArray) -> Int[np.ndarray, " row"] | None:
    return None if column.null_count else column.to_numpy().astype(np.int64)


def _grid(column: pa.ChunkedArray, n_columns: int) -> Float[np.ndarray, "row _column"]:
    grid: Float[np.ndarray, "row _column"] = column.to_numpy().reshape(n_columns, -1).T.copy()
    return grid
