"""What words predict of a projection: a telling word found, noise not, report rows left out."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler
from study_builders import without_type_checks

from trait_probe.errors import BadInputError, MismatchError
from trait_probe.evidence.baselines import SplitScores
from trait_probe.evidence.estimate import Unscored
from trait_probe.evidence.splits import Split, split_by_group
from trait_probe.evidence.words import (
    PENALTIES,
    predicted_from_features,
    predicted_from_texts,
)

N = 120
GROUPS = tuple(f"family-{i // 2:02d}" for i in range(N))
SPLIT = split_by_group(GROUPS, seed=0)
RNG = np.random.default_rng(7)
HAS = RNG.random(N) < 0.5
LENGTHS = RNG.integers(8, 16, N)
TEXTS = tuple(
    " ".join(["secret"] * int(has) + [f"word{i}" for i in RNG.integers(30, size=k)])
    for has, k in zip(HAS, LENGTHS, strict=True)
)
NOISE = RNG.standard_normal(N)
READS_THE_WORD = 2.0 * HAS + 0.3 * NOISE


def from_texts(values: np.ndarray, **changes: object) -> SplitScores | Unscored:
    given: dict[str, object] = {"texts": TEXTS, "groups": GROUPS, "split": SPLIT}
    fields = {**given, **changes}
    return predicted_from_texts(
        values, fields["texts"], fields["groups"], fields["split"], lengths=LENGTHS
    )


def correlation(found: SplitScores | Unscored, values: np.ndarray) -> tuple[float, float]:
    assert isinstance(found, SplitScores)
    return (
        float(np.corrcoef(found.selection, values[SPLIT.selection])[0, 1]),
        float(np.corrcoef(found.report, values[SPLIT.report])[0, 1]),
    )


def test_a_word_that_the_projection_reads_is_found_from_sixty_rows() -> None:
    found = from_texts(READS_THE_WORD)
    assert min(correlation(found, READS_THE_WORD)) > 0.8  # the noise allows 0.96
    assert isinstance(found, SplitScores)
    assert found.report.mean() == pytest.approx(READS_THE_WORD[SPLIT.report].mean(), abs=0.3)


def test_length_is_found() -> None:
    assert min(correlation(from_texts((LENGTHS - 12.0) ** 2), (LENGTHS - 12.0) ** 2)) > 0.9


def test_words_say_nothing_of_noise_in_either_direction() -> None:
    """Not even against it: predicted out of fold, rows are not pushed away from their own mean."""
    draws = np.random.default_rng(11).standard_normal((30, N))
    within, report = np.mean([correlation(from_texts(values), values) for values in draws], axis=0)
    assert abs(within) < 0.08
    assert abs(report) < 0.08


def test_a_linear_reading_of_features_is_found_and_noise_is_not() -> None:
    features = RNG.standard_normal((N, 6))
    linear = features @ np.arange(6.0)
    assert min(correlation(predicted_from_features(linear, features, GROUPS, SPLIT), linear)) > 0.99
    low, high = correlation(predicted_from_features(NOISE, features, GROUPS, SPLIT), NOISE)
    assert max(abs(low), abs(high)) < 0.4


def test_report_rows_are_predicted_by_one_of_the_ridge_regressions() -> None:
    features = RNG.standard_normal((N, 6))
    values = features[:, 0] + NOISE
    found = predicted_from_features(values, features, GROUPS, SPLIT)
    assert isinstance(found, SplitScores)
    scaler = StandardScaler().fit(features[SPLIT.selection])
    seen, unseen = (scaler.transform(features[rows]) for rows in (SPLIT.selection, SPLIT.report))
    by_hand = [
        Ridge(alpha=alpha).fit(seen, values[SPLIT.selection]).predict(unseen) for alpha in PENALTIES
    ]
    assert any(np.allclose(found.report, expected) for expected in by_hand)


def test_values_of_report_rows_play_no_part() -> None:
    turned = READS_THE_WORD.copy()
    turned[SPLIT.report] = 99.0
    before, after = from_texts(READS_THE_WORD), from_texts(turned)
    assert isinstance(before, SplitScores)
    assert isinstance(after, SplitScores)
    np.testing.assert_array_equal(before.selection, after.selection)
    np.testing.assert_array_equal(before.report, after.report)


def test_selection_rows_are_predicted_without_their_own_family() -> None:
    """A family of two with a word of its own: in-sample it would be known, held out it is not."""
    values = np.repeat(np.random.default_rng(3).standard_normal(N // 2), 2)
    own = tuple(f"own{name} {text}" for name, text in zip(GROUPS, TEXTS, strict=True))
    within, _ = correlation(from_texts(values, texts=own), values)
    assert within < 0.4


def test_too_few_families_are_unscored() -> None:
    few = Split(np.arange(8), np.arange(8, N), 0.5, 0)
    found = from_texts(READS_THE_WORD, split=few)
    assert isinstance(found, Unscored)
    assert found.reason == "4 selection groups for 5 folds of a regression"


@pytest.mark.parametrize("n", [N - 1, 2 * N])
def test_rows_that_do_not_fit_are_refused(n: int) -> None:
    with without_type_checks(), pytest.raises(MismatchError, match="one row of features per value"):
        predicted_from_features(NOISE, np.zeros((n, 3)), GROUPS, SPLIT)


def test_bad_input_is_refused() -> None:
    with pytest.raises(MismatchError, match="texts"):
        from_texts(READS_THE_WORD, texts=TEXTS[:-1])
    with pytest.raises(BadInputError, match="must be finite"):
        from_texts(np.where(HAS, np.nan, 0.0))
    with pytest.raises(BadInputError, match="Baseline groups"):
        from_texts(READS_THE_WORD, groups=("one",) * N)
