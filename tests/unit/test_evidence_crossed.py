"""The 2x2 of matched pairs: laws, and oracles written out."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from trait_probe.errors import BadInputError
from trait_probe.evidence.crossed import (
    crossed,
    pair_means,
    share,
    too_few_of_a_class,
    trajectory,
    within_sd,
)
from trait_probe.evidence.estimate import Unscored
from trait_probe.evidence.significance import permutation, relabelings
from trait_probe.vectors.topics import topic_direction

PAIRS = tuple(f"pair-{i:02d}" for i in range(12))


def four(seed: int = 0) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    return tuple(rng.standard_normal(len(PAIRS)) + shift for shift in (6.0, 4.0, 0.0, 0.5))


def test_every_effect_is_the_difference_it_is_named_after():
    cells = four()
    found = crossed(cells, PAIRS, unit=2.0, n=500, seed=0)
    c1, c2, _, c4 = (cell / 2.0 for cell in cells)
    assert found.harm_with.estimate.value == pytest.approx((c2 - c4).mean())
    assert found.treatment_harmful.estimate.value == pytest.approx((c2 - c1).mean())
    assert found.interaction.estimate.value == pytest.approx(
        found.harm_with.estimate.value - found.harm_without.estimate.value
    )
    t = stats.ttest_1samp(c2 - c4, 0.0).confidence_interval(0.95)
    assert (found.harm_with.estimate.low, found.harm_with.estimate.high) == pytest.approx(tuple(t))
    assert found.cells[2].value == pytest.approx(0.0)


def test_swapping_the_sides_turns_the_signs():
    c1, c2, c3, c4 = four()
    found = crossed((c1, c2, c3, c4), PAIRS, unit=1.0, n=500, seed=0)
    turned = crossed((c3, c4, c1, c2), PAIRS, unit=1.0, n=500, seed=0)
    assert turned.interaction.estimate.value == pytest.approx(-found.interaction.estimate.value)
    assert turned.harm_with.estimate.low == pytest.approx(-found.harm_with.estimate.high)
    assert found.harm_with.p < 0.01 < 0.9 < turned.harm_with.p


def test_what_a_pair_shares_cancels():
    cells = four()
    shared = np.random.default_rng(5).standard_normal(len(PAIRS)) * 100
    found = crossed(cells, PAIRS, unit=1.0, n=200, seed=0)
    moved = crossed(tuple(cell + shared for cell in cells), PAIRS, unit=1.0, n=200, seed=0)
    assert moved.interaction.estimate.high == pytest.approx(found.interaction.estimate.high)
    assert moved.harm_with.p == found.harm_with.p


def test_pair_means_average_phrasings_and_need_both_sides():
    scores = np.array([[1.0], [3.0], [10.0], [5.0], [7.0]])
    labels = np.array([True, True, False, True, False])
    found = pair_means(scores, labels, ["b", "b", "b", "a", "a"])
    assert found.pairs == ("a", "b")
    assert found.difference[:, 0].tolist() == [-2.0, -8.0]
    with pytest.raises(BadInputError, match="rows of both labels"):
        pair_means(scores, labels, ["b", "b", "b", "a", "c"])


def test_the_unit_is_the_pooled_spread_around_the_cells():
    rng = np.random.default_rng(1)
    rows = np.concatenate([rng.standard_normal((50, 2)), rng.standard_normal((50, 2)) * 3 + 100])
    cells = ["a"] * 50 + ["b"] * 50
    expected = np.sqrt((rows[:50].var(axis=0, ddof=1) + rows[50:].var(axis=0, ddof=1)) / 2)
    assert within_sd(rows, cells) == pytest.approx(expected)
    with pytest.raises(BadInputError, match="do not vary within the cells"):
        within_sd(np.array([[1.0], [1.0], [2.0], [2.0]]), ["a", "a", "b", "b"])


def test_paths_part_where_every_later_shared_place_is_above_zero():
    rng = np.random.default_rng(2)
    means = np.array([3.0, 0.0, 2.0, 2.0, 0.0])
    values = rng.standard_normal((40, 5)) * 0.5 + means
    names = [f"p{i}" for i in range(40)]
    alike = (True, True, True, True, False)
    found = trajectory(values, names, alike, unit=np.ones(5), n=500, seed=0)
    assert found.parts_at == 2
    flat = trajectory(
        values * 0 + rng.standard_normal((40, 5)), names, alike, unit=np.ones(5), n=500, seed=0
    )
    assert flat.parts_at is None
    assert found.bands.looks == 5


def test_a_share_needs_groups_and_counts_them():
    flags = np.array([True, True, False, False])
    found = share(flags, ["a", "a", "b", "b"])
    assert (found.value, found.n, found.n_clusters) == (0.5, 4, 2)
    assert found.low < 0.1
    assert found.high > 0.9
    assert isinstance(share(flags, ["a"] * 4), Unscored)


def test_too_few_pairs_of_an_outcome_are_named():
    labels = np.array([True] * 9 + [False] * 9)
    names = [f"p{i}" for i in range(18)]
    assert too_few_of_a_class(labels, names) is None
    assert "1 pairs" in str(too_few_of_a_class(labels, ["one"] * 9 + names[9:]))


def test_rows_of_one_block_keep_one_label_between_them():
    labels = np.array([True, True, False, False] * 3)
    pairs = [f"p{i // 4}" for i in range(12)]
    blocks = [f"p{i // 4} {labels[i]}" for i in range(12)]
    drawn = relabelings(labels, pairs, n=200, seed=0, blocks=blocks)
    for name in set(blocks):
        rows = [i for i, own in enumerate(blocks) if own == name]
        assert (drawn[:, rows] == drawn[:, rows[:1]]).all()
    assert {tuple(row[::4].tolist()) for row in drawn} == set(
        itertools.product((True, False), repeat=3)
    )
    with pytest.raises(BadInputError, match="one label"):
        relabelings(labels, pairs, n=2, seed=0, blocks=pairs)


def test_single_rows_as_blocks_are_the_same_as_none():
    labels = np.array([True, False] * 6)
    pairs = [f"p{i // 2}" for i in range(12)]
    names = [f"row-{i:02d}" for i in range(12)]
    one = relabelings(labels, pairs, n=50, seed=3)
    assert (one == relabelings(labels, pairs, n=50, seed=3, blocks=names)).all()


def test_phrasings_do_not_make_a_permutation_test_surer():
    """Eight pairs without any effect but their own noise, sixteen phrasings of each prompt."""
    hits = {False: 0, True: 0}
    for seed in range(60):
        rng = np.random.default_rng(seed)
        scores = np.repeat(rng.standard_normal(16), 16) + 0.1 * rng.standard_normal(256)
        labels = np.tile(np.repeat([True, False], 16), 8)
        pairs = [f"p{i // 32}" for i in range(256)]
        for kept in hits:
            blocks = [f"{p} {x}" for p, x in zip(pairs, labels, strict=True)] if kept else None
            found = permutation(
                scores, labels, pairs, statistic="auroc", n=99, seed=seed, blocks=blocks
            )
            hits[kept] += found.p <= 0.05
    assert hits[True] <= 8  # 5 % of 60, and what chance allows
    assert hits[False] > 15  # what it would be without


def test_a_topic_direction_is_apart_from_what_the_sides_differ_by():
    rng = np.random.default_rng(4)
    topic, harm = np.eye(6)[0], np.eye(6)[1]
    sizes = rng.standard_normal(20)
    known = rng.random(20) < 0.5  # the model recognizes the harm of half of the topics
    rows, labels, pairs = [], [], []
    for i in range(20):
        for side in (True, False):
            noise = 0.05 * rng.standard_normal(6)
            rows.append(sizes[i] * topic + 8.0 * (side and known[i]) * harm + noise)
            labels.append(side)
            pairs.append(f"p{i:02d}")
    found = topic_direction(np.array(rows, dtype=np.float32), np.array(labels), pairs)
    assert abs(found @ topic) > 0.99
    assert abs(found @ harm) < 0.05
    with pytest.raises(BadInputError, match="three pairs"):
        topic_direction(np.array(rows[:4], dtype=np.float32), np.array(labels[:4]), pairs[:4])
