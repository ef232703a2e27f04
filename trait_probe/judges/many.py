"""Many answers scored by one judge: equal ones once, in one batch or on several threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from typing import Protocol, runtime_checkable

from trait_probe.errors import RunError
from trait_probe.judges.judge import Judge, Scored, Unscored

Item = tuple[str, str]
"""A question and the answer to it."""


@runtime_checkable
class BatchJudge(Protocol):
    """A judge that scores many answers at once, in their order."""

    def judge_many(self, items: Sequence[Item]) -> Sequence[Scored | Unscored]: ...


def judge_all(judge: Judge, items: Sequence[Item]) -> list[Scored | Unscored]:
    """Scores in order; equal items are judged once.

    A judge with `judge_many` (see `BatchJudge`) is asked once for all distinct items. Any other is
    called item by item, on as many threads as its attribute `concurrency` says (default 1: one
    after the other, on this thread). After the first error no further call is begun: those that
    run are waited for, and the error is raised. Ctrl-C waits for none of them.

    Raises:
        RunError: `judge_many` gave another number of scores than it had items.
    """
    distinct = list(dict.fromkeys(items))
    if not distinct:
        return []
    found = dict(zip(distinct, _scores(judge, distinct), strict=True))
    return [found[item] for item in items]


def _scores(judge: Judge, items: Sequence[Item]) -> Sequence[Scored | Unscored]:
    if isinstance(judge, BatchJudge):
        scores = judge.judge_many(items)
        if len(scores) != len(items):
            raise RunError(
                "A judge's judge_many returns one score per item.",
                got=f"{len(scores)} scores for {len(items)} items",
                fix="Return Unscored(reason) for what it cannot score.",
            )
        return scores
    workers = min(int(getattr(judge, "concurrency", 1)), len(items))
    if workers <= 1:
        return [judge(*item) for item in items]
    return _threaded(judge, items, workers)


def _threaded(judge: Judge, items: Sequence[Item], workers: int) -> list[Scored | Unscored]:
    calls = _Calls(judge, items)
    # Daemons: an executor's threads would hold up the end of the program after Ctrl-C.
    threads = [threading.Thread(target=calls.work, daemon=True) for _ in range(workers)]
    try:
        for thread in threads:
            thread.start()
        wait(calls.futures, return_when=FIRST_EXCEPTION)
    finally:
        calls.stop.set()
    for thread in threads:
        thread.join()
    failed = [one for one in calls.futures if one.done() and one.exception() is not None]
    for future in failed:
        future.result()  # raises
    return [future.result() for future in calls.futures]


class _Calls:
    """One judge's calls, begun in order by whichever thread is free, until `stop` is set."""

    def __init__(self, judge: Judge, items: Sequence[Item]) -> None:
        self.futures: list[Future[Scored | Unscored]] = [Future() for _ in items]
        self.stop = threading.Event()
        self._judge = judge
        self._waiting: Iterator[tuple[Item, Future[Scored | Unscored]]]
        self._waiting = iter(zip(items, self.futures, strict=True))
        self._lock = threading.Lock()

    def work(self) -> None:
        """Make calls until there are none left, or one has failed."""
        while (call := self._next()) is not None:
            item, future = call
            try:
                score = self._judge(*item)
            except BaseException as error:  # noqa: BLE001  # raised by the thread that asked
                self.stop.set()
                future.set_exception(error)
            else:
                future.set_result(score)

    def _next(self) -> tuple[Item, Future[Scored | Unscored]] | None:
        with self._lock:
            return None if self.stop.is_set() else next(self._waiting, None)
