"""Results are finite numbers with an interval, or a reason."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from trait_probe.errors import BadInputError
from trait_probe.evidence.estimate import Estimate, Unscored, strict_json

GOOD = Estimate(0.5, 0.2, 0.8, 40, 10, "SD", "by hand")


def test_json_round_trips_every_field() -> None:
    assert Estimate(**json.loads(json.dumps(GOOD.to_json()))) == GOOD


def test_numpy_floats_are_written_as_plain_json() -> None:
    estimate = replace(GOOD, value=np.float64(0.25))
    assert json.loads(json.dumps(estimate.to_json(), allow_nan=False))["value"] == 0.25


@pytest.mark.parametrize(("x", "out"), [(0.19, True), (0.2, False), (0.8, False), (0.81, True)])
def test_excludes_is_strict_at_the_ends(x: float, out: bool) -> None:
    assert GOOD.excludes(x) is out


def test_width_is_high_minus_low() -> None:
    assert GOOD.width == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"value": math.nan}, "value must be a finite number"),
        ({"high": math.inf}, "high must be a finite number"),
        ({"low": 0.9}, "low must not exceed"),
        ({"n_clusters": 0}, "1 <= n_clusters <= n"),
        ({"n_clusters": 41}, "1 <= n_clusters <= n"),
        ({"level": 1.0}, "level must lie strictly between"),
        ({"unit": " "}, "needs a unit and a method"),
        ({"method": ""}, "needs a unit and a method"),
    ],
)
def test_impossible_fields_are_refused(change: dict[str, object], sentence: str) -> None:
    with pytest.raises(BadInputError, match=sentence):
        replace(GOOD, **change)


def test_unscored_says_why_and_an_empty_reason_is_refused() -> None:
    assert Unscored("3 prompts").to_json() == {"unscored": "3 prompts"}
    with pytest.raises(BadInputError, match="reason in words"):
        Unscored("  ")


def test_strict_json_writes_nested_results() -> None:
    nested = {"a": [GOOD, Unscored("no")], "b": {"c": np.int64(3), "d": None, "e": (True, "x")}}
    expected = {
        "a": [GOOD.to_json(), {"unscored": "no"}],
        "b": {"c": 3, "d": None, "e": [True, "x"]},
    }
    assert strict_json(nested) == expected


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({"a": [math.nan]}, "finite numbers only"),
        (np.float64("inf"), "finite numbers only"),
        ({1: "a"}, "keys must be text"),
        (np.zeros(2), "ndarray cannot be written"),
    ],
)
def test_strict_json_refuses_what_json_cannot_hold(value: object, sentence: str) -> None:
    with pytest.raises(BadInputError, match=sentence):
        strict_json(value)
