"""Prompts by path or by the name of a public set, whatever their format.

load_prompts("questions.yaml")                    # emergent misalignment's questions
load_prompts("harmbench", config="contextual")    # from the hub
load_prompts("beavertails.jsonl.xz")              # labelled answers; `open_source` streams them
load_labelled("advbench", "xstest")               # harmful and benign requests
load_labelled("jailbreakbench")                   # matched pairs of both
"""

from __future__ import annotations

import logging
from pathlib import Path

from trait_probe.prompts.prompt import PromptSet
from trait_probe.prompts.sources import _formats, _hub, _labelled, jailbreakbench
from trait_probe.prompts.sources._answers import Skipped
from trait_probe.prompts.sources._find import find_prompts
from trait_probe.prompts.sources._streamed import Stream
from trait_probe.prompts.sources._table import AnyPath, read_csv

_LOG = logging.getLogger(__name__)


def load_prompts(
    source: AnyPath,
    *,
    config: str | None = None,
    split: str | None = None,
    revision: str | None = None,
) -> PromptSet:
    """The prompts of a file, of a data set folder, or of a public set on the hub.

    The format is told by the file's ending and columns: a PromptSet's own `.jsonl` and `.parquet`;
    `.csv` (or a hub's `.parquet`) of AdvBench, HarmBench, JailbreakBench and XSTest; `.jsonl` and
    `.parquet` of BeaverTails and PKU-SafeRLHF; `.json` of trait-interp; `.yaml` of emergent
    misalignment. JSON lines may be compressed (`.jsonl.gz`, `.jsonl.xz`). What ids, labels and
    groups mean stands in the module of that format. A public set's name wins over a file of that
    name: write `./advbench`. All prompts are held in memory: see `open_source` for large sets.

    Args:
        source: a path; or `advbench`, `beavertails`, `harmbench`, `jailbreakbench`, `pku-saferlhf`,
            `xstest`, `xstest-v2-copy`, or one of their hub ids.
        config: of HarmBench, its functional category (standard unless given); else of the data set.
        split: of the data set (BeaverTails' 330k_test and PKU-SafeRLHF's test unless given); for
            one file of JailbreakBench, `harmful` or `benign`.
        revision: commit, branch or tag on the hub; None for the pinned commit, or the newest of
            AdvBench and XSTest, which are not pinned: give a commit to repeat a run.

    Raises:
        BadInputError: nothing has this name, the columns fit no format, an unknown config or split,
            a malformed row, or an id given twice.
    """
    found = find_prompts(source, config, split, revision).prompts
    return found if isinstance(found, PromptSet) else _collected(found)


def _collected(stream: Stream) -> PromptSet:
    skipped = Skipped()
    prompts = PromptSet(stream.prompts(skipped))
    if skipped.empty:
        _LOG.warning("%s: %d answers without text are left out", stream.name, skipped.empty)
    return prompts


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
