"""Time several ways to do one thing in turns, because the machine is noisy and drifts.

The ratio of two ways is taken within each round, where they ran next to each other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, TypeVar

Result = TypeVar("Result")


@dataclass(frozen=True)
class Summary:
    """Median, smallest and largest of a few measurements."""

    median: float
    min: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Summary:
        return cls(median(values), min(values), max(values))

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def interleave(
    runs: Mapping[str, Callable[[], Result]],
    rounds: int,
    *,
    seen: Callable[[str, Result], None] | None = None,
    before: Callable[[], None] | None = None,
    until: float | None = None,
) -> dict[str, list[float]]:
    """Seconds per way and round: A B C, B C A, ...

    Args:
        seen: gets each result, outside of the timed span.
        before: is called ahead of each run, outside of it as well.
        until: no round starts once `time.monotonic()` is beyond; the first always runs.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    names = list(runs)
    for turn in range(rounds):
        if turn and until is not None and time.monotonic() > until:
            break
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            if before is not None:
                before()
            start = time.perf_counter()
            result = runs[name]()
            seconds[name].append(time.perf_counter() - start)
            if seen is not None:
                seen(name, result)
    return seconds


def ratios(over: Sequence[float], under: Sequence[float]) -> Summary:
    """Of `over / under`, round by round."""
    return Summary.of([a / b for a, b in zip(over, under, strict=True)])
