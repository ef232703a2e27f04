"""The judge as an instrument: gold scores, agreement, repeats and what was left unscored."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from trait_probe.errors import BadInputError, MismatchError
from trait_probe.evidence.claims import missing_check
from trait_probe.evidence.estimate import Estimate, Unscored
from trait_probe.evidence.repeated import repeat_sd
from trait_probe.judges.cache import CachedJudge
from trait_probe.judges.instrument import (
    Gold,
    gold_agreement,
    load_gold,
    repeat_variance,
    unscored_check,
)
from trait_probe.judges.judge import Scored

ITEMS = [(f"q{number // 2}", f"a{number}") for number in range(20)]


def table(scores):
    """A judge that looks scores up; None is what it does not score."""

    def judge(question, answer):
        score = scores[answer]
        return Unscored("refused") if score is None else Scored(float(score), "")

    return judge


def written(path, *lines):
    path.write_text(
        "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    )
    return path


def test_gold_is_read_line_by_line(tmp_path):
    row = {"question": "q", "answer": "a", "score": 80}
    path = written(tmp_path / "gold.jsonl", row, "", row | {"answer": "b", "score": 0.5}, row)
    assert load_gold(path) == (Gold("q", "a", 80.0), Gold("q", "b", 0.5))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 2 is not valid JSON"),
        ("[1]", "line 2: a gold item has the fields question, answer, score"),
        ({"question": "q", "answer": "b"}, "line 2: a gold item has the fields"),
        ({"question": "q", "answer": "b", "score": 1, "x": 1}, "line 2: a gold item"),
        ({"question": "q", "answer": "b", "score": "1"}, "line 2: .*'score' is a number"),
        ({"question": "q", "answer": "b", "score": True}, "line 2: .*'score' is a number"),
        ({"question": "q", "answer": 3, "score": 1}, "line 2: .*are text"),
        ({"question": "q", "answer": "b", "score": 101}, "line 2: .*between 0 and 100"),
        ({"question": " ", "answer": "b", "score": 1}, "line 2: .*empty"),
        ({"question": "q", "answer": "a", "score": 1}, r"line 2: .*another score \(.*line 1\)"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, line, said):
    first = {"question": "q", "answer": "a", "score": 80}
    with pytest.raises(BadInputError, match=said) as error:
        load_gold(written(tmp_path / "gold.jsonl", first, line))
    assert error.value.fix is not None


def test_gold_needs_a_file_with_items(tmp_path):
    with pytest.raises(BadInputError, match="no such file of gold scores"):
        load_gold(tmp_path / "none.jsonl")
    with pytest.raises(BadInputError, match="holds no gold scores"):
        load_gold(written(tmp_path / "gold.jsonl", ""))


def test_agreement_counts_sides_ranks_and_silence():
    scores = {answer: 5.0 * number for number, (_, answer) in enumerate(ITEMS)}  # 0 to 95
    gold = [Gold(question, answer, scores[answer]) for question, answer in ITEMS]
    judged = {answer: score**2 / 100 for answer, score in scores.items()}  # same order
    judged["a3"] = None
    found = gold_agreement(table(judged), gold)
    # Gold has 10 items from 50 on; squared, those below 70.7 fall: 50 to 70 are 5 of 19.
    assert isinstance(found.same_side, Estimate)
    assert found.same_side.value == pytest.approx(14 / 19)
    assert found.same_side.n_clusters == 10
    assert found.same_side.low < 14 / 19 < found.same_side.high
    assert isinstance(found.rank, Estimate)
    assert found.rank.value == pytest.approx(1.0)
    assert (found.n, found.unscored, found.reasons) == (20, 1, {"refused": 1})
    assert json.loads(json.dumps(found.to_json()))["unscored"] == 1


def test_a_score_of_50_is_on_the_upper_side():
    gold = [Gold("p", "a0", 50.0), Gold("q", "a1", 49.0)]
    same = gold_agreement(table({"a0": 50, "a1": 49.9}), gold).same_side
    other = gold_agreement(table({"a0": 49.9, "a1": 50}), gold).same_side
    assert (same.value, other.value) == (1.0, 0.0)


def test_what_cannot_be_compared_is_unscored():
    two = [Gold(question, answer, 100.0 * (i % 2)) for i, (question, answer) in enumerate(ITEMS)]
    found = gold_agreement(table({one.answer: one.score for one in two}), two)
    assert isinstance(found.rank, Unscored)
    assert "not graded" in found.rank.reason
    assert found.same_side.value == 1.0
    silent = gold_agreement(table({one.answer: None for one in two}), two)
    assert isinstance(silent.same_side, Unscored)
    assert isinstance(silent.rank, Unscored)
    assert silent.unscored == 20
    with pytest.raises(BadInputError, match="needs gold items"):
        gold_agreement(table({}), [])


class Noisy:
    """Each answer's own level with fresh noise at every call."""

    def __init__(self, sd: float, *, levels=(20.0, 80.0)) -> None:
        self.rng = np.random.default_rng(0)
        self.sd = sd
        self.levels = levels
        self.calls = 0

    def __call__(self, question, answer):
        self.calls += 1
        level = self.levels[int(answer[1:]) % len(self.levels)]
        return Scored(float(np.clip(level + self.rng.normal(0, self.sd), 0, 100)), "")


def test_repeats_show_the_noise_of_a_judge():
    judge = Noisy(4.0)
    found = repeat_variance(judge, [*ITEMS, ITEMS[0]], 6)
    assert judge.calls == 6 * 20
    assert isinstance(found.spread, Estimate)
    assert found.spread.low < 4.0 < found.spread.high
    assert found.spread.unit == "points"
    assert found.flips.value == 0.0
    assert (found.n, found.times, found.unscored) == (20, 6, 0)
    unsure = repeat_variance(Noisy(10.0, levels=(50.0,)), ITEMS, 6)
    assert unsure.flips.value > 0.8


def test_an_exact_judge_has_no_spread():
    found = repeat_variance(table({answer: 50.0 for _, answer in ITEMS}), ITEMS, 2)
    assert (found.spread.value, found.spread.low, found.spread.high) == (0.0, 0.0, 0.0)
    assert found.flips.value == 0.0


def test_silent_calls_are_counted_and_left_out():
    scores = {answer: 50.0 for _, answer in ITEMS} | {"a0": None}
    found = repeat_variance(table(scores), ITEMS, 3)
    assert (found.unscored, found.reasons) == (3, {"refused": 3})
    assert found.spread.n == 19
    silent = repeat_variance(table(dict.fromkeys(scores)), ITEMS, 3)
    assert isinstance(silent.spread, Unscored)
    assert isinstance(silent.flips, Unscored)
    assert json.loads(json.dumps(silent.to_json()))["reasons"] == {"refused": 60}


@pytest.mark.parametrize(("items", "times"), [(ITEMS, 1), ([], 3)])
def test_repeats_need_items_and_two_times(items, times):
    with pytest.raises(BadInputError, match="asked at least twice"):
        repeat_variance(Noisy(1.0), items, times)


def test_repeat_sd_is_the_root_of_the_pooled_variance():
    rows = [np.array([1.0, 3.0]), np.array([10.0, 10.0, 13.0]), np.array([5.0])]
    found = repeat_sd(rows, ["a", "b", "c"], unit="points", n_boot=200, seed=0)
    assert found.value == pytest.approx(math.sqrt((2.0 + 6.0) / 3))
    assert (found.n, found.n_clusters) == (2, 2)
    few = repeat_sd(rows[1:], ["b", "c"], unit="points", n_boot=200, seed=0)
    assert isinstance(few, Unscored)
    with pytest.raises(MismatchError):
        repeat_sd(rows, ["a"], unit="points", n_boot=200, seed=0)
    with pytest.raises(BadInputError, match="finite"):
        repeat_sd([np.array([1.0, np.nan])] * 2, ["a", "b"], unit="points", n_boot=200, seed=0)


def test_repeat_sd_covers_the_true_one():
    """Normal noise of 4 around levels that differ: 150 studies of 20 items asked 5 times."""
    rng = np.random.default_rng(1)
    names = [f"item {number}" for number in range(20)]
    covered, values = 0, []
    for study in range(150):
        rows = rng.uniform(0, 100, (20, 1)) + rng.normal(0, 4.0, (20, 5))
        found = repeat_sd(list(rows), names, unit="points", n_boot=200, seed=study)
        covered += not found.excludes(4.0)
        values.append(found.value**2)
    assert sum(values) / 150 == pytest.approx(16.0, rel=0.03)
    assert 0.88 <= covered / 150 <= 0.99


def test_too_much_silence_makes_a_claim_untestable():
    assert unscored_check(10, 100, 0.1).status == "passed"
    assert unscored_check(29, 100, 0.29).status == "passed"
    missing = unscored_check(11, 100, 0.1)
    assert missing.status == "missing"
    assert "11 of 100 answers unscored (11 %)" in missing.reason
    assert missing == missing_check(missing.name, missing.observed, missing.required)
    assert unscored_check(0, 0, 0.1).status == "missing"


@pytest.mark.parametrize(("silent", "n", "most"), [(3, 2, 0.1), (-1, 2, 0.1), (1, 2, 1.0)])
def test_counts_and_shares_that_make_no_sense_are_refused(silent, n, most):
    with pytest.raises(BadInputError):
        unscored_check(silent, n, most)


def test_repeats_ask_the_judge_behind_a_cache(tmp_path):
    inner = Noisy(4.0)
    cached = CachedJudge(inner, tmp_path / "scores.sqlite", identity={"kind": "noisy"})
    found = repeat_variance(cached, ITEMS, 3)
    assert inner.calls == 60
    assert found.spread.value > 2.0
    assert cached.missing(ITEMS) == ITEMS  # nothing was kept
