"""Laws of direction fitting and of streamed moments, on random rows."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trait_probe.vectors import fit, geometry
from trait_probe.vectors.moments import Moments

FEW = settings(max_examples=15)
SEEDS = st.integers(0, 2**31)
ROTATABLE = ["mean_difference", "whitened_mean_difference", "pca"]


def classes(seed: int, pairs: int, d_model: int, shift: float = 1.0):
    """Correlated rows of two classes that differ along one random unit direction."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(d_model, d_model)) / d_model**0.5 + np.eye(d_model)
    planted = rng.normal(size=d_model)
    planted /= np.linalg.norm(planted)
    positive = rng.normal(size=(pairs, d_model)) @ mixing + shift * planted
    negative = rng.normal(size=(pairs, d_model)) @ mixing
    return torch.from_numpy(positive), torch.from_numpy(negative), torch.from_numpy(planted)


def rotation(seed: int, d_model: int) -> torch.Tensor:
    square = np.random.default_rng(seed + 1).normal(size=(d_model, d_model))
    return torch.from_numpy(np.linalg.qr(square)[0])


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(geometry.cosine(a.double(), b.double()[None]))


@pytest.mark.parametrize("name", ROTATABLE)
@FEW
@given(seed=SEEDS, pairs=st.sampled_from([3, 8, 40]))
def test_fitting_commutes_with_rotation(name, seed, pairs):
    positive, negative, _ = classes(seed, pairs, 6)
    Q = rotation(seed, 6)
    rotated = fit.METHODS[name](positive @ Q, negative @ Q)
    expected = fit.METHODS[name](positive, negative) @ Q
    if name == "pca":  # its sign means nothing; close singular values may swap, so compare energy
        rotated, expected = geometry.norm(rotated), geometry.norm(expected)
    torch.testing.assert_close(rotated, expected, rtol=1e-6, atol=1e-8)


@FEW
@given(seed=SEEDS)
def test_pca_rotates_with_the_rows_up_to_sign(seed):
    positive, negative, _ = classes(seed, 30, 6, shift=8.0)
    Q = rotation(seed, 6)
    rotated = fit.pca(positive @ Q, negative @ Q)
    assert abs(cosine(rotated, fit.pca(positive, negative) @ Q)) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("name", list(fit.METHODS))
@FEW
@given(seed=SEEDS)
def test_a_planted_direction_is_recovered(name, seed):
    rng = np.random.default_rng(seed)
    planted = torch.from_numpy(rng.normal(size=8))
    noise = torch.from_numpy(rng.normal(size=(2, 60, 8)))
    positive, negative = noise[0] + 4 * geometry.unit(planted), noise[1]
    found = fit.orient(fit.METHODS[name](positive, negative), positive, negative).direction
    assert cosine(found, planted) > 0.7


@pytest.mark.parametrize("name", list(fit.METHODS))
@FEW
@given(seed=SEEDS)
def test_a_common_offset_changes_nothing(name, seed):
    positive, negative, planted = classes(seed, 12, 5, shift=5.0)
    offset = 10 * planted.flip(0)
    before = fit.METHODS[name](positive, negative)
    after = fit.METHODS[name](positive + offset, negative + offset)
    assert abs(cosine(before, after)) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", list(fit.METHODS))
@FEW
@given(seed=SEEDS)
def test_swapping_the_classes_flips_the_oriented_direction(name, seed):
    positive, negative, _ = classes(seed, 12, 5, shift=5.0)
    one = fit.orient(fit.METHODS[name](positive, negative), positive, negative)
    other = fit.orient(fit.METHODS[name](negative, positive), negative, positive)
    assert cosine(one.direction, other.direction) == pytest.approx(-1, abs=1e-5)
    assert one.auc == pytest.approx(other.auc)


@FEW
@given(seed=SEEDS, sign=st.sampled_from([-1.0, 1.0]))
def test_orientation_does_not_depend_on_the_sign_it_gets(seed, sign):
    positive, negative, planted = classes(seed, 9, 5, shift=2.0)
    one, other = (fit.orient(s * planted, positive, negative) for s in (1.0, sign))
    assert one.auc == pytest.approx(other.auc)
    assert one.auc >= 0.5
    torch.testing.assert_close(one.direction, other.direction)


@FEW
@given(seed=SEEDS, pairs=st.sampled_from([2, 5, 7, 30]))
def test_whitening_agrees_between_rows_and_moments(seed, pairs):
    positive, negative, _ = classes(seed, pairs, 12)
    by_rows = fit.whitened_mean_difference(positive, negative)  # Gram matrix when 2 * pairs < 12
    by_moments = fit.whitened_mean_difference_of_moments(Moments.of(positive), Moments.of(negative))
    torch.testing.assert_close(by_rows, by_moments, rtol=1e-8, atol=1e-10)


@FEW
@given(seed=SEEDS, cuts=st.lists(st.integers(0, 30), max_size=4))
def test_streamed_moments_equal_numpy_however_the_rows_are_cut(seed, cuts):
    rows = 50 + np.random.default_rng(seed).normal(size=(30, 4)) @ np.diag([1, 5, 0.1, 100])
    blocks = np.split(rows, sorted(cuts))
    moments = functools.reduce(
        lambda so_far, block: so_far.update(torch.from_numpy(block)), blocks, Moments.empty(4)
    )
    assert moments.n == 30
    np.testing.assert_allclose(moments.mean, rows.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(moments.covariance, np.cov(rows.T), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(moments.std, rows.std(axis=0, ddof=1), rtol=1e-9)


@FEW
@given(seed=SEEDS, sizes=st.tuples(*[st.integers(0, 9)] * 3))
def test_merging_moments_is_associative_and_commutative(seed, sizes):
    rng = np.random.default_rng(seed)
    a, b, c = (Moments.of(torch.from_numpy(rng.normal(size=(size, 3)))) for size in sizes)
    left, right, back = a.merge(b).merge(c), a.merge(b.merge(c)), c.merge(b).merge(a)
    for other in (right, back):
        assert left.n == other.n == sum(sizes)
        torch.testing.assert_close(left.mean, other.mean)
        torch.testing.assert_close(left.scatter, other.scatter)
