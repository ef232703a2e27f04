"""The distribution of single inputs, against numpy and by hand."""

from __future__ import annotations

import numpy as np
import pytest

from trait_probe.errors import BadInputError
from trait_probe.evidence.distribution import input_shifts
from trait_probe.evidence.estimate import Unscored, strict_json


def test_numbers_by_hand() -> None:
    shifts = input_shifts(np.array([-1.0, 0.0, 0.0, 2.0, 9.0]))
    assert (shifts.n, shifts.mean) == (5, 2.0)
    assert shifts.sd == pytest.approx(np.sqrt((9 + 4 + 4 + 0 + 49) / 4))
    assert (shifts.share_reversed, shifts.share_zero) == (0.2, 0.4)
    assert shifts.quantiles[1:4] == (0.0, 0.0, 2.0)


def test_quantiles_equal_numpys_percentiles() -> None:
    values = np.random.default_rng(0).normal(size=101)
    expected = np.percentile(values, [5, 25, 50, 75, 95])
    assert input_shifts(values).quantiles == pytest.approx(tuple(expected))


def test_a_sign_flip_mirrors_the_distribution() -> None:
    values = np.random.default_rng(1).normal(0.3, 1.0, 40)
    up, down = input_shifts(values), input_shifts(-values)
    assert down.quantiles == pytest.approx(tuple(-q for q in reversed(up.quantiles)))
    assert down.share_reversed == up.share_reversed


def test_two_opposite_halves_are_seen_where_the_mean_sees_nothing() -> None:
    shifts = input_shifts(np.repeat([1.0, -1.0], 10))
    assert (shifts.mean, shifts.share_reversed) == (0.0, 0.5)


def test_json_names_the_quantiles_and_one_input_has_no_spread() -> None:
    plain = strict_json(input_shifts(np.array([3.0])))
    assert list(plain["quantiles"]) == ["5", "25", "50", "75", "95"]
    assert plain["sd"] == {"unscored": "one input has no spread; 2 needed"}
    assert isinstance(input_shifts(np.array([3.0])).sd, Unscored)
    with pytest.raises(BadInputError, match="at least 1 rows"):
        input_shifts(np.zeros(0))
