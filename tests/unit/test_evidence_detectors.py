"""Detectors side by side: cross-fitted places, out-of-fold classifiers, rates and thresholds."""

from __future__ import annotations

import numpy as np
import pytest

from trait_probe.errors import BadInputError, MismatchError
from trait_probe.evidence import detectors
from trait_probe.evidence.auc import auroc
from trait_probe.evidence.detection import roc_points, threshold_at_fpr
from trait_probe.evidence.detectors import Detector, Labelled, Places
from trait_probe.evidence.estimate import Estimate, Unscored
from trait_probe.evidence.splits import Split, split_by_group


def grouped(n_groups: int = 40, each: int = 4, seed: int = 0) -> tuple[Labelled, np.ndarray]:
    """Labels that alternate within groups, and noise."""
    labels = np.tile([True, False], n_groups * each // 2)
    groups = tuple(f"g{i // each}" for i in range(n_groups * each))
    return Labelled(labels, groups), np.random.default_rng(seed).standard_normal(len(labels))


def halves(data: Labelled) -> Split:
    return split_by_group(data.groups, seed=0)


def test_each_half_is_read_where_the_other_half_chose():
    data, noise = grouped()
    split = halves(data)
    scores = np.stack([noise, noise], axis=1)
    # Place 0 tells the selection rows apart, place 1 the report rows.
    scores[split.selection, 0] += 10.0 * data.labels[split.selection]
    scores[split.report, 1] += 10.0 * data.labels[split.report]
    places = detectors.crossed_places(scores, data.labels, split)
    assert places == Places(report=0, selection=1)
    found = detectors.crossed(scores, places, split).scores
    # So neither half is flattered by what it chose itself.
    assert np.array_equal(found[split.report], scores[split.report, 0])
    assert np.array_equal(found[split.selection], scores[split.selection, 1])
    assert abs(auroc(*data.sides(found)) - 0.5) < 0.12


@pytest.mark.slow
def test_intervals_of_cross_fitted_scores_cover_chance_on_noise():
    """Half of the groups choose among eight places for the other half, and nothing is there."""
    rng = np.random.default_rng(0)
    above = covered = 0
    for _ in range(400):
        labels = rng.random(120) < 0.5
        data = Labelled(labels, tuple(map(str, range(120))))
        scores = rng.standard_normal((120, 8))
        split = split_by_group(data.groups, seed=0)
        places = detectors.crossed_places(scores, labels, split)
        found = detectors.area(detectors.crossed(scores, places, split), data)
        assert isinstance(found, Estimate)
        above += found.low > 0.5
        covered += found.low <= 0.5 <= found.high
    assert above <= 17  # 2.5 % of 400 are 10; 17 has a chance of one in fifty
    assert covered >= 0.94 * 400


def test_one_place_needs_no_wider_interval():
    data, noise = grouped()
    split = halves(data)
    one = noise[:, None]
    assert detectors.crossed(one, Places(0, 0), split).inflation == 1.0


def test_a_half_with_one_label_cannot_choose():
    data, noise = grouped()
    split = halves(data)
    labels = data.labels.copy()
    labels[split.selection] = True
    with pytest.raises(BadInputError, match="rows of both labels"):
        detectors.crossed_places(noise[:, None], labels, split)


def test_classifiers_find_nothing_in_noise_and_what_is_there():
    data, noise = grouped(120)
    columns = np.random.default_rng(1).standard_normal((len(noise), 5))
    chance = detectors.combined_detector(columns, data)
    assert isinstance(chance, Detector)
    assert chance.inflation > 2.0
    low = detectors.area(chance, data)
    assert isinstance(low, Estimate)
    assert low.low < 0.5 < low.high
    columns[:, 0] += 1.0 * data.labels
    columns[:, 1] -= 1.0 * data.labels
    both = detectors.combined_detector(columns, data)
    assert isinstance(both, Detector)
    single = Detector(columns[:, 0])
    gain = detectors.advantage(both, single, data)
    assert isinstance(gain, Estimate)
    assert gain.low > 0.0


def test_words_and_lengths_are_told_by_their_own_detectors():
    data, _ = grouped(40)
    rng = np.random.default_rng(2)
    lengths = rng.integers(5, 9, len(data.labels)) + 3 * data.labels
    texts = [f"{'bad' if label else 'good'} thing {i % 7}" for i, label in enumerate(data.labels)]
    words = detectors.words_detector(texts, lengths, data)
    length = detectors.length_detector(lengths, data)
    assert isinstance(words, Detector)
    assert auroc(*data.sides(words.scores)) == 1.0
    assert isinstance(length, Detector)
    assert auroc(*data.sides(length.scores)) > 0.8
    same = ["the same words"] * len(texts)
    nothing = detectors.words_detector(same, np.full(len(texts), 5), data)
    assert isinstance(nothing, Detector)
    assert auroc(*data.sides(nothing.scores)) == 0.5


def test_out_of_fold_scores_have_wider_intervals():
    data, noise = grouped()
    scores = noise + data.labels
    plain = detectors.area(Detector(scores), data)
    folded = detectors.area(Detector(scores, 2.25), data)
    assert isinstance(plain, Estimate)
    assert isinstance(folded, Estimate)
    assert folded.value == plain.value
    assert folded.width > plain.width


def test_few_groups_are_unscored():
    data = Labelled(np.array([True, True, False]), ("a", "a", "b"))
    rated = detectors.rate(Detector(np.arange(3.0)), data, n_boot=200, seed=0)
    assert isinstance(rated.auroc, Unscored)
    assert all(isinstance(value, Unscored) for value in rated.tpr.values())
    assert isinstance(
        detectors.advantage(Detector(np.ones(3)), Detector(np.ones(3)), data), Unscored
    )


def test_rates_are_those_of_the_detector_and_rows_can_be_chosen():
    data, noise = grouped(50)
    detector = Detector(noise + 2.0 * data.labels)
    rated = detectors.rate(detector, data, n_boot=300, seed=0)
    assert set(rated.tpr) == {"0.01", "0.05"}
    assert isinstance(rated.auroc, Estimate)
    kept = np.arange(len(data.labels)) < 60
    fewer = detectors.area(detector.where(kept), data.where(kept))
    assert isinstance(fewer, Estimate)
    assert fewer.n == 60


def test_labels_have_one_group_each():
    with pytest.raises(MismatchError):
        Labelled(np.array([True, False]), ("a",))


@pytest.mark.parametrize("fpr", [0.01, 0.05, 0.25])
def test_a_threshold_flags_no_more_than_it_may(fpr):
    negative = np.random.default_rng(0).standard_normal(400).round(1)  # with ties
    threshold = threshold_at_fpr(negative, fpr)
    assert isinstance(threshold, float)
    assert (negative > threshold).mean() <= fpr
    lower = np.unique(negative[negative < threshold])[-1]
    assert (negative > lower).mean() > fpr


def test_a_threshold_needs_enough_negatives():
    assert isinstance(threshold_at_fpr(np.arange(99.0), 0.01), Unscored)
    assert isinstance(threshold_at_fpr(np.arange(100.0), 0.01), float)


def test_a_curve_runs_from_corner_to_corner_and_keeps_small_rates():
    rng = np.random.default_rng(0)
    above, below = rng.standard_normal(5000) + 1.0, rng.standard_normal(5000)
    false, true = roc_points(above, below, most=100)
    assert (false[0], true[0], false[-1], true[-1]) == (0.0, 0.0, 1.0, 1.0)
    assert (np.diff(false) >= 0).all()
    assert (np.diff(true) >= 0).all()
    assert len(false) <= 101
    assert (false[1:] < 0.01).sum() > 10
    area = np.trapezoid(true, false)
    assert abs(area - auroc(above, below)) < 0.01
