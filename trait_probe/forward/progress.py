"""Progress on standard error: speed and time left; nothing when it is no terminal."""

from __future__ import annotations

import sys
from types import TracebackType

from rich import progress as rich_progress
from rich.console import Console


class Progress:
    """A progress bar over tokens or other units, shown only where standard error is a terminal.

    Without a label there is none.
    """

    def __init__(self, label: str | None, total: int, *, unit: str = "tokens") -> None:
        self._unit = unit
        self._bar = rich_progress.Progress(
            rich_progress.TextColumn("{task.description}"),
            rich_progress.BarColumn(),
            rich_progress.TaskProgressColumn(),
            rich_progress.TextColumn("{task.fields[rate]}"),
            rich_progress.TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=label is None or not sys.stderr.isatty(),
        )
        self._task = self._bar.add_task(label or "", total=total, rate="")

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def advance(self, amount: int) -> None:
        """Count `amount` more units as done."""
        self._bar.advance(self._task, amount)
        speed = self._bar.tasks[self._task].speed
        if speed is not None:
            self._bar.update(self._task, rate=f"{speed:,.0f} {self._unit}/s")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.stop()
