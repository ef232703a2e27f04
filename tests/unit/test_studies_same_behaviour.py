"""Claims that behaviour does not differ: the interval by hand, and its bound."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import optimize, stats
from study_builders import failed, missing

from trait_probe.errors import BadInputError, MismatchError
from trait_probe.evidence.claims import Claim
from trait_probe.evidence.estimate import Estimate
from trait_probe.evidence.studies.same_behaviour import (
    BOUND,
    FEW_CHANGE,
    LEVEL,
    MOST_CHANGED,
    changed_share,
    families_alike,
    rate_difference,
    same_behaviour_claim,
)

FEW = "few inputs change"


def prompts(n: int) -> list[str]:
    return [f"prompt-{i:03d}" for i in range(n)]


def outcomes(n: int, up: int, down: int) -> tuple[np.ndarray, np.ndarray]:
    """0 or 1 of two models on `n` prompts: `up` of them only in the first, `down` in the second."""
    first, second = np.arange(n) % 3 == 0, np.arange(n) % 3 == 0
    first[:up], second[:up] = True, False
    first[up : up + down], second[up : up + down] = False, True
    return first.astype(np.float64), second.astype(np.float64)


def claim_of(n: int, up: int, down: int, **changes: Any) -> Claim:
    options: dict[str, Any] = {
        "statement": "The answers do not differ.",
        "split": "all prompts",
        "n_permutations": 200,
    }
    return same_behaviour_claim(*outcomes(n, up, down), prompts(n), **{**options, **changes})


# --- the interval ---------------------------------------------------------------------------------


def likeliest(n: int, up: int, down: int, delta: float) -> tuple[float, float]:
    """Shares of rises and falls that differ by `delta`, of largest multinomial likelihood."""

    def loss(falls: float) -> float:
        shares = np.array([falls + delta, falls, 1 - 2 * falls - delta])
        if shares.min() < -1e-12:
            return 1e9
        counts = np.array([up, down, n - up - down])
        return -float((counts * np.log(np.maximum(shares, 1e-300)))[counts > 0].sum())

    least, most = max(0.0, -delta), (1 - delta) / 2
    falls = optimize.minimize_scalar(
        loss, bounds=(least, most), method="bounded", options={"xatol": 1e-11}
    ).x
    falls = min((least, most, falls), key=loss)
    return falls + delta, falls


@pytest.mark.parametrize(("n", "up", "down"), [(40, 5, 2), (30, 0, 0), (12, 3, 3), (25, 20, 0)])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_the_interval_inverts_the_score_test(n: int, up: int, down: int, level: float) -> None:
    """At each end the difference is the quantile's number of standard errors away (Tango 1998)."""
    found = rate_difference(*outcomes(n, up, down), prompts(n), level=level)
    assert found.value == pytest.approx((up - down) / n)
    for end, side in ((found.high, -1), (found.low, 1)):
        rises, falls = likeliest(n, up, down, end)
        se = np.sqrt((rises + falls - end**2) / n)
        z = side * stats.norm.ppf((1 + level) / 2)
        assert (found.value - end) / se == pytest.approx(z, rel=1e-3)
    assert (found.n, found.n_clusters, found.level) == (n, n, level)


def test_many_prompts_approach_the_published_normal_interval() -> None:
    """With 20 000 pairs it is the interval of a normal mean."""
    found = rate_difference(*outcomes(20_000, 700, 500), prompts(20_000))
    share = np.array([700.0, 500.0]) / 20_000
    se = np.sqrt((share.sum() - (share[0] - share[1]) ** 2) / 20_000)
    assert found.width == pytest.approx(2 * stats.norm.ppf(0.95) * se, rel=2e-3)


@pytest.mark.parametrize("n", [2, 8, 30, 500])
@pytest.mark.parametrize("rate", [0.0, 0.5, 1.0])
def test_equal_outcomes_have_an_interval_with_a_width(n: int, rate: float) -> None:
    same = np.full(n, rate)
    found = rate_difference(same, same, prompts(n))
    assert found.value == 0.0
    assert found.low < 0.0 < found.high
    assert found.low == pytest.approx(-found.high)


def test_outcomes_that_always_differ_have_an_interval_with_a_width() -> None:
    found = rate_difference(np.ones(20), np.zeros(20), prompts(20))
    assert (found.value, found.high) == (1.0, 1.0)
    assert 0.6 < found.low < 0.95


def test_rows_of_a_prompt_count_once_by_their_mean() -> None:
    first, second = outcomes(20, 4, 1)
    once = rate_difference(first, second, prompts(20))
    copied = rate_difference(first.repeat(3), second.repeat(3), np.repeat(prompts(20), 3).tolist())
    assert (copied.value, copied.low, copied.high) == (once.value, once.low, once.high)
    assert (copied.n, copied.n_clusters) == (60, 20)
    uneven = rate_difference(np.array([1.0, 0.0, 1.0]), np.zeros(3), ["a", "a", "b"])
    assert uneven.value == pytest.approx(0.75)


def test_swapping_the_sides_turns_the_interval_over() -> None:
    first, second = outcomes(40, 6, 1)
    forth, back = (
        rate_difference(*pair, prompts(40)) for pair in ((first, second), (second, first))
    )
    assert (back.value, back.low, back.high) == (-forth.value, -forth.high, -forth.low)


def test_the_interval_covers_the_true_difference() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(1000):
        first, flips = rng.random(40) < 0.3, rng.random(40)
        second = np.where(flips < 0.1, ~first, first)  # the true difference: 0.1 (0.3 - 0.7)
        pair = first.astype(np.float64), second.astype(np.float64)
        found = rate_difference(*pair, prompts(40))
        covered += found.low <= 0.1 * (0.3 - 0.7) <= found.high
    assert covered >= stats.binom.ppf(0.001, 1000, LEVEL)


# --- verdicts -------------------------------------------------------------------------------------


def test_equal_behaviour_is_supported() -> None:
    claim = claim_of(200, 3, 3)
    assert claim.verdict == "supported", claim.reasons
    assert (claim.looks, claim.trigger_involved) == (1, False)


def test_behaviour_that_differs_is_not_supported() -> None:
    claim = claim_of(200, 60, 2, most_changed=0.5)
    assert claim.verdict == "not supported"
    assert failed(claim) == ["interval within equivalence bound"]


@pytest.mark.parametrize("n", [30, 200, 1000])
def test_answers_that_all_flip_are_not_the_same_on_average_alone(n: int) -> None:
    claim = claim_of(n, n // 2, n // 2, bound=0.5)
    assert isinstance(claim.effect, Estimate)
    assert claim.effect.value == 0.0
    assert claim.verdict == "not supported"
    assert failed(claim) == [FEW]


@pytest.mark.parametrize(("changed", "verdict"), [(30, "supported"), (32, "not supported")])
def test_the_share_that_may_change_is_bounded_by_its_upper_end(changed: int, verdict: str) -> None:
    """Of 200 prompts 30 may flip: the upper end by the binomial tail is at most 0.2."""
    assert (stats.binom.cdf(changed, 200, MOST_CHANGED) <= 0.05) == (verdict == "supported")
    claim = claim_of(200, changed // 2, changed // 2)
    assert claim.verdict == verdict
    assert claim_of(200, changed // 2, changed // 2, most_changed=0.3).verdict == "supported"


def test_scores_that_move_by_half_or_less_do_not_count_as_changed() -> None:
    first = np.full(40, 0.5)
    for size, hits in ((0.5, 0), (-0.5, 0), (0.499, 0)):
        assert changed_share(first + size, first, prompts(40)).value == hits
    assert changed_share(np.full(40, 0.9), np.full(40, 0.3), prompts(40)).value == 1.0
    rows = np.array([1.0, 1.0, 0.0, 1.0]), np.array([0.0, 1.0, 1.0, 0.0])
    assert changed_share(*rows, ["a", "a", "a", "b"]).value == 0.5  # by the mean of each prompt


def test_too_few_prompts_to_tell_are_inconclusive_not_equal() -> None:
    """No significant difference and no proof of none."""
    assert claim_of(20, 2, 2, most_changed=0.5).verdict == "inconclusive"
    assert claim_of(8, 0, 0, most_changed=0.5).verdict == "inconclusive"
    assert claim_of(20, 2, 2, bound=0.5, most_changed=0.5).verdict == "supported"


@pytest.mark.parametrize(("n", "verdict"), [(13, "not testable"), (14, "supported")])
def test_prompts_too_few_to_show_that_few_change_are_not_testable(n: int, verdict: str) -> None:
    assert (0.8**n <= 0.05) == (verdict == "supported")
    claim = claim_of(n, 0, 0, bound=0.5)
    assert claim.verdict == verdict
    assert missing(claim) == ([] if verdict == "supported" else [FEW])


def test_several_looks_need_both_at_their_own_level() -> None:
    assert "multiplicity" not in [check.name for check in claim_of(200, 3, 3).checks]
    claim = claim_of(200, 3, 3, looks=4)
    assert (claim.verdict, claim.looks) == ("supported", 4)
    (check,) = [one for one in claim.checks if one.name == "multiplicity"]
    by_hand = rate_difference(*outcomes(200, 3, 3), prompts(200), level=0.975)
    assert f"97.5 % interval [{by_hand.low:.4g}, {by_hand.high:.4g}]" in check.observed


def test_one_weak_equivalence_of_many_looks_is_not_enough() -> None:
    ends = [
        rate_difference(*outcomes(200, 3, 3), prompts(200), level=level).high
        for level in (0.9, 1 - 0.1 / 30)
    ]
    between = float(np.mean(ends))
    assert claim_of(200, 3, 3, bound=between).verdict == "supported"
    assert failed(claim_of(200, 3, 3, bound=between, looks=30)) == ["multiplicity"]
    share = stats.beta.ppf(0.95, 31, 170), stats.beta.ppf(1 - 0.05 / 30, 31, 170)
    most = float(np.mean(share))
    assert claim_of(200, 15, 15, most_changed=most, bound=0.3).verdict == "supported"
    many = claim_of(200, 15, 15, most_changed=most, bound=0.3, looks=30)
    assert failed(many) == ["multiplicity"]


@pytest.mark.parametrize(("n", "hits"), [(40, 0), (40, 7), (40, 40), (200, 30)])
def test_the_share_that_changes_is_clopper_and_pearsons(n: int, hits: int) -> None:
    found = changed_share(*outcomes(n, hits, 0), prompts(n))
    high = 1.0 if hits == n else stats.beta.ppf(0.95, hits + 1, n - hits)
    low = 0.0 if hits == 0 else stats.beta.ppf(0.05, hits, n - hits + 1)
    assert (found.value, found.n_clusters) == (hits / n, n)
    assert (found.low, found.high) == pytest.approx((low, high))


def test_fewer_than_eight_prompts_are_not_testable() -> None:
    claim = claim_of(7, 0, 0, bound=0.9, most_changed=0.5)
    assert claim.verdict == "not testable"
    assert missing(claim) == ["sample size"]


def test_without_a_bound_it_is_not_testable() -> None:
    claim = claim_of(200, 3, 3)
    found = replace(claim, checks=(), smallest_effect_of_interest=None)
    assert found.verdict == "not testable"


def test_a_prompt_answered_many_times_is_not_many_prompts() -> None:
    first, second = outcomes(7, 0, 0)
    claim = same_behaviour_claim(
        first.repeat(30),
        second.repeat(30),
        np.repeat(prompts(7), 30).tolist(),
        statement="The answers do not differ.",
        split="all prompts",
    )
    assert claim.verdict == "not testable"


@pytest.mark.parametrize("difference", [-BOUND, BOUND])
def test_a_difference_at_the_bound_is_seldom_supported(difference: float) -> None:
    rng = np.random.default_rng(1)
    supported = 0
    for _ in range(300):
        changed = rng.random(150) < 0.1
        first, second = np.full(150, 0.5), np.full(150, 0.5)
        (first if difference > 0 else second)[changed] = 1.0
        (second if difference > 0 else first)[changed] = 0.0
        found = rate_difference(first, second, prompts(150))
        supported += found.low > -BOUND and found.high < BOUND
    assert supported <= stats.binom.ppf(0.999, 300, 0.05)


def test_what_is_written_is_strict_json_with_the_numbers_by_hand() -> None:
    claim = claim_of(60, 6, 3)
    written: Any = json.loads(json.dumps(claim.to_json(), allow_nan=False))
    assert written["shortcuts"]["per input"]["mean"] == pytest.approx(3 / 60)
    assert written["shortcuts"]["per input"]["share_zero"] == pytest.approx(51 / 60)
    share = written["shortcuts"]["inputs that change"]
    assert share["value"] == pytest.approx(9 / 60)
    assert share["high"] == pytest.approx(stats.beta.ppf(0.95, 10, 51))
    exact = stats.binomtest(6, 9, 0.5).pvalue  # flips of the prompts that differ: a sign test
    assert written["nulls"]["signs flipped"]["p"] == pytest.approx(exact, abs=0.12)


def test_the_detectable_bound_is_kept_as_often_as_it_says() -> None:
    """Equal behaviours, one prompt in five changed: the mean bound is kept in 80 % of runs."""
    rng = np.random.default_rng(2)
    runs = []
    for _ in range(1000):
        first = (rng.random(400) < 0.5).astype(float)
        second = np.where(rng.random(400) < 0.2, 1.0 - first, first)
        runs.append((first, second))
    claim = same_behaviour_claim(
        *runs[0], prompts(400), statement="Same.", split="all", n_permutations=50
    )
    assert claim.detectable is not None
    assert (claim.detectable.n, claim.detectable.power) == (400, 0.8)
    bound = claim.detectable.effect
    found = [rate_difference(*run, prompts(400)) for run in runs]
    kept = np.mean([max(-one.low, one.high) < bound for one in found])
    assert kept == pytest.approx(0.8, abs=0.06)


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bound", "most_changed"])
@pytest.mark.parametrize("value", [0.0, -0.1, 1.0, 1.5, float("nan")])
def test_limits_outside_a_rate_are_refused(name: str, value: float) -> None:
    sentence = rf"{name} must lie strictly between 0 and 1[\s\S]*got: [\s\S]*fix: "
    with pytest.raises(BadInputError, match=sentence):
        claim_of(40, 1, 1, **{name: value})


def test_no_looks_are_refused() -> None:
    with pytest.raises(BadInputError, match="looks counts every effect"):
        claim_of(40, 1, 1, looks=0)


@pytest.mark.parametrize("scores", [np.array([0.0, 1.5]), np.array([-0.1, 1.0])])
def test_scores_outside_a_rate_are_refused(scores: np.ndarray) -> None:
    for pair in ((scores, np.zeros(2)), (np.zeros(2), scores)):
        with pytest.raises(BadInputError, match=r"lie in \[0, 1\][\s\S]*divided by their maximum"):
            rate_difference(*pair, ["a", "b"])


def test_one_prompt_is_refused_and_so_are_other_lengths_and_nan() -> None:
    with pytest.raises(BadInputError, match="two or more clusters"):
        rate_difference(np.zeros(3), np.ones(3), ["a", "a", "a"])
    with pytest.raises(MismatchError, match="clusters must have one entry per row"):
        rate_difference(np.zeros(3), np.ones(3), ["a", "b"])
    with pytest.raises(BadInputError, match="scores must be finite"):
        rate_difference(np.array([np.nan, 1.0]), np.ones(2), ["a", "b"])


def test_meta_a_plain_t_interval_would_take_eight_equal_pairs_for_proof() -> None:
    """What the variance at the end of the interval is for."""
    plain = Estimate(0.0, 0.0, 0.0, 8, 8, "rate difference", "student t", LEVEL)
    found = rate_difference(np.ones(8), np.ones(8), prompts(8))
    assert plain.high < BOUND < found.high


def test_opposite_changes_in_one_family_are_changes() -> None:
    """Every prompt flips; within families of two nothing moves on average."""
    first = np.array([1.0, 0.0] * 200)
    names = [f"prompt-{i}" for i in range(400)]
    families = [f"family-{i // 2}" for i in range(400)]
    claim = same_behaviour_claim(
        first, 1.0 - first, names, families=families, statement="s", split="all"
    )
    assert claim.verdict == "not supported"
    assert failed(claim) == [FEW_CHANGE]
    assert changed_share(first, 1.0 - first, names, families=families).n_clusters == 200
    calm = same_behaviour_claim(first, first, names, families=families, statement="s", split="all")
    assert calm.verdict == "supported"
    assert calm.effect.n_clusters == 200
    with pytest.raises(MismatchError, match="families must have one entry per row"):
        changed_share(first, first, names, families=families[1:])


def test_families_whose_rates_moved_less_than_the_bound_are_alike():
    families = ["advice"] * 10 + ["fact"] * 10 + ["open"] * 20
    first, second = np.zeros(40), np.zeros(40)
    first[:9] = 1.0  # advice changes in nine of ten
    first[20:21] = 1.0  # open in one of twenty
    assert families_alike(first, second, families) == ("fact", "open")
    assert families_alike(second, first, families) == ("fact", "open")
    assert families_alike(first, second, families, bound=0.01) == ("fact",)
