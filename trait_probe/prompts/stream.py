"""Prompts by the chunk: from files and iterables larger than memory, each chunk read when needed.

A chunk is the unit of work and of resuming. Where chunks end depends on the prompts alone, never
on the machine, so that every run cuts the same file in the same places.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from trait_probe.errors import BadInputError
from trait_probe.prompts import _record
from trait_probe.prompts._files import START, Place, canonical_json, from_cells, read_rows
from trait_probe.prompts.prompt import Prompt, prompt_from_row

Check = Callable[[Prompt], None]
PromptSource = str | Path | Iterable[Prompt | Mapping[str, object]]
"""A file of prompts (JSONL or Parquet), or an iterable such as a streaming data set."""


@dataclass(frozen=True)
class ChunkLimit:
    """A chunk ends before it would exceed either; a single prompt may exceed `bytes`.

    Attributes:
        prompts: most prompts of a chunk.
        bytes: most bytes of text of all its prompts (`Prompt.n_bytes`).
    """

    prompts: int
    bytes: int

    def __post_init__(self) -> None:
        if self.prompts < 1 or self.bytes < 1:
            raise BadInputError(
                "A chunk holds at least one prompt and one byte.",
                got=(self.prompts, self.bytes),
            )


@runtime_checkable
class Chunk(Protocol):
    """Some neighbouring prompts."""

    @property
    def index(self) -> int:
        """The chunk's number, from 0."""

    @property
    def first(self) -> int:
        """Index of its first prompt among all."""

    @property
    def count(self) -> int:
        """How many prompts it has."""

    @property
    def sha256(self) -> str:
        """Hash of its prompts' content (`prompts_sha256`)."""

    def load(self) -> list[Prompt]:
        """Its prompts, read now."""


def prompts_sha256(prompts: Iterable[Prompt]) -> str:
    """SHA-256 (hex) of the prompts' content in order."""
    digest = hashlib.sha256()
    for prompt in prompts:
        _add(digest, prompt)
    return digest.hexdigest()


def _add(digest: hashlib._Hash, prompt: Prompt) -> None:
    digest.update(canonical_json(prompt.to_dict()).encode())
    digest.update(b"\n")


@dataclass(frozen=True)
class FileChunk:
    """Neighbouring rows of a file of prompts; small, and the same on every machine with the file.

    Attributes:
        path: the file.
        index: the chunk's number, from 0.
        first: index of its first prompt among all.
        count: prompts.
        place: where its first row begins.
        sha256: hash of its prompts' content.
    """

    path: str
    index: int
    first: int
    count: int
    place: Place
    sha256: str

    def load(self) -> list[Prompt]:
        """Read the rows.

        Raises:
            BadInputError: the file is gone, or holds other prompts than when it was scanned.
        """
        rows = islice(read_rows(Path(self.path), self.place), self.count)
        prompts = [prompt_from_row(where, row) for where, _, row in rows]
        if prompts_sha256(prompts) != self.sha256:
            raise BadInputError(
                f"{self.path} was changed while it was being used.",
                got=f"other prompts than before from number {self.first + 1} on",
                fix="Leave the file alone during a run; use another --out folder for the new one.",
            )
        return prompts


@dataclass(frozen=True)
class MemoryChunk:
    """Prompts that an iterable gave; see `Chunk`."""

    index: int
    first: int
    prompts: tuple[Prompt, ...]

    @property
    def count(self) -> int:
        """How many prompts it has."""
        return len(self.prompts)

    @property
    def sha256(self) -> str:
        """Hash of its prompts' content."""
        return prompts_sha256(self.prompts)

    def load(self) -> list[Prompt]:
        """The prompts."""
        return list(self.prompts)


@dataclass(frozen=True)
class PromptFile:
    """A file of prompts that was read once, row by row, and found in order.

    Attributes:
        path: the file, absolute.
        n_prompts: how many prompts it has.
        sha256: of its bytes, hex.
        chunks: where each chunk begins.
    """

    path: Path
    n_prompts: int
    sha256: str
    chunks: tuple[FileChunk, ...]


def scan_file(path: Path, limit: ChunkLimit, check: Check | None = None) -> PromptFile:
    """Read the whole file once, keeping nothing but chunk borders and 8 bytes a prompt.

    Args:
        check: refuses prompts that cannot be used; its errors are given the row's place.

    Raises:
        BadInputError: no such file, no prompts, a malformed or refused row, or two prompts with
            one id.
    """
    path = path.absolute()
    chunks: list[FileChunk] = []
    ids = array("Q")
    open_chunk = _OpenChunk(START)
    for where, place, row in read_rows(path):
        prompt = prompt_from_row(where, row)
        if check is not None:
            _checked(where, prompt, check)
        if open_chunk.count and not _fits(open_chunk.count, open_chunk.size, prompt, limit):
            chunks.append(open_chunk.closed(path, chunks))
            open_chunk = _OpenChunk(place)
        elif not open_chunk.count:
            open_chunk = _OpenChunk(place)
        open_chunk.add(prompt)
        ids.append(_id_hash(prompt.id))
    if not ids:
        raise BadInputError(f"{path} holds no prompts.", fix="Give at least one prompt.")
    chunks.append(open_chunk.closed(path, chunks))
    _require_unique_ids(path, ids)
    return PromptFile(path, len(ids), _sha256(path), tuple(chunks))


class _OpenChunk:
    """The chunk that a scan is in: where it began, and what it has so far."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.count = self.size = 0
        self._digest = hashlib.sha256()

    def add(self, prompt: Prompt) -> None:
        self.count += 1
        self.size += prompt.n_bytes
        _add(self._digest, prompt)

    def closed(self, path: Path, before: Sequence[FileChunk]) -> FileChunk:
        first = before[-1].first + before[-1].count if before else 0
        digest = self._digest.hexdigest()
        return FileChunk(str(path), len(before), first, self.count, self.place, digest)


def read_prompts(path: Path) -> Iterator[Prompt]:
    """The prompts of a file, one by one; errors name the line or row."""
    return (prompt_from_row(where, row) for where, _, row in read_rows(path))


def chunked(
    prompts: Iterable[Prompt | Mapping[str, object]],
    limit: ChunkLimit,
    check: Check | None = None,
) -> Iterator[MemoryChunk]:
    """Chunks of an iterable, each made when it is asked for; rows in JSON form become prompts.

    Ids are held unique at the cost of some 70 bytes a prompt; a file needs 8 (`scan_file`).

    Raises:
        BadInputError: while iterating, as `scan_file`.
    """
    seen: set[int] = set()
    waiting: list[Prompt] = []
    size, index, total = 0, 0, 0
    for number, item in enumerate(prompts, start=1):
        where = f"prompt {number}"
        prompt = item if isinstance(item, Prompt) else _from_item(where, item)
        if check is not None:
            _checked(where, prompt, check)
        seen.add(_id_hash(prompt.id))
        if len(seen) < number:
            raise BadInputError(f"{where} has an id that came before.", got=prompt.id)
        if waiting and not _fits(len(waiting), size, prompt, limit):
            yield MemoryChunk(index, total, tuple(waiting))
            index, total, size, waiting = index + 1, total + len(waiting), 0, []
        waiting.append(prompt)
        size += prompt.n_bytes
    if not waiting:
        raise BadInputError("There are no prompts to read.", fix="Give at least one.")
    yield MemoryChunk(index, total, tuple(waiting))


def _from_item(where: str, item: object) -> Prompt:
    """A row of a data set may hold labels and spans as JSON text, as our own Parquet files do."""
    if isinstance(item, Mapping):
        item = from_cells(dict(item), where)
    return prompt_from_row(where, item)


def _fits(count: int, size: int, prompt: Prompt, limit: ChunkLimit) -> bool:
    return count < limit.prompts and size + prompt.n_bytes <= limit.bytes


def _checked(where: str, prompt: Prompt, check: Check) -> None:
    try:
        check(prompt)
    except BadInputError as error:
        raise _record.located(where, error) from error


def _id_hash(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")


def _require_unique_ids(path: Path, ids: array[int]) -> None:
    """Two prompts of one id: the file is read again to name both lines."""
    hashes = np.sort(np.frombuffer(ids, dtype=np.uint64))
    repeated = {int(value) for value in hashes[1:][hashes[1:] == hashes[:-1]]}
    if repeated:
        rows = ((where, prompt_from_row(where, row)) for where, _, row in read_rows(path))
        _record.check_unique(
            (where, prompt.id) for where, prompt in rows if _id_hash(prompt.id) in repeated
        )


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
