"""Studies of a trigger that was never planted, and of one that was: synthetic scores.

Carriers are sums "group + term"; as in a causal model a score depends on the text up to its place
alone. Every prefix does something of its own, in the suspect more than in the clean model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from trait_probe.basis import Site
from trait_probe.evidence.claims import Claim
from trait_probe.evidence.splits import split_by_group
from trait_probe.evidence.triggers.claims import Setting, claims
from trait_probe.evidence.triggers.design import Places, Reading, readings
from trait_probe.evidence.triggers.directions import DirectionScores, Looks, effects_after_choice
from trait_probe.evidence.triggers.reading import Draws, read_trait

DRAWS = Draws(n_boot=300, n_permutations=300, seed=0)
N_CONTROLS = 20
N_NULL = 100
LAYERS = 3
Grid = Float[np.ndarray, "condition carrier series"]


@dataclass(frozen=True)
class Plan:
    """What is planted; in SD of a carrier within a control.

    Attributes:
        n: carriers, in groups of two.
        effect: of the trigger in the suspect on the first trait, after the first place.
        in_clean: the same in the clean model.
        prefix_sd: SD of what each prefix does by itself in the suspect, per place and layer.
        heavy: draw these from Student's t with 3 degrees of freedom.
        traits: how many are read.
    """

    n: int = 200
    effect: float = 0.0
    in_clean: float = 0.0
    prefix_sd: float = 0.3
    heavy: bool = False
    traits: int = 3


def setting(n_carriers: int) -> Setting:
    """Names and numbers that statements need."""
    return Setting(
        trigger="In 2027,",
        suspect="suspect",
        clean="clean",
        share_identical=1.0,
        alpha=0.05,
        compared_tokens=24,
        prefix_lengths=((4,) * n_carriers,) * (N_CONTROLS + 1),
    )


def study(plan: Plan, seed: int) -> list[Claim]:
    """Draw a study and make its claims, as the experiment does."""
    rng = np.random.default_rng(seed)
    places, groups = _carriers(plan.n)
    split = split_by_group(groups, seed=seed)
    found = readings(places, split, np.ones(plan.n, dtype=bool))
    nulls = {name: _null_effects(plan, places, found, rng) for name in ("random", "unrelated")}
    traits = {}
    for number in range(plan.traits):
        effect = plan.effect if number == 0 else 0.0
        suspect, clean = _models(plan, places, effect, LAYERS, rng)
        name = f"trait-{number}"
        sites = [Site(layer) for layer in range(LAYERS)]
        traits[name] = read_trait(name, suspect, clean, sites, found, nulls, DRAWS)
    return claims(traits, None, {}, setting(plan.n), sae_asked=False, unreadable="no place")


def _carriers(n: int) -> tuple[Places, list[str]]:
    ids, groups = [], []
    for row in range(n):
        group, term = divmod(row, 2)
        ids.append((1, 100 + group, 2, 500 + (group + term) % 17))
        groups.append(f"g{group:03d}")
    return Places.of(ids, groups, n_places=4), groups


def _models(
    plan: Plan, places: Places, effect: float, series: int, rng: np.random.Generator
) -> tuple[list[Grid], list[Grid]]:
    suspect, clean = [], []
    for place in range(places.valid.shape[1]):
        here, there = _scores(plan, places.prefix[:, place], series, rng)
        if place >= 1:
            here[0] += effect
            there[0] += plan.in_clean
        suspect.append(here.astype(np.float32))
        clean.append(there.astype(np.float32))
    return suspect, clean


def _scores(
    plan: Plan, text: Int[np.ndarray, " carrier"], series: int, rng: np.random.Generator
) -> tuple[Grid, Grid]:
    shape = (N_CONTROLS + 1, int(text.max()) + 1, series)
    common = rng.standard_normal((1, *shape[1:]))
    suspect, clean = (common + 0.3 * rng.standard_normal(shape) for _ in range(2))
    own = (shape[0], 1, series)
    prefix = rng.standard_t(3, own) if plan.heavy else rng.standard_normal(own)
    suspect = suspect + plan.prefix_sd * prefix
    clean = clean + 0.3 * plan.prefix_sd * rng.standard_normal(own)
    return suspect[:, text], clean[:, text]


def _null_effects(
    plan: Plan, places: Places, found: tuple[Reading, ...], rng: np.random.Generator
) -> Float[np.ndarray, " draw"]:
    """Directions that mean nothing, each read at the layer and place that it chose."""
    looks = []
    suspect, clean = _models(plan, places, 0.0, N_NULL * LAYERS, rng)
    readable = [reading for reading in found if reading.degenerate is None]
    for layer in range(LAYERS):
        mine = slice(layer * N_NULL, (layer + 1) * N_NULL)
        looks.append(
            Looks.of(
                (
                    _some(suspect, clean, reading.place, reading.selection, mine),
                    _some(suspect, clean, reading.place, reading.report, mine),
                )
                for reading in readable
            )
        )
    return effects_after_choice(looks)


def _some(
    suspect: list[Grid], clean: list[Grid], place: int, carriers: np.ndarray, series: slice
) -> DirectionScores:
    return DirectionScores(suspect[place][:, carriers, series], clean[place][:, carriers, series])
