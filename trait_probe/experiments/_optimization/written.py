"""Optimized directions as vector files, like any other trait vector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from jaxtyping import Float

from trait_probe.experiments._optimization import arms as at
from trait_probe.experiments._optimization.config import Config
from trait_probe.experiments._optimization.find import TraitFound
from trait_probe.identity import HookedModel
from trait_probe.vectors import geometry
from trait_probe.vectors.contrast_sets import contrast_set
from trait_probe.vectors.extract import contrast_activations
from trait_probe.vectors.moments import Moments
from trait_probe.vectors.trait_vector import Reference, Reliability, TraitVector

METHOD = "cma_es"


def optimized_vectors(
    config: Config, model: HookedModel, found: TraitFound
) -> dict[int, TraitVector]:
    """By seed; seeds that came to no steering have none.

    A vector's `norm` is the strength it was chosen at (fraction of a token's norm). The reference
    is read on the contrast set at the extracted vector's position. Nothing was fitted on halves or
    resamples, and no pairs were held out of a search that began with a vector of them: these
    reliabilities are not measured. `n_pairs` counts the training questions.
    """
    own = found.setting.vector
    contrast = contrast_set(str(found.setting.questions.trait.source), model, source="instructions")
    read = contrast_activations(
        model,
        contrast,
        layers=own.layer,
        position=own.basis.position,
        max_new_tokens=config.longest,
    )
    both = Moments.of(torch.cat(read.pairs[own.site]))
    arm = found.test.arms[at.SEARCHED]
    seeds = range(config.seed, config.seed + config.seeds)
    return {
        seed: _vector(found, direction, strength, seed, both)
        for seed, direction, strength in zip(seeds, arm.directions, arm.strengths, strict=True)
        if strength != 0.0
    }


def best_seed(config: Config, found: TraitFound, vectors: Mapping[int, TraitVector]) -> int | None:
    """The seed of highest validation score among those that steer; of equal ones the first."""
    chosen = found.searches.chosen[at.SEARCHED]
    scores = {config.seed + i: one.score for i, one in enumerate(chosen)}
    return max(vectors, key=lambda seed: scores[seed], default=None)


def _vector(
    found: TraitFound,
    direction: Float[torch.Tensor, " d_model"],
    strength: float,
    seed: int,
    both: Moments,
) -> TraitVector:
    own, n = found.setting.vector, len(found.setting.questions.train)
    mean, spread = both.along(direction)
    source = "all pairs of the contrast set, both sides"
    return TraitVector.normalized(
        trait=own.trait,
        direction=direction * strength,
        basis=replace(
            own.basis,
            method=METHOD,
            split=f"searched on {n} training questions, seed {seed}; chosen on validation",
            origin=None,
        ),
        reference=Reference(mean=mean, std=spread, n=both.n, source=source),
        reliability=Reliability(
            split_half_cosine=None,
            bootstrap_angle_deg=None,
            held_out_auc=None,
            n_pairs=n,
            energy_share_top1=geometry.energy_share(direction),
        ),
    )
