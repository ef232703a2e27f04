"""Which places after a trigger can be read, and which carriers may report there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from trigger_builders import study, tokens

from trait_probe.errors import BadInputError, MismatchError
from trait_probe.evidence.power import MIN_CLUSTERS
from trait_probe.evidence.splits import Split, split_by_group
from trait_probe.evidence.triggers.design import Places, Reading, readings
from trait_probe.evidence.triggers.effects import choose, effect_of, effects_of_means


def everyone(places: Places) -> np.ndarray:
    return np.ones(len(places.groups), dtype=bool)


def arrange(
    ids: list[tuple[int, ...]], groups: list[str], *, seed: int = 0
) -> tuple[Places, Split, tuple[Reading, ...]]:
    places = Places.of(ids, groups, n_places=8)
    split = split_by_group(groups, seed=seed)
    return places, split, readings(places, split, everyone(places))


# --- places --------------------------------------------------------------------------------------


def test_prefixes_are_equal_exactly_where_the_texts_so_far_are() -> None:
    ids, groups = tokens(12, 3)
    places = Places.of(ids, groups, n_places=4)
    for place in range(4):
        for i in range(len(ids)):
            for j in range(len(ids)):
                same_text = ids[i][: place + 1] == ids[j][: place + 1]
                assert (places.prefix[i, place] == places.prefix[j, place]) == same_text


def test_a_place_is_valid_where_the_carrier_has_a_token() -> None:
    places = Places.of([(1, 2, 3), (1,), ()], ["a", "b", "c"], n_places=2)
    assert places.valid.tolist() == [[True, True], [True, False], [False, False]]


@pytest.mark.parametrize(("ids", "n_places"), [([(), ()], 4), ([(1, 2), (3,)], 0), ([], 4)])
def test_nothing_to_read_is_refused(ids: list[tuple[int, ...]], n_places: int) -> None:
    with pytest.raises(BadInputError, match="No carrier has a token after the trigger"):
        Places.of(ids, ["g"] * len(ids), n_places=n_places)


def test_each_carrier_has_a_group_and_a_flag() -> None:
    with pytest.raises(MismatchError, match="groups must have one entry per row"):
        Places.of([(1,), (2,)], ["only one"], n_places=1)
    places = Places.of([(1,), (2,)], ["a", "b"], n_places=1)
    with pytest.raises(MismatchError, match="One flag per carrier"):
        readings(places, split_by_group(["a", "b"]), np.ones(3, dtype=bool))


# --- clusters ------------------------------------------------------------------------------------


def test_clusters_join_equal_groups_and_equal_texts_and_nothing_else() -> None:
    ids = [(1, 5), (1, 6), (2, 5), (3, 5), (2, 7), (4, 4)]
    groups = ["a", "b", "c", "d", "d", "e"]
    places = Places.of(ids, groups, n_places=2)
    rows = np.arange(6)
    # Place 0: texts join a with b, and c with d; group d joins its two carriers.
    first = places.clusters(0, rows)
    assert [first.index(name) for name in first] == [0, 0, 2, 2, 2, 5]
    # Place 1: every text differs, so that only the group d is joined.
    second = places.clusters(1, rows)
    assert [second.index(name) for name in second] == [0, 1, 2, 3, 3, 5]


def test_clusters_agree_with_a_brute_force_closure() -> None:
    rng = np.random.default_rng(0)
    ids = [(int(rng.integers(6)), int(rng.integers(3))) for _ in range(30)]
    groups = [f"g{rng.integers(20)}" for _ in range(30)]
    places = Places.of(ids, groups, n_places=2)
    for place in (0, 1):
        linked = np.array(
            [
                [
                    groups[i] == groups[j] or ids[i][: place + 1] == ids[j][: place + 1]
                    for j in range(30)
                ]
                for i in range(30)
            ]
        )
        for _ in range(30):
            linked = linked @ linked
        names = places.clusters(place, np.arange(30))
        assert [[a == b for b in names] for a in names] == linked.tolist()


# --- readings ------------------------------------------------------------------------------------


def test_report_texts_are_never_seen_in_selection() -> None:
    # Terms are shared between groups and the group's number is not read: texts recur.
    ids = [(i % 13, i % 29) for i in range(60)]
    _, split, found = arrange(ids, [f"g{i}" for i in range(60)])
    for reading in found:
        chosen = {ids[i][: reading.place + 1] for i in reading.selection}
        told = {ids[i][: reading.place + 1] for i in reading.report}
        assert not chosen & told
        dropped = [i for i in split.report if ids[i][: reading.place + 1] in chosen]
        assert reading.seen == len(dropped)
        assert set(reading.report) == set(split.report) - set(dropped)


def test_a_carrier_that_is_not_usable_is_read_nowhere() -> None:
    ids, groups = tokens()
    places = Places.of(ids, groups, n_places=4)
    usable = everyone(places)
    usable[::3] = False
    for reading in readings(places, split_by_group(groups), usable):
        assert usable[reading.selection].all()
        assert usable[reading.report].all()


def test_a_constant_text_is_degenerate_and_says_why() -> None:
    _, _, found = arrange(*tokens())
    assert found[0].distinct == 1
    assert "every carrier has the same text" in str(found[0].degenerate)
    assert [reading.degenerate for reading in found[1:]] == [None, None, None]


@pytest.mark.parametrize("n_groups", [MIN_CLUSTERS, 2 * MIN_CLUSTERS - 2])
def test_too_few_texts_or_clusters_are_degenerate(n_groups: int) -> None:
    _, _, found = arrange(*tokens(n_groups))
    assert all("too few different texts" in str(reading.degenerate) for reading in found[1:])


def test_many_carriers_with_few_texts_are_degenerate() -> None:
    """Groups differ but the words do not: 60 carriers are 5 observations."""
    _, _, found = arrange([(i % 5, 3) for i in range(60)], [f"g{i}" for i in range(60)])
    assert all(reading.degenerate is not None for reading in found)


def test_enough_texts_are_not_degenerate() -> None:
    _, _, found = arrange(*tokens(2 * MIN_CLUSTERS))
    assert found[1].degenerate is None


# --- what the removal of seen texts prevents -----------------------------------------------------


def _winners_report(seed: int, *, remove_seen: bool) -> tuple[float, float]:
    """Selection and report effect of the best of 40 series in which texts have only their noise."""
    rng = np.random.default_rng(seed)
    text = np.concatenate([np.arange(60), rng.integers(60, size=40)])
    _, split, found = arrange([(int(t),) for t in text], [f"g{i}" for i in range(100)], seed=seed)
    reading = found[0]
    assert reading.degenerate is None
    assert reading.seen > 0
    if not remove_seen:
        reading = replace(reading, report=split.report)
    scores = rng.standard_normal((6, 60, 40))[:, text]
    means = scores[:, reading.selection].mean(axis=1)
    best = choose([effects_of_means(means, 0 * means, np.ones(40))], [reading])[0]
    told = scores[:, reading.report, best.series]
    return best.score, effect_of(told, 0 * told, scale=1.0)


def test_with_seen_texts_removed_the_winner_reports_nothing() -> None:
    chosen, told = zip(
        *(_winners_report(seed, remove_seen=True) for seed in range(60)), strict=True
    )
    assert min(chosen) > 0.2  # the winner's curse is there, on the selection side
    assert abs(np.mean(told)) < 3 * np.std(told, ddof=1) / np.sqrt(60)


def test_without_removing_seen_texts_the_choice_leaks_into_the_report() -> None:
    """Meta-test: the removal is what keeps a text's noise from being reported again."""
    _, told = zip(*(_winners_report(seed, remove_seen=False) for seed in range(60)), strict=True)
    assert np.mean(told) > 5 * np.std(told, ddof=1) / np.sqrt(60)


def test_the_planted_studies_have_texts_as_a_causal_model_has_them() -> None:
    planted = study(effect=1.0)
    for place in range(4):
        text = planted.places.prefix[:, place]
        for same in np.unique(text):
            rows = planted.suspect[place][:, text == same]
            assert (rows == rows[:, :1]).all()
