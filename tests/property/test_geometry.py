"""Laws of the projection math, for any finite vectors, against numpy."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from trait_probe.vectors import geometry

ENTRIES = st.floats(-100, 100, width=32)


def vectors(*shape: int) -> st.SearchStrategy[torch.Tensor]:
    return arrays(np.float32, shape, elements=ENTRIES).map(torch.from_numpy)


def directions(*shape: int) -> st.SearchStrategy[torch.Tensor]:
    return vectors(*shape).filter(lambda v: bool((v.abs().amax(-1) > 1e-3).all()))


@given(vectors(3, 6), vectors(3, 6), directions(2, 6), st.floats(-4, 4, width=32))
def test_projection_is_linear(x, y, V, factor):
    whole = geometry.dot(x.double() + factor * y.double(), V.double())
    parts = geometry.dot(x.double(), V.double()) + factor * geometry.dot(y.double(), V.double())
    torch.testing.assert_close(whole, parts, rtol=1e-9, atol=1e-7)


@given(vectors(4, 6), directions(2, 6))
def test_projection_on_unit_directions_is_bounded_by_the_norm(x, V):
    scores = geometry.dot(x, geometry.unit(V))
    assert (scores.abs() <= geometry.norm(x)[:, None] * (1 + 1e-5) + 1e-5).all()


@given(directions(5, 7), directions(3, 7))
def test_cosine_equals_the_textbook_formula(x, V):
    a, b = x.double().numpy(), V.double().numpy()
    expected = a @ b.T / np.outer(np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1))
    np.testing.assert_allclose(geometry.cosine(x, V).numpy(), expected, atol=2e-6)


@given(directions(4, 6))
def test_unit_has_length_one_and_keeps_the_direction(v):
    units = geometry.unit(v)
    torch.testing.assert_close(geometry.norm(units), torch.ones(4))
    torch.testing.assert_close(units * geometry.norm(v)[:, None], v, rtol=1e-5, atol=1e-4)


@given(directions(6), st.sampled_from([1e-30, 1e-20, 1e20, 1e30]))
def test_lengths_survive_extreme_scales(v, scale):
    scaled = (v.double() * scale).float()
    assume(bool((scaled.abs().max() > 1e-37).all()))
    expected = np.linalg.norm(scaled.double().numpy())
    np.testing.assert_allclose(float(geometry.norm(scaled)), expected, rtol=1e-5)
    torch.testing.assert_close(geometry.norm(geometry.unit(scaled)), torch.tensor(1.0))


@given(vectors(4, 6), directions(6))
def test_removal_is_orthogonal_and_idempotent(x, v):
    removed = geometry.remove(x, v)
    bound = 1e-5 * (1 + float(geometry.norm(x).max()))
    assert (geometry.dot(removed, geometry.unit(v)[None]).abs() <= bound).all()
    torch.testing.assert_close(geometry.remove(removed, v), removed, rtol=0, atol=bound)


@given(vectors(4, 6), directions(6), st.sampled_from([-3.0, 0.01, 50.0]))
def test_removal_ignores_the_length_and_sign_of_the_direction(x, v, factor):
    torch.testing.assert_close(
        geometry.remove(x, factor * v), geometry.remove(x, v), rtol=0, atol=2e-3
    )


@given(vectors(4, 6), directions(6))
def test_removal_and_component_rebuild_the_input(x, v):
    direction = geometry.unit(v)
    component = geometry.dot(x, direction[None]) * direction
    torch.testing.assert_close(geometry.remove(x, v) + component, x, rtol=0, atol=1e-3)


@given(directions(6), directions(6))
def test_angle_agrees_with_arccos_and_is_symmetric(a, b):
    cosine = float(geometry.cosine(a.double(), b.double()[None]))
    degrees = float(geometry.angle(a.double(), b.double()))
    assert abs(degrees - np.degrees(np.arccos(cosine))) < 1e-5
    assert degrees == float(geometry.angle(b.double(), a.double()))
    np.testing.assert_allclose(degrees + float(geometry.angle(a.double(), -b.double())), 180)


@given(directions(6), st.integers(1, 6))
def test_energy_share_is_the_share_of_the_largest_squares(v, k):
    squares = np.sort(v.double().numpy() ** 2)[::-1]
    expected = squares[:k].sum() / squares.sum()
    np.testing.assert_allclose(geometry.energy_share(v, k), expected, rtol=1e-5)


@given(directions(4, 6))
def test_pairwise_cosines_are_symmetric_with_a_unit_diagonal(V):
    cosines = geometry.pairwise_cosines(V)
    torch.testing.assert_close(cosines, cosines.T)
    torch.testing.assert_close(cosines.diagonal(), torch.ones(4))


@given(vectors(20, 3))
def test_standardizing_by_their_own_moments_gives_mean_zero_and_deviation_one(scores):
    scores = scores.double()
    std = scores.std(dim=0)
    assume(bool((std > 1e-2).all()))
    z = geometry.standardize(scores, scores.mean(dim=0), std)
    torch.testing.assert_close(
        z.mean(dim=0), torch.zeros(3, dtype=torch.float64), atol=1e-6, rtol=0
    )
    torch.testing.assert_close(z.std(dim=0), torch.ones(3, dtype=torch.float64))
