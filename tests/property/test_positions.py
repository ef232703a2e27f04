"""Laws of the position-rule language."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import position_rules

from trait_probe.prompts.positions import PositionRule, mask, pool


@st.composite
def layouts(draw: st.DrawFn) -> dict[str, tuple[int, int]]:
    """Spans `x` and `all` of a conversation of up to 12 tokens."""
    edges = sorted(draw(st.tuples(*[st.integers(0, 12)] * 3)))
    return {"x": (edges[0], edges[1]), "all": (0, edges[2])}


def sliced(rule: PositionRule, spans: dict[str, tuple[int, int]]) -> list[int]:
    """The oracle: Python's own indexing of a list of positions, through the rule's text."""
    tokens = list(range(spans["all"][1]))
    start, end = spans["x"]
    regions = {"in": tokens[start:end], "after": tokens[end:], "before": tokens[:start]}
    bracket = str(rule)[str(rule).index("[") :]
    try:
        chosen: Any = eval(f"region{bracket}", {"region": regions[rule.side]})
    except IndexError:
        return []
    return chosen if isinstance(chosen, list) else [chosen]


@given(position_rules())
def test_a_printed_rule_parses_back_to_itself(rule: PositionRule) -> None:
    assert PositionRule.parse(str(rule)) == rule


@given(position_rules(), st.sampled_from(["", " ", "\t "]))
def test_spaces_do_not_matter(rule: PositionRule, space: str) -> None:
    text = str(rule)
    for mark in "[]:()":
        text = text.replace(mark, f"{space}{mark}{space}")
    text = text.replace(f"after{space}(", "after(").replace(f"before{space}(", "before(")
    assert PositionRule.parse(text) == rule


@given(position_rules(span="x"), layouts())
def test_positions_are_pythons_own_indexing(
    rule: PositionRule, spans: dict[str, tuple[int, int]]
) -> None:
    assert list(rule.positions(spans)) == sliced(rule, spans)


def test_the_oracle_catches_an_off_by_one() -> None:
    spans = {"x": (2, 6), "all": (0, 8)}
    wrong = {"x": (2, 7), "all": (0, 8)}
    rule = PositionRule.parse("x[-1]")
    assert list(rule.positions(wrong)) != sliced(rule, spans)


@given(position_rules(span="x"), layouts(), st.integers(0, 50))
def test_left_padding_shifts_every_position_alike(
    rule: PositionRule, spans: dict[str, tuple[int, int]], shift: int
) -> None:
    moved = {name: (start + shift, end + shift) for name, (start, end) in spans.items()}
    assert rule.positions(moved) == tuple(p + shift for p in rule.positions(spans))


@given(position_rules(span="x"), layouts(), st.integers(0, 9))
def test_the_mask_holds_the_positions_and_no_padding(
    rule: PositionRule, spans: dict[str, tuple[int, int]], padding: int
) -> None:
    length = spans["all"][1] + padding
    assert tuple(np.flatnonzero(mask(rule, spans, length))) == rule.positions(spans)


@given(
    st.integers(1, 6).flatmap(
        lambda n: st.lists(
            st.lists(st.floats(-1e6, 1e6), min_size=n, max_size=n), min_size=1, max_size=6
        )
    )
)
def test_pooling_is_numpys(rows: list[list[float]]) -> None:
    values = np.array(rows)
    assert pool(values, "mean")[0] == pytest.approx([np.mean(c) for c in zip(*rows, strict=True)])
    assert pool(values, "max").tolist() == [[max(column) for column in zip(*rows, strict=True)]]
    assert pool(values, "last").tolist() == rows[-1:]
    assert pool(values, "none").tolist() == rows
