"""Any source of prompts, opened once and read as often as needed, however large it is.

source = open_source("beavertails")               # from the hub, at the pinned commit
source = open_source("30k_test.jsonl.xz")         # the public file
for prompt in source.prompts(): ...               # a new pass each time, a row at a time
source.provenance()                               # what it was, for whoever repeats it
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from trait_probe.errors import BadInputError
from trait_probe.prompts.prompt import Prompt, PromptSet, prompt_from_row
from trait_probe.prompts.sources import _formats, _hub, _rows
from trait_probe.prompts.sources._answers import Skipped
from trait_probe.prompts.sources._find import (
    OWN,
    Found,
    existing_path,
    find_prompts,
    refuse_choices,
)
from trait_probe.prompts.sources._streamed import Stream
from trait_probe.prompts.sources._table import AnyPath
from trait_probe.prompts.stream import read_prompts
from trait_probe.runs.files import file_sha256


@dataclass
class _Tally:
    """What the last pass left out; None until one has ended."""

    skipped_empty: int | None


@dataclass(frozen=True)
class Source:
    """A source of prompts whose schema was found to be right.

    Attributes:
        name: as it was asked for.
        format: which public format it has; `trait_probe` for a PromptSet's own files.
        facts: where it is from, for `provenance`.
        read: begins a pass over the prompts, adding what it leaves out to the count.
    """

    name: str
    format: str
    facts: Mapping[str, object]
    read: Callable[[Skipped], Iterator[Prompt]]
    _tally: _Tally = field(default_factory=lambda: _Tally(None), compare=False, repr=False)

    def prompts(self) -> Generator[Prompt, None, None]:
        """A new pass from the first prompt on, a row at a time.

        Raises:
            BadInputError: while iterating: a malformed row, by its place.
        """
        skipped = Skipped()
        try:
            yield from self.read(skipped)
        finally:
            self._tally.skipped_empty = skipped.empty

    def provenance(self) -> dict[str, object]:
        """Plain JSON: everything needed to find the same prompts again.

        Keys: `source` (as asked), `hub_id` or `path` (absolute), `format`, `config`, `split`,
        `revision` (of the hub; None is the newest), `sha256` (of a file's bytes) and
        `skipped_empty`: answers without text that the last pass left out, None before the first.
        """
        return {
            "source": self.name,
            "format": self.format,
            **self.facts,
            "skipped_empty": self._tally.skipped_empty,
        }


def open_source(
    source: AnyPath,
    *,
    config: str | None = None,
    split: str | None = None,
    revision: str | None = None,
) -> Source:
    """The source that `load_prompts` would load, read when it is asked for.

    BeaverTails, PKU-SafeRLHF and a PromptSet's own files are never held in memory. All other
    formats are small, and are read here as a whole.

    Args:
        source, config, split, revision: as `load_prompts`.

    Raises:
        BadInputError: as `load_prompts`; of what is streamed, all that can be told from columns and
            the first row.
    """
    known = _hub.find(str(source))
    path = None if known is not None else existing_path(source, revision)
    if path is not None and _is_own(path):
        refuse_choices(str(path), config, split)
        return _own(str(source), path)
    found = find_prompts(source, config, split, revision)
    chosen = _chosen(known, found, config, split)
    if known is not None:
        place: dict[str, object] = {"hub_id": known.hub_id}
        chosen["revision"] = revision or known.revision
    else:
        place = _place(existing_path(source, None))
    return _source(str(source), found, place | chosen)


def of_prompts(name: str, format: str, prompts: PromptSet, config: str | None = None) -> Source:
    """Prompts at hand as a source; their `hash` stands for a file's."""
    chosen = {"config": config, "split": None, "revision": None}
    return _source(name, Found(format, prompts), {**chosen, "sha256": prompts.hash})


def _source(name: str, found: Found, facts: Mapping[str, object]) -> Source:
    prompts = found.prompts
    if isinstance(prompts, Stream):
        return Source(name, found.format, facts, prompts.prompts)
    return Source(name, found.format, facts, lambda _: iter(prompts))


def _chosen(
    known: _hub.HubSet | None, found: Found, config: str | None, split: str | None
) -> dict[str, object]:
    """The config and split that are read; None where there is none, or all."""
    if isinstance(found.prompts, Stream):
        config, split = found.prompts.config, found.prompts.split
    elif known is not None:
        config, splits = _hub.choose(known, config, split)
        split = splits[0] if len(splits) == 1 else None
    return {"config": config, "split": split, "revision": None}


def _is_own(path: Path) -> bool:
    if path.is_dir() or _rows.ending_of(path) not in _rows.ENDINGS:
        return False
    columns = _rows.columns_of(path)
    return columns is not None and _formats.is_own(columns)


def _own(name: str, path: Path) -> Source:
    """A PromptSet's own file; its first row is read here."""
    facts = _place(path) | {"config": None, "split": None, "revision": None}

    def read(_: Skipped) -> Iterator[Prompt]:
        if path.suffix in (".jsonl", ".parquet"):
            return read_prompts(path)
        return (prompt_from_row(where, row) for where, row in _rows.read(path))

    if next(read(Skipped()), None) is None:
        raise BadInputError(f"{path} holds no prompts.", fix="Give at least one prompt.")
    return Source(name, OWN, facts, read)


def _place(path: Path) -> dict[str, object]:
    """Where a file or folder is; a folder's content has no one hash."""
    place: dict[str, object] = {"path": str(path.resolve())}
    return place | ({"sha256": file_sha256(path)} if path.is_file() else {})
