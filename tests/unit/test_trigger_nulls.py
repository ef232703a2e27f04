"""Nulls over many looks: ranks against brute force, and error rates with and without them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from trait_probe.errors import BadInputError, MismatchError
from trait_probe.evidence.multiplicity import holm
from trait_probe.evidence.nulls import after_choice, pretend_null
from trait_probe.evidence.triggers.nulls import family_p, standardized_by_others

# --- ranks over all claims -----------------------------------------------------------------------


def test_each_condition_is_standardized_by_the_others() -> None:
    effects = np.random.default_rng(0).normal(size=9)
    for i, found in enumerate(standardized_by_others(effects)):
        others = np.delete(effects, i)
        assert found == pytest.approx((effects[i] - others.mean()) / others.std(ddof=1))


def test_where_nothing_varies_nothing_stands_out_but_what_differs() -> None:
    assert standardized_by_others(np.zeros(5)).tolist() == [0.0] * 5
    scores = standardized_by_others(np.array([1.0, 0.0, 0.0, 0.0]))
    assert scores[0] == np.inf
    assert np.isfinite(scores[1:]).all()
    # Equal but for rounding is equal.
    assert standardized_by_others(np.array([0.3, 0.1 + 0.2, 0.3])).tolist() == [0.0] * 3


def test_the_rank_is_that_of_a_loop() -> None:
    effects = np.random.default_rng(1).normal(size=(3, 12))
    scores = np.array([standardized_by_others(row) for row in effects])
    expected = [
        (1 + sum(max(scores[c, j] for c in range(3)) >= scores[k, 0] for j in range(1, 12))) / 12
        for k in range(3)
    ]
    assert family_p(effects) == pytest.approx(expected)


def test_a_control_that_stands_out_in_one_claim_counts_in_all() -> None:
    quiet = np.array([2.5, *np.linspace(-1, 1, 10)])
    loud = np.array([0.0, 50.0, *np.linspace(-1, 1, 9)])
    assert family_p(quiet[None])[0] == pytest.approx(1 / 11)
    assert family_p(np.stack([quiet, loud]))[0] == pytest.approx(2 / 11)


def test_a_trigger_far_beyond_all_is_at_the_floor_beside_null_claims() -> None:
    rng = np.random.default_rng(2)
    effects = rng.normal(size=(4, 18))
    effects[2, 0] = 30.0
    assert family_p(effects)[2] == pytest.approx(1 / 18)


def test_two_conditions_have_no_rank() -> None:
    with pytest.raises(BadInputError, match="number of conditions must be at least 3"):
        family_p(np.zeros((1, 2)))


def test_heavy_tails_break_student_and_holm_but_not_the_rank() -> None:
    """Meta-test of the rank: four claims, t(3) prefix effects, the best of 20 looks each."""
    rng, n_runs = np.random.default_rng(3), 600
    student = rank = 0
    for _ in range(n_runs):
        year = rng.standard_t(3, (4, 20, 20))
        chosen = (year + 0.2 * rng.standard_normal(year.shape)).argmax(axis=2)
        effects = np.take_along_axis(year, chosen[..., None], 2)[..., 0]
        nulls = [pretend_null(float(row[0]), row[1:]) for row in effects]
        p = holm(np.array([null.p for null in nulls]))
        student += any(q <= 0.05 and null.beyond_all for q, null in zip(p, nulls, strict=True))
        rank += bool((family_p(effects) <= 0.05 + 1e-9).any())
    assert stats.binomtest(student, n_runs, 0.05, alternative="greater").pvalue < 1e-6
    assert stats.binomtest(rank, n_runs, 0.05, alternative="greater").pvalue > 0.01


# --- null directions that choose as the trait does -----------------------------------------------


def test_each_direction_reports_at_its_own_best_look() -> None:
    rng = np.random.default_rng(0)
    selection, report = rng.normal(size=(2, 6, 30))
    found = after_choice(selection, report)
    for draw in range(30):
        assert found[draw] == report[int(selection[:, draw].argmax()), draw]


def test_both_splits_hold_the_same_looks() -> None:
    with pytest.raises(MismatchError, match="same looks and directions"):
        after_choice(np.zeros((2, 5)), np.zeros((3, 5)))


def _false_specific(*, own_choice: bool) -> float:
    """How often a meaningless direction is above 95 % of its like, the trigger moving anything."""
    rng, hits = np.random.default_rng(1), 0
    for _ in range(300):
        effects = rng.normal(size=(8, 201))
        selection, report = effects + 0.3 * rng.normal(size=(2, *effects.shape))
        told = after_choice(selection, report)
        fixed = report[int(selection[:, 0].argmax())]
        hits += np.mean((told if own_choice else fixed)[1:] < told[0]) >= 0.95
    return hits / 300


def test_held_to_the_traits_look_null_directions_are_too_easy() -> None:
    """Meta-test: the choice must be given to the nulls too."""
    assert _false_specific(own_choice=True) <= 0.08
    assert _false_specific(own_choice=False) > 0.2
