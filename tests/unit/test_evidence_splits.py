"""Choices and results never share a group; what was fitted on is not tested."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from trait_probe.errors import BadInputError
from trait_probe.evidence.splits import (
    Split,
    require_disjoint,
    require_unfitted,
    restrict,
    split_by_group,
    text_id,
)

GROUPS = [f"family-{i % 7}" for i in range(40)]


def sides(groups: list[str], **options: object) -> tuple[set[str], set[str]]:
    split = split_by_group(groups, **options)
    return {groups[i] for i in split.selection}, {groups[i] for i in split.report}


def test_each_group_and_each_row_is_on_one_side() -> None:
    split = split_by_group(GROUPS)
    chosen, reported = sides(GROUPS)
    assert not chosen & reported
    assert sorted([*split.selection, *split.report]) == list(range(40))


def test_row_order_and_group_size_do_not_matter() -> None:
    shuffled = [GROUPS[i] for i in np.random.default_rng(3).permutation(40)]
    assert sides(shuffled) == sides(GROUPS) == sides(sorted(set(GROUPS)))


def test_seeds_deal_differently() -> None:
    assert len({frozenset(sides(GROUPS, seed=seed)[0]) for seed in range(20)}) > 1


@pytest.mark.parametrize(("fraction", "n"), [(0.01, 1), (0.3, 2), (0.99, 6)])
def test_fraction_counts_groups_and_leaves_both_sides_some(fraction: float, n: int) -> None:
    assert len(sides(GROUPS, fraction=fraction)[0]) == n


def test_split_records_how_it_was_made() -> None:
    expected = {"selection_rows": 1, "report_rows": 1, "fraction": 0.5, "seed": 4}
    assert split_by_group(["a", "b"], seed=4).to_json() == expected


@pytest.mark.parametrize("groups", [[], ["one"] * 9])
def test_one_group_cannot_be_split(groups: list[str]) -> None:
    with pytest.raises(
        BadInputError, match=rf"at least two groups[\s\S]*got:   {len(set(groups))}"
    ):
        split_by_group(groups)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.2])
def test_fraction_outside_its_range_is_refused(fraction: float) -> None:
    with pytest.raises(BadInputError, match="fraction must lie strictly between 0 and 1"):
        split_by_group(GROUPS, fraction=fraction)


def test_a_split_with_a_shared_row_or_an_empty_side_cannot_be_built() -> None:
    with pytest.raises(BadInputError, match="must not overlap"):
        Split(np.array([0, 1]), np.array([1, 2]), 0.5, 0)
    with pytest.raises(BadInputError, match="Both sides of a split need rows"):
        Split(np.array([0, 1]), np.array([], dtype=np.int64), 0.5, 0)


def test_require_disjoint_names_what_overlaps() -> None:
    require_disjoint(["a", "b"], ["c"], "Reference mean")
    with pytest.raises(BadInputError, match=r"Reference mean: [\s\S]*2 shared: b, c"):
        require_disjoint(["a", "b", "c"], ["c", "b", "d"], "Reference mean")


def test_same_set_centering_is_zero_by_construction_and_is_what_the_guard_stops() -> None:
    scores = np.random.default_rng(0).normal(3.0, 1.0, 50)
    assert abs((scores - scores.mean()).mean()) < 1e-12
    with pytest.raises(BadInputError, match="50 shared"):
        require_disjoint(range(50), range(50), "Reference mean")


# --- what was fitted on ---------------------------------------------------------------------------


def test_a_text_id_is_the_hash_of_the_words() -> None:
    expected = hashlib.sha256(b"tell me, now").hexdigest()
    for text in ("tell me, now", "  Tell\n me,\t NOW "):
        assert text_id(text) == expected
    assert len({text_id(text) for text in ("tell me, now", "tell me now", "tellme, now", "")}) == 4
    assert text_id("STRASSE") == text_id("stra\u00dfe")


def test_a_prompt_fitted_on_is_found_by_its_id_or_by_its_words() -> None:
    ids, texts = ("prompt-0", "prompt-1"), ("How are you?", "Tell me.")
    require_unfitted(ids, frozenset({"contrast-0", text_id("Something else.")}), texts)
    for fitted in ("prompt-1", text_id("tell  ME.")):
        with pytest.raises(BadInputError, match=r"thresholds: [\s\S]*1 shared: " + fitted):
            require_unfitted(ids, frozenset({"contrast-0", fitted}), texts)
    require_unfitted(ids, frozenset({text_id("Tell me.")}), None)  # nobody knows the words


def test_that_nothing_was_fitted_is_stated_by_none_alone() -> None:
    require_unfitted(("prompt-0",), None, ("How are you?",))
    for texts in (None, ("How are you?",)):
        with pytest.raises(BadInputError, match=r"an empty set[\s\S]*None where nothing was"):
            require_unfitted(("prompt-0",), frozenset(), texts)


def test_a_restricted_split_keeps_every_row_on_its_side():
    groups = [f"g{i}" for i in range(20)]
    whole = split_by_group(groups, seed=3)
    kept = np.arange(0, 20, 3)
    part = restrict(whole, kept)
    assert set(kept[part.selection]) == set(whole.selection) & set(kept)
    assert set(kept[part.report]) == set(whole.report) & set(kept)
    assert (part.fraction, part.seed) == (whole.fraction, whole.seed)


def test_a_side_that_is_left_empty_is_refused():
    whole = split_by_group([f"g{i}" for i in range(6)], seed=0)
    with pytest.raises(BadInputError, match="Both sides"):
        restrict(whole, whole.selection)
