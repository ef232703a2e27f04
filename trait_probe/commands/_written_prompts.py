"""Prompts written as a file, with where they are from beside it."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from rich.console import Console

import trait_probe
from trait_probe.commands import _prompt_sources
from trait_probe.commands.prompts import PromptsConfig
from trait_probe.errors import BadInputError
from trait_probe.prompts import _files, _record
from trait_probe.prompts.prompt import Prompt
from trait_probe.prompts.sources.open import Source
from trait_probe.runs.files import atomic_file, file_sha256, read_json, write_json

SCHEMA = "trait_probe.prompt_source/1"
ENDINGS = (".jsonl", ".parquet")
_ROWS = 1024
"""Rows of a Parquet file that are in memory at a time."""
_FOUND_LATER = "skipped_empty"
"""The one part of provenance that only a whole pass tells."""


@dataclass(frozen=True)
class Written:
    """What the command wrote.

    Attributes:
        path: the file of prompts.
        about: where they are from, as beside it.
    """

    path: Path
    about: dict[str, Any]


def run(config: PromptsConfig, out: Path | None) -> Written:
    """See `trait_probe.commands.prompts.run`."""
    _prompt_sources.named(config)
    path = _checked(out)
    source = _prompt_sources.open_named(config)
    _require_own(path, source, config.limit)
    written = write(source, path, config.limit)
    n, skipped = written.about["n_prompts"], written.about["skipped"]["empty"]
    left_out = f" ({skipped:,} answers without text left out)" if skipped else ""
    Console(soft_wrap=True).print(f"{n:,} prompts{left_out}: {path}", highlight=False)
    return written


def about_path(path: Path) -> Path:
    """The file that says where the prompts of `path` are from."""
    return path.with_name(f"{path.name}.source.json")


def write(source: Source, path: Path, limit: int | None) -> Written:
    """Write the first `limit` prompts, or all, a row at a time; the file comes last.

    Raises:
        BadInputError: there are none, a malformed row, or two prompts with one id.
        RunError: the disk is full, or the place cannot be written.
    """
    ids: array[int] = array("q")
    with atomic_file(path) as handle:
        with closing(source.prompts()) as prompts:
            rows = _rows(islice(prompts, limit), ids)
            (_write_parquet if path.suffix == ".parquet" else _write_jsonl)(handle, rows)
        _require_unique(source, ids)
        handle.flush()
        about = _about(source, limit, len(ids), file_sha256(Path(handle.name)))
        write_json(about_path(path), about)
    return Written(path, about)


def _about(source: Source, limit: int | None, n_prompts: int, sha256: str) -> dict[str, Any]:
    provenance = source.provenance()
    return {
        "schema": SCHEMA,
        "provenance": provenance,
        "limit": limit,
        "n_prompts": n_prompts,
        "skipped": {"empty": provenance[_FOUND_LATER]},
        "sha256": sha256,
        "trait_probe": trait_probe.__version__,
    }


def _checked(out: Path | None) -> Path:
    if out is None:
        raise BadInputError("The command needs a file to write.", fix="Add --out FILE.jsonl.")
    if out.suffix not in ENDINGS:
        raise BadInputError(
            "A file of prompts ends in .jsonl or .parquet.",
            got=str(out),
            valid=ENDINGS,
            fix="Rename --out.",
        )
    return out


def _require_own(path: Path, source: Source, limit: int | None) -> None:
    """Refuse to write over a file, unless this command wrote it from the same source."""
    about = about_path(path)
    if not (path.exists() or about.exists()):
        return
    known = read_json(about) if about.is_file() else None
    if not isinstance(known, dict) or known.get("schema") != SCHEMA:
        problem = f"{path if path.exists() else about} is there, and this command did not write it."
    elif not path.exists() or known.get("sha256") == file_sha256(path):
        if _asked(known.get("provenance")) == _asked(source.provenance()) and (
            known.get("limit") == limit
        ):
            return
        problem = f"{path} holds prompts of another source, or another part of this one."
    else:
        problem = f"{path} was changed since this command wrote it."
    raise BadInputError(problem, got=str(path), fix="Name another file as --out.")


def _asked(provenance: object) -> object:
    if not isinstance(provenance, dict):
        return provenance
    spelled = ("source",) if {"path", "hub_id"} & provenance.keys() else ()
    return {key: value for key, value in provenance.items() if key not in (_FOUND_LATER, *spelled)}


def _rows(prompts: Iterable[Prompt], ids: array[int]) -> Iterator[_files.Row]:
    """Their JSON form; 8 bytes a prompt are kept of its id."""
    for prompt in prompts:
        ids.append(hash(prompt.id))
        yield prompt.to_dict()


def _require_unique(source: Source, ids: array[int]) -> None:
    """Two prompts of one id: the source is read again to name both."""
    if not ids:
        raise BadInputError(f"{source.name} holds no prompts.", fix="Give another source.")
    hashes = np.sort(np.frombuffer(ids, dtype=np.int64))
    repeated = {int(value) for value in hashes[1:][hashes[1:] == hashes[:-1]]}
    if not repeated:
        return
    numbered = enumerate(islice(source.prompts(), len(ids)), start=1)
    _record.check_unique(
        (f"{source.name}, prompt {number}", prompt.id)
        for number, prompt in numbered
        if hash(prompt.id) in repeated
    )


def _write_jsonl(handle: BinaryIO, rows: Iterable[_files.Row]) -> None:
    handle.writelines(map(_files.json_line, rows))


def _write_parquet(handle: BinaryIO, rows: Iterator[_files.Row]) -> None:
    import pyarrow.parquet as pq

    with pq.ParquetWriter(handle, _files.to_table([]).schema) as writer:
        while batch := list(islice(rows, _ROWS)):
            writer.write_table(_files.to_table(batch))
