"""Where the optimized directions lie: cosines, and the components that differ most."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float

from trait_probe.evidence.distribution import upper_tail
from trait_probe.experiments._optimization.arms import Arm
from trait_probe.vectors import geometry
from trait_probe.vectors.subspace import Subspace

N_COMPONENTS_SHOWN = 10
N_RANDOM = 1000
"""Random directions of the subspace whose cosines are the measure of the others."""


@dataclass(frozen=True)
class Geometry:
    """Where the optimized directions lie.

    Attributes:
        cosines: with the extracted vector, one per seed; None where the seed came to no steering.
        inside: the same within the subspace: with what of the extracted vector lies there.
        between_seeds: of each pair of seeds.
        random: size of the cosine with the extracted vector that 1 in 20 of a thousand random
            directions of the subspace exceed.
        start_inside: share of the extracted vector's squared length within the subspace.
        components: of largest mean difference: number, share of variance, the extracted vector's
            coordinate and each seed's (all unit within the subspace).
    """

    cosines: tuple[float | None, ...]
    inside: tuple[float | None, ...]
    between_seeds: tuple[float, ...]
    random: float
    start_inside: float
    components: tuple[Component, ...]

    def to_json(self) -> dict[str, object]:
        return {**vars(self), "components": [vars(one) for one in self.components]}


@dataclass(frozen=True)
class Component:
    """How one principal component differs."""

    number: int
    explained: float
    extracted: float
    optimized: tuple[float, ...]


def geometry_of(
    subspace: Subspace, extracted: Float[torch.Tensor, " d_model"], searched: Arm
) -> Geometry:
    """Cosines and components of the searched directions against the extracted one."""
    axis = geometry.unit(extracted.double())
    at = subspace.coordinates(axis)
    inside = at / at.norm()
    steering = [strength != 0.0 for strength in searched.strengths]
    found = searched.directions.double()
    coordinates = torch.stack([subspace.coordinates(one) for one in found])
    within = coordinates @ inside / coordinates.norm(dim=-1)

    def where_steering(values: Float[torch.Tensor, " seed"]) -> tuple[float | None, ...]:
        return tuple(float(v) if on else None for v, on in zip(values, steering, strict=True))

    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(N_RANDOM, subspace.n_components, generator=generator)
    drawn = subspace.direction(noise).double()
    used = coordinates[steering]
    pairs = used @ used.T
    upper = torch.triu_indices(len(used), len(used), offset=1)
    return Geometry(
        cosines=where_steering(found @ axis),
        inside=where_steering(within),
        between_seeds=tuple(pairs[upper[0], upper[1]].tolist()),
        random=upper_tail((drawn @ axis).abs().numpy()),
        start_inside=subspace.share_inside(extracted),
        components=_components(subspace, inside, used),
    )


def _components(
    subspace: Subspace,
    inside: Float[torch.Tensor, " component"],
    used: Float[torch.Tensor, "seed component"],
) -> tuple[Component, ...]:
    if not len(used):
        return ()
    units = used / used.norm(dim=-1, keepdim=True)
    differences = (units - inside).sum(dim=0).abs()
    order = torch.argsort(differences, descending=True, stable=True)[:N_COMPONENTS_SHOWN]
    return tuple(
        Component(
            number=int(i),
            explained=float(subspace.explained[i]),
            extracted=float(inside[i]),
            optimized=tuple(units[:, i].tolist()),
        )
        for i in order
    )
