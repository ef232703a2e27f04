"""The SQLite file that keeps scores, and the batches that are paid for and not yet fetched.

It holds no questions and no answers, only their hashes. The first score of a key stands, whichever
of several processes it came from.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from trait_probe.errors import BadInputError, RunError
from trait_probe.judges.claude_batches import Batch
from trait_probe.judges.judge import Scored, Unscored

FORMAT = 1
"""The tables below, as SQLite's `user_version`."""

BUSY_SECONDS = 60.0
"""How long a process waits for another that writes."""

_TABLES = (
    "CREATE TABLE scores (key TEXT PRIMARY KEY, score REAL, why TEXT NOT NULL, "
    "created TEXT NOT NULL)",  # no score: Unscored(why)
    "CREATE TABLE batches (id TEXT PRIMARY KEY, judge TEXT NOT NULL, requests TEXT NOT NULL, "
    "created TEXT NOT NULL)",
)
_AT_ONCE = 500
_RENEW = "Move the file away and run again; the scores in it will be asked for anew."


class ScoreFile:
    """The tables. A connection lives for one use: threads and forked processes share none."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(
                "The folder of kept scores cannot be made.",
                got=str(path.parent),
                fix="Choose another path.",
            ) from error
        with self.open() as db:
            self._prepare(db)

    @contextmanager
    def open(self) -> Iterator[sqlite3.Connection]:
        """One transaction, written when the block ends without an exception.

        Raises:
            RunError: SQLite cannot read or write the file.
        """
        try:
            with closing(sqlite3.connect(self.path, timeout=BUSY_SECONDS)) as db, db:
                yield db
        except sqlite3.OperationalError as error:
            raise RunError(
                f"{self.path} cannot be used: locked, read-only, or the disk is full.",
                got=str(error),
                fix="Repair the cause, or choose another path; finished scores are kept.",
            ) from error
        except sqlite3.DatabaseError as error:
            raise self.damaged(str(error)) from error

    def damaged(self, got: object) -> RunError:
        return RunError(f"{self.path} is no file of kept scores, or damaged.", got=got, fix=_RENEW)

    def scores(self, keys: Sequence[str]) -> dict[str, Scored | Unscored]:
        """Kept scores by key; keys without one are left out."""
        found: dict[str, Scored | Unscored] = {}
        with self.open() as db:
            for start in range(0, len(keys), _AT_ONCE):
                part = keys[start : start + _AT_ONCE]
                marks = ",".join("?" * len(part))
                query = f"SELECT key, score, why FROM scores WHERE key IN ({marks})"
                found |= {key: self._score(*row) for key, *row in db.execute(query, part)}
        return found

    def add_all(self, scores: Mapping[str, Scored | Unscored]) -> None:
        """Keep scores by key, where there is none yet: the disk is waited for once."""
        rows = [(key, *_columns(score), _now()) for key, score in scores.items()]
        with self.open() as db:
            db.executemany("INSERT OR IGNORE INTO scores VALUES (?, ?, ?, ?)", rows)

    def _score(self, score: object, why: object) -> Scored | Unscored:
        if not isinstance(why, str) or not isinstance(score, float | None):
            raise self.damaged((score, why))
        try:
            return Unscored(why) if score is None else Scored(score, why)
        except BadInputError as error:
            raise self.damaged((score, why)) from error

    def _prepare(self, db: sqlite3.Connection) -> None:
        db.execute("BEGIN IMMEDIATE")  # of several new processes one makes the tables
        (version,) = db.execute("PRAGMA user_version").fetchone()
        (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if version == FORMAT:
            return
        if version or tables:
            raise BadInputError(
                "This file is not one of kept scores, or a newer version wrote it.",
                got=str(self.path),
                fix="Choose another path.",
            )
        for table in _TABLES:
            db.execute(table)
        db.execute(f"PRAGMA user_version = {FORMAT}")


class PaidBatches:
    """Batches of one judge that were handed in and not yet collected (see `BatchStore`)."""

    def __init__(self, file: ScoreFile, judge: str) -> None:
        self._file = file
        self._judge = judge

    def pending(self) -> Sequence[Batch]:
        query = "SELECT id, requests FROM batches WHERE judge = ? ORDER BY created, id"
        with self._file.open() as db:
            rows = db.execute(query, (self._judge,)).fetchall()
        try:
            return [Batch(name, tuple(map(str, json.loads(requests)))) for name, requests in rows]
        except (TypeError, ValueError) as error:
            raise self._file.damaged("a batch that cannot be read") from error

    def remember(self, batch: Batch) -> None:
        row = (batch.id, self._judge, json.dumps(batch.requests), _now())
        with self._file.open() as db:
            db.execute("INSERT OR REPLACE INTO batches VALUES (?, ?, ?, ?)", row)

    def forget(self, batch: Batch) -> None:
        with self._file.open() as db:
            db.execute("DELETE FROM batches WHERE id = ?", (batch.id,))


def _columns(score: Scored | Unscored) -> tuple[float | None, str]:
    """Score and reason; lone surrogates, which no file can hold, become question marks."""
    number, why = (
        (score.score, score.rationale) if isinstance(score, Scored) else (None, score.reason)
    )
    return number, why.encode("utf-8", "replace").decode()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
