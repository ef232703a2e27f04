"""A run directory that one process writes, and that the same command resumes after any kill.

```python
with open_run(out, experiment="backdoor", config=config) as run:
    run.record(suspect=suspect_identity, seed=0)
    table = run.stage("projections/suspect", lambda: project_all(suspect))
    run.write_json("results.json", results)
    run.finish()
```
"""

from __future__ import annotations

import hashlib
import logging
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa

from trait_probe.errors import BadInputError, MismatchError
from trait_probe.runs import files, tables
from trait_probe.runs.folder import CONFIG, LOCK, MANIFEST, find_run, require_free_space
from trait_probe.runs.lock import FolderLock
from trait_probe.runs.manifest import Manifest, StageRecord, changed_code, new_manifest

MIN_FREE_BYTES = 50_000_000

_LOG = logging.getLogger(__name__)
_NAME = re.compile(r"[A-Za-z0-9_+=@-][A-Za-z0-9_.+=@-]*(/[A-Za-z0-9_+=@-][A-Za-z0-9_.+=@-]*)*")


def open_run(
    out: Path | None,
    *,
    experiment: str,
    config: Mapping[str, Any],
    root: Path = Path("runs"),
    min_free_bytes: int = MIN_FREE_BYTES,
) -> Run:
    """Check that a run may write to `out`; write nothing yet.

    Args:
        out: the run's folder; None for `root/<experiment>/<first 12 hex of the config's hash>`.
        experiment: the experiment's name.
        config: the whole configuration, JSON values only.
        root: where default folders go.
        min_free_bytes: refuse to start with less free disk than this (bytes).

    Returns:
        A new run if the folder is absent or empty, else the one resumed that it holds.

    Raises:
        BadInputError: the folder holds something else (see `find_run`), or is being written.
        RunError: too little free space.
    """
    settings = dict(config)
    digest = files.canonical_sha256(settings)
    folder = out if out is not None else root / experiment / digest[:12]
    found = find_run(folder, experiment, settings)
    require_free_space(folder, min_free_bytes)
    run = Run(folder, experiment, settings, found)
    if found is not None:
        run.lock()
    return run


class Run:
    """A run directory, held by this process until `close` (or the end of the `with` block).

    Nothing is written, and the folder is not made, before `start` or the first stage or file.
    """

    def __init__(
        self, folder: Path, experiment: str, config: dict[str, Any], found: Manifest | None
    ) -> None:
        self.folder = folder
        self.experiment = experiment
        self.config = config
        self.resumed = found is not None
        self._now = new_manifest(experiment, files.canonical_sha256(config))
        self._manifest = found or self._now
        self._lock = FolderLock(folder / LOCK)
        self._started = False
        self._closed = False
        self._asked: set[str] = set()
        self._began = time.monotonic()
        self._seconds_before = float(self._manifest.timings.get("seconds", 0.0))

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def manifest(self) -> Manifest:
        """The manifest as it stands now."""
        return self._manifest

    def lock(self) -> None:
        """Become the folder's only writer; BadInputError if another process is."""
        self._lock.acquire()

    def start(self) -> None:
        """Make the folder and write manifest.json and config.json; again: nothing.

        Raises:
            BadInputError: another process took the folder since `open_run`.
            RunError: the folder cannot be made or written.
        """
        if self._closed:
            raise BadInputError(
                f"The run in {self.folder} is closed; another process may be writing it.",
                fix="Write inside the `with open_run(...)` block.",
            )
        if self._started:
            return
        _make_folder(self.folder)
        self.lock()
        self._read_again()
        files.remove_leftovers(self.folder)
        self._started = True
        # The manifest first: it carries the hash of the configuration, so that a kill between the
        # two writes leaves a folder that is recognised and resumed.
        self._update(finished=False)
        files.write_json(self.folder / CONFIG, self.config)

    def record(self, **facts: Any) -> None:
        """Add facts that the results depend on: model identities, input hashes, seeds.

        Before `start` they are kept in memory and written with the first write.

        Raises:
            MismatchError: a resumed run finished stages with another value of a fact: its stored
                stages do not belong to this input.
        """
        if self._manifest.stages:
            self._require_same_facts(facts)
        files.json_bytes(facts)  # refuse what JSON cannot hold before anything changes
        self._update(facts={**self._manifest.facts, **facts})

    def opened(self, lock_id: str, record: Mapping[str, Any]) -> None:
        """Put on the disk, at once, what report rows were opened for (`openings` merges them)."""
        files.json_bytes(record)
        self.start()
        self._update(report_splits={**self._manifest.report_splits, lock_id: dict(record)})

    def measured(self, **timings: Any) -> None:
        """Add timings and other measurements that may differ when the run is repeated."""
        files.json_bytes(timings)
        self._update(timings={**self._manifest.timings, **timings})

    def stage(self, name: str, compute: Callable[[], pa.Table]) -> pa.Table:
        """The table of a stage: read from `<name>.parquet` if finished, else computed and written.

        Args:
            name: the stage's name; `/` makes folders ("projections/suspect").
            compute: makes the table; called at most once.

        Returns:
            The table as read back from the disk, fresh or resumed alike.

        Raises:
            BadInputError: a name that is no file name, or asked for twice in one run.
            RunError: the disk is full, or the place cannot be written.
        """
        _require_name(name)
        self._require_new(name)
        self.start()
        path = self.folder / f"{name}.parquet"
        if not self._is_intact(name, path):
            self._compute(name, path, compute)
        return tables.read_table(path)

    def has(self, name: str) -> bool:
        """Whether the file `name`, once kept with `keep`, is there and whole."""
        return self._is_intact(name, self.folder / name)

    def keep(self, name: str, data: bytes, *, rows: int) -> None:
        """Write a finished part of the results, atomically, and enter it in the manifest.

        Args:
            name: the file, its ending included ("projections/00000000.parquet").
            data: its bytes.
            rows: how many rows of results it holds.

        Raises:
            BadInputError: a name that is no file name, or kept twice in one run.
            RunError: the disk is full, or the place cannot be written.
        """
        self._require_new(name)
        began = time.monotonic()
        self._write(name, data)
        seconds = round(time.monotonic() - began, 3)
        record = StageRecord(hashlib.sha256(data).hexdigest(), rows, seconds)
        self._update(stages={**self._manifest.stages, name: record})

    def path(self, name: str) -> Path:
        """Where the file `name` of this run goes; its folder is made (for figures, vectors)."""
        _require_name(name)
        _require_not_reserved(name)
        self.start()
        target = self.folder / name
        _make_folder(target.parent)
        return target

    def write_json(self, name: str, obj: object) -> Path:
        """Write strict JSON to the file `name` of this run, atomically."""
        data = files.json_bytes(obj)
        return self._write(name, data)

    def write_text(self, name: str, text: str) -> Path:
        """Write UTF-8 text to the file `name` of this run, atomically."""
        return self._write(name, text.encode())

    def finish(self) -> None:
        """Mark the run as complete."""
        self.start()
        self._update(finished=True)

    def close(self) -> None:
        """Let other processes write the folder."""
        self._closed = True
        self._lock.release()

    def _write(self, name: str, data: bytes) -> Path:
        target = self.path(name)
        files.write_bytes(target, data)
        return target

    def _read_again(self) -> None:
        """Before the lock was held, another process may have begun or continued this run."""
        mine = self._manifest
        found = find_run(self.folder, self.experiment, self.config)
        if found is None:
            return
        self.resumed = True
        self._manifest = found
        self._seconds_before = float(found.timings.get("seconds", 0.0))
        self.record(**mine.facts)
        self.measured(**mine.timings)
        changes = changed_code(found, self._now)
        if found.stages and changes:
            _LOG.warning("%s resumes stages of other code: %s", self.folder, "; ".join(changes))

    def _update(self, **changes: Any) -> None:
        manifest = replace(self._manifest, **changes)
        seconds = self._seconds_before + time.monotonic() - self._began
        timings = {**manifest.timings, "seconds": round(seconds, 3)}
        self._manifest = replace(manifest, timings=timings)
        if self._started:
            files.write_json(self.folder / MANIFEST, self._manifest.to_json())

    def _require_same_facts(self, facts: Mapping[str, Any]) -> None:
        known = self._manifest.facts
        for key, value in facts.items():
            if key in known and files.json_bytes(known[key]) != files.json_bytes(value):
                raise MismatchError(
                    f"{self.folder} holds finished stages that were made with another {key!r}: "
                    f"{known[key]!r}.",
                    got=value,
                    fix="Choose another --out folder, or give the input the run began with.",
                )

    def _require_new(self, name: str) -> None:
        if name in self._asked:
            raise BadInputError(
                "A stage is asked for once per run: its second table would be ignored.",
                got=name,
                fix="Give the second stage its own name, or keep the first table.",
            )
        self._asked.add(name)

    def _is_intact(self, name: str, path: Path) -> bool:
        record = self._manifest.stages.get(name)
        if record is None:
            return False
        if not path.is_file():
            _LOG.warning("%s is missing; computing it again", path)
            return False
        if files.file_sha256(path) != record.sha256:
            _LOG.warning("%s is damaged (its hash changed); computing it again", path)
            return False
        return True

    def _compute(self, name: str, path: Path, compute: Callable[[], pa.Table]) -> None:
        began = time.monotonic()
        table = compute()
        tables.write_table(path, table)
        seconds = round(time.monotonic() - began, 3)
        record = StageRecord(files.file_sha256(path), int(table.num_rows), seconds)
        self._update(stages={**self._manifest.stages, name: record})


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise files.as_run_error(error, folder) from error


def _require_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise BadInputError(
            "A file of a run is named by letters, digits, _ . - + = @ and / between folders; no "
            "part is empty or begins with a dot.",
            got=name,
            fix='Use a name like "projections/suspect".',
        )


def _require_not_reserved(name: str) -> None:
    if name in (CONFIG, MANIFEST):
        raise BadInputError(
            f"{CONFIG} and {MANIFEST} are written by the run itself.",
            got=name,
            fix="Use another name, or `record` to add facts to the manifest.",
        )
