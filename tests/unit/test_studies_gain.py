"""Claims of a gain over what costs less: every arm missing and as good, numbers by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats
from study_builders import failed, gain, gained, missing, status, without_type_checks

from trait_probe.errors import BadInputError, MismatchError
from trait_probe.evidence.claims import REQUIRED_CHECKS, Claim, claims_json
from trait_probe.evidence.estimate import Estimate, Unscored
from trait_probe.evidence.studies.gain import ARMS, EXTRACTED, MIN_SEEDS, Gain, mean_advantage

OTHERS = tuple(name for name in ARMS if name != EXTRACTED)


def two_way_mean(values: np.ndarray, *, unit: str, level: float = 0.95) -> Estimate:
    """Against an arm that is nothing and does not vary."""
    found = mean_advantage(values, np.zeros((1, values.shape[1])), unit=unit, level=level)
    assert isinstance(found, Estimate)
    return found


def with_arm(study: Gain, name: str, scores: np.ndarray) -> Gain:
    return replace(study, arms={**study.arms, name: scores})


def without_arm(study: Gain, name: str) -> Gain:
    return replace(study, arms={key: arm for key, arm in study.arms.items() if key != name})


def estimate(claim: Claim) -> Estimate:
    assert isinstance(claim.effect, Estimate)
    return claim.effect


# --- verdicts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_a_clean_planted_gain_is_supported(seed: int) -> None:
    claim = gained(gain(seed=seed))
    assert claim.verdict == "supported", claim.reasons
    assert missing(claim) == failed(claim) == []


@pytest.mark.parametrize("seed", range(10))
def test_without_a_gain_nothing_is_supported(seed: int) -> None:
    claim = gained(gain(0.0, seed))
    assert claim.verdict in ("not supported", "inconclusive")
    assert EXTRACTED in failed(claim)


@pytest.mark.parametrize("name", ARMS)
def test_each_arm_removed_is_not_testable(name: str) -> None:
    claim = gained(without_arm(gain(), name))
    assert claim.verdict == "not testable"
    interval = ["interval excludes zero", "effect"] if name == EXTRACTED else []
    assert set(missing(claim)) == {name, *interval}
    assert not failed(claim)


@pytest.mark.parametrize("name", OTHERS)
def test_each_arm_as_good_as_the_searched_vector_is_not_supported(name: str) -> None:
    """Random search as good, strength alone as good, or simply asking for the trait."""
    study = gain()
    claim = gained(with_arm(study, name, study.arms[name] + 1.0))
    assert claim.verdict == "not supported"
    assert failed(claim) == [name]


def test_a_prompt_that_is_better_is_not_supported() -> None:
    study = gain()
    claim = gained(with_arm(study, "prompt baseline", study.arms["prompt baseline"] + 3.0))
    assert failed(claim) == ["prompt baseline", "no better arm"]
    better = claim.controls["prompt baseline"]
    assert isinstance(better, Estimate)
    assert better.high < 0.0


def test_an_extracted_vector_as_good_is_not_supported() -> None:
    study = gain()
    for more, verdicts in ((1.0, ("not supported", "inconclusive")), (2.0, ("not supported",))):
        claim = gained(with_arm(study, EXTRACTED, study.arms[EXTRACTED] + more))
        assert claim.verdict in verdicts
        assert failed(claim)[:2] == ["interval excludes zero", EXTRACTED]
        assert ("no better arm" in failed(claim)) == (more == 2.0)


def test_a_gain_that_is_open_against_one_arm_and_refuted_by_another_is_not_left_open() -> None:
    study = gain(0.0, 0)
    assert gained(study).verdict == "inconclusive"
    prompt = np.asarray(study.arms["prompt baseline"]) + 3.0
    refuted = gained(with_arm(study, "prompt baseline", prompt))
    assert status(refuted, "no better arm") == "failed"
    assert refuted.verdict == "not supported"


@pytest.mark.parametrize(("seeds", "verdict"), [(MIN_SEEDS, "supported"), (2, "not testable")])
def test_fewer_than_three_seeds_are_not_testable(seeds: int, verdict: str) -> None:
    claim = gained(gain(seeds=seeds))
    assert claim.verdict == verdict
    assert missing(claim) == ([] if verdict == "supported" else ["search seeds"])


@pytest.mark.parametrize(("n", "verdict"), [(8, "supported"), (7, "not testable")])
def test_fewer_than_eight_questions_are_not_testable(n: int, verdict: str) -> None:
    claim = gained(gain(5.0, n=n))
    assert claim.verdict == verdict
    assert missing(claim) == ([] if verdict == "supported" else ["sample size"])


def weakest(effect: float, looks: int) -> Claim:
    return gained(gain(effect), looks=looks)


def test_many_searched_vectors_make_one_weak_gain_not_enough() -> None:
    """Between the plain interval and the one widened for 30 looks."""
    effects = [e for e in np.arange(0.1, 0.8, 0.02) if weakest(float(e), 1).verdict == "supported"]
    weak = float(effects[0])
    assert "multiplicity" not in [check.name for check in weakest(weak, 1).checks]
    claim = weakest(weak, 30)
    assert failed(claim) == ["multiplicity"]
    assert claim.verdict == "not supported"
    assert weakest(3.0, 30).verdict == "supported"


def test_the_multiplicity_check_is_that_of_the_weakest_arm() -> None:
    study = gain(3.0)
    close = with_arm(study, "prompt baseline", study.arms["prompt baseline"] + 3.0)
    (check,) = [one for one in gained(close, looks=4).checks if one.name == "multiplicity"]
    assert check.status == "failed"
    assert "98.75 % interval" in check.observed
    gone = gained(without_arm(study, "prompt baseline"), looks=4)
    assert status(gone, "multiplicity") == "missing"


def test_a_smaller_alpha_widens_the_intervals_of_every_look() -> None:
    def check(**changes: Any) -> str:
        found = {one.name: one.observed for one in gained(gain(3.0), **changes).checks}
        return found.get("multiplicity", "none")

    assert check() == "none"
    assert "98.75 % interval" in check(looks=4)
    assert "99.5 % interval" in check(looks=4, alpha=0.02)
    assert "99 % interval" in check(alpha=0.01)


@pytest.mark.parametrize("alpha", [0.0, -0.01, 0.051, 1.0])
def test_an_alpha_that_is_laxer_is_refused(alpha: float) -> None:
    with pytest.raises(BadInputError, match=r"alpha must lie in \(0, 0\.05\][\s\S]*fix: "):
        gained(gain(), alpha=alpha)


# --- numbers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0.9, 0.95])
def test_one_row_is_scipys_one_sample_t_interval(level: float) -> None:
    values = np.random.default_rng(0).normal(0.3, 1.0, (1, 25))
    found = two_way_mean(values, unit="score", level=level)
    reference = stats.ttest_1samp(values[0], 0.0).confidence_interval(level)
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((reference.low, reference.high))
    assert (found.n, found.n_clusters) == (25, 25)


def test_two_ways_by_hand() -> None:
    """Three seeds, four questions; means of 2, 4 and 6, and of 3, 3.5, 4.5 and 5 by column."""
    table = np.array([[1.0, 1.5, 2.5, 3.0], [3.0, 3.5, 4.5, 5.0], [5.0, 5.5, 6.5, 7.0]])
    by_seed = 4.0 / 3  # variance of 2, 4, 6 over three seeds
    by_question = (1.0 + 0.25 + 0.25 + 1.0) / 3 / 4
    variance = by_seed + by_question
    df = variance**2 / (by_seed**2 / 2 + by_question**2 / 3)
    half = stats.t.ppf(0.975, df) * np.sqrt(variance)
    found = two_way_mean(table, unit="score")
    assert (found.value, found.low, found.high) == pytest.approx((4.0, 4.0 - half, 4.0 + half))
    assert (found.n, found.n_clusters) == (12, 4)
    assert "4 questions and 3 and 1 seeds" in found.method


@pytest.mark.parametrize("value", [0.5, -0.1, 1e-6])
def test_a_value_without_any_variance_is_unscored(value: float) -> None:
    """Of 0.1 too, whose mean is rounded: rounding is no variance."""
    found = mean_advantage(np.full((3, 7), value), np.zeros((1, 7)), unit="score")
    assert isinstance(found, Unscored)
    assert found.reason.startswith("no variance")
    noisy = np.full((3, 7), value) + 1e-9 * np.random.default_rng(0).standard_normal((3, 7))
    assert two_way_mean(noisy, unit="score").low < value  # meta: the smallest variance counts


@pytest.mark.parametrize("value", [0.0, 0.1])
def test_arms_that_are_the_same_everywhere_are_a_point_at_zero(value: float) -> None:
    found = mean_advantage(np.full((3, 7), value), np.full((1, 7), value), unit="score")
    assert isinstance(found, Estimate)
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)


def test_arms_without_variance_leave_their_checks_missing() -> None:
    study = gain()
    flat = replace(
        study,
        searched=np.ones_like(study.searched),
        arms={name: np.zeros_like(arm) for name, arm in study.arms.items()},
    )
    claim = gained(flat, looks=3)
    assert claim.verdict == "not testable"
    assert {"interval excludes zero", "multiplicity", "effect", *ARMS} <= set(missing(claim))
    assert claim.detectable is None
    json.dumps(claims_json([claim]), allow_nan=False)
    equal = gained(replace(flat, searched=np.zeros_like(study.searched)))
    assert equal.verdict == "not supported"
    assert equal.detectable is None


@pytest.mark.parametrize(("by_seed", "by_question"), [(0.5, 0.5), (0.0, 1.0), (1.0, 0.0)])
def test_the_interval_covers_whatever_varies(by_seed: float, by_question: float) -> None:
    """Seeds and questions of either size: at least the coverage asked for, but for chance."""
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(500):
        table = by_seed * rng.standard_normal((5, 1)) + by_question * rng.standard_normal((1, 30))
        found = two_way_mean(table + 0.5 * rng.standard_normal((5, 30)), unit="score")
        covered += found.low <= 0.0 <= found.high
    assert covered >= stats.binom.ppf(0.001, 500, 0.95)


def test_questions_alone_would_be_too_sure_of_a_search_that_is_a_draw() -> None:
    """Meta-test: seeds are a sample. Searches that differ by luck fool an interval of questions."""
    rng = np.random.default_rng(4)
    fooled, kept = 0, 0
    for _ in range(200):
        table = rng.standard_normal((4, 1)) + 0.5 * rng.standard_normal((4, 60))
        fooled += two_way_mean(table.mean(axis=0, keepdims=True), unit="score").low > 0.0
        kept += two_way_mean(table, unit="score").low > 0.0
    assert fooled > 0.3 * 200
    assert kept <= stats.binom.ppf(0.999, 200, 0.025)


def test_each_advantage_is_that_of_its_arm() -> None:
    study = gain()
    claim = gained(study)
    for name, arm in study.arms.items():
        expected = mean_advantage(study.searched, arm, unit=estimate(claim).unit)
        assert isinstance(expected, Estimate)
        assert claim.controls[name] == expected
        assert expected.value == pytest.approx(study.searched.mean() - arm.mean())
    assert claim.effect == claim.controls[EXTRACTED]


@pytest.mark.parametrize("arm_seeds", [5, 4, 3, 2])
def test_an_arm_with_other_seeds_keeps_the_error_rate(arm_seeds: int) -> None:
    """Its seeds are a sample too, however many there are."""
    rng = np.random.default_rng(8)
    fooled = 0
    for _ in range(600):
        sides = [
            rng.standard_normal((k, 1)) + 0.5 * rng.standard_normal((k, 60)) for k in (5, arm_seeds)
        ]
        found = mean_advantage(*sides, unit="score")
        assert isinstance(found, Estimate)
        fooled += found.low > 0.0
    assert fooled <= stats.binom.ppf(0.999, 600, 0.025)


def test_the_rank_among_random_directions_is_shown_and_does_not_decide() -> None:
    study = gain()
    assert study.null is not None
    written: Any = gained(study).to_json()["nulls"]
    means = study.null.mean(axis=1)
    expected = stats.percentileofscore(means, study.searched.mean(), kind="mean") / 100
    assert written["random directions"]["percentile"] == pytest.approx(expected)
    for null in (None, study.null + 5.0):
        claim = gained(replace(study, null=null))
        assert claim.verdict == "supported"
    assert isinstance(gained(replace(study, null=None)).nulls["random directions"], Unscored)


def test_what_was_detectable_is_that_of_the_effects_interval() -> None:
    study = gain()
    claim = gained(study)
    found = claim.detectable
    assert found is not None
    se = estimate(claim).width / 2 / stats.t.ppf(0.975, 39)
    power = stats.nct.sf(stats.t.ppf(0.975, 39), 39, found.effect / se)
    assert (found.n, found.unit, float(power)) == (40, "score", pytest.approx(0.8))
    assert gained(without_arm(study, EXTRACTED)).detectable is None


def test_seeds_that_differ_make_less_detectable() -> None:
    """The questions' differences of means stay as they are; only the seeds move apart."""
    study = gain()
    apart = study.searched + np.array([[-1.0], [1.0], [-1.0], [1.0]])
    near, far = gained(study).detectable, gained(replace(study, searched=apart)).detectable
    assert near is not None
    assert far is not None
    assert far.effect > 3 * near.effect


def test_claims_carry_every_required_check_and_are_strict_json() -> None:
    claims = [gained(gain(), id="one"), gained(without_arm(gain(), EXTRACTED), id="two")]
    json.dumps(claims_json(claims), allow_nan=False)
    assert set(REQUIRED_CHECKS["gain"]) <= {check.name for check in claims[0].checks}


# --- what is refused ------------------------------------------------------------------------------


def test_a_question_that_was_searched_or_validated_on_is_refused() -> None:
    with pytest.raises(BadInputError, match=r"Questions: [\s\S]*1 shared: test-3"):
        gain(chosen_on=("train-0", "test-3"))


def test_a_search_made_on_no_questions_is_refused() -> None:
    with pytest.raises(BadInputError, match=r"has questions that it was made on[\s\S]*fix: "):
        gain(chosen_on=())


@pytest.mark.parametrize(
    ("changes", "error", "sentence"),
    [
        ({"arms": {"promt baseline": np.zeros((1, 40))}}, BadInputError, "valid: prompt baseline"),
        ({"arms": {ARMS[1]: np.zeros((4, 39))}}, MismatchError, "was scored on other questions"),
        ({"test": ("a", "b")}, MismatchError, "Every test question has one id"),
    ],
)
def test_arms_that_do_not_fit_are_refused(
    changes: dict[str, Any], error: type[BadInputError], sentence: str
) -> None:
    with without_type_checks(), pytest.raises(error, match=sentence):
        gain(**changes)
    with without_type_checks(), pytest.raises(error, match="fix: "):
        gain(**changes)


def test_one_question_and_scores_that_are_not_finite_are_refused() -> None:
    with pytest.raises(BadInputError, match="number of questions must be at least 2"):
        two_way_mean(np.zeros((3, 1)), unit="score")
    with pytest.raises(BadInputError, match="scores must be finite"):
        two_way_mean(np.full((3, 2), np.nan), unit="score")


def test_questions_that_are_one_and_random_directions_on_others_are_refused() -> None:
    study = gain()
    assert study.null is not None
    for changes in ({"test": study.test[:1] * len(study.test)}, {"null": study.null[:, :3]}):
        with (
            without_type_checks(),
            pytest.raises(MismatchError, match=r"test question[\s\S]*fix: "),
        ):
            replace(study, **changes)


def test_near_copies_of_a_question_are_one_question() -> None:
    """Four questions fifteen times each are four, and too few."""
    rng = np.random.default_rng(0)
    copies = np.tile(rng.normal(1.0, 0.3, size=(5, 4)), (1, 15)) + 0.01 * rng.normal(size=(5, 60))
    study = gain(n=60, seeds=5, searched=copies, arms={name: np.zeros((1, 60)) for name in ARMS})
    assert gained(study).verdict == "supported"
    grouped = replace(study, groups=tuple(f"g{i % 4}" for i in range(60)))
    assert gained(grouped).verdict == "not testable"
    assert gained(grouped).effect.n_clusters == 4
    alone = replace(study, groups=tuple(f"g{i}" for i in range(60)))
    assert gained(alone).effect.width == pytest.approx(gained(study).effect.width)


def test_scores_without_seeds_are_refused_in_words() -> None:
    with without_type_checks(), pytest.raises(MismatchError, match="one row per seed"):
        gain(searched=np.zeros(40))
