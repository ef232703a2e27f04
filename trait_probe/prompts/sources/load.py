"""Prompts by path or by the name of a public set, whatever their format.

load_prompts("questions.yaml")                    # emergent misalignment's questions
load_prompts("harmbench", config="contextual")    # from the hub
load_labelled("advbench", "xstest")               # harmful and benign requests
load_labelled("jailbreakbench")                   # matched pairs of both
"""

from __future__ import annotations

from pathlib import Path

from trait_probe.errors import BadInputError, nearest
from trait_probe.prompts.prompt import PromptSet
from trait_probe.prompts.sources import (
    _formats,
    _hub,
    _labelled,
    emergent_misalignment,
    harmbench,
    jailbreakbench,
    trait_interp,
)
from trait_probe.prompts.sources._table import AnyPath, Table, check_choice, read_csv, table_of

_SUFFIXES = (".jsonl", ".parquet", ".csv", ".json", ".yaml", ".yml")


def load_prompts(
    source: AnyPath,
    *,
    config: str | None = None,
    split: str | None = None,
    revision: str | None = None,
) -> PromptSet:
    """The prompts of a file, of a data set folder, or of a public set on the hub.

    The format is told by the file's ending and columns: a PromptSet's own `.jsonl` and `.parquet`;
    `.csv` (or a hub's `.parquet`) of AdvBench, HarmBench, JailbreakBench and XSTest; `.json` of
    trait-interp; `.yaml` of emergent misalignment. What ids, labels and groups mean stands in the
    module of that format. A public set's name wins over a file of that name: write `./advbench`.

    Args:
        source: a path; or `advbench`, `harmbench`, `jailbreakbench`, `xstest`, `xstest-v2-copy`,
            or one of their hub ids.
        config: of HarmBench, its functional category (standard unless given); else of the data set.
        split: of the data set; for one file of JailbreakBench, `harmful` or `benign`.
        revision: commit, branch or tag on the hub; None for the newest, so give a commit to repeat
            a run.

    Raises:
        BadInputError: nothing has this name, the columns fit no format, an unknown config or split,
            a malformed row, or an id given twice.
    """
    known = _hub.find(str(source))
    if known is not None:
        tables = _hub.load_known(known, config, split, revision)
        return _formats.read(known.format, tables, config)
    if revision is not None:
        raise BadInputError(
            "Only sets on the hub have a revision.",
            got=revision,
            valid=tuple(_hub.HUB),
            fix="Leave revision out.",
        )
    path = Path(source).expanduser()
    if path.is_dir():
        return _folder(path, config, split)
    if not path.exists():
        raise _unknown(str(source), path)
    return _file(path, config, split)


def load_labelled(
    harmful_source: AnyPath | PromptSet, benign_source: AnyPath | PromptSet | None = None
) -> PromptSet:
    """Harmful and benign requests, each labelled and in a group.

    Every prompt has the label `harmful` (True or False) and a group: the pair's where the source is
    matched, else the prompt's own id. Of a source with labels its harmful, or benign, prompts are
    taken; a source without gets its label from the argument. Where ids of the two meet, all are
    prefixed with `harmful:` and `benign:`.

    Args:
        harmful_source: as `load_prompts` takes it, or a PromptSet.
        benign_source: the same; None where the first source has both, such as `jailbreakbench`,
            `xstest` or a file with labels.

    Raises:
        BadInputError: as `load_prompts`; a source lacks the side it is to give, labels only some of
            its prompts, or labels with something else than true and false; or one request comes on
            both sides.
    """
    first = _source(harmful_source, harmful=True)
    if benign_source is None:
        return _labelled.from_one(first, _name(harmful_source))
    second = _source(benign_source, harmful=False)
    if _is_jailbreakbench(harmful_source) and _is_jailbreakbench(benign_source):
        return jailbreakbench.pair(first, second)
    names = _name(harmful_source), _name(benign_source)
    return _labelled.from_two(first, second, names)


def _source(source: AnyPath | PromptSet, *, harmful: bool) -> PromptSet:
    if isinstance(source, PromptSet):
        return source
    split = jailbreakbench.SIDES[not harmful] if _is_jailbreakbench(source) else None
    return load_prompts(source, split=split)


def _name(source: AnyPath | PromptSet) -> str:
    return "The set of prompts" if isinstance(source, PromptSet) else str(source)


def _is_jailbreakbench(source: AnyPath | PromptSet) -> bool:
    """Whether it is one of JailbreakBench's two files, neither of which says which it is."""
    if isinstance(source, PromptSet) or _hub.find(str(source)) is not None:
        return False
    path = Path(source).expanduser()
    return (
        path.suffix.lower() == ".csv"
        and path.is_file()
        and _formats.format_of(read_csv(path).columns) == "jailbreakbench"
    )


def _unknown(source: str, path: Path) -> BadInputError:
    neighbours = sorted(str(path.parent / entry.name) for entry in path.parent.glob("*"))
    return BadInputError(
        "There is no file, folder or public set of prompts of this name.",
        got=source,
        valid=[*nearest(source, _hub.HUB, n=len(_hub.HUB)), *nearest(str(path), neighbours, n=3)],
        fix="Check the path. Emergent misalignment's questions and trait-interp's prompts are "
        "files: give their path.",
    )


def _file(path: Path, config: str | None, split: str | None) -> PromptSet:
    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES:
        raise BadInputError(
            f"Files of prompts end in {', '.join(_SUFFIXES)}.",
            got=path.name,
            valid=_SUFFIXES,
            fix="Rename or convert the file.",
        )
    table = read_csv(path) if suffix == ".csv" else None
    if suffix == ".parquet":
        table = _parquet_table(path)
    if table is not None:
        return _of_table(table, config, split)
    _refuse_choices(str(path), config, split)
    readers = {
        ".json": trait_interp.read,
        ".jsonl": PromptSet.from_jsonl,
        ".parquet": PromptSet.from_parquet,
    }
    return readers.get(suffix, emergent_misalignment.read_evaluation)(path)


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


def _of_table(table: Table, config: str | None, split: str | None) -> PromptSet:
    """One file: HarmBench's has configs, JailbreakBench's is one of two splits."""
    found = _formats.known_format(table.name, table.columns)
    if found != "jailbreakbench":
        _refuse_choices(table.name, None if found == "harmbench" else config, split)
        return _formats.read(found, {"": table}, config)
    _refuse_choices(table.name, config, None)
    if split is not None:
        check_choice("split", split, jailbreakbench.SIDES, table.name)
    return _formats.read(found, {split or "": table}, None)


def _refuse_choices(name: str, config: str | None, split: str | None) -> None:
    for kind, value in (("config", config), ("split", split)):
        if value is not None:
            check_choice(kind, value, (), name)


def _folder(folder: Path, config: str | None, split: str | None) -> PromptSet:
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
        return PromptSet.from_dicts(next(iter(splits.values())), name=name)
    return _formats.read(found, _hub.tables_of(name, splits), category)
