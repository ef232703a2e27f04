"""Directions that mean nothing, put through a trait's whole choice: what each trait is held to.

A trait reads at the layer and token where its selection split looks best. Directions that are read
at the trait's place lack that freedom, so here each chooses for itself. What is drawn is one
direction a layer, of two families: random ones with the covariance of the activations, and the
trait's own method and texts with shuffled labels (the same labels at every layer). Activations are
read once for all of them, as many layers at a time as fit in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from trait_probe.basis import Site
from trait_probe.evidence.nulls import random_directions
from trait_probe.evidence.triggers.design import Reading
from trait_probe.evidence.triggers.directions import (
    DirectionScores,
    Looks,
    effects_after_choice,
)
from trait_probe.evidence.triggers.reading import NullEffects
from trait_probe.experiments._backdoor.conditions import Conditions
from trait_probe.experiments._backdoor.config import Config
from trait_probe.experiments._backdoor.steps import Pair
from trait_probe.forward.engine import read
from trait_probe.forward.progress import Progress
from trait_probe.forward.threads import threads_for
from trait_probe.hooks.capture import raw
from trait_probe.identity import HookedModel
from trait_probe.vectors.extract import ContrastActivations, shuffled_directions
from trait_probe.vectors.moments import Moments

MAX_BYTES = 2 << 30
"""Of activations held at a time; one layer is read in any case."""


@dataclass(frozen=True)
class NullDirections:
    """The looks of every family, site by site; empty where no place can be read."""

    random: dict[Site, Looks] = field(default_factory=dict)
    shuffled: dict[str, dict[Site, Looks]] = field(default_factory=dict)

    def of_trait(self, trait: str) -> NullEffects:
        """Effects of directions that chose among the trait's sites, by family."""
        mine = self.shuffled[trait]
        return {
            "random": effects_after_choice([self.random[site] for site in mine]),
            "unrelated": effects_after_choice(list(mine.values())),
        }

    def at(self, site: Site) -> Float[np.ndarray, " draw"]:
        """Effects of random directions that chose among the places of one site."""
        return effects_after_choice([self.random[site]] if site in self.random else [])


def null_directions(
    pair: Pair,
    conditions: Conditions,
    readings: Sequence[Reading],
    activations: Mapping[str, ContrastActivations],
    config: Config,
    *,
    also: Sequence[Site] = (),
) -> NullDirections:
    """Draw `config.n_random` directions a family and score each at every site and place.

    Args:
        activations: per trait, what its vectors were fitted on.
        also: further sites at which random directions are wanted (an SAE's).
    """
    found = NullDirections(shuffled={trait: {} for trait in activations})
    readable = [reading for reading in readings if reading.degenerate is None]
    sites = sorted({*also, *(site for fitted in activations.values() for site in fitted.pairs)})
    if not readable:
        return found
    n, seed = config.n_random, config.seed
    families = len(activations) + 1
    with Progress("null directions", len(sites) * len(readable) * families, unit="looks") as bar:
        for site, here, there in _activations(pair, conditions, sites):
            scorer = _Scorer(here, there, readable, bar)
            covariance = _control_covariance(here if there is None else there, readable)
            drawn = random_directions(covariance, n, seed + site.layer)
            found.random[site] = scorer.looks(torch.from_numpy(drawn).float())
            for trait, fitted in activations.items():
                if site in fitted.pairs:
                    shuffled = shuffled_directions(
                        fitted, site, method=config.method, n=n, seed=seed
                    )
                    found.shuffled[trait][site] = scorer.looks(shuffled)
    return found


@dataclass(frozen=True)
class _Activations:
    """One site's activations in one model, and the row of each condition, carrier and place."""

    values: Float[np.ndarray, "row d_model"]
    rows: Int[np.ndarray, "condition carrier place"]

    def at(
        self, place: int, carriers: Int[np.ndarray, " _n"]
    ) -> Float[Tensor, "condition carrier d_model"]:
        return torch.from_numpy(self.values[self.rows[:, carriers, place]])


def _activations(
    pair: Pair, conditions: Conditions, sites: Sequence[Site]
) -> Iterator[tuple[Site, _Activations, _Activations | None]]:
    n_rows = int(conditions.places.valid.sum()) * len(conditions.names)
    models = 1 if pair.clean is None else 2
    per_site = n_rows * int(pair.suspect.cfg.d_model) * 4 * models
    at_once = max(1, MAX_BYTES // max(per_site, 1))
    for start in range(0, len(sites), at_once):
        some = sites[start : start + at_once]
        here = _read(pair.suspect, conditions, some)
        there = None if pair.clean is None else _read(pair.clean, conditions, some)
        for site in some:
            yield site, here[site], None if there is None else there[site]


def _read(
    model: HookedModel, conditions: Conditions, sites: Sequence[Site]
) -> dict[Site, _Activations]:
    prompts = conditions.all_rendered
    found = read(
        model, prompts, dict.fromkeys(sites, raw), position=conditions.rule, label="activations"
    )
    rows = conditions.rows(found.prompt, found.offset, n_carriers=len(conditions.carriers))
    return {site: _Activations(found.values[site], rows) for site in sites}


def _control_covariance(
    reference: _Activations, readable: Sequence[Reading]
) -> Float[np.ndarray, "d_model d_model"]:
    """Of the reference model's activations under the controls, selection split, all places."""
    moments = Moments.empty(reference.values.shape[1])
    for reading in readable:
        controls = reference.at(reading.place, reading.selection)[1:]
        moments = moments.update(controls.flatten(0, 1))
    return np.asarray(moments.covariance)


@dataclass(frozen=True)
class _Scorer:
    here: _Activations
    there: _Activations | None
    readable: Sequence[Reading]
    bar: Progress

    def looks(self, directions: Float[Tensor, "draw d_model"]) -> Looks:
        """What each direction scores at every readable place."""
        return Looks.of(self._places(directions))

    def _places(
        self, directions: Float[Tensor, "draw d_model"]
    ) -> Iterator[tuple[DirectionScores, DirectionScores]]:
        for reading in self.readable:
            yield (
                self._scores(directions, reading.place, reading.selection),
                self._scores(directions, reading.place, reading.report),
            )
            self.bar.advance(1)

    def _scores(
        self,
        directions: Float[Tensor, "draw d_model"],
        place: int,
        carriers: Int[np.ndarray, " _n"],
    ) -> DirectionScores:
        with threads_for(directions.numel()):
            here = self.here.at(place, carriers) @ directions.T
            if self.there is None:
                return DirectionScores(here.numpy(), None)
            there = self.there.at(place, carriers) @ directions.T
            return DirectionScores(here.numpy(), there.numpy())
