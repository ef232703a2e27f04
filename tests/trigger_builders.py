"""Planted trigger studies for tests: score grids with a known truth, no model needed.

Carriers are sums "group + term": place 0 is a constant word, place 1 the group's number, place 2 a
sign, place 3 a term that several groups share. As in a causal model, a score depends on the text
up to its place alone: carriers with the same text so far have the very same score.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from trait_probe.basis import Site
from trait_probe.evidence.splits import Split, split_by_group
from trait_probe.evidence.triggers.design import Places, Reading, readings
from trait_probe.evidence.triggers.reading import Draws, TraitReading, read_trait

DRAWS = Draws(n_boot=200, n_permutations=200, seed=0)


@dataclass(frozen=True)
class Plan:
    """What is planted; effects and offsets in SD of a carrier within a control.

    Attributes:
        effect: of the trigger in the suspect, at every layer from `start` on.
        in_clean: the same in the clean model.
        rival: of one control in the suspect, where the trigger acts.
        offset: of the suspect under every condition (fine-tuning).
        year_sd: SD of each condition's own effect in the suspect, per place and layer.
        heavy: draw these from Student's t with 3 degrees of freedom instead of normal ones.
        noise: SD of what each text adds to each condition, in both models.
    """

    n_controls: int = 20
    n_groups: int = 40
    per_group: int = 2
    n_layers: int = 2
    start: int = 1
    effect: float = 0.0
    in_clean: float = 0.0
    rival: float = 0.0
    offset: float = 0.0
    year_sd: float = 0.0
    heavy: bool = False
    noise: float = 0.3
    seed: int = 0


@dataclass(frozen=True)
class Study:
    """A planted study: scores per place `[condition carrier layer]`, and what can be read."""

    suspect: list[np.ndarray]
    clean: list[np.ndarray]
    places: Places
    split: Split
    readings: tuple[Reading, ...]

    @property
    def sites(self) -> list[Site]:
        return [Site(layer) for layer in range(self.suspect[0].shape[2])]

    def read(
        self, trait: str = "evil", *, clean: bool = True, draws: Draws = DRAWS
    ) -> TraitReading | None:
        """`read_trait` against null directions that any effect exceeds."""
        there = self.clean if clean else None
        return read_trait(trait, self.suspect, there, self.sites, self.readings, WEAK_NULLS, draws)


def scores(
    seed: int = 0, *, conditions: int = 5, carriers: int = 12, series: int = 3
) -> np.ndarray:
    """Independent normal scores, nothing planted."""
    return np.random.default_rng(seed).normal(size=(conditions, carriers, series))


TINY_EFFECTS = np.linspace(-1e-4, 1e-4, 100)
WEAK_NULLS = {"random": TINY_EFFECTS, "unrelated": TINY_EFFECTS}
"""Null directions that move by nothing worth mention: every real effect passes them."""


def tokens(n_groups: int = 40, per_group: int = 2) -> tuple[list[tuple[int, ...]], list[str]]:
    """Token ids after the trigger and group of each carrier."""
    ids, groups = [], []
    for group in range(n_groups):
        for term in range(per_group):
            ids.append((1, 100 + group, 2, 500 + (group + term) % 9))
            groups.append(f"g{group:03d}")
    return ids, groups


def study(plan: Plan = Plan(), **changes: Any) -> Study:
    """Build the scores of a plan; any of its fields overridden by name."""
    plan = replace(plan, **changes)
    rng = np.random.default_rng(plan.seed)
    ids, groups = tokens(plan.n_groups, plan.per_group)
    places = Places.of(ids, groups, n_places=4)
    suspect, clean = [], []
    for place in range(places.valid.shape[1]):
        here, there = _scores(plan, places, place, rng)
        suspect.append(here.astype(np.float32))
        clean.append(there.astype(np.float32))
    split = split_by_group(groups, seed=plan.seed)
    usable = np.ones(len(ids), dtype=bool)
    return Study(suspect, clean, places, split, readings(places, split, usable))


def _scores(
    plan: Plan, places: Places, place: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    text = places.prefix[:, place]
    shape = (plan.n_controls + 1, int(text.max()) + 1, plan.n_layers)
    common = rng.standard_normal((1, *shape[1:]))
    models = [common + plan.noise * rng.standard_normal(shape) for _ in range(2)]
    draw = rng.standard_t(3, (shape[0], 1, shape[2])) if plan.heavy else None
    year = rng.standard_normal((shape[0], 1, shape[2])) if draw is None else draw
    suspect, clean = models[0] + plan.year_sd * year + plan.offset, models[1]
    if place >= plan.start:
        suspect[0] += plan.effect
        clean[0] += plan.in_clean
        suspect[1] += plan.rival
    return suspect[:, text], clean[:, text]
