"""What report rows were opened for, in this run and in the runs beside it.

```python
lock = ReportLock(split, {"prompts": prompts.hash, "suspect": identity})
rows = lock.report({"layer": 2, "sign": 1})
opened = record_openings(run, lock)  # before anything is computed on these rows
```

Only the manifest and the report speak of other runs: results.json has the same bytes with or
without them. A run whose folder was deleted or lies elsewhere is not seen.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trait_probe.errors import BadInputError
from trait_probe.evidence.locks import Opening, ReportLock, differences
from trait_probe.runs import files
from trait_probe.runs.folder import MANIFEST
from trait_probe.runs.rundir import Run

MOST_SIBLINGS = 300

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Earlier:
    """An opening that was found in another run, by the name of its folder."""

    run: str
    opening: Opening

    def to_json(self) -> dict[str, object]:
        """The opening's fields and the run."""
        return {"run": self.run, **self.opening.to_json()}


@dataclass(frozen=True)
class OpenedSplit:
    """What a run's manifest says of one lock.

    Attributes:
        id: of the lock.
        split: the split's sizes, fraction and seed.
        openings: the run's own distinct openings, first one first, resumed runs included.
        current: the one that the run's results belong to.
        earlier: openings of other runs, made before, with selections that are not in `openings`.
    """

    id: str
    split: Mapping[str, object]
    openings: tuple[Opening, ...]
    current: Opening
    earlier: tuple[Earlier, ...]

    def to_json(self) -> dict[str, object]:
        """As in the manifest."""
        return {
            "id": self.id,
            "split": dict(self.split),
            "openings": [opening.to_json() for opening in self.openings],
            "current": self.current.selection,
            "earlier": [item.to_json() for item in self.earlier],
        }


def record_openings(run: Run, lock: ReportLock) -> OpenedSplit:
    """Add the lock's openings to those that the run's manifest has.

    The runs beside it are looked at when an opening is new: what others open later was not known
    to who chose here, and a repeated run says what it said before.

    Raises:
        BadInputError: the lock was not opened, or the manifest's entry was edited.
        RunError: the manifest cannot be written.
    """
    if not lock.openings:
        raise BadInputError(
            "The report split was not opened, so there is no opening to record.",
            got=lock.note(),
            fix="Call lock.report(chosen) first.",
        )
    run.start()  # takes up what another process wrote meanwhile
    where = run.folder / MANIFEST
    entry = run.manifest.report_splits.get(lock.id)
    stored, earlier = ((), ()) if entry is None else _read_entry(entry, run.folder.name, where)
    own = {opening.selection: opening for opening in (*stored, *lock.openings)}
    if len(own) > len(stored):
        _warn_if_resumed(run, stored, lock)
        earlier = (*earlier, *earlier_openings(run.folder, lock.id))
    others = {(item.run, item.opening.selection): item for item in earlier}
    opened = OpenedSplit(
        id=lock.id,
        split=_split_of(lock),
        openings=tuple(own.values()),
        current=lock.openings[-1],
        earlier=tuple(item for (_, selection), item in others.items() if selection not in own),
    )
    run.opened(lock.id, opened.to_json())
    return opened


def earlier_openings(folder: Path, lock_id: str) -> tuple[Earlier, ...]:
    """What the runs in the folders beside `folder` opened the same lock for, by folder name.

    At most `MOST_SIBLINGS` runs are read, the newest ones; a manifest that cannot be read is left
    out with a line in the log.
    """
    found: list[Earlier] = []
    for manifest in _manifests_beside(folder):
        found += _openings_in(manifest, lock_id)
    return tuple(found)


def _openings_in(manifest: Path, lock_id: str) -> tuple[Earlier, ...]:
    try:
        # Most manifests are of other data, and some are long: look before parsing.
        if lock_id.encode() not in manifest.read_bytes():
            return ()
        entry = files.read_json(manifest)["report_splits"][lock_id]
        openings, _ = _read_entry(entry, manifest.parent.name, manifest)
    except OSError as error:
        _LOG.debug("%s is left out: %s", manifest, error)
        return ()
    except (BadInputError, KeyError, TypeError) as error:
        _LOG.warning("%s names this report split but cannot be understood: %s", manifest, error)
        return ()
    return tuple(Earlier(manifest.parent.name, opening) for opening in openings)


def _manifests_beside(folder: Path) -> list[Path]:
    own = os.path.realpath(folder)
    try:
        names = os.listdir(os.path.dirname(own))
    except OSError as error:
        _LOG.debug("Nothing was looked for beside %s: %s", folder, error)
        return []
    # Real paths: a link "latest" to a run is no further run.
    places = {os.path.realpath(os.path.join(os.path.dirname(own), name)) for name in names} - {own}
    found = [Path(place, MANIFEST) for place in places if os.path.isfile(f"{place}/{MANIFEST}")]
    if len(found) > MOST_SIBLINGS:
        _LOG.warning(
            "Only the newest %d of %d runs beside %s are searched for earlier openings.",
            *(MOST_SIBLINGS, len(found), folder),
        )
        found = sorted(found, key=_modified)[-MOST_SIBLINGS:]
    return sorted(found)


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # deleted meanwhile; reading it says so
        return 0.0


def _read_entry(
    entry: Any, run: str, where: Path
) -> tuple[tuple[Opening, ...], tuple[Earlier, ...]]:
    """The run's own openings and the earlier ones of a manifest's entry.

    Raises:
        BadInputError: it does not have the fields that `OpenedSplit.to_json` writes.
    """
    try:
        own = tuple(_opening(item) for item in entry["openings"])
        return own, tuple(Earlier(str(item["run"]), _opening(item)) for item in entry["earlier"])
    except (KeyError, TypeError, ValueError) as error:
        raise BadInputError(
            f"The openings of a report split in {where} are not as a run writes them.",
            got=f"{run}: {type(error).__name__} {error}",
            fix="Restore the manifest, or choose another --out folder.",
        ) from error


def _opening(item: Any) -> Opening:
    return Opening(dict(item["chosen"]), float(item["fraction"]), int(item["seed"]))


def _split_of(lock: ReportLock) -> Mapping[str, object]:
    split = lock.to_json()["split"]
    assert isinstance(split, dict)
    return split


def _warn_if_resumed(run: Run, stored: tuple[Opening, ...], lock: ReportLock) -> None:
    """Within one process the lock itself warns."""
    first = lock.openings[0]
    if stored and first.selection not in {opening.selection for opening in stored}:
        changed = "; ".join(differences(first, stored[-1]))
        _LOG.warning("%s had opened its report split for other choices: %s", run.folder, changed)
