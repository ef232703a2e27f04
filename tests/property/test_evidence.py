"""Laws of the evidence package that hold for any data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from trait_probe.evidence import checks as check_rules
from trait_probe.evidence import claims as rules
from trait_probe.evidence.claims import (
    INTERVAL_CHECK,
    Check,
    Claim,
    Kind,
    beats_check,
    interval_check,
    p_value_check,
    percentile_check,
    required_checks,
)
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
from trait_probe.evidence.studies.parts import NullRank, null_check

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

# Neither of the two in the middle says more than the other.
STRENGTH = {"not testable": 0, "not supported": 1, "inconclusive": 1, "supported": 2}
DECISIVE = {
    "something else",
    "another null",
    "same locked splits",
    "unseen groups",
    "test questions",
    "pretend triggers",
}
"""Checks that too few data alone do not make fail."""
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
        0.3 if kind == "beyond the text" else draw(st.sampled_from([0.3, 0.95])),
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


def assert_inconclusive_by_chance_only(claim: Claim) -> None:
    """The interval decides nothing, nothing is missing, and what else failed may be chance."""
    if claim.verdict != "inconclusive":
        return
    statuses = {check.name: check.status for check in claim.all_checks}
    failing = {name for name, found in statuses.items() if found == "failed"}
    assert "missing" not in statuses.values()
    assert INTERVAL_CHECK[claim.kind] in failing
    assert failing <= rules.CHANCE_CHECKS
    assert not failing & DECISIVE


@given(claims())
def test_inconclusive_means_that_chance_may_explain_every_failure(claim: Claim) -> None:
    assert_inconclusive_by_chance_only(claim)


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


# --- verdicts from numbers ------------------------------------------------------------------------


@dataclass(frozen=True)
class Numbers:
    """What the checks of a claim are built from.

    Args:
        p, percentile, advantage: by the name of a check; a check is built from one of them.
        adjusted_p: of the null ranks and of the multiplicity check.
    """

    kind: Kind
    low: float
    width: float
    level: float
    bound: float
    clusters: int
    looks: int
    trigger: bool
    adjusted_p: float
    p: dict[str, float]
    percentile: dict[str, float]
    advantage: dict[str, float]

    @property
    def bar(self) -> float:
        """What the lower end has to exceed."""
        return self.bound if self.kind == "beyond the text" else 0.0

    @property
    def required(self) -> tuple[str, ...]:
        """Names of the checks of such a claim with one look."""
        return required_checks(self.kind, trigger_involved=self.trigger)

    def claim(self) -> Claim:
        """Built with the check functions only, as a study builds it."""
        effect = estimate(self.low, self.width, self.level, self.clusters)
        null = NullRank(0.9, 0.01, 99)
        checks = [interval_check(self.kind, effect, bound=self.bound)]
        checks += [p_value_check(name, p) for name, p in self.p.items()]
        checks += [percentile_check(name, share) for name, share in self.percentile.items()]
        checks += [
            beats_check(name, estimate(low, self.width, self.level, self.clusters))
            for name, low in self.advantage.items()
        ]
        checks.append(null_check("another null", null, self.adjusted_p, 0.05, self.looks))
        checks.append(p_value_check(rules.MULTIPLICITY_CHECK, self.adjusted_p))
        shown: dict[str, object] = {"bag_of_words": 0.6}
        return Claim(
            "c", self.kind, "It is so.", effect, tuple(checks), shown, shown, shown, "report",
            self.looks, self.bound, self.trigger,
        )  # fmt: skip


def estimate(low: float, width: float, level: float, clusters: int) -> Estimate:
    return Estimate(low + width / 2, low, low + width, 90, clusters, "SD", "by hand", level)


MEASURES = ("p", "percentile", "advantage")
near_the_bar = {
    "p": st.sampled_from([0.001, 0.05, 0.05, 0.0501, 0.8]),
    "percentile": st.sampled_from([1.0, 0.95, 0.95, 0.949, 0.2]),
    "advantage": st.sampled_from([0.5, 1e-9, 0.1, 0.0, -0.04, -0.3]),
}


LOWS: dict[Kind, list[float]] = {
    "same behaviour": [-0.1, -0.05, 0.0],
    "beyond the text": [0.21, 1.0, 0.1],
}
"""Lower ends near what they have to exceed; for the other kinds that is zero."""


@st.composite
def numbers_of_claims(draw: st.DrawFn) -> Numbers:
    """Any kind; most numbers pass, near their bars, so that one step decides."""
    kind: Kind = draw(st.sampled_from(get_args(Kind)))
    found: dict[str, dict[str, float]] = {measure: {} for measure in MEASURES}
    trigger = draw(st.booleans())
    names = required_checks(kind, trigger_involved=trigger)
    left_out = draw(st.sampled_from([None] * 5 + [*names]))
    moved_check = draw(st.sampled_from([None, "every", *names]))
    for name in names:
        if name != INTERVAL_CHECK[kind] and name != left_out:
            measure = draw(st.sampled_from(MEASURES))
            passing = {"p": 0.05, "percentile": 0.95, "advantage": 0.1}[measure]
            moved = moved_check in (name, "every")
            found[measure][name] = draw(near_the_bar[measure]) if moved else passing
    return Numbers(
        kind=kind,
        low=draw(st.sampled_from(LOWS.get(kind, [0.1, 1.0, -0.04]))),
        width=draw(st.sampled_from([0.05, 0.2])),
        level=draw(st.sampled_from([0.95] * 4 + [0.99, 0.9])),
        bound=draw(st.sampled_from([0.2, 0.11, 0.1])),
        clusters=draw(st.sampled_from([8, 9, 10, 30, 7])),
        looks=draw(st.integers(1, 3)),
        trigger=trigger,
        adjusted_p=draw(st.sampled_from([0.01] * 4 + [0.05, 0.06])),
        **found,
    )


Weakening = Callable[[Numbers, str, float], Numbers]


def _worse(measure: str, sign: float, most: float) -> Weakening:
    """The named number of a measure made worse by `step`, up to the worst there is."""

    def weaken(found: Numbers, name: str, step: float) -> Numbers:
        values = dict(getattr(found, measure))
        if name in values:
            values[name] = sign * min(sign * values[name] + step, most)
        return replace(found, **{measure: values})

    return weaken


def _dropped(found: Numbers, name: str, step: float) -> Numbers:
    kept = {
        measure: {key: value for key, value in getattr(found, measure).items() if key != name}
        for measure in MEASURES
    }
    return replace(found, **kept)


def _lower_interval(found: Numbers, name: str, step: float) -> Numbers:
    """Down, or away from the null value where the claim is that nothing differs."""
    if found.kind != "same behaviour":
        return replace(found, low=found.low - step)
    return replace(found, low=found.low - step / 2, width=found.width + step)


WEAKENINGS: dict[str, Weakening] = {
    "a lower interval": _lower_interval,
    "a wider interval": lambda found, name, step: replace(
        found, low=found.low - step / 2, width=found.width + step
    ),
    "a larger p": _worse("p", 1.0, 1.0),
    "a smaller percentile": _worse("percentile", -1.0, 0.0),
    "a smaller advantage": _worse("advantage", -1.0, 9.0),
    "a larger adjusted p": lambda found, name, step: replace(
        found, adjusted_p=min(found.adjusted_p + step, 1.0)
    ),
    "a missing control": _dropped,
    "fewer clusters": lambda found, name, step: replace(
        found, clusters=max(1, found.clusters - 1 - int(10 * step))
    ),
    "more looks": lambda found, name, step: replace(found, looks=found.looks + 1 + int(10 * step)),
    "a narrower level": lambda found, name, step: replace(found, level=found.level / (1 + step)),
    "a narrower bound": lambda found, name, step: (
        replace(found, bound=found.bound / (1 + step)) if found.kind == "same behaviour" else found
    ),
    "a larger bound": lambda found, name, step: (
        replace(found, bound=found.bound * (1 + step)) if found.kind == "beyond the text" else found
    ),
}


def assert_never_supported_by(weakening: str, found: Numbers, name: str, step: float) -> None:
    worse = WEAKENINGS[weakening](found, name, step)
    if worse.claim().verdict == "supported":
        assert found.claim().verdict == "supported"


steps = st.sampled_from([1e-9, 0.01, 0.1, 0.3, 3.0])


@pytest.mark.parametrize("weakening", WEAKENINGS)
@settings(max_examples=100)
@given(found=numbers_of_claims(), data=st.data(), step=steps)
def test_worse_numbers_never_make_a_claim_supported(
    weakening: str, found: Numbers, data: st.DataObject, step: float
) -> None:
    name = data.draw(st.sampled_from(found.required))
    assert_never_supported_by(weakening, found, name, step)


@settings(max_examples=200)
@given(numbers_of_claims())
def test_a_supported_claim_has_good_numbers_only(found: Numbers) -> None:
    """The rules once more, in numbers: nothing else is called supported."""
    inside = -found.bound < found.low and found.low + found.width < found.bound
    equal = found.kind == "same behaviour"
    measured = sum(len(getattr(found, measure)) for measure in MEASURES)
    good = (
        (inside and found.level >= 0.9 if equal else found.low > found.bar and found.level >= 0.95)
        and all(p <= 0.05 for p in (*found.p.values(), found.adjusted_p))
        and all(share >= 0.95 for share in found.percentile.values())
        and all(low > 0.0 and found.level >= 0.95 for low in found.advantage.values())
        and measured == len(found.required) - 1
        and found.clusters >= 8
    )
    assert (found.claim().verdict == "supported") == good


@settings(max_examples=200)
@given(numbers_of_claims())
def test_an_inconclusive_claim_has_an_interval_that_holds_the_bound(found: Numbers) -> None:
    """And a null value it does not clear, whatever the other numbers are."""
    claim = found.claim()
    assert_inconclusive_by_chance_only(claim)
    if claim.verdict == "inconclusive":
        high = found.low + found.width
        if found.kind == "same behaviour":
            assert found.low < found.bound
            assert high > -found.bound
        else:
            assert found.low <= found.bar or found.level < 0.95
            assert high >= found.bound
        assert found.adjusted_p <= 0.05  # "another null" is no required check


def _verdicts_drawn(only_several: bool = False) -> set[str]:
    """Verdicts of the numbers drawn; `only_several`: of those with two failed checks or more."""
    verdicts: set[str] = set()

    @settings(max_examples=1200, database=None, derandomize=True, phases=[Phase.generate])
    @given(numbers_of_claims())
    def collect(found: Numbers) -> None:
        claim = found.claim()
        failing = [check for check in claim.all_checks if check.status == "failed"]
        if len(failing) > 1 or not only_several:
            verdicts.add(claim.verdict)

    collect()
    return verdicts


def test_the_numbers_drawn_are_of_every_kind() -> None:
    """Guards the laws above: with nothing supported, or everything, they would say nothing."""
    assert _verdicts_drawn() == set(STRENGTH)
    assert _verdicts_drawn(only_several=True) >= {"not supported", "inconclusive"}


def test_meta_the_law_goes_red_when_any_failure_is_called_chance(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A rule that lets a failed control of another sort pass for a wide interval."""
    found = example("gain", low=-0.05, width=0.4)
    found = replace(found, p={**found.p, "test questions": 0.9})
    assert found.claim().verdict == "not supported"
    monkeypatch.setattr(rules, "CHANCE_CHECKS", rules.CHANCE_CHECKS | DECISIVE)
    assert found.claim().verdict == "inconclusive"
    with pytest.raises(AssertionError):
        assert_inconclusive_by_chance_only(found.claim())


def _drawn_law(weakening: str) -> None:
    """The law above on the same examples each time."""

    @settings(max_examples=1000, database=None, derandomize=True, phases=[Phase.generate])
    @given(numbers_of_claims(), st.data(), steps)
    def law(found: Numbers, data: st.DataObject, step: float) -> None:
        name = data.draw(st.sampled_from(found.required))
        assert_never_supported_by(weakening, found, name, step)

    law()


def _broken(weakening: str, found: Numbers, name: str) -> None:
    """The law on one example, in steps that cross every bar."""
    for step in (0.01, 0.1, 0.3, 3.0):
        assert_never_supported_by(weakening, found, name, step)


def example(kind: Kind, **changes: object) -> Numbers:
    """A claim whose every number passes."""
    names = [name for name in required_checks(kind) if name != INTERVAL_CHECK[kind]]
    low = -0.05 if kind == "same behaviour" else 0.1
    passing = Numbers(
        kind, low, 0.1, 0.95, 0.2, 30, 1, True, 0.01, dict.fromkeys(names, 0.01), {}, {}
    )
    return replace(passing, **changes)


def test_meta_the_laws_go_red_when_an_interval_below_zero_counts_as_far_from_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A rule that asks for "excludes zero" on either side: a lower interval gets supported."""

    def either_side(kind: Kind, effect: Estimate, bound: float | None) -> bool:
        return effect.excludes(0.0)

    found = example("gain", low=-0.05)
    assert found.claim().verdict != "supported"
    _broken("a lower interval", found, "prompt baseline")
    for module in (check_rules, rules):
        monkeypatch.setattr(module, "interval_passes", either_side)
    with pytest.raises(AssertionError):
        _broken("a lower interval", found, "prompt baseline")
    with pytest.raises(AssertionError):
        _drawn_law("a lower interval")


def test_meta_the_laws_go_red_when_absent_controls_are_ignored_in_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Then leaving out the control that failed is enough."""
    found = example("shift")
    found = replace(found, p={**found.p, "control model": 0.9})
    assert found.claim().verdict == "not supported"
    _broken("a missing control", found, "control model")
    monkeypatch.setattr(rules, "_absent_checks", lambda claim: [])
    with pytest.raises(AssertionError):
        _broken("a missing control", found, "control model")
    with pytest.raises(AssertionError):
        _drawn_law("a missing control")


def test_meta_the_laws_go_red_when_equality_is_an_absent_significance(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A rule that takes an interval around zero for equality: a wider one gets supported."""

    def holds_zero(kind: Kind, effect: Estimate, bound: float | None) -> bool:
        return not effect.excludes(0.0)

    found = example("same behaviour", low=0.05)
    found = replace(found, bound=0.12)
    assert found.claim().verdict != "supported"
    _broken("a wider interval", found, "")
    for module in (check_rules, rules):
        monkeypatch.setattr(module, "interval_passes", holds_zero)
    with pytest.raises(AssertionError):
        _broken("a wider interval", found, "")
