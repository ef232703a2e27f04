"""The position-rule language on worked examples, and its error sentences."""

from __future__ import annotations

import numpy as np
import pytest

from trait_probe.errors import BadInputError
from trait_probe.prompts.positions import PositionRule, mask, pool

SPANS = {
    "system": (1, 3),
    "trigger": (4, 6),
    "prompt": (0, 8),
    "response": (8, 12),
    "empty": (8, 8),
    "all": (0, 12),
}


@pytest.mark.parametrize(
    ("rule", "positions"),
    [
        ("response", [8, 9, 10, 11]),
        ("response[:]", [8, 9, 10, 11]),
        ("response[:2]", [8, 9]),
        ("response[1:3]", [9, 10]),
        ("response[::2]", [8, 10]),
        ("response[-2:]", [10, 11]),
        ("response[:100]", [8, 9, 10, 11]),
        ("prompt[-1]", [7]),
        ("prompt[0]", [0]),
        ("trigger[-1]", [5]),
        ("after(trigger)[:3]", [6, 7, 8]),
        ("after(trigger)", [6, 7, 8, 9, 10, 11]),
        ("before(trigger)[-1]", [3]),
        ("after(response)", []),
        ("response[4]", []),
        ("response[-5]", []),
        ("empty[-1]", []),
        ("empty[:]", []),
    ],
)
def test_examples(rule: str, positions: list[int]) -> None:
    assert list(PositionRule.parse(rule).positions(SPANS)) == positions


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("response", "response[:]"),
        (" response[0:5:1] ", "response[:5]"),
        ("after( trigger )[ : 8 ]", "after(trigger)[:8]"),
        ("x[+1]", "x[1]"),
        ("after[-0]", "after[0]"),
    ],
)
def test_rules_have_one_canonical_text(written: str, canonical: str) -> None:
    assert str(PositionRule.parse(written)) == canonical


@pytest.mark.parametrize(
    ("rule", "column"),
    [
        ("", 0),
        ("[1]", 0),
        ("response[", 8),
        ("response[a]", 8),
        ("response[1,2]", 8),
        ("response[1.5]", 8),
        ("response]", 8),
        ("response[1] x", 11),
        ("between(x)[1]", 7),
    ],
)
def test_a_malformed_rule_is_pointed_at(rule: str, column: int) -> None:
    with pytest.raises(BadInputError, match="A position rule is SPAN") as caught:
        PositionRule.parse(rule)
    pointed, caret = caught.value.problem.splitlines()[-2:]
    assert pointed == f"  {rule}"
    assert caret.index("^") == column + 2
    assert "response[:5]" in caught.value.valid


def test_an_unknown_span_is_named_with_those_there_are() -> None:
    with pytest.raises(BadInputError, match=r"needs the span 'triger'") as caught:
        PositionRule.parse("after(triger)[:8]").positions(SPANS)
    assert caught.value.valid[0] == "trigger"


def test_after_needs_the_span_all() -> None:
    with pytest.raises(BadInputError, match="needs the span 'all'"):
        PositionRule.parse("after(x)").positions({"x": (0, 1)})


def test_steps_are_positive() -> None:
    with pytest.raises(BadInputError, match="at least 1"):
        PositionRule.parse("response[::-1]")
    with pytest.raises(BadInputError, match="at least 1"):
        PositionRule.parse("response[::0]")


def test_index_and_slice_exclude_each_other() -> None:
    with pytest.raises(BadInputError, match="one index or one slice"):
        PositionRule("x", index=1, stop=3)


def test_a_name_that_could_not_be_written_is_refused() -> None:
    with pytest.raises(BadInputError, match="span name is letters"):
        PositionRule("my span")


def test_a_mask_too_short_for_the_rule_is_refused() -> None:
    with pytest.raises(BadInputError, match="selects position 11, beyond a row of 8"):
        mask(PositionRule.parse("response"), SPANS, 8)


def test_pooling_keeps_the_dtype_but_adds_in_float64() -> None:
    values = np.array([[1e8], [1.0], [-1e8]], dtype=np.float32)
    pooled = pool(values, "mean")
    assert pooled.dtype == np.float32
    assert pooled[0, 0] == np.float32(1 / 3)


def test_there_is_no_mean_of_nothing() -> None:
    nothing = np.empty((0, 2))
    with pytest.raises(BadInputError, match="No token to pool with 'mean'"):
        pool(nothing, "mean")
    assert pool(nothing, "none").shape == (0, 2)
