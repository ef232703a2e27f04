"""Random directions from rows: the law of the covariance, without its matrix."""

from __future__ import annotations

import numpy as np
import pytest

from trait_probe.errors import BadInputError
from trait_probe.evidence.nulls import random_directions, random_directions_of


def rows(n: int = 400, d: int = 6) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, d)) * np.array([10.0, 3.0, 1.0, 1.0, 0.1, 0.1]) + 5.0


def test_directions_have_length_one_and_repeat_for_a_seed():
    drawn = random_directions_of(rows(), 50, seed=3)
    assert np.allclose(np.linalg.norm(drawn, axis=1), 1.0)
    assert np.array_equal(drawn, random_directions_of(rows(), 50, seed=3))
    assert not np.array_equal(drawn, random_directions_of(rows(), 50, seed=4))


def test_they_point_where_the_rows_vary_and_not_at_their_mean():
    drawn = random_directions_of(rows(), 4000, seed=0)
    through_the_matrix = random_directions(np.cov(rows().T), 4000, seed=1)
    energy, expected = (drawn**2).mean(axis=0), (through_the_matrix**2).mean(axis=0)
    assert np.abs(energy - expected).max() < 0.02  # standard error 0.005
    assert np.abs(drawn.mean(axis=0)).max() < 0.05


def test_a_constant_added_to_the_rows_changes_nothing():
    assert np.allclose(
        random_directions_of(rows(), 20, seed=1), random_directions_of(rows() + 7.0, 20, seed=1)
    )


@pytest.mark.parametrize("bad", [np.ones((5, 3)), np.ones((1, 3))])
def test_rows_that_do_not_vary_are_refused(bad):
    with pytest.raises(BadInputError):
        random_directions_of(bad, 5, seed=0)
