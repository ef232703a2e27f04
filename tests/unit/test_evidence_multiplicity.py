"""Adjusted p values against scipy, brute force over subsets, and a family-wise error rate."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from trait_probe.errors import BadInputError
from trait_probe.evidence.multiplicity import benjamini_hochberg, holm, max_statistic_p

P = np.array([0.03, 0.001, 0.2, 0.03, 0.9, 0.012])


def test_holm_is_closed_testing_with_bonferroni() -> None:
    """Definition, brute force: the largest Bonferroni p of all sets that contain the look."""
    expected = [
        max(
            min(1.0, len(subset) * P[list(subset)].min())
            for size in range(1, 7)
            for subset in combinations(range(6), size)
            if look in subset
        )
        for look in range(6)
    ]
    assert holm(P) == pytest.approx(expected)


def test_benjamini_hochberg_equals_scipy() -> None:
    assert benjamini_hochberg(P) == pytest.approx(stats.false_discovery_control(P))


def test_one_look_needs_no_adjustment() -> None:
    one = np.array([0.04])
    assert holm(one) == benjamini_hochberg(one) == one


def test_max_statistic_by_hand() -> None:
    null = np.array([[0.0, 3.0], [1.0, 0.0], [2.5, 2.0]])
    assert max_statistic_p(np.array([2.5, 3.5]), null) == pytest.approx([3 / 4, 1 / 4])


def test_max_statistic_holds_the_family_wise_error_where_single_looks_do_not() -> None:
    rng = np.random.default_rng(0)
    family, single = 0, 0
    for _ in range(400):
        draws = rng.normal(size=(100, 20)) + rng.normal(size=(100, 1))
        family += max_statistic_p(draws[0], draws[1:]).min() <= 0.05
        single += ((1 + (draws[1:] >= draws[0]).sum(0)) / 100).min() <= 0.05
    assert family <= stats.binom.ppf(0.999, 400, 0.05)
    assert single > 2 * family


@pytest.mark.parametrize("adjust", [holm, benjamini_hochberg])
def test_what_is_no_p_value_is_refused(adjust: object) -> None:
    for bad, sentence in (([0.2, 1.2], "between 0 and 1"), ([np.nan], "finite"), ([], "at least")):
        with pytest.raises(BadInputError, match=sentence):
            adjust(np.array(bad, dtype=np.float64))
