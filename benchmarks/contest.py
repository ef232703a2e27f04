"""Time competitors in turns, and only those whose projections are ours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks.competitors import Competitor
from benchmarks.timing import Summary, interleave, ratios
from benchmarks.workload import Task

WARM_UP = 3


@dataclass
class Comparison:
    """Everyone's projections against ours, over all runs.

    Attributes:
        tolerance: largest difference allowed, as a share of our projections' root mean square.
        largest: per competitor, the largest absolute difference so far.
    """

    tolerance: float
    ours: np.ndarray = field(default_factory=lambda: np.empty(0))
    largest: dict[str, float] = field(default_factory=dict)
    wrong: set[str] = field(default_factory=set)

    @property
    def scale(self) -> float:
        """Root mean square of our projections."""
        return float(np.sqrt(np.square(self.ours, dtype=float).mean()))

    def see(self, name: str, values: np.ndarray) -> None:
        same_shape = values.shape == self.ours.shape
        difference = float(np.abs(values - self.ours).max()) if same_shape else float("inf")
        if not difference <= self.tolerance * self.scale:  # also true of nan
            self.wrong.add(name)
        elif difference > self.largest.get(name, -1.0):
            self.largest[name] = difference


class Runs:
    """The competitors' runs; one that runs out of memory is not run again."""

    def __init__(self, comparison: Comparison) -> None:
        self.failed: dict[str, str] = {}
        self._comparison = comparison

    def run(self, one: Competitor, task: Task) -> np.ndarray | None:
        if one.name in self.failed:
            return None
        try:
            return one.run(task)
        except torch.OutOfMemoryError as error:
            self.failed[one.name] = f"out of memory: {error}".partition("\n")[0]
        # Not within `except`, where the error keeps its tensors alive.
        _free_memory()
        return None

    def see(self, name: str, values: np.ndarray | None) -> None:
        if values is not None:
            self._comparison.see(name, values)

    def timed(self, one: Competitor) -> bool:
        return one.name not in self.failed and one.name not in self._comparison.wrong


def contest(
    competitors: Sequence[Competitor],
    task: Task,
    *,
    rounds: int,
    tolerance: float,
    warm_up: int = WARM_UP,
    until: float | None = None,
) -> dict[str, Any]:
    """Seconds, rates and ratios of all; the first competitor is ours, and the oracle.

    A competitor that gives other projections, or runs out of memory, gets no times.

    Args:
        tolerance: largest difference, as a share of our projections' root mean square.
        warm_up: prompts that everyone runs, and is compared on, before anything is timed.
        until: no round starts once `time.monotonic()` is beyond.
    """
    comparison = Comparison(tolerance)
    runs = Runs(comparison)
    fit = _warm_up(competitors, task.first(warm_up), runs, comparison)
    comparison.ours = competitors[0].run(task)
    seconds = interleave(
        {one.name: partial(runs.run, one, task) for one in fit},
        rounds,
        seen=runs.see,
        before=_free_memory,
        until=until,
    )
    return {
        "task": task.describe(),
        "tolerance": tolerance,
        "projections_rms": comparison.scale,
        "competitors": {
            one.name: _entry(one, task, seconds, comparison, runs.failed) for one in competitors
        },
    }


def _warm_up(
    competitors: Sequence[Competitor], few: Task, runs: Runs, comparison: Comparison
) -> list[Competitor]:
    """Those that may be timed."""
    comparison.ours = competitors[0].run(few)
    for one in competitors:
        runs.see(one.name, runs.run(one, few))
    return [one for one in competitors if runs.timed(one)]


def _free_memory() -> None:
    """Give back what the one before kept on the GPU: our batches grow with the memory free."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _entry(
    one: Competitor,
    task: Task,
    seconds: dict[str, list[float]],
    comparison: Comparison,
    failed: dict[str, str],
) -> dict[str, Any]:
    entry: dict[str, Any] = {"how": one.how}
    if one.name in failed:
        return entry | {"failed": failed[one.name]}
    if one.name in comparison.wrong:
        return entry | {"agrees": False, "failed": "other projections than ours"}
    took = seconds[one.name]
    return entry | {
        "agrees": True,
        "max_abs_difference": comparison.largest[one.name],
        "seconds": took,
        "tokens_per_s": Summary.of([task.tokens / run for run in took]).to_dict(),
        "prompts_per_s": Summary.of([len(task.prompts) / run for run in took]).to_dict(),
        "ours_is_faster_by": ratios(took, seconds["ours"]).to_dict(),
    }


def ratio_of(results: dict[str, Any], name: str) -> float | None:
    """The median ratio to a competitor; None if it was not timed."""
    entry = results["competitors"].get(name, {})
    found = entry.get("ours_is_faster_by")
    return None if found is None else float(found["median"])


def rows_of(results: dict[str, Any]) -> Iterable[tuple[object, ...]]:
    """For a table: name, tokens/s, ratio with its range, difference."""
    for name, entry in results["competitors"].items():
        if "failed" in entry:
            yield name, None, None, entry["failed"]
            continue
        ratio = entry["ours_is_faster_by"]
        shown = f"{ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f})"
        yield name, entry["tokens_per_s"]["median"], shown, entry["max_abs_difference"]


COLUMNS = ("way", "tokens/s", "ours is faster by", "largest difference")
