"""The report side opens for one selection; every further one leaves a trace."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from trait_probe.errors import BadInputError, MismatchError
from trait_probe.evidence import locks, splits
from trait_probe.evidence.locks import Opening, ReportLock, differences
from trait_probe.evidence.splits import Split, require_disjoint, split_by_group
from trait_probe.runs.files import canonical_sha256

GROUPS = [f"prompt-{i}" for i in range(12)]
DATA: dict[str, Any] = {"prompts": "ab12", "suspect": {"id": "m", "sha256": "00"}}


def lock_of(seed: int = 0, fraction: float = 0.5, **data: Any) -> ReportLock:
    return ReportLock(split_by_group(GROUPS, fraction=fraction, seed=seed), {**DATA, **data})


def opened_for(*choices: dict[str, Any]) -> ReportLock:
    lock = lock_of()
    for chosen in choices:
        lock.report(chosen)
    return lock


# --- the lock -------------------------------------------------------------------------------------


def test_the_lock_hands_out_the_rows_of_its_split() -> None:
    split = split_by_group(GROUPS)
    lock = ReportLock(split, DATA)
    assert np.array_equal(lock.selection, split.selection)
    assert not lock.openings
    assert np.array_equal(lock.report({"layer": 2}), split.report)
    lock.selection[:] = lock.report({"layer": 2})[:1]
    assert np.array_equal(lock.selection, split.selection)


def test_the_same_selection_again_is_no_new_opening(caplog: pytest.LogCaptureFixture) -> None:
    lock = opened_for({"layer": 2, "sign": 1}, {"sign": 1, "layer": 2}, {"layer": 2, "sign": 1})
    assert len(lock.openings) == 1
    assert not lock.reopened
    assert lock.note() == "opened once"
    assert not caplog.messages


def test_a_changed_selection_is_recorded_and_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        lock = opened_for({"layer": 2}, {"layer": 3}, {"layer": 2})
    assert [opening.chosen for opening in lock.openings] == [{"layer": 2}, {"layer": 3}]
    assert lock.reopened
    sentence = (
        "opened 2 times with different selections: intervals and p values do not account for that"
    )
    assert lock.note() == sentence
    assert caplog.messages == [f"Report split {sentence} (now layer 3 instead of 2)."]


def test_meta_a_lock_that_compares_nothing_would_miss_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(locks, "_sha256", lambda value: "0" * 64)
    with pytest.raises(AssertionError):
        test_a_changed_selection_is_recorded_and_warned_of(caplog)


def test_the_id_is_of_the_data_alone_and_the_selection_also_of_the_split() -> None:
    plain = lock_of()
    others = [lock_of(seed=5), lock_of(fraction=0.3)]
    chosen = {"layer": 2}
    for other in others:
        assert other.id == plain.id
        plain.report(chosen)
        other.report(chosen)
        assert other.openings[0].selection != plain.openings[0].selection
    assert lock_of(prompts="cd34").id != plain.id
    assert ReportLock(split_by_group(GROUPS), dict(reversed(DATA.items()))).id == plain.id


def test_hashes_are_those_of_the_runs_canonical_json() -> None:
    lock = opened_for({"layers": (1, 2), "threshold": 0.25, "name": "ü"})
    assert lock.id == canonical_sha256(DATA)
    (opening,) = lock.openings
    chosen = {"layers": [1, 2], "threshold": 0.25, "name": "ü"}
    split = {"fraction": 0.5, "seed": 0}
    assert opening.selection == canonical_sha256({"chosen": chosen, "split": split})


def test_numpy_numbers_choose_what_python_numbers_choose() -> None:
    lock = opened_for({"layer": np.int64(2), "x": np.float64(0.1)}, {"layer": 2, "x": 0.1})
    assert len(lock.openings) == 1


def test_an_opening_survives_json_and_later_changes_of_the_mapping() -> None:
    chosen = {"evil": {"layer": 2}}
    lock = opened_for(chosen)
    chosen["evil"]["layer"] = 9
    stored = json.loads(json.dumps(lock.to_json()))
    assert stored["id"] == lock.id
    assert stored["split"]["seed"] == 0
    (item,) = stored["openings"]
    assert item["chosen"] == {"evil": {"layer": 2}}
    again = Opening(item["chosen"], item["fraction"], item["seed"])
    assert again.selection == item["selection"] == lock.openings[0].selection


def test_an_unopened_lock_says_so() -> None:
    assert lock_of().note() == "not opened"
    assert lock_of().to_json()["openings"] == []


def test_data_must_be_named() -> None:
    with pytest.raises(BadInputError, match="must know what its rows are"):
        ReportLock(split_by_group(GROUPS), {})


@pytest.mark.parametrize("chosen", [{"x": float("nan")}, {"x": object()}, {"x": {1: "a"}}])
def test_a_choice_that_json_cannot_hold_opens_nothing(chosen: dict[str, Any]) -> None:
    lock = lock_of()
    with pytest.raises(BadInputError):
        lock.report(chosen)
    assert not lock.openings


def test_differences_name_each_setting() -> None:
    now = Opening({"evil": {"layer": 2, "on": True}, "top": 3, "gone": 1}, 0.5, 0)
    then = Opening({"evil": {"layer": 3, "on": 1}, "top": 3, "new": None}, 0.5, 7)
    assert differences(then, now) == (
        "evil.layer 3 instead of 2",
        "evil.on 1 instead of true",
        "gone absent instead of 1",
        "new null instead of absent",
        "split seed 7 instead of 0",
    )
    assert differences(now, now) == ()
    long = replace(now, chosen={**now.chosen, "top": list(range(99))})
    assert differences(long, now) == ("another top",)


# --- disjoint sets --------------------------------------------------------------------------------


def test_large_integer_arrays_are_compared_as_python_sets_are() -> None:
    rng = np.random.default_rng(0)
    left, right = rng.integers(0, 10**9, (2, 300_000))
    common = set(left.tolist()) & set(right.tolist())
    assert common
    with pytest.raises(BadInputError, match=rf"{len(common)} shared: "):
        require_disjoint(left, right, "Mean")
    fresh = right[~np.isin(right, left)]
    require_disjoint(left, fresh, "Mean")
    require_disjoint(left.astype(np.int32), fresh, "Mean")
    with pytest.raises(BadInputError, match="1 shared"):
        require_disjoint(left.astype(np.uint64), iter([int(left[7])]), "Mean")


def test_large_ids_of_two_array_types_keep_their_last_digit() -> None:
    signed, unsigned = np.array([2**60]), np.array([2**60 + 1], dtype=np.uint64)
    require_disjoint(signed, unsigned, "Mean")


def test_everything_shared_names_five() -> None:
    rows = np.arange(200_000)
    with pytest.raises(BadInputError, match=r"200000 shared: 0, 1, 10, 100, 1000, \.\.\."):
        require_disjoint(rows, rows, "Mean")
    names = [f"id-{i}" for i in range(20_000)]
    with pytest.raises(BadInputError, match="20000 shared: id-0, id-1, "):
        require_disjoint(iter(names), reversed(names), "Mean")


def test_numbers_never_meet_text_and_that_is_refused() -> None:
    with pytest.raises(MismatchError, match=r"different kinds[\s\S]*\['text', 'numbers'\]"):
        require_disjoint(["1", "2"], [1, 2], "Mean")
    require_disjoint([], [1, 2], "Mean")
    require_disjoint(["a", 1], [2], "Mean")


def test_a_reference_taken_from_tested_rows_is_refused() -> None:
    """Centred on themselves, rows of any mean have mean zero; on other rows they keep it."""
    split = split_by_group([str(i) for i in range(400)])
    scores = np.random.default_rng(1).normal(3.0, 1.0, 400)
    scores[split.report] += 1.0
    reference = scores[split.selection].mean()
    require_disjoint(split.selection, split.report, "Reference mean")
    assert (scores[split.report] - reference).mean() == pytest.approx(1.0, abs=0.3)
    rows = np.arange(400)
    assert (scores - scores.mean()).mean() == pytest.approx(0.0, abs=1e-12)
    with pytest.raises(BadInputError, match=r"Reference mean: [\s\S]*200 shared"):
        require_disjoint(rows, split.report, "Reference mean")


def test_meta_without_the_guard_a_split_could_share_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    both = np.array([0, 1]), np.array([1, 2])
    with pytest.raises(BadInputError, match="must not overlap"):
        Split(*both, 0.5, 0)
    monkeypatch.setattr(splits, "_shared", lambda one, other, what: set())
    Split(*both, 0.5, 0)
