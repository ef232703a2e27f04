"""Progress on standard error: speed and time left."""

from __future__ import annotations

import sys
import time
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


class ChunkProgress:
    """Prompts done, tokens a second and time left: a bar on a terminal, else a line now and then.

    Speed and time left count what this process computed, not what it found finished.
    """

    SECONDS = 10.0
    """Between two lines."""

    def __init__(self, label: str, n_prompts: int | None) -> None:
        self._label = label
        self._total = n_prompts
        self._found = self._done = self._tokens = 0
        self._began = self._told = time.monotonic()
        self._bar = Progress(label, n_prompts or 0, unit="prompts")

    def __enter__(self) -> ChunkProgress:
        self._bar.__enter__()
        return self

    def skip(self, prompts: int) -> None:
        """Count prompts whose results were there already."""
        self._found += prompts
        self._bar.advance(prompts)

    def advance(self, prompts: int, tokens: int) -> None:
        """Count prompts whose results were computed, and their tokens."""
        self._done += prompts
        self._tokens += tokens
        self._bar.advance(prompts)
        now = time.monotonic()
        if now - self._told >= self.SECONDS and not sys.stderr.isatty():
            self._told = now
            print(self.line(), file=sys.stderr, flush=True)

    def line(self) -> str:
        """How far it is, in words."""
        seconds = max(time.monotonic() - self._began, 1e-9)
        there = self._found + self._done
        of = "" if self._total is None else f" of {self._total:,}"
        left = ""
        if self._total is not None and self._done:
            rest = (self._total - there) * seconds / self._done
            left = f", {_duration(rest)} left" if rest else ""
        resumed = f" ({self._found:,} found finished)" if self._found else ""
        speed = f"{self._tokens / seconds:,.0f} tokens/s"
        return f"{self._label}: {there:,}{of} prompts{resumed}, {speed}{left}"

    def figures(self) -> dict[str, float | int]:
        """What was measured, for the manifest."""
        seconds = time.monotonic() - self._began
        return {
            "prompts_found_finished": self._found,
            "prompts_computed": self._done,
            "tokens_computed": self._tokens,
            "shards_seconds": round(seconds, 3),
        }

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.__exit__(kind, error, traceback)
        if kind is None:
            print(self.line(), file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
