"""One writer per folder, across processes; the lock dies with the process that holds it."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import IO

from trait_probe.errors import BadInputError
from trait_probe.runs.files import as_run_error


class FolderLock:
    """An exclusive advisory lock on a file (`flock`); released by `release` or by any death."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: IO[bytes] | None = None

    def acquire(self) -> None:
        """Take the lock; again: nothing.

        Raises:
            BadInputError: another process (or another run of this one) holds it.
            RunError: the file cannot be made, or its file system has no locks.
        """
        if self._handle is not None:
            return
        try:
            handle = open(self._path, "ab")  # noqa: SIM115 (held until release)
        except OSError as error:
            raise as_run_error(error, self._path) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            handle.close()
            raise BadInputError(
                f"{self._path.parent} is being written by another run.",
                got=str(self._path),
                fix="Wait for that run to end, or choose another --out folder.",
            ) from error
        except OSError as error:
            handle.close()
            raise as_run_error(error, self._path) from error
        self._handle = handle

    def release(self) -> None:
        """Give the lock back. The file stays: deleting it would let two processes hold "it"."""
        if self._handle is not None:
            self._handle.close()
            self._handle = None
