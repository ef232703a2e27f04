"""Verdict rules: no control, no supported."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import get_args

import pytest

from trait_probe.errors import BadInputError
from trait_probe.evidence import claims as rules
from trait_probe.evidence.checks import NEED_BOUND
from trait_probe.evidence.claims import (
    INTERVAL_CHECK,
    REQUIRED_CHECKS,
    Check,
    Claim,
    Kind,
    beats_check,
    claims_json,
    interval_check,
    missing_check,
    p_value_check,
    percentile_check,
    required_checks,
)
from trait_probe.evidence.estimate import Estimate, Unscored

KINDS: tuple[Kind, ...] = get_args(Kind)


def estimate(low: float, high: float, unit: str = "SD", clusters: int = 20) -> Estimate:
    return Estimate((low + high) / 2, low, high, 100, clusters, unit, "by hand")


def complete(kind: Kind, **changes: object) -> Claim:
    """A claim whose every check passed."""
    effect = estimate(-0.1, 0.1) if kind == "same behaviour" else estimate(0.6, 0.9)
    fields: dict[str, object] = {
        "id": f"{kind}-1",
        "kind": kind,
        "statement": "Something holds.",
        "effect": effect,
        "checks": tuple(Check(n, "passed", "it did", "to pass") for n in required_checks(kind)),
        "controls": {"clean": estimate(-0.1, 0.1)},
        "nulls": {"random directions": {"percentile": 0.99}},
        "shortcuts": {"bag_of_words": estimate(0.4, 0.6, "AUROC")},
        "split": "report",
        "looks": 1,
        "smallest_effect_of_interest": 0.3,
    }
    return Claim(**{**fields, **changes})


def with_status(claim: Claim, name: str, status: str) -> Claim:
    checks = tuple(replace(c, status=status) if c.name == name else c for c in claim.checks)
    return replace(claim, checks=checks)


def without(claim: Claim, name: str) -> Claim:
    return replace(claim, checks=tuple(c for c in claim.checks if c.name != name))


@pytest.mark.parametrize("kind", KINDS)
def test_all_passed_is_supported(kind: Kind) -> None:
    claim = complete(kind)
    assert claim.verdict == "supported"
    assert claim.reasons == ("every check passed",)


def every_required() -> list[tuple[Kind, str]]:
    return [(kind, name) for kind in KINDS for name in required_checks(kind)]


def assert_no_control_no_supported(kind: Kind, name: str) -> None:
    claim = without(complete(kind), name)
    assert claim.verdict == "not testable"
    assert any(name in reason and "missing" in reason for reason in claim.reasons)


@pytest.mark.parametrize(("kind", "name"), every_required())
def test_no_control_no_supported(kind: Kind, name: str) -> None:
    assert_no_control_no_supported(kind, name)
    assert with_status(complete(kind), name, "missing").verdict == "not testable"


def test_meta_the_law_above_fails_when_nothing_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing: Mapping[Kind, tuple[str, ...]] = dict.fromkeys(KINDS, ())
    monkeypatch.setattr(rules, "REQUIRED_CHECKS", nothing)
    claim = without(complete("shift"), "control model")
    assert claim.verdict == "supported"


@pytest.mark.parametrize(("kind", "name"), every_required())
def test_a_failed_check_is_not_supported(kind: Kind, name: str) -> None:
    claim = complete(kind)
    # Far from what the statement hopes for, so that the interval check is no mere wide interval.
    effect = estimate(0.5, 0.9) if kind == "same behaviour" else estimate(-0.9, -0.5)
    if name == INTERVAL_CHECK[kind]:
        checks = (interval_check(kind, effect, bound=0.3), *without(claim, name).checks)
        claim = replace(claim, effect=effect, checks=checks)
    else:
        claim = with_status(claim, name, "failed")
    assert claim.verdict == "not supported"
    assert len(claim.reasons) == 1


def test_further_checks_count_too() -> None:
    claim = complete("gain")
    extra = Check("coherence matched", "failed", "KL 0.9 against 0.4", "equal KL")
    claim = replace(claim, checks=(*claim.checks, extra))
    assert claim.verdict == "not supported"
    assert claim.reasons == ("coherence matched failed: KL 0.9 against 0.4 (required: equal KL)",)


def undecided(effect: Estimate, kind: Kind = "gain", bound: float | None = 0.3) -> Claim:
    claim = without(complete(kind), INTERVAL_CHECK[kind])
    checks = (interval_check(kind, effect, bound=bound), *claim.checks)
    return replace(claim, effect=effect, checks=checks, smallest_effect_of_interest=bound)


def test_a_wide_interval_is_inconclusive_and_a_narrow_one_is_not() -> None:
    assert undecided(estimate(-0.2, 0.5)).verdict == "inconclusive"
    assert undecided(estimate(-0.2, 0.29)).verdict == "not supported"
    assert undecided(estimate(-0.2, 0.5), bound=None).verdict == "not supported"


WIDE = estimate(-0.2, 0.5)
NO_CHANCE = {
    "beyond the text": ("same locked splits", "unseen groups"),
    "gain": ("test questions",),
    "shift": ("pretend triggers",),
}
"""Checks that fail for another reason than too few data."""


def other_checks() -> list[tuple[Kind, str]]:
    return [pair for pair in every_required() if pair[1] != INTERVAL_CHECK[pair[0]]]


@pytest.mark.parametrize(("kind", "name"), other_checks())
def test_a_failure_beside_a_wide_interval_decides_unless_chance_explains_it(
    kind: Kind, name: str
) -> None:
    """The same few data widen the interval and keep p values and advantages from their bars."""
    claim = with_status(undecided(WIDE, kind), name, "failed")
    decided = name in NO_CHANCE.get(kind, ())
    assert claim.verdict == ("not supported" if decided else "inconclusive")
    # A narrow interval, or none of a smallest effect of interest, leaves nothing open.
    for effect, bound in ((estimate(-0.2, 0.29), 0.3), (WIDE, None)):
        closed = with_status(undecided(effect, kind, bound), name, "failed")
        unbounded = bound is None and kind in NEED_BOUND
        assert closed.verdict == ("not testable" if unbounded else "not supported")


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("multiplicity", "inconclusive"),
        ("fine-tuning variation", "inconclusive"),
        ("report split opened once", "not supported"),
        ("coherence matched", "not supported"),
    ],
)
def test_a_further_failure_beside_a_wide_interval(name: str, verdict: str) -> None:
    claim = undecided(WIDE)
    extra = Check(name, "failed", "it was", "not to be")
    assert replace(claim, checks=(*claim.checks, extra)).verdict == verdict
    missing = replace(extra, status="missing")
    assert replace(claim, checks=(*claim.checks, missing)).verdict == "not testable"


@pytest.mark.parametrize(("kind", "name"), other_checks())
def test_a_failure_beside_a_passed_interval_is_never_inconclusive(kind: Kind, name: str) -> None:
    """However far the smallest effect of interest lies inside the interval."""
    claim = with_status(complete(kind), name, "failed")
    assert claim.verdict == "not supported"


def test_all_that_chance_explains_may_fail_together() -> None:
    claim = undecided(WIDE, "separation")
    for name in required_checks("separation"):
        claim = with_status(claim, name, "failed")
    assert claim.verdict == "inconclusive"
    assert len(claim.reasons) == len(required_checks("separation"))


def test_an_auroc_is_compared_with_one_half() -> None:
    """[0.3, 0.4] excludes zero and says nothing good: the interval must clear 0.5."""
    assert interval_check("separation", estimate(0.3, 0.4, "AUROC")).status == "failed"
    assert interval_check("separation", estimate(0.51, 0.7, "AUROC")).status == "passed"
    claim = undecided(estimate(0.45, 0.85, "AUROC"), "separation")
    assert claim.verdict == "inconclusive"


def test_an_effect_against_the_statement_does_not_support_it() -> None:
    assert interval_check("shift", estimate(-0.9, -0.5)).status == "failed"


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (-0.2, 0.2, "supported"),
        (-0.2, 0.4, "inconclusive"),
        (-2.0, 2.0, "inconclusive"),
        (0.4, 0.9, "not supported"),
    ],
)
def test_equal_behaviour_needs_the_whole_interval_in_the_bound(
    low: float, high: float, verdict: str
) -> None:
    """Absence of significance is not equality: [-2, 2] includes 0 and supports nothing."""
    assert undecided(estimate(low, high), "same behaviour").verdict == verdict


def test_equal_behaviour_without_a_bound_is_not_testable() -> None:
    claim = undecided(estimate(-0.1, 0.1), "same behaviour", bound=None)
    assert claim.verdict == "not testable"


def test_a_narrower_level_does_not_buy_a_verdict() -> None:
    assert interval_check("gain", replace(estimate(0.1, 0.2), level=0.8)).status == "failed"
    equal = replace(estimate(-0.1, 0.1), level=0.8)
    assert interval_check("same behaviour", equal, bound=0.3).status == "failed"
    ninety = replace(equal, level=0.9)
    assert interval_check("same behaviour", ninety, bound=0.3).status == "passed"
    assert beats_check("control model", replace(estimate(0.1, 0.2), level=0.5)).status == "failed"


@pytest.mark.parametrize("effect", [estimate(-0.1, 0.9), Unscored("no rows")])
def test_a_passed_interval_check_must_agree_with_the_interval(effect: Estimate | Unscored) -> None:
    with pytest.raises(BadInputError, match=r"marked as passed[\s\S]*interval_check\(kind"):
        complete("gain", effect=effect)


def test_an_unscored_effect_is_not_testable() -> None:
    nothing = Unscored("3 prompts, 8 needed")
    claim = without(complete("gain"), "interval excludes zero")
    claim = replace(claim, effect=nothing, checks=(*claim.checks, interval_check("gain", nothing)))
    assert claim.verdict == "not testable"
    assert claim.to_json()["effect"] == {"unscored": "3 prompts, 8 needed"}


def test_too_few_clusters_are_not_testable_however_strong() -> None:
    claim = complete("gain", effect=estimate(5.0, 6.0, clusters=7))
    assert claim.verdict == "not testable"
    assert claim.reasons == ("sample size missing: 7 clusters (required: 8 or more)",)


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        ("shift", "controls"),
        ("shift", "nulls"),
        ("separation", "shortcuts"),
        ("beyond the text", "shortcuts"),
        ("gain", "controls"),
    ],
)
def test_numbers_that_were_compared_with_must_be_shown(kind: Kind, field: str) -> None:
    assert complete(kind, **{field: {}}).verdict == "not testable"


UNSEEN: list[object] = [None, Unscored("few groups"), {"unscored": "few groups"}]


@pytest.mark.parametrize("value", UNSEEN)
@pytest.mark.parametrize(
    ("kind", "field"),
    [
        ("shift", "controls"),
        ("shift", "nulls"),
        ("separation", "nulls"),
        ("beyond the text", "shortcuts"),
        ("gain", "controls"),
    ],
)
def test_a_number_that_was_not_made_is_not_shown(kind: Kind, field: str, value: object) -> None:
    """A field full of reasons why there is no number shows nothing; one number is enough."""
    claim = complete(kind, **{field: {"one": value, "other": value}})
    assert claim.verdict == "not testable"
    assert [check.name for check in claim.all_checks if check.status == "missing"] == [
        f"{field} shown"
    ]
    assert complete(kind, **{field: {"one": value, "other": 0.0}}).verdict == "supported"


@pytest.mark.parametrize("baseline", [Unscored("few groups"), {"unscored": "few groups"}, None])
def test_a_separation_needs_the_text_only_number(baseline: object) -> None:
    claim = complete("separation", shortcuts={"bag_of_words": baseline, "length": 0.5})
    assert claim.verdict == "not testable"
    assert "text-only baseline missing" in claim.reasons[0]


def test_a_shift_without_a_trigger_needs_no_pretend_triggers() -> None:
    claim = complete("shift")
    for name in ("pretend triggers", "label permutation"):
        claim = without(claim, name)
    assert claim.verdict == "not testable"
    claim = replace(claim, trigger_involved=False)
    assert claim.verdict == "not testable"
    check = Check("fine-tuning variation", "passed", "beyond it", "to be beyond it")
    assert replace(claim, checks=(*claim.checks, check)).verdict == "supported"


def test_many_looks_need_an_adjusted_p() -> None:
    claim = complete("gain", looks=24)
    assert claim.verdict == "not testable"
    check = p_value_check("multiplicity", 0.01)
    assert replace(claim, checks=(*claim.checks, check)).verdict == "supported"


# --- check builders -------------------------------------------------------------------------------


def test_builders_pass_at_their_bar_and_not_below_it() -> None:
    assert p_value_check("p", 0.05).status == "passed"
    assert p_value_check("p", 0.0501).status == "failed"
    assert percentile_check("null", 0.95).status == "passed"
    assert percentile_check("null", 0.949).status == "failed"
    assert beats_check("control", estimate(0.01, 1.0)).status == "passed"
    assert beats_check("control", estimate(0.0, 1.0)).status == "failed"
    assert beats_check("control", estimate(0.02, 1.0), margin=0.02).status == "failed"
    assert beats_check("control", estimate(0.03, 1.0), margin=0.02).status == "passed"
    with pytest.raises(BadInputError, match="stricter"):
        beats_check("control", estimate(0.03, 1.0), margin=-0.02)


def test_builders_of_what_was_not_computed_are_missing() -> None:
    nothing = Unscored("no control model")
    for check in (
        p_value_check("p", nothing),
        beats_check("control", nothing),
        missing_check("p", "no control model"),
    ):
        assert (check.status, check.observed) == ("missing", "no control model")


def test_a_percentage_is_refused_where_a_share_is_meant() -> None:
    with pytest.raises(BadInputError, match="null percentile must lie between 0 and 1"):
        percentile_check("random directions", 97.0)
    with pytest.raises(BadInputError, match="p value must lie between 0 and 1"):
        p_value_check("p", float("nan"))


# --- form -----------------------------------------------------------------------------------------


def test_json_has_the_promised_keys_and_is_strict() -> None:
    written = json.loads(json.dumps(claims_json([complete(k) for k in KINDS]), allow_nan=False))
    assert written["schema"] == "trait_probe.claims/1"
    assert [claim["kind"] for claim in written["claims"]] == list(KINDS)
    assert set(written["claims"][0]) == {
        "id",
        "kind",
        "statement",
        "verdict",
        "effect",
        "controls",
        "nulls",
        "shortcuts",
        "split",
        "looks",
        "detectable",
        "reasons",
        "notes",
        "checks",
    }
    assert written["claims"][0]["controls"]["clean"]["unit"] == "SD"


def test_absent_checks_are_written_as_missing() -> None:
    written = without(complete("gain"), "prompt baseline").to_json()
    listed = {check["name"]: check["status"] for check in written["checks"]}
    assert listed["prompt baseline"] == "missing"
    assert set(REQUIRED_CHECKS["gain"]) <= set(listed)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"looks": 0}, "looks counts every effect"),
        ({"statement": " "}, "needs its statement"),
        ({"smallest_effect_of_interest": 0.0}, "must be a positive number"),
        ({"nulls": {"p": float("nan")}}, "finite numbers only"),
    ],
)
def test_impossible_claims_are_refused(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(BadInputError, match=sentence):
        complete("gain", **changes)


def test_doubled_names_are_refused() -> None:
    claim = complete("gain")
    with pytest.raises(BadInputError, match=r"named once[\s\S]*prompt baseline"):
        replace(claim, checks=(*claim.checks, missing_check("prompt baseline", "not run")))
    with pytest.raises(BadInputError, match=r"ids must be unique[\s\S]*gain-1"):
        claims_json([claim, claim])


def test_a_check_without_words_is_refused() -> None:
    with pytest.raises(BadInputError, match="needs its field 'observed'"):
        Check("length", "passed", " ", "AUROC below 0.6")


@pytest.mark.parametrize("unit", ["auroc", "AUC", "ROC AUC", "ROC-AUC"])
def test_chance_does_not_move_with_the_spelling_of_the_unit(unit: str) -> None:
    effect = Estimate(0.45, 0.4, 0.5, 100, 100, unit, "by hand")
    with pytest.raises(BadInputError, match='is written "AUROC"'):
        interval_check("separation", effect)


@pytest.mark.parametrize("nothing", [{}, [], ""])
def test_empty_evidence_is_none(nothing: object) -> None:
    claim = replace(complete("separation"), nulls={"label permutation": nothing})
    assert claim.verdict == "not testable"
