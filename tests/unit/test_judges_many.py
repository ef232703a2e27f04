"""Many answers, one judge: order, equal items, batches, threads, errors and Ctrl-C."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trait_probe.errors import BadInputError, RunError
from trait_probe.judges.judge import RuleJudge, Scored, Unscored
from trait_probe.judges.many import BatchJudge, judge_all

ITEMS = [("q", str(number)) for number in range(12)]


class Slow:
    """Scores an answer by its number; how many calls ran at once is counted."""

    def __init__(self, concurrency: int, *, fails_at: str | None = None) -> None:
        self.concurrency = concurrency
        self.fails_at = fails_at
        self.calls: list[str] = []
        self.running = self.most = 0
        self.lock = threading.Lock()

    def __call__(self, question: str, answer: str) -> Scored | Unscored:
        with self.lock:
            self.calls.append(answer)
            self.running += 1
            self.most = max(self.most, self.running)
        if answer == self.fails_at:
            raise BadInputError("No such judge.")
        time.sleep(0.02)
        with self.lock:
            self.running -= 1
        return Scored(float(answer), answer)


class Batched:
    """Answers all at once, `extra` scores too many."""

    def __init__(self, extra: int = 0) -> None:
        self.asked: list[list[tuple[str, str]]] = []
        self.extra = extra

    def __call__(self, question: str, answer: str) -> Scored | Unscored:
        raise AssertionError("asked one by one")

    def judge_many(self, items):
        self.asked.append(list(items))
        return [Scored(float(answer), "") for _, answer in items] + [Unscored("?")] * self.extra


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xyz"))))
def test_scores_come_in_order_and_equal_items_are_judged_once(items):
    asked = []

    def judge(question, answer):
        asked.append((question, answer))
        return Scored(ord(answer) - 100.0, question)

    scores = judge_all(judge, items)
    assert [(one.rationale, chr(int(one.score) + 100)) for one in scores] == items
    assert asked == list(dict.fromkeys(items))


def test_unscored_answers_keep_their_place():
    judge = RuleJudge("says yes", lambda _, answer: answer == "yes")
    scores = judge_all(judge, [("q", "yes"), ("q", " "), ("q", "no")])
    assert [getattr(one, "score", None) for one in scores] == [100.0, None, 0.0]


def test_a_batch_judge_is_asked_once_for_all_distinct_items():
    judge = Batched()
    scores = judge_all(judge, [*ITEMS[:3], *ITEMS[:3]])
    assert isinstance(judge, BatchJudge)
    assert judge.asked == [ITEMS[:3]]
    assert [one.score for one in scores] == [0, 1, 2, 0, 1, 2]
    assert judge_all(judge, []) == []
    assert len(judge.asked) == 1


@pytest.mark.parametrize("extra", [1, -1])
def test_a_batch_of_the_wrong_length_is_an_error(extra):
    class Wrong(Batched):
        def judge_many(self, items):
            whole = [Scored(0.0, "")] * (len(items) + extra)
            return whole

    with pytest.raises(RunError, match=f"{3 + extra} scores for 3 items"):
        judge_all(Wrong(), ITEMS[:3])


def test_threads_are_as_many_as_the_judge_allows():
    judge = Slow(4)
    assert [one.score for one in judge_all(judge, ITEMS)] == list(range(12))
    assert judge.most == 4
    assert sorted(judge.calls, key=int) == [answer for _, answer in ITEMS]


def test_without_concurrency_calls_stay_on_this_thread():
    def judge(_, answer):
        assert threading.current_thread() is threading.main_thread()
        return Scored(float(answer), "")

    assert len(judge_all(judge, ITEMS)) == 12


def test_after_an_error_no_call_is_begun():
    judge = Slow(3, fails_at="2")
    with pytest.raises(BadInputError, match="No such judge"):
        judge_all(judge, ITEMS)
    before = list(judge.calls)
    assert len(before) <= 5  # a free thread may begin one while the error is on its way
    time.sleep(0.05)
    assert judge.calls == before
    one_by_one = Slow(1, fails_at="2")
    with pytest.raises(BadInputError):
        judge_all(one_by_one, ITEMS)
    assert one_by_one.calls == ["0", "1", "2"]


def test_ctrl_c_waits_for_no_call():
    release = threading.Event()
    begun = []

    class Hanging:
        concurrency = 2

        def __call__(self, question, answer):
            begun.append(answer)
            release.wait(20)
            return Scored(0.0, "")

    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        judge_all(Hanging(), ITEMS)
    assert time.monotonic() - start < 5
    release.set()
    time.sleep(0.05)
    assert len(begun) == 2  # none was begun afterwards
