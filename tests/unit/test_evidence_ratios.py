"""A share of a mean, and when there is none."""

from __future__ import annotations

import numpy as np
import pytest

from trait_probe.errors import MismatchError
from trait_probe.evidence.estimate import Estimate, Unscored
from trait_probe.evidence.ratios import ratio_of_means


def rows(n: int = 60) -> tuple[np.ndarray, list[str]]:
    whole = np.random.default_rng(0).normal(2.0, 1.0, n)
    return whole, [f"g{i // 2}" for i in range(n)]


def ratio(part, whole, clusters):
    return ratio_of_means(part, whole, clusters, n_boot=400, seed=0, unit="share")


def test_a_fixed_part_of_every_row_is_that_share_without_any_width():
    whole, clusters = rows()
    found = ratio(0.25 * whole, whole, clusters)
    assert isinstance(found, Estimate)
    assert found.value == pytest.approx(0.25)
    assert found.width < 1e-9


def test_the_share_is_that_of_the_means_not_the_mean_of_shares():
    whole, clusters = rows()
    part = whole + np.random.default_rng(1).normal(0.0, 1.0, len(whole))
    found = ratio(part, whole, clusters)
    assert found.value == pytest.approx(part.mean() / whole.mean())
    assert found.low < found.value < found.high


def test_nothing_is_divided_by_a_mean_that_may_be_zero():
    whole, clusters = rows()
    found = ratio(whole, whole - whole.mean(), clusters)
    assert isinstance(found, Unscored)
    assert "nothing to divide by" in found.reason


def test_rows_must_match():
    whole, clusters = rows()
    with pytest.raises(MismatchError):
        ratio(whole, whole, clusters[1:])
