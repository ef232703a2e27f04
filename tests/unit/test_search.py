"""The search: it solves what can be solved, learns only from what it is told, and replays."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from trait_probe.errors import BadInputError, MismatchError
from trait_probe.vectors.moments import Moments
from trait_probe.vectors.samplers import CMA
from trait_probe.vectors.search import (
    Bounds,
    Candidates,
    Evaluated,
    Settings,
    search,
)
from trait_probe.vectors.subspace import principal_subspace

BOUNDS = Bounds(0.1, 1.6)


def unit(seed, n=10):
    found = np.random.default_rng(seed).standard_normal(n)
    return found / np.linalg.norm(found)


def towards(target, best_strength=0.8):
    """Cosine with a planted direction, less the distance of the strength from the best one."""

    def evaluate(_, candidates):
        lengths = np.linalg.norm(candidates.coordinates, axis=1)
        cosine = candidates.coordinates @ target / lengths
        return Evaluated(cosine - np.abs(np.log(candidates.strengths / best_strength)))

    return evaluate


def start(direction, strength=0.4):
    return Candidates(direction[None], np.array([strength]))


def best(found):
    return max(one.evaluated.fitness.max() for one in found.generations)


def test_the_sphere_is_solved_within_its_budget():
    sampler = CMA(np.full(10, 2.0), 0.5, 12, seed=0)
    evaluations = 0
    while evaluations < 3000:
        points = sampler.ask()
        values = (points**2).sum(axis=1)
        evaluations += len(points)
        if values.min() < 1e-9:
            break
        sampler.tell(points, -values)
    assert values.min() < 1e-9


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_planted_direction_and_strength_are_found_where_random_search_is_lost(seed):
    target, first = unit(seed), unit(seed + 100)
    settings = Settings(popsize=12, iterations=60, strengths=BOUNDS)
    found = search("cma_es", towards(target), start(first), settings, seed=seed, stop_early=False)
    lost = search("random", towards(target), start(first), settings, seed=seed, stop_early=False)
    assert best(found) > 0.97
    assert best(lost) < 0.8
    final = found.incumbents[-1].candidate
    assert abs(final.strengths[0] - 0.8) < 0.1
    assert found.n_evaluations == lost.n_evaluations


def test_the_length_of_coordinates_does_not_count():
    settings = Settings(popsize=8, iterations=5, strengths=BOUNDS)
    short, long = (
        search("cma_es", towards(unit(1)), start(scale * unit(2)), settings, seed=0)
        for scale in (1.0, 50.0)
    )
    np.testing.assert_allclose(
        short.generations[-1].evaluated.fitness, long.generations[-1].evaluated.fitness
    )


@pytest.mark.parametrize("method", ["cma_es", "random"])
def test_a_remembered_search_goes_the_same_way_and_asks_for_nothing_anew(method):
    settings = Settings(popsize=6, iterations=9, strengths=BOUNDS)
    kept, asked = {}, []

    def evaluate(number, candidates):
        asked.append(number)
        return towards(unit(3))(number, candidates)

    def remember(number, candidates, compute):
        if number not in kept:
            kept[number] = (candidates, compute())
        before, values = kept[number]
        assert np.array_equal(before.coordinates, candidates.coordinates)
        return values

    whole = search(method, evaluate, start(unit(4)), settings, seed=7, remember=remember)
    for number in range(4, 9):  # killed after four generations
        del kept[number]
    asked.clear()
    again = search(method, evaluate, start(unit(4)), settings, seed=7, remember=remember)
    assert asked == [4, 5, 6, 7, 8]
    for one, other in zip(whole.generations, again.generations, strict=True):
        assert np.array_equal(one.candidates.coordinates, other.candidates.coordinates)
        assert np.array_equal(one.evaluated.fitness, other.evaluated.fitness)
    assert np.array_equal(whole.centre.coordinates, again.centre.coordinates)


def test_numpys_global_generator_neither_steers_nor_is_touched():
    settings = Settings(popsize=6, iterations=4, strengths=BOUNDS)
    np.random.seed(1)
    before = np.random.get_state()[1].copy()
    first = search("cma_es", towards(unit(3)), start(unit(4)), settings, seed=0)
    assert np.array_equal(before, np.random.get_state()[1])
    np.random.seed(2)
    second = search("cma_es", towards(unit(3)), start(unit(4)), settings, seed=0)
    other = search("cma_es", towards(unit(3)), start(unit(4)), settings, seed=1)
    assert np.array_equal(first.centre.coordinates, second.centre.coordinates)
    assert not np.array_equal(first.centre.coordinates, other.centre.coordinates)


def test_luck_is_undone_by_evaluating_the_best_again():
    """Fitness that is noise alone: what a candidate was chosen for is high, what it gets is not."""
    rng = np.random.default_rng(0)

    def noise(_, candidates):
        return Evaluated(rng.standard_normal(len(candidates)))

    settings = Settings(popsize=20, iterations=60, strengths=BOUNDS)
    found = search("random", noise, start(unit(0)), settings, seed=0, stop_early=False)
    chosen_for = [one.evaluated.fitness[one.best] for one in found.generations]
    again = [one.again for one in found.generations if one.again is not None]
    assert np.mean(chosen_for) > 1.5
    assert abs(np.mean(again)) < 0.5


def test_it_stops_on_a_plateau_and_not_before():
    settings = Settings(popsize=6, iterations=100, strengths=BOUNDS, patience=4)
    flat = search(
        "cma_es", lambda _, c: Evaluated(np.zeros(len(c))), start(unit(0)), settings, seed=0
    )
    assert (flat.stopped, len(flat.generations)) == ("plateau", 9)

    def rising(number, candidates):  # all but the start, which is put in last
        return Evaluated(np.append(np.full(len(candidates) - 1, float(number)), 0.0))

    slope = search(
        "cma_es",
        rising,
        start(unit(0)),
        Settings(popsize=6, iterations=20, strengths=BOUNDS, patience=4),
        seed=0,
    )
    assert (slope.stopped, len(slope.generations)) == ("iterations", 20)


def test_finalists_are_the_start_the_centre_the_last_and_the_best_of_the_others():
    settings = Settings(popsize=6, iterations=15, strengths=BOUNDS)
    found = search("cma_es", towards(unit(5)), start(unit(6)), settings, seed=0, stop_early=False)
    finalists = found.finalists(3)
    assert len(finalists) == 5
    assert np.array_equal(finalists.coordinates[0], found.start.coordinates[0])
    assert np.array_equal(finalists.coordinates[1], found.centre.coordinates[0])
    assert np.array_equal(finalists.coordinates[2], found.incumbents[-1].candidate.coordinates[0])
    ranked = sorted((one.fitness for one in found.incumbents[:-1]), reverse=True)
    kept = [
        one.fitness
        for one in found.incumbents
        if any(
            np.array_equal(one.candidate.coordinates[0], row) for row in finalists.coordinates[3:]
        )
    ]
    assert sorted(kept, reverse=True) == ranked[:2]


def test_strengths_stay_within_their_bounds():
    settings = Settings(popsize=20, iterations=3, strengths=BOUNDS, strength_step=5.0)
    found = search("random", towards(unit(1)), start(unit(2)), settings, seed=0)
    strengths = np.concatenate([one.candidates.strengths for one in found.generations])
    assert strengths.min() == pytest.approx(0.1)
    assert strengths.max() == pytest.approx(1.6)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Bounds(0.0, 1.0), "above 0"),
        (lambda: Bounds(1.0, 0.5), "two bounds"),
        (lambda: Settings(popsize=3, iterations=1, strengths=BOUNDS), "popsize is at least 4"),
        (lambda: Settings(popsize=4, iterations=0, strengths=BOUNDS), "iterations is at least 1"),
        (lambda: Settings(popsize=4, iterations=1, strengths=BOUNDS, step=0.0), "above 0"),
        (lambda: Evaluated(np.array([0.0, np.nan])), "finite"),
    ],
)
def test_settings_that_mean_nothing_are_refused(make, match):
    with pytest.raises(BadInputError, match=match):
        make()


def test_an_unknown_method_two_starts_or_a_negative_seed_are_refused():
    settings = Settings(popsize=4, iterations=1, strengths=BOUNDS)
    one = start(unit(0))
    for method, begin, seed in (("cmaes", one, 0), ("cma_es", one + one, 0), ("cma_es", one, -1)):
        with pytest.raises(BadInputError):
            search(method, towards(unit(0)), begin, settings, seed=seed)


# ------------------------------------------------------------------------------ subspace


def subspace(n_components=3):
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(50, 6, generator=generator) * torch.tensor([9.0, 5.0, 3.0, 1.0, 0.5, 0.1])
    return principal_subspace(Moments.of(rows), n_components)


def test_directions_and_coordinates_are_each_others_inverse_within_the_subspace():
    found = subspace()
    coordinates = torch.randn(5, 3, dtype=torch.float64)
    directions = found.direction(coordinates)
    assert directions.norm(dim=-1).allclose(torch.ones(5))
    units = coordinates / coordinates.norm(dim=-1, keepdim=True)
    for direction, expected in zip(directions, units, strict=True):
        assert found.coordinates(direction).allclose(expected, atol=1e-6)
        assert found.share_inside(direction) == pytest.approx(1.0, abs=1e-6)


def test_the_share_inside_is_that_of_the_squared_length():
    found = subspace()
    inside = found.basis[0]
    outside = torch.linalg.svd(found.basis, full_matrices=True)[2][-1]
    mixed = (inside + outside).float()
    assert found.share_inside(mixed) == pytest.approx(0.5, abs=1e-6)
    assert found.explained.sum() < 1.0
    assert list(found.explained) == sorted(found.explained.tolist(), reverse=True)


def test_components_that_are_not_there_are_refused():
    with pytest.raises(BadInputError, match="fewer directions"):
        principal_subspace(Moments.of(torch.randn(4, 6)), 4)
    with pytest.raises(BadInputError, match="number of components"):
        subspace(7)
    with pytest.raises(BadInputError, match="do not vary"):
        principal_subspace(Moments.of(torch.ones(5, 6)), 2)
    with pytest.raises(BadInputError, match="not all 0"):
        subspace().direction(torch.zeros(1, 3))
    with pytest.raises(MismatchError, match="another width"):
        subspace().coordinates(torch.ones(5))
