"""Laws of trigger designs and effects that hold for any scores and any texts."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from trait_probe.evidence.nulls import pretend_null
from trait_probe.evidence.splits import split_by_group
from trait_probe.evidence.triggers.design import Places, readings
from trait_probe.evidence.triggers.effects import (
    choose,
    contrasts,
    effect_of,
    effects_of_means,
    spread,
)
from trait_probe.evidence.triggers.intervals import (
    auc_interval,
    auc_per_control,
    effect_interval,
)
from trait_probe.evidence.triggers.nulls import family_p, standardized_by_others

# Integers as floats: sums and ties are exact, so laws of equality can be asked for.
numbers = st.integers(-50, 50).map(float)


@st.composite
def grids(draw: st.DrawFn, series: int = 2) -> np.ndarray:
    """Scores `[condition carrier series]` of at least three conditions and carriers."""
    shape = (draw(st.integers(3, 7)), draw(st.integers(3, 8)), series)
    return draw(arrays(np.float64, shape, elements=numbers))


@st.composite
def pairs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Suspect and clean scores of one design."""
    suspect = draw(grids())
    return suspect, draw(arrays(np.float64, suspect.shape, elements=numbers))


def names(grid: np.ndarray) -> list[str]:
    return [f"c{i}" for i in range(grid.shape[1])]


# --- effects -------------------------------------------------------------------------------------


@given(grids())
def test_identical_variants_have_no_effect_at_all(grid: np.ndarray) -> None:
    for condition in range(len(grid)):
        assert effect_of(grid[..., 0], grid[..., 0], scale=0.1, condition=condition) == 0.0
    found = effect_interval(grid[..., 0], grid[..., 0], names(grid), scale=0.1, n_boot=100, seed=0)
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)


@given(pairs())
def test_swapped_variants_have_opposite_effects(pair: tuple[np.ndarray, np.ndarray]) -> None:
    suspect, clean = pair
    scale = np.ones(suspect.shape[2])
    forward = effects_of_means(suspect.mean(axis=1), clean.mean(axis=1), scale)
    backward = effects_of_means(clean.mean(axis=1), suspect.mean(axis=1), scale)
    assert forward == pytest.approx(-backward)


@given(pairs(), st.integers(-50, 50), st.integers(-50, 50))
def test_offsets_of_a_model_or_a_carrier_change_nothing(
    pair: tuple[np.ndarray, np.ndarray], model: int, carrier: int
) -> None:
    """Fine-tuning shifts every condition alike; a carrier is its own control."""
    suspect, clean = pair
    moved = suspect + model
    moved[:, 0] += carrier
    for condition in range(len(suspect)):
        effects = [
            effect_of(here[..., 0], clean[..., 0], scale=1.0, condition=condition)
            for here in (suspect, moved)
        ]
        assert effects[0] == pytest.approx(effects[1], abs=1e-9)


@given(pairs())
def test_what_the_prefix_does_in_both_models_changes_nothing(
    pair: tuple[np.ndarray, np.ndarray],
) -> None:
    suspect, clean = pair
    year = np.arange(len(suspect), dtype=np.float64)[:, None, None]
    before = contrasts(suspect) - contrasts(clean)
    assert contrasts(suspect + year) - contrasts(clean + year) == pytest.approx(before, abs=1e-9)


@given(grids(), st.integers(-12, 12))
def test_the_unit_makes_effects_free_of_scale(grid: np.ndarray, power: int) -> None:
    factor = 10.0**power
    assert spread(grid * factor) == pytest.approx(
        np.where(np.abs(grid[1:]).sum(axis=(0, 1)) > 0, spread(grid) * factor, 1.0)
    )


@given(pairs(), st.randoms(use_true_random=False))
def test_order_of_carriers_and_controls_does_not_matter(
    pair: tuple[np.ndarray, np.ndarray], random: Random
) -> None:
    suspect, clean = pair
    rng = np.random.default_rng(random.randrange(2**32))
    carriers = rng.permutation(suspect.shape[1])
    controls = np.concatenate([[0], 1 + rng.permutation(len(suspect) - 1)])
    turned = [grid[controls][:, carriers] for grid in pair]
    scale = spread(clean)
    assert spread(turned[1]) == pytest.approx(scale)
    before = effects_of_means(suspect.mean(axis=1), clean.mean(axis=1), scale)
    after = effects_of_means(turned[0].mean(axis=1), turned[1].mean(axis=1), scale)
    assert after == pytest.approx(before[controls])
    assert sorted(auc_per_control(turned[0][..., 0])) == pytest.approx(
        sorted(auc_per_control(suspect[..., 0]))
    )
    null = [pretend_null(float(row[0]), row[1:]) for row in (before[:, 0], after[:, 0])]
    assert null[0].rank_p == null[1].rank_p


@given(pairs())
def test_intervals_do_not_depend_on_the_order_of_carriers(
    pair: tuple[np.ndarray, np.ndarray],
) -> None:
    suspect, clean = (grid[..., 0] for grid in pair)
    clusters = names(pair[0])
    options = {"n_boot": 100, "seed": 3}
    effect = [
        effect_interval(here, there, rows, scale=1.0, **options)
        for here, there, rows in (
            (suspect, clean, clusters),
            (suspect[:, ::-1], clean[:, ::-1], clusters[::-1]),
        )
    ]
    assert (effect[0].low, effect[0].high) == pytest.approx((effect[1].low, effect[1].high))
    auc = [
        auc_interval(suspect, clusters, **options),
        auc_interval(suspect[:, ::-1], clusters[::-1], **options),
    ]
    assert (auc[0].low, auc[0].high) == pytest.approx((auc[1].low, auc[1].high))


@given(grids())
def test_intervals_hold_their_values_and_aurocs_their_range(grid: np.ndarray) -> None:
    found = effect_interval(grid[..., 0], grid[..., 1], names(grid), scale=1.0, n_boot=100, seed=0)
    assert found.low <= found.value <= found.high
    auc = auc_interval(grid[..., 0], names(grid), n_boot=100, seed=0)
    assert 0.0 <= auc.low <= auc.value <= auc.high <= 1.0
    advantage = auc_interval(grid[..., 0], names(grid), against=grid[..., 1], n_boot=100, seed=0)
    assert -1.0 <= advantage.low <= advantage.value <= advantage.high <= 1.0


# --- ranks ---------------------------------------------------------------------------------------


@given(
    arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(3, 12)), elements=numbers),
    st.integers(-20, 20),
    st.integers(1, 9),
)
def test_ranks_do_not_depend_on_the_unit_or_zero_of_a_claim(
    effects: np.ndarray, shift: int, factor: int
) -> None:
    moved = effects.copy()
    moved[0] = factor * moved[0] + shift
    assert family_p(moved) == pytest.approx(family_p(effects))


@given(arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(3, 12)), elements=numbers))
def test_more_claims_never_lower_a_rank(effects: np.ndarray) -> None:
    alone = np.concatenate([family_p(row[None]) for row in effects])
    together = family_p(effects)
    assert (together >= alone - 1e-12).all()
    assert (together >= 1 / effects.shape[1] - 1e-12).all()


@given(arrays(np.float64, st.integers(3, 12), elements=numbers))
def test_one_claims_rank_is_the_rank_among_the_controls(effects: np.ndarray) -> None:
    """Standardizing keeps the order: beyond all controls is at the floor, and nothing else is."""
    order = np.argsort(effects, kind="stable")
    assert (np.diff(standardized_by_others(effects)[order]) >= -1e-9).all()
    at_floor = family_p(effects[None])[0] < 1.5 / len(effects)
    assert at_floor == bool((effects[0] > effects[1:]).all())


# --- designs -------------------------------------------------------------------------------------

texts = st.lists(st.lists(st.integers(0, 4), max_size=4).map(tuple), min_size=2, max_size=40)


@given(texts, st.integers(0, 5), st.integers(0, 1000))
@settings(max_examples=100)
def test_readings_of_any_texts_keep_the_splits_apart(
    ids: list[tuple[int, ...]], n_families: int, seed: int
) -> None:
    ids = [*ids, (0,)]
    groups = [f"g{i % (n_families + 2)}" for i in range(len(ids))]
    places = Places.of(ids, groups, n_places=3)
    split = split_by_group(groups, seed=seed)
    usable = np.random.default_rng(seed).random(len(ids)) < 0.8
    for reading in readings(places, split, usable):
        chosen = {ids[i][: reading.place + 1] for i in reading.selection}
        told = {ids[i][: reading.place + 1] for i in reading.report}
        assert not chosen & told
        assert not {groups[i] for i in reading.selection} & {groups[i] for i in reading.report}
        assert all(len(ids[i]) > reading.place for i in (*reading.selection, *reading.report))
        assert len(reading.clusters) == len(reading.report)
        assert reading.distinct >= len(chosen | told)


@given(st.integers(0, 200))
def test_any_choice_is_of_a_readable_place(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ids = [tuple(rng.integers(3, size=rng.integers(1, 7)).tolist()) for _ in range(60)]
    groups = [f"g{i}" for i in range(60)]
    places = Places.of(ids, groups, n_places=6)
    found = readings(places, split_by_group(groups, seed=seed), np.ones(60, dtype=bool))
    effects = [rng.normal(size=(5, 3)) for _ in found]
    readable = {reading.place for reading in found if reading.degenerate is None}
    picks = choose(effects, found)
    assert {pick.place for pick in picks} <= readable
    assert len(picks) == (5 if readable else 0)
