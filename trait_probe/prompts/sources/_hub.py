"""Public prompt sets on the Hugging Face hub, and data set folders on disk, through `datasets`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from trait_probe.errors import BadInputError, first_line
from trait_probe.prompts.sources import beavertails, saferlhf
from trait_probe.prompts.sources._table import Table, check_choice, table_of


@dataclass(frozen=True)
class HubSet:
    """A data set on the hub, and what is known of it.

    Attributes:
        hub_id: as `datasets.load_dataset` takes it; a folder of the same files does too.
        format: which reader its columns are for.
        columns: those that the reader needs, in every config.
        splits: its splits that hold prompts, all of them read unless one is asked for.
        configs: its configs, the default first; empty where it has only one.
        default_split: the one that is read unless another is asked for; None for all.
        revision: commit that is read unless another revision is asked for; None where no commit of
            its data is known: the newest is read.
    """

    hub_id: str
    format: str
    columns: tuple[str, ...]
    splits: tuple[str, ...]
    configs: tuple[str, ...] = ()
    default_split: str | None = None
    revision: str | None = None


_HARMBENCH = ("standard", "contextual", "copyright")
HUB: Mapping[str, HubSet] = MappingProxyType(
    {
        "advbench": HubSet("walledai/AdvBench", "advbench", ("prompt", "target"), ("train",)),
        "beavertails": HubSet(
            "PKU-Alignment/BeaverTails",
            beavertails.FORMAT.name,
            beavertails.FORMAT.columns,
            beavertails.SPLITS,
            beavertails.CONFIGS,
            default_split=beavertails.DEFAULT_SPLIT,
            revision=beavertails.REVISION,
        ),
        "harmbench": HubSet(
            "walledai/HarmBench",
            "harmbench",
            ("prompt",),
            ("train",),
            _HARMBENCH,
            revision="a777536ffc60bc8317b06380da5b2acf8d6491fd",
        ),
        "jailbreakbench": HubSet(
            "JailbreakBench/JBB-Behaviors",
            "jailbreakbench",
            ("Index", "Goal", "Category"),
            ("harmful", "benign"),
            ("behaviors",),
            revision="d72ab3e281eca79247dbeee237dcb5a74cfa3f9b",
        ),
        "pku-saferlhf": HubSet(
            "PKU-Alignment/PKU-SafeRLHF",
            saferlhf.FORMAT.name,
            saferlhf.FORMAT.columns,
            saferlhf.SPLITS,
            saferlhf.CONFIGS,
            default_split=saferlhf.DEFAULT_SPLIT,
            revision=saferlhf.REVISION,
        ),
        "xstest": HubSet("walledai/XSTest", "xstest", ("prompt", "type", "label"), ("test",)),
        "xstest-v2-copy": HubSet(
            "natolambert/xstest-v2-copy", "xstest", ("id", "prompt", "type"), ("prompts",)
        ),
    }
)
"""By short name. walledai's sets ask for a Hugging Face account that has accepted their terms.

AdvBench and both XSTest sets are not pinned: no commit that holds their present data is known.
"""


def find(source: str) -> HubSet | None:
    """The set of this short name or hub id."""
    by_id = {known.hub_id: known for known in HUB.values()}
    return HUB.get(source) or by_id.get(source)


def choose(
    known: HubSet, config: str | None, split: str | None
) -> tuple[str | None, tuple[str, ...]]:
    """The config and the splits to read, as `datasets.load_dataset` takes them.

    Args:
        known: which data set.
        config: one of its configs; None for the first.
        split: one of its splits; None for the default one, or all where there is none.

    Raises:
        BadInputError: unknown config or split.
    """
    if config is not None:
        check_choice("config", config, known.configs, known.hub_id)
    if split is not None:
        check_choice("split", split, known.splits, known.hub_id)
    name = config or (known.configs[0] if known.configs else None)
    wanted = split or known.default_split
    return name, known.splits if wanted is None else (wanted,)


def load_known(
    known: HubSet, config: str | None, split: str | None, revision: str | None
) -> dict[str, Table]:
    """What `choose` chooses, as tables by split.

    Args:
        known: which data set.
        config, split: as `choose`.
        revision: commit, branch or tag of the data set's repository; None for the pinned commit, or
            the newest where none is pinned.

    Raises:
        BadInputError: unknown config or split, a missing column, or `datasets` cannot load it.
    """
    name, splits = choose(known, config, split)
    commit = revision or known.revision
    tables = {key: _table(known.hub_id, load(known.hub_id, name, key, commit)) for key in splits}
    for table in tables.values():
        table.require(*known.columns)
    return tables


def _table(name: str, dataset: Any) -> Table:
    return table_of(f"{name} ({dataset.split})", dataset.column_names, dataset)


def tables_of(name: str, datasets_by_split: Mapping[str, Any]) -> dict[str, Table]:
    """Loaded splits as tables."""
    return {split: _table(name, dataset) for split, dataset in datasets_by_split.items()}


def config_names(folder: Path) -> list[str]:
    """The configs of a data set folder, as its README or its files tell them.

    Raises:
        BadInputError: it holds no data files.
    """
    import datasets

    names: list[str] = _asked(folder, datasets.get_dataset_config_names, str(folder))
    return names


def load_folder(
    folder: Path, configs: list[str], config: str | None, split: str | None
) -> dict[str, Any]:
    """The splits of a data set folder, as `datasets.load_dataset` reads it, by name.

    Raises:
        BadInputError: unknown config or split, several configs and none chosen, or `datasets`
            cannot load it.
    """
    import datasets

    if config is None and len(configs) > 1:
        raise BadInputError(
            f"{folder} holds several configs.", valid=configs, fix="Choose one as config."
        )
    if config is not None:
        check_choice("config", config, configs, str(folder))
    chosen = config or configs[0]
    splits = _asked(folder, datasets.get_dataset_split_names, str(folder), chosen)
    if split is not None:
        check_choice("split", split, splits, str(folder))
        splits = [split]
    return {name: load(str(folder), chosen, name, None) for name in splits}


def load(hub_id: str, config: str | None, split: str, revision: str | None) -> Any:
    """`datasets.load_dataset` with its errors in the house form."""
    import datasets

    return _asked(hub_id, datasets.load_dataset, hub_id, config, split=split, revision=revision)


def _asked(source: object, function: Any, *args: Any, **options: Any) -> Any:
    """The function's answer; what `datasets` raises of its own is the user's to fix."""
    import datasets

    try:
        return function(*args, **options)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        on_hub = (
            "Check the connection, the revision and your access (`hf auth login` for sets that "
        )
        on_hub += "ask for it), or give the path of a file or folder."
        raise BadInputError(
            f"The data set {source} cannot be loaded: {first_line(error.__cause__ or error)}",
            got=str(source),
            fix="Give the path of one file in it." if Path(str(source)).is_dir() else on_hub,
        ) from error
