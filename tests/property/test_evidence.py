"""Laws of the evidence package that hold for any data."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from trait_probe.evidence import claims as rules
from trait_probe.evidence.claims import INTERVAL_CHECK, Check, Claim, Kind, required_checks
from trait_probe.evidence.effects import (
    YearScores,
    auroc,
    auroc_interval,
    difference_of_differences,
    pretend,
    share_reversed,
    tpr_at_fpr,
)
from trait_probe.evidence.estimate import Estimate
from trait_probe.evidence.multiplicity import benjamini_hochberg, holm
from trait_probe.evidence.nulls import percentile, permutation_p, pretend_years
from trait_probe.evidence.splits import split_by_group

# Integers as floats: sums and ties are exact, so laws of equality can be asked for.
numbers = st.integers(-50, 50).map(float)


def columns(least: int = 2, most: int = 20) -> st.SearchStrategy[np.ndarray]:
    return st.integers(least, most).flatmap(lambda n: arrays(np.float64, n, elements=numbers))


@given(columns(), columns())
def test_auroc_of_swapped_classes_is_the_complement(up: np.ndarray, down: np.ndarray) -> None:
    assert auroc(up, down) == pytest.approx(1.0 - auroc(down, up))


@given(columns(), columns())
def test_auroc_sees_only_the_order(up: np.ndarray, down: np.ndarray) -> None:
    assert auroc(np.exp(up / 20), np.exp(down / 20)) == pytest.approx(auroc(up, down))


@given(columns(), columns())
def test_auroc_interval_holds_its_value_and_stays_in_range(
    up: np.ndarray, down: np.ndarray
) -> None:
    estimate = auroc_interval(up, down)
    assert 0.0 <= estimate.low <= estimate.value <= estimate.high <= 1.0
    assert estimate.width > 0.0
    mirrored = auroc_interval(down, up)
    assert (mirrored.low, mirrored.high) == pytest.approx((1 - estimate.high, 1 - estimate.low))


@given(columns(), columns(20, 40), st.floats(0.05, 0.95))
def test_a_looser_rate_never_catches_less(up: np.ndarray, down: np.ndarray, fpr: float) -> None:
    caught = tpr_at_fpr(up, down, fpr)
    assert tpr_at_fpr(up, down, 0.05) <= caught <= tpr_at_fpr(up, down, 0.95)


@given(columns(1))
def test_share_reversed_has_no_preferred_sign(differences: np.ndarray) -> None:
    assert share_reversed(differences) == share_reversed(-differences)
    assert 0.0 <= share_reversed(differences) <= 1.0


@st.composite
def designs(draw: st.DrawFn) -> tuple[YearScores, YearScores]:
    n, years = draw(st.integers(1, 6)), draw(st.integers(2, 5))
    tables = [draw(arrays(np.float64, (n, years + 1), elements=numbers)) for _ in range(2)]
    suspect, clean = (YearScores(table[:, 0], table[:, 1:]) for table in tables)
    return suspect, clean


@given(designs())
def test_swapping_the_models_flips_the_sign(pair: tuple[YearScores, YearScores]) -> None:
    suspect, clean = pair
    forth = difference_of_differences(suspect, clean, scale=2.0)
    assert np.array_equal(forth, -difference_of_differences(clean, suspect, scale=2.0))


@given(designs(), arrays(np.float64, 6, elements=numbers))
def test_an_offset_per_carrier_and_model_cancels(
    pair: tuple[YearScores, YearScores], offsets: np.ndarray
) -> None:
    suspect, clean = pair
    offset = offsets[: len(suspect.trigger)]
    moved = YearScores(suspect.trigger + offset, suspect.controls + offset[:, None])
    expected = difference_of_differences(suspect, clean, scale=1.0)
    assert difference_of_differences(moved, clean, scale=1.0) == pytest.approx(expected)


@given(designs())
def test_pretend_effects_of_all_years_cancel(pair: tuple[YearScores, YearScores]) -> None:
    suspect, clean = pair
    effects = [
        difference_of_differences(pretend(suspect, j), pretend(clean, j), scale=1.0)
        for j in range(suspect.controls.shape[1])
    ]
    assert np.sum(effects, axis=0) == pytest.approx(0.0, abs=1e-9)


@given(designs())
def test_identical_models_beat_no_pretend_year(pair: tuple[YearScores, YearScores]) -> None:
    result = pretend_years(pair[0], pair[0], scale=1.0)
    assert (result.t, result.p, result.beyond_all) == (0.0, 1.0, False)


@given(numbers, columns(1))
def test_percentile_and_p_agree(value: float, null: np.ndarray) -> None:
    ties = int((null == value).sum())
    expected = 1 + len(null) * (1 - percentile(value, null)) + ties / 2
    assert permutation_p(value, null) * (1 + len(null)) == pytest.approx(expected)


@given(arrays(np.float64, st.integers(1, 12), elements=st.floats(0.0, 1.0)))
def test_adjusted_p_values_keep_the_order_and_never_shrink(p: np.ndarray) -> None:
    for adjusted in (holm(p), benjamini_hochberg(p)):
        assert (adjusted >= p * (1 - 1e-12)).all()
        assert adjusted.max() <= 1.0
        assert (np.diff(adjusted[np.argsort(p, kind="stable")]) >= -1e-12).all()
    assert (benjamini_hochberg(p) <= holm(p) * (1 + 1e-12)).all()


@given(st.lists(st.sampled_from("abcdefg"), min_size=2).filter(lambda g: len(set(g)) > 1))
def test_splits_keep_groups_whole(groups: list[str]) -> None:
    split = split_by_group(groups)
    assert not {groups[i] for i in split.selection} & {groups[i] for i in split.report}
    assert len(split.selection) + len(split.report) == len(groups)


# --- verdicts -------------------------------------------------------------------------------------

STRENGTH = {"not testable": 0, "not supported": 1, "inconclusive": 2, "supported": 3}
WORSE = {"passed": ("failed", "missing"), "failed": ("missing",), "missing": ()}


@st.composite
def claims(draw: st.DrawFn) -> Claim:
    """Any claim whose interval could pass, with any statuses and any required check left out."""
    kind: Kind = draw(st.sampled_from(get_args(Kind)))
    low, high = (-0.1, 0.1) if kind == "same behaviour" else (0.6, 0.9)
    looks, trigger = draw(st.integers(1, 2)), draw(st.booleans())
    names = required_checks(kind, looks=looks, trigger_involved=trigger)
    # Mostly passed, or a random draw would hardly ever come near "supported".
    statuses = st.sampled_from(["passed"] * 8 + ["failed", "missing", None])
    drawn = [(name, draw(statuses)) for name in (*names, "something else")]
    checks = tuple(Check(name, status, "seen", "asked") for name, status in drawn if status)
    effect = Estimate((low + high) / 2, low, high, 90, 30, "SD", "by hand")
    shown = {"bag_of_words": 0.6}
    return Claim(
        "c",
        kind,
        "It is so.",
        effect,
        checks,
        shown,
        shown,
        shown,
        "report",
        looks,
        draw(st.sampled_from([0.3, 0.95])),
        trigger,
    )


def assert_never_stronger(claim: Claim) -> None:
    before = STRENGTH[claim.verdict]
    for i, check in enumerate(claim.checks):
        for status in WORSE[check.status]:
            checks = (*claim.checks[:i], replace(check, status=status), *claim.checks[i + 1 :])
            assert STRENGTH[replace(claim, checks=checks).verdict] <= before
        dropped = (*claim.checks[:i], *claim.checks[i + 1 :])
        if check.name in required_checks(
            claim.kind, looks=claim.looks, trigger_involved=claim.trigger_involved
        ):
            assert replace(claim, checks=dropped).verdict == "not testable"


@given(claims())
def test_losing_a_check_never_strengthens_a_verdict(claim: Claim) -> None:
    assert_never_stronger(claim)


@given(claims())
def test_supported_means_every_required_check_passed(claim: Claim) -> None:
    passed = {check.name for check in claim.checks if check.status == "passed"}
    names = required_checks(claim.kind, looks=claim.looks, trigger_involved=claim.trigger_involved)
    if claim.verdict == "supported":
        assert set(names) <= passed
        assert claim.reasons == ("every check passed",)
    else:
        assert claim.reasons != ("every check passed",)
    if claim.verdict == "inconclusive":
        assert passed >= set(names) - {INTERVAL_CHECK[claim.kind]}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(claims())
def _law_with_broken_rule(claim: Claim) -> None:
    assert_never_stronger(claim)


def test_meta_the_law_goes_red_when_absent_controls_are_ignored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rules, "_absent_checks", lambda claim: [])
    with pytest.raises(AssertionError):
        _law_with_broken_rule()
