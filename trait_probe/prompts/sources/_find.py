"""What a source is, by its name, ending and columns, and its prompts, read or ready to stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from trait_probe.errors import BadInputError, nearest
from trait_probe.prompts.prompt import PromptSet, prompt_from_row
from trait_probe.prompts.sources import (
    _formats,
    _hub,
    _rows,
    _streamed,
    emergent_misalignment,
    harmbench,
    jailbreakbench,
    trait_interp,
)
from trait_probe.prompts.sources._streamed import Stream
from trait_probe.prompts.sources._table import (
    AnyPath,
    Table,
    check_choice,
    collect,
    read_csv,
    table_of,
)

OWN = "trait_probe"
"""The format of a PromptSet's own files."""
_SUFFIXES = (".jsonl", ".parquet", ".csv", ".json", ".yaml", ".yml", ".jsonl.gz", ".jsonl.xz")


class Found(NamedTuple):
    """Prompts and the format they were found in; labelled answers are a stream."""

    format: str
    prompts: PromptSet | Stream


def find_prompts(
    source: AnyPath, config: str | None, split: str | None, revision: str | None
) -> Found:
    """As `load_prompts`; labelled answers are opened, and only their first row is read.

    Raises:
        BadInputError: as `load_prompts`; of labelled answers, a wrong schema.
    """
    known = _hub.find(str(source))
    if known is not None:
        if known.format in _streamed.FORMATS:
            return Found(known.format, _streamed.of_hub(known, config, split, revision))
        tables = _hub.load_known(known, config, split, revision)
        return Found(known.format, _formats.read(known.format, tables, config))
    path = existing_path(source, revision)
    return _folder(path, config, split) if path.is_dir() else _file(path, config, split)


def existing_path(source: AnyPath, revision: str | None) -> Path:
    """The path of a file or folder that is there.

    Raises:
        BadInputError: nothing has this name, or it is given a revision.
    """
    if revision is not None:
        raise BadInputError(
            "Only sets on the hub have a revision.",
            got=revision,
            valid=tuple(_hub.HUB),
            fix="Leave revision out.",
        )
    path = Path(source).expanduser()
    if not path.exists():
        raise _unknown(str(source), path)
    return path


def _unknown(source: str, path: Path) -> BadInputError:
    neighbours = sorted(str(path.parent / entry.name) for entry in path.parent.glob("*"))
    return BadInputError(
        "There is no file, folder or public set of prompts of this name.",
        got=source,
        valid=[*nearest(source, _hub.HUB, n=len(_hub.HUB)), *nearest(str(path), neighbours, n=3)],
        fix="Check the path. Emergent misalignment's questions and trait-interp's prompts are "
        "files: give their path.",
    )


def _file(path: Path, config: str | None, split: str | None) -> Found:
    ending = _rows.ending_of(path)
    if ending not in _SUFFIXES:
        raise BadInputError(
            f"Files of prompts end in {', '.join(_SUFFIXES)}.",
            got=path.name,
            valid=_SUFFIXES,
            fix="Rename or convert the file.",
        )
    stream = _streamed.of_file(path)
    if stream is not None:
        refuse_choices(str(path), config, split)
        return Found(stream.format.name, stream)
    table = read_csv(path) if ending == ".csv" else None
    if ending == ".parquet":
        table = _parquet_table(path)
    if table is not None:
        return _of_table(table, config, split)
    refuse_choices(str(path), config, split)
    found, reader = _READERS[ending]
    return Found(found, reader(path))


def _compressed(path: Path) -> PromptSet:
    placed = ((where, prompt_from_row(where, row)) for where, row in _rows.read(path))
    return collect(str(path), placed)


_READERS: Mapping[str, tuple[str, Callable[[Path], PromptSet]]] = {
    ".json": ("trait-interp", trait_interp.read),
    ".yaml": ("emergent-misalignment", emergent_misalignment.read_evaluation),
    ".yml": ("emergent-misalignment", emergent_misalignment.read_evaluation),
    ".jsonl": (OWN, PromptSet.from_jsonl),
    ".jsonl.gz": (OWN, _compressed),
    ".jsonl.xz": (OWN, _compressed),
    ".parquet": (OWN, PromptSet.from_parquet),
}


def _parquet_table(path: Path) -> Table | None:
    """A hub's file; None for a PromptSet's own, and for what is no Parquet at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        columns = pq.read_schema(path).names
    except (pa.ArrowException, OSError):
        return None
    if _formats.is_own(columns) or _formats.format_of(columns) is None:
        return None
    return table_of(str(path), columns, pq.read_table(path).to_pylist())


def _of_table(table: Table, config: str | None, split: str | None) -> Found:
    """One file: HarmBench's has configs, JailbreakBench's is one of two splits."""
    found = _formats.known_format(table.name, table.columns)
    if found in _streamed.FORMATS:
        raise BadInputError(
            "Labelled answers are not read from CSV, which holds no true or false and no objects.",
            got=table.name,
            valid=_rows.ENDINGS,
            fix="Give the public file, or convert this one to .jsonl or .parquet.",
        )
    if found != "jailbreakbench":
        refuse_choices(table.name, None if found == "harmbench" else config, split)
        return Found(found, _formats.read(found, {"": table}, config))
    refuse_choices(table.name, config, None)
    if split is not None:
        check_choice("split", split, jailbreakbench.SIDES, table.name)
    return Found(found, _formats.read(found, {split or "": table}, None))


def refuse_choices(name: str, config: str | None, split: str | None) -> None:
    """Refuse a config or a split of what has neither."""
    for kind, value in (("config", config), ("split", split)):
        if value is not None:
            check_choice(kind, value, (), name)


def _folder(folder: Path, config: str | None, split: str | None) -> Found:
    """A data set folder; a functional category that is no config of it is for HarmBench's file."""
    name = str(folder)
    configs = _hub.config_names(folder)
    category = config if config in harmbench.CONFIGS else None
    of_reader = category is not None and config not in configs
    splits = _hub.load_folder(folder, configs, None if of_reader else config, split)
    columns = next(iter(splits.values())).column_names
    own = _formats.is_own(columns)
    found = None if own else _formats.known_format(name, columns)
    if of_reader and found != "harmbench":
        check_choice("config", str(config), configs, name)
    if found != "jailbreakbench" and len(splits) > 1:
        raise BadInputError(
            f"{name} holds several splits.", valid=tuple(splits), fix="Choose one as split."
        )
    if found is None:
        return Found(OWN, PromptSet.from_dicts(next(iter(splits.values())), name=name))
    if found in _streamed.FORMATS:
        ((key, dataset),) = splits.items()
        known = _streamed.FORMATS[found]
        return Found(found, _streamed.of_dataset(name, known, dataset, config or configs[0], key))
    return Found(found, _formats.read(found, _hub.tables_of(name, splits), category))
