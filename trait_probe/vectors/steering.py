"""Steer a model with a trait vector for the length of a `with` block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from trait_probe.hooks.steering import Coefficient as Coefficient
from trait_probe.hooks.steering import add_share, edit
from trait_probe.identity import HookedModel
from trait_probe.vectors.trait_vector import TraitVector
from trait_probe.vectors.vector import VectorSet


@contextmanager
def steering(
    model: HookedModel, vector: TraitVector, *, strength: Coefficient, lineage_ok: bool = False
) -> Iterator[None]:
    """Add `strength` times each token's own activation norm along the vector, at its site.

    Args:
        strength: fraction of the activation norm: 0 changes no bit, 0.3 is strong, negative steers
            away; one number, or one per prompt of the call.
        lineage_ok: your statement that the model is a fine-tune of the vector's model.

    Raises:
        MismatchError: the vector was not made in this model's basis.
    """
    VectorSet([vector]).check(model, lineage_ok=lineage_ok)
    with edit(model, [(vector.site, add_share(vector.direction, strength))]):
        yield
