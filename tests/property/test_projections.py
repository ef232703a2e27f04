"""Laws of the projections table: pooling, and the exact round trip through Arrow and Parquet."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trait_probe.basis import Site
from trait_probe.errors import BadInputError
from trait_probe.forward.projections import Projections
from trait_probe.forward.tables import SCHEMA
from trait_probe.runs.tables import read_table, write_table

COLUMNS = (("safety/evil", Site(1)), ("safety/evil", Site(2, "resid_pre")), ("b", Site(1)))
numbers = st.floats(-1e6, 1e6, allow_nan=False, width=32)


@st.composite
def projections(draw, *, gaps=False):
    """Per-token projections of a few prompts; with `gaps`, some prompts have no token."""
    lengths = draw(st.lists(st.integers(0 if gaps else 1, 4), min_size=1, max_size=4))
    if not any(lengths):
        lengths[-1] = 1
    rows, n = sum(lengths), draw(st.integers(1, 3))
    prompt = np.repeat(np.arange(len(lengths)), lengths)
    offset = np.concatenate([np.arange(length) for length in lengths])
    grid = st.lists(st.lists(numbers, min_size=n, max_size=n), min_size=rows, max_size=rows).map(
        lambda values: np.array(values, dtype=np.float32).reshape(rows, n)
    )
    return Projections(
        prompt_ids=tuple(f"prompt {i}" for i in range(len(lengths))),
        columns=COLUMNS[:n],
        span="response[:5]",
        pooling="none",
        prompt=prompt,
        position=offset + draw(st.integers(0, 9)),
        offset=offset,
        token=tuple(draw(st.lists(st.text(max_size=3), min_size=rows, max_size=rows))),
        dot=draw(grid),
        z=draw(grid),
    )


def same(a, b):
    for name in ("prompt_ids", "columns", "span", "pooling", "token"):
        assert getattr(a, name) == getattr(b, name)
    for name in ("prompt", "position", "offset", "dot", "z"):
        mine, other = getattr(a, name), getattr(b, name)
        assert (mine is None) == (other is None)
        if mine is not None:
            np.testing.assert_array_equal(mine, other, strict=True)


@given(scores=projections(), pooling=st.sampled_from(["none", "mean", "last", "max"]))
def test_the_table_gives_back_the_same_bits(scores, pooling):
    pooled = scores.pooled(pooling)
    table = pooled.to_table()
    assert table.schema == SCHEMA
    assert len(table) == pooled.dot.size
    same(Projections.from_table(table), pooled)


@given(scores=projections(gaps=True))
def test_prompts_without_a_row_come_back_by_name(scores):
    same(Projections.from_table(scores.to_table(), prompt_ids=scores.prompt_ids), scores)
    left = Projections.from_table(scores.to_table())
    assert left.prompt_ids == tuple(scores.prompt_ids[i] for i in sorted(set(scores.prompt)))
    np.testing.assert_array_equal(left.dot, scores.dot)


def test_the_file_gives_back_the_same_bits(tmp_path):
    scores = an_example()
    write_table(tmp_path / "a.parquet", scores.to_table())
    same(Projections.from_table(read_table(tmp_path / "a.parquet")), scores)


@given(scores=projections(gaps=True), pooling=st.sampled_from(["mean", "last", "max"]))
def test_pooling_is_numpys_over_each_prompts_rows(scores, pooling):
    by_hand = {
        "mean": lambda rows: rows.astype(np.float64).mean(axis=0),
        "last": lambda rows: rows[-1],
        "max": lambda rows: rows.max(axis=0),
    }[pooling]
    pooled = scores.pooled(pooling)
    present = sorted(set(scores.prompt.tolist()))
    assert pooled.prompt.tolist() == present
    for name in ("dot", "z"):
        values = getattr(scores, name)
        expected = [by_hand(values[scores.prompt == index]) for index in present]
        np.testing.assert_allclose(getattr(pooled, name), expected, rtol=1e-6, atol=1e-6)
    assert (pooled.position, pooled.offset, pooled.token) == (None, None, None)
    assert pooled.pooling == pooling


def an_example(**changes):
    base = Projections(
        prompt_ids=("a", "b"),
        columns=COLUMNS[:2],
        span="all[:]",
        pooling="none",
        prompt=np.array([0, 0, 1]),
        position=np.array([0, 1, 0]),
        offset=np.array([0, 1, 0]),
        token=("x", "y", "x"),
        dot=np.arange(6, dtype=np.float32).reshape(3, 2),
        z=np.arange(6, dtype=np.float32).reshape(3, 2) / 3,
    )
    return replace(base, **changes)


def test_pooling_twice_is_refused():
    pooled = an_example().pooled("mean")
    assert pooled.pooled("mean") is pooled
    with pytest.raises(BadInputError, match="pooled already, by mean") as caught:
        pooled.pooled("max")
    assert "pooling='none'" in str(caught.value)
    with pytest.raises(BadInputError, match="pooled already"):
        pooled.pooled("none")


def test_two_prompts_with_one_id_are_refused():
    with pytest.raises(BadInputError, match="some are used twice") as caught:
        an_example(prompt_ids=("a", "a")).to_table()
    assert "['a']" in str(caught.value)


def test_an_unknown_column_names_the_nearest():
    with pytest.raises(BadInputError, match="There is no such projection") as caught:
        an_example().column("safety/evil", Site(3))
    assert "safety/evil@blocks.1.hook_resid_post" in str(caught.value)
    assert an_example().column("safety/evil", Site(1)) == 0


@pytest.mark.parametrize(
    "spoil",
    [
        lambda table: pa.concat_tables([table, table]),
        lambda table: table.slice(1),
        lambda table: table.slice(0, 5),
        lambda table: table.slice(0, 0),
        lambda table: table.sort_by([("dot", "descending")]),
        lambda table: table.take([0, 1, 2, 4, 3, 5]),
        lambda table: table.take([0, 3, 1, 4, 2, 5]),
        lambda table: pa.concat_tables(
            [
                table,
                an_example(
                    columns=COLUMNS[2:],
                    dot=an_example().dot[:, :1],
                    span="prompt[:]",
                    z=an_example().z[:, :1],
                ).to_table(),
            ]
        ),
    ],
    ids=["joined", "cut", "cut behind", "empty", "sorted", "swapped", "interleaved", "two rules"],
)
def test_a_table_that_is_not_whole_and_in_order_is_refused(spoil):
    """Read as if it were, it would give some prompts the numbers of others."""
    with pytest.raises(BadInputError, match=r"not one that Projections\.to_table made"):
        Projections.from_table(spoil(an_example().to_table()))


def test_a_prompt_that_is_not_among_the_given_is_refused():
    with pytest.raises(BadInputError, match="not among the given ones") as caught:
        Projections.from_table(an_example().to_table(), prompt_ids=("a", "c"))
    assert "got:   'b'" in str(caught.value)


def test_numbers_that_are_not_finite_do_not_get_into_a_table():
    dot = an_example().dot.copy()
    dot[1, 1] = np.nan
    with pytest.raises(BadInputError, match="not finite"):
        an_example(dot=dot).to_table()
