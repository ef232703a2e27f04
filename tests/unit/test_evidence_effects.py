"""Effect sizes against closed forms, scipy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats
from sklearn.metrics import roc_auc_score, roc_curve
from study_builders import without_type_checks

from trait_probe.errors import BadInputError, MismatchError
from trait_probe.evidence.auc import auroc
from trait_probe.evidence.effects import (
    YearScores,
    cohens_d,
    difference_of_differences,
    hedges_g,
    paired_d,
    pretend,
    share_reversed,
    tpr_at_fpr,
)


def two_groups(seed: int, m: int = 30, n: int = 45) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(0.7, 1.3, m), rng.normal(0.0, 1.0, n)


def test_cohens_d_is_the_t_statistic_rescaled() -> None:
    positive, negative = two_groups(0)
    t = stats.ttest_ind(positive, negative).statistic
    assert cohens_d(positive, negative) == pytest.approx(t * np.sqrt(1 / 30 + 1 / 45))


def test_paired_d_is_the_paired_t_statistic_rescaled() -> None:
    differences = two_groups(1)[0]
    expected = stats.ttest_1samp(differences, 0.0).statistic / np.sqrt(30)
    assert paired_d(differences) == pytest.approx(expected)


@pytest.mark.parametrize("n", [2, 5, 40])
def test_hedges_correction_is_the_mean_inverse_chi(n: int) -> None:
    """E[d] = delta / J, where 1 / J = E[sqrt(df / chi2_df)]: integrated, no gamma functions."""
    df = 2 * n - 2
    inverse, _ = integrate.quad(lambda x: np.sqrt(df / x) * stats.chi2.pdf(x, df), 0, np.inf)
    positive, negative = two_groups(2, n, n)
    expected = cohens_d(positive, negative) / inverse
    assert hedges_g(positive, negative) == pytest.approx(expected, rel=1e-6)


def test_identical_constants_differ_by_exactly_zero() -> None:
    constant = np.full(4, 2.5)
    assert cohens_d(constant, constant) == hedges_g(constant, constant) == 0.0
    assert paired_d(np.zeros(4)) == 0.0


def test_a_difference_without_variance_is_refused_not_infinite() -> None:
    with pytest.raises(BadInputError, match="needs variance within the groups"):
        cohens_d(np.full(3, 1.0), np.full(3, 0.0))
    with pytest.raises(BadInputError, match="needs variance within the groups"):
        paired_d(np.full(7, 0.1))


@pytest.mark.parametrize("fpr", [0.01, 0.05, 0.29, 0.5])
@pytest.mark.parametrize("rounded", [False, True])
def test_tpr_at_fpr_is_the_best_real_threshold_of_sklearn(fpr: float, rounded: bool) -> None:
    rng = np.random.default_rng(5)
    positive, negative = rng.normal(1.0, 1.0, 80), rng.normal(0.0, 1.0, 100)
    if rounded:
        positive, negative = positive.round(), negative.round()
    labels = np.repeat([1, 0], [80, 100])
    false, true, _ = roc_curve(
        labels, np.concatenate([positive, negative]), drop_intermediate=False
    )
    assert tpr_at_fpr(positive, negative, fpr) == pytest.approx(true[false <= fpr + 1e-12].max())


def test_a_rate_finer_than_the_negatives_is_refused() -> None:
    with pytest.raises(BadInputError, match=r"cannot be measured[\s\S]*100 negatives or more"):
        tpr_at_fpr(np.ones(5), np.zeros(99), 0.01)
    assert tpr_at_fpr(np.ones(5), np.zeros(100), 0.01) == 1.0


def test_a_high_auroc_is_no_threshold() -> None:
    """Trap: 3 % of benign prompts score highest of all. AUROC 0.97, yet nothing at 1 % FPR."""
    negative = np.concatenate([np.zeros(97), np.full(3, 9.0)])
    positive = np.ones(50)
    labels = np.repeat([1, 0], [50, 100])
    assert roc_auc_score(labels, np.concatenate([positive, negative])) == pytest.approx(0.97)
    assert tpr_at_fpr(positive, negative, 0.01) == 0.0
    assert tpr_at_fpr(positive, negative, 0.05) == 1.0


@pytest.mark.parametrize(
    ("differences", "share"),
    [
        ([3.0, 1.0, -1.0, 0.0], 0.25),
        ([-3.0, -1.0, 1.0, 1.0], 0.5),
        ([0.0, 0.0], 0.0),
        ([-2.0, 1.0, 1.0], 2 / 3),
        ([5.0], 0.0),
    ],
)
def test_share_reversed(differences: list[float], share: float) -> None:
    assert share_reversed(np.array(differences)) == pytest.approx(share)


# --- difference of differences --------------------------------------------------------------------


def design(seed: int, n: int = 12, years: int = 4) -> YearScores:
    rng = np.random.default_rng(seed)
    return YearScores(rng.normal(size=n), rng.normal(size=(n, years)))


def shifted(scores: YearScores, offset: float) -> YearScores:
    return YearScores(scores.trigger + offset, scores.controls + offset)


def test_difference_of_differences_by_hand() -> None:
    suspect = YearScores(np.array([5.0, 2.0]), np.array([[1.0, 3.0], [1.0, 1.0]]))
    clean = YearScores(np.array([2.0, 2.0]), np.array([[0.0, 2.0], [2.0, 2.0]]))
    result = difference_of_differences(suspect, clean, scale=2.0)
    assert result == pytest.approx([1.0, 0.5])


def test_identical_models_give_exactly_zero() -> None:
    assert not difference_of_differences(design(0), design(0), scale=0.3).any()


def test_a_fine_tuning_offset_cancels() -> None:
    """Trap: any fine-tune shifts every projection; the raw shift is d > 3, this one is nothing."""
    suspect = shifted(design(0), 50.0)
    result = difference_of_differences(suspect, design(0), scale=1.0)
    assert result == pytest.approx(0.0, abs=1e-12)
    assert (suspect.trigger - design(0).trigger).min() > 49


def test_what_the_trigger_words_do_in_any_model_cancels() -> None:
    suspect, clean = design(0), design(1)
    with_words = [YearScores(s.trigger + 7.0, s.controls) for s in (suspect, clean)]
    assert difference_of_differences(*with_words, scale=1.0) == pytest.approx(
        difference_of_differences(suspect, clean, scale=1.0)
    )


def test_pretend_plays_one_control_against_the_others_without_the_trigger() -> None:
    scores = design(2)
    played = pretend(scores, 1)
    assert np.array_equal(played.trigger, scores.controls[:, 1])
    assert np.array_equal(played.controls, scores.controls[:, [0, 2, 3]])


def test_pretend_needs_two_controls_and_an_existing_one() -> None:
    with pytest.raises(BadInputError, match="at least two control conditions"):
        pretend(design(0, years=1), 0)
    with pytest.raises(BadInputError, match=r"no such control[\s\S]*valid: 0, 1, 2, 3"):
        pretend(design(0), 4)


def test_designs_that_do_not_match_are_refused() -> None:
    with pytest.raises(MismatchError, match="same carriers and control years"):
        difference_of_differences(design(0), design(0, years=3), scale=1.0)
    for scale in (0.0, -1.0, np.inf):
        with pytest.raises(BadInputError, match="scale must be a positive number"):
            difference_of_differences(design(0), design(1), scale=scale)


def test_scores_without_controls_or_with_nan_are_refused() -> None:
    with pytest.raises(BadInputError, match="at least one control"):
        YearScores(np.zeros(3), np.zeros((3, 0)))
    with pytest.raises(BadInputError, match=r"control scores must be finite[\s\S]*1 of 3"):
        YearScores(np.zeros(3), np.array([[0.0], [np.nan], [0.0]]))


@pytest.mark.parametrize(("m", "n"), [(3, 7), (6, 10), (7, 7)])
def test_equal_constants_that_no_float_holds_exactly_differ_by_zero(m: int, n: int) -> None:
    assert cohens_d(np.full(m, 0.1), np.full(n, 0.1)) == 0.0
    assert cohens_d(np.full(m, 0.3), np.full(n, 0.1) * 3) == 0.0
    assert hedges_g(np.full(m, 0.1), np.full(n, 0.1)) == 0.0
    with pytest.raises(BadInputError, match="needs variance within the groups"):
        cohens_d(np.full(m, 0.1), np.full(n, 0.2))


def test_lists_and_words_are_refused_in_words() -> None:
    for bad in ([1.0, 2.0], np.array(["a", "b"]), np.array(1.0)):
        with without_type_checks(), pytest.raises(BadInputError, match="numpy array of numbers"):
            cohens_d(bad, np.ones(2))
        with without_type_checks(), pytest.raises(BadInputError, match="numpy array of numbers"):
            auroc(bad, np.ones(2))
