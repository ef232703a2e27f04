"""Change the residual stream at a site: add a direction, ablate it, or clamp along it.

An edit is a plain function on activations; `edit` attaches edits to sites and takes them off
again, also after an exception, and may be nested. Coefficient 0 leaves every bit as it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor

from trait_probe.basis import Site
from trait_probe.errors import MismatchError
from trait_probe.hooks.sites import Residual, SiteHook, attached
from trait_probe.identity import HookedModel
from trait_probe.vectors.geometry import unit

Coefficient = float | Sequence[float] | Float[Tensor, " batch"]
"""One number for the whole batch, or one per batch row."""


def add(direction: Float[Tensor, " d_model"], coefficient: Coefficient) -> SiteHook:
    """`x + coefficient * unit(direction)`; the coefficient is in activation units."""
    axis = unit(direction)

    def hook(activation: Residual) -> Residual | None:
        rows = _per_row(coefficient, activation)
        if not rows.any():
            return None
        return activation + rows * axis.to(activation)

    return hook


def add_share(direction: Float[Tensor, " d_model"], share: Coefficient) -> SiteHook:
    """`x + share * |x| * unit(direction)`: each token moves by a fraction of its own norm."""
    axis = unit(direction)

    def hook(activation: Residual) -> Residual | None:
        rows = _per_row(share, activation)
        if not rows.any():
            return None
        norm = activation.float().norm(dim=-1, keepdim=True).to(activation.dtype)
        return activation + rows * norm * axis.to(activation)

    return hook


def ablate(direction: Float[Tensor, " d_model"]) -> SiteHook:
    """`x - (x . v) v`: nothing is left along `v = unit(direction)`; idempotent."""
    return clamp(direction, 0.0)


def clamp(direction: Float[Tensor, " d_model"], value: Coefficient) -> SiteHook:
    """Set the component along `unit(direction)` to `value` (activation units), keep the rest."""
    axis = unit(direction)

    def hook(activation: Residual) -> Residual:
        wide = activation.float()
        along = wide @ axis.to(wide)
        change = _per_row(value, wide) - along[..., None]
        return (wide + change * axis.to(wide)).to(activation.dtype)

    return hook


@contextmanager
def edit(
    model: HookedModel, edits: Mapping[Site, SiteHook] | Sequence[tuple[Site, SiteHook]]
) -> Iterator[None]:
    """Run the model with `edits` in place; on exit it is the model it was, to the bit.

    Raises:
        BadInputError: a site the model does not have, before anything is attached.
    """
    pairs = list(edits.items()) if isinstance(edits, Mapping) else list(edits)
    with attached(model, pairs):
        yield


def _per_row(coefficient: Coefficient, activation: Residual) -> Float[Tensor, "rows 1 1"]:
    values = torch.as_tensor(coefficient, dtype=activation.dtype, device=activation.device)
    if values.ndim == 0:
        return values.reshape(1, 1, 1)
    if values.shape != (activation.shape[0],):
        raise MismatchError(
            "Steering coefficients per row must be one per batch row.",
            got=tuple(values.shape),
            valid=(f"({activation.shape[0]},)", "a single number"),
        )
    return values.reshape(-1, 1, 1)
