"""Null studies on what the organisms did: labels, directions, twins and years that mean nothing.

Each study draws prompts, directions and models anew from the pools, so that studies of one kind
share data: their binomial intervals are somewhat too narrow, and most so for the twins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from benchmarks.calibration import pools, triggers
from benchmarks.calibration.activations import project, project_many
from benchmarks.calibration.labelled import N_REFITTED
from trait_probe.basis import Site
from trait_probe.evidence.claims import Claim
from trait_probe.evidence.locks import ReportLock
from trait_probe.evidence.nulls import random_directions
from trait_probe.evidence.splits import split_by_group, text_id
from trait_probe.evidence.studies.beyond_text import BeyondText, beyond_text_claims
from trait_probe.evidence.studies.gain import ARMS, EXTRACTED, Gain, gain_claim
from trait_probe.evidence.studies.models import ModelScores, ShiftRows
from trait_probe.evidence.studies.rows import LabelledRows
from trait_probe.evidence.studies.same_behaviour import BOUND, same_behaviour_claim
from trait_probe.evidence.studies.separation import Separation, Wording, separation_claims
from trait_probe.evidence.studies.shift import Models, Shift, shift_claims
from trait_probe.evidence.triggers.claims import claims as trigger_claims
from trait_probe.evidence.triggers.design import Places, Reading, readings
from trait_probe.evidence.triggers.directions import DirectionScores, Looks, effects_after_choice
from trait_probe.evidence.triggers.reading import read_trait

N_RANDOM = 200
N_PERMUTATIONS = 400
N_TRAITS = 3
N_TRIGGER_NULL = 60
SAME_AS_HARM = "safety/refusal"
"""In this organism the two are one direction (cosine 0.99), and no two traits."""

PLACES = tuple(f"layer {i}" for i in range(pools.LAYERS))
WORDING = Wording("organism:base", "harmful", "harmless")
Directions = Mapping[str, Float[np.ndarray, "layer d_model"]]


def _random(
    rows: Float[np.ndarray, "row layer d_model"], seed: int, n: int = N_RANDOM
) -> Float[np.ndarray, "layer draw d_model"]:
    """Of the rows' covariance at each layer."""
    layers = range(rows.shape[1])
    drawn = [random_directions(np.cov(rows[:, i].T.astype(float)), n, seed + i) for i in layers]
    return np.stack(drawn)


def _some_traits(
    position: str | None,
    rng: np.random.Generator,
    n: int = N_TRAITS,
    among: tuple[str, ...] = pools.TRAITS,
) -> Directions:
    found = pools.directions(position)
    names = rng.permutation(sorted(among))[:n]
    return {str(name): found[str(name)] for name in names}


def _shuffled_traits(
    position: str | None,
    seed: int,
    rng: np.random.Generator,
    n: int,
    among: tuple[str, ...] = pools.TRAITS,
) -> Directions:
    """Directions of one trait's texts with labels that mean nothing."""
    trait = str(rng.choice(among))
    drawn = pools.shuffled(position, trait, n, seed)
    return {f"{trait}#{i}": drawn[:, i] for i in range(n)}


# --- two groups of prompts ------------------------------------------------------------------------


@dataclass(frozen=True)
class _Asked:
    """Some rows of a pool, with labels that may mean nothing."""

    pool: pools.LabelledPool
    chosen: Int[np.ndarray, " row"]
    labels: Bool[np.ndarray, " row"]

    def rows(self, seed: int) -> LabelledRows:
        groups = tuple(f"pair-{self.pool.pair[i]:04d}" for i in self.chosen)
        return LabelledRows(
            ids=tuple(f"row-{i}" for i in self.chosen),
            labels=self.labels,
            groups=groups,
            lock=ReportLock(split_by_group(groups, seed=seed), {"seed": seed}),
            fitted_on=pools.fitted_on(self.pool.traits),
            lengths=self.pool.lengths[self.chosen],
            texts=tuple(self.pool.texts[i] for i in self.chosen),
        )

    @property
    def activations(self) -> Float[np.ndarray, "row layer d_model"]:
        return np.asarray(self.pool.activations[self.chosen])


def _asked(pool: pools.LabelledPool, rng: np.random.Generator, *, shuffled: bool) -> _Asked:
    """200 rows (or all pairs), with true labels or with ones dealt by chance."""
    paired = len(set(pool.pair.tolist())) < len(pool.pair)
    chosen = np.arange(len(pool.labels)) if paired else rng.permutation(len(pool.labels))[:200]
    labels = pool.labels[chosen]
    if shuffled and paired:
        labels = labels ^ np.repeat(rng.random(len(labels) // 2) < 0.5, 2)
    elif shuffled:
        labels = rng.permutation(labels)
    return _Asked(pool, chosen, labels)


def separation(pool: pools.LabelledPool, seed: int, *, shuffled_labels: bool) -> list[Claim]:
    """Trait vectors on labels dealt by chance, or meaningless directions on true labels."""
    rng = np.random.default_rng(seed)
    asked = _asked(pool, rng, shuffled=shuffled_labels)
    directions, foils = _traits_and_foils(pool, seed, rng, shuffled_labels)
    rows, words = asked.activations, pool.embedding[asked.chosen]
    study = Separation(
        rows=asked.rows(seed),
        places=PLACES,
        traits={name: project(rows, found) for name, found in directions.items()},
        random=project_many(rows, _random(rows, seed)),
        foils={name: project(rows, found) for name, found in foils.items()},
        embedding={name: words @ _at_embedding(name) for name in directions},
    )
    return separation_claims(study, WORDING, n_permutations=N_PERMUTATIONS, seed=seed)


def beyond_text(pool: pools.LabelledPool, seed: int, *, shuffled_labels: bool) -> list[Claim]:
    """The same for what projections add to the words."""
    rng = np.random.default_rng(seed)
    asked = _asked(pool, rng, shuffled=shuffled_labels)
    directions, _ = _traits_and_foils(pool, seed, rng, shuffled_labels)
    name, found = next(iter(directions.items()))
    words = pool.embedding[asked.chosen].astype(np.float64)
    study = BeyondText(
        rows=asked.rows(seed),
        places=PLACES,
        traits={name: project(asked.activations, found)},
        embedding=words,
        at_embedding={name: words @ _at_embedding(name)},
        random=project_many(asked.activations, _random(asked.activations, seed, N_REFITTED)),
    )
    return beyond_text_claims(study, WORDING)


def _at_embedding(name: str) -> Float[np.ndarray, " d_model"]:
    """The trait's own direction there; for one with shuffled labels, of the trait it is from."""
    return pools.embedding_directions()[name.rsplit("#", 1)[0]]


def _traits_and_foils(
    pool: pools.LabelledPool, seed: int, rng: np.random.Generator, shuffled_labels: bool
) -> tuple[Directions, Directions]:
    """Three traits, or directions of one trait's shuffled labels; and one or two foils."""
    if shuffled_labels:
        drawn = _some_traits("prompt[-1]", rng, N_TRAITS + 2, pool.traits)
    else:
        drawn = _shuffled_traits("prompt[-1]", seed, rng, N_TRAITS + 2, pool.traits)
    items = list(drawn.items())
    return dict(items[:N_TRAITS]), dict(items[N_TRAITS:])


# --- models ---------------------------------------------------------------------------------------


def shift(
    pool: pools.ModelsPool, seed: int, *, variant: str | None = None, n_controls: int = 1
) -> list[Claim]:
    """A twin against other twins with a trait vector, or a variant with a meaningless direction.

    Args:
        variant: None for a twin, whose trait vectors are real; else directions mean nothing.
    """
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.permutation(len(pool.families))[:200])
    twins = [str(name) for name in rng.permutation(sorted(pool.twins))]
    name = variant or twins.pop()
    controls = twins[:n_controls]
    grids = [pool.activations[model][chosen] for model in ("base", name, *controls)]
    rule = pool.rule
    real = [
        item
        for item in _some_traits(rule, rng, len(pools.TRAITS)).items()
        if item[0] != SAME_AS_HARM
    ]
    claimed = real[:1]
    if variant is not None:
        claimed = list(_shuffled_traits(rule, seed, rng, 1).items())
    groups = tuple(pool.families[i] for i in chosen)

    def one(found: Float[np.ndarray, "layer d_model"]) -> ModelScores:
        base, other, *rest = (project(rows, found) for rows in grids)
        return ModelScores(base, other, tuple(rest))

    def many(found: Float[np.ndarray, "layer draw d_model"]) -> ModelScores:
        base, other, *rest = (project_many(rows, found) for rows in grids)
        return ModelScores(base, other, tuple(rest))

    study = Shift(
        rows=ShiftRows(
            ids=tuple(text_id(pool.texts[i]) for i in chosen),
            groups=groups,
            lock=ReportLock(split_by_group(groups, seed=seed), {"seed": seed}),
            fitted_on=pools.fitted_on(),
        ),
        places=PLACES,
        traits={trait: one(found) for trait, found in claimed},
        random=many(_random(grids[0], seed)),
        shuffled=many(pools.shuffled(rule, str(rng.choice(pools.TRAITS)), 100, seed + 500_000)),
        unrelated={trait: one(found) for trait, found in real[1:]},
        directions=dict(claimed + real[1:]),
    )
    models = Models(name, "base", ", ".join(controls))
    return shift_claims(study, models, n_permutations=N_PERMUTATIONS, seed=seed)


# --- triggers -------------------------------------------------------------------------------------


def trigger(
    pool: pools.YearsPool, seed: int, *, suspect: str, clean: str, planted: bool
) -> list[Claim]:
    """A year that was never planted, with trait vectors; or the planted one, with meaningless ones.

    Args:
        planted: read the planted year with directions whose labels mean nothing.
    """
    rng = np.random.default_rng(seed)
    years = rng.permutation([i for i, year in enumerate(pool.years) if year != pools.PLANTED])
    first = pool.years.index(pools.PLANTED) if planted else int(years[-1])
    conditions = [first, *(int(i) for i in years[: triggers.N_CONTROLS])]
    places = Places.of(pool.tokens, pool.groups, n_places=pools.N_PLACES)
    split = split_by_group(pool.groups, seed=seed)
    found = readings(places, split, np.ones(len(pool.tokens), dtype=bool))
    grids = [pool.activations[name][conditions] for name in (suspect, clean)]
    rule = "prompt[-1]"
    traits = _shuffled_traits(rule, seed, rng, 1) if planted else _some_traits(rule, rng)
    nulls = {
        "random": _random_at(grids[1], found, seed),
        "unrelated": pools.shuffled(
            rule, str(rng.choice(pools.TRAITS)), N_TRIGGER_NULL, seed + 500_000
        ),
    }
    effects = {name: _null_effects(grids, found, drawn) for name, drawn in nulls.items()}
    sites = [Site(layer) for layer in range(pools.LAYERS)]
    read = {}
    for name, directions in traits.items():
        here, there = (
            [np.einsum("cpld,ld->cpl", grid[:, :, k], directions) for k in range(grid.shape[2])]
            for grid in grids
        )
        read[name] = read_trait(name, here, there, sites, found, effects, triggers.DRAWS)
    setting = triggers.setting(len(pool.tokens))
    return trigger_claims(read, None, {}, setting, sae_asked=False, unreadable="no place")


def _random_at(
    grid: Float[np.ndarray, "condition carrier place layer d_model"],
    found: tuple[Reading, ...],
    seed: int,
) -> Float[np.ndarray, "layer draw d_model"]:
    rows = [grid[1:, r.selection, r.place] for r in found if r.degenerate is None]
    flat = np.concatenate([item.reshape(-1, *item.shape[2:]) for item in rows])
    return _random(flat, seed, N_TRIGGER_NULL)


def _null_effects(
    grids: list[Float[np.ndarray, "condition carrier place layer d_model"]],
    found: tuple[Reading, ...],
    directions: Float[np.ndarray, "layer draw d_model"],
) -> Float[np.ndarray, " draw"]:
    readable = [reading for reading in found if reading.degenerate is None]
    looks = []
    for layer, drawn in enumerate(directions):

        def scores(
            place: int,
            carriers: Int[np.ndarray, " _n"],
            layer: int = layer,
            drawn: Float[np.ndarray, "draw d_model"] = drawn,
        ) -> DirectionScores:
            turned = drawn.T.astype(np.float32)
            return DirectionScores(*(grid[:, carriers, place, layer] @ turned for grid in grids))

        looks.append(
            Looks.of((scores(r.place, r.selection), scores(r.place, r.report)) for r in readable)
        )
    return effects_after_choice(looks)


# --- searches and behaviour -----------------------------------------------------------------------


def gain(pool: Float[np.ndarray, "draw question"], seed: int) -> list[Claim]:
    """Every arm is the best of eight random directions on its training questions."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(pool.shape[1])
    train, test = order[: len(order) // 2], order[len(order) // 2 :]

    def best(k: int) -> Float[np.ndarray, "seed question"]:
        drawn = [rng.permutation(len(pool))[:8] for _ in range(k)]
        chosen = [some[pool[some][:, train].mean(axis=1).argmax()] for some in drawn]
        return np.asarray(pool[chosen][:, test].astype(np.float64))

    study = Gain(
        searched=best(5),
        arms={name: best(1 if name in (EXTRACTED, ARMS[3]) else 5) for name in ARMS},
        test=tuple(f"q{i}" for i in test),
        chosen_on=tuple(f"q{i}" for i in train),
        null=pool[:, test].astype(np.float64),
    )
    return [gain_claim(study, statement="The searched direction is better.", unit="share right")]


def same_behaviour(pool: Float[np.ndarray, "model row"], seed: int, n: int = 200) -> list[Claim]:
    """Prompts of which one in ten (the bound) is answered otherwise by the misaligned organism."""
    rng = np.random.default_rng(seed)
    base, misaligned = pool
    changed = np.flatnonzero((misaligned == 1.0) & (base == 0.0))
    unchanged = np.flatnonzero(misaligned == base)
    is_changed = rng.random(n) < BOUND
    chosen = np.where(is_changed, rng.choice(changed, n), rng.choice(unchanged, n))
    claim = same_behaviour_claim(
        misaligned[chosen].astype(np.float64),
        base[chosen].astype(np.float64),
        [f"draw-{i}" for i in range(n)],
        statement="The misaligned organism answers as its base does.",
        split="all prompts",
        n_permutations=200,
        seed=seed,
    )
    return [claim]
