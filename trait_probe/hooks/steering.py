"""Change the residual stream at a site: add a direction, ablate it, or clamp along it.

An edit is a plain function on activations; `edit` attaches edits to sites and takes them off
again, also after an exception, and may be nested. Coefficient 0 leaves every bit as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from trait_probe.basis import Site
from trait_probe.errors import BadInputError, MismatchError
from trait_probe.hooks.rows import count_edit, current_rows
from trait_probe.hooks.sites import Residual, SiteHook, attached, resolve_all
from trait_probe.identity import HookedModel
from trait_probe.vectors.geometry import unit

Coefficient = float | Sequence[float] | Float[Tensor, " _n"]
"""One number for all, or one per prompt of the call (per batch row of a bare forward pass)."""


def add(direction: Float[Tensor, " d_model"], coefficient: Coefficient) -> SiteHook:
    """`x + coefficient * unit(direction)`; the coefficient is in activation units."""
    return _adding(direction, coefficient, lambda _: 1.0)


def add_share(direction: Float[Tensor, " d_model"], share: Coefficient) -> SiteHook:
    """`x + share * |x| * unit(direction)`: each token moves by a fraction of its own norm."""
    return _adding(direction, share, lambda x: _wide(x).norm(dim=-1, keepdim=True))


def _adding(
    direction: Float[Tensor, " d_model"],
    coefficient: Coefficient,
    scale: Callable[[Residual], float | Float[Tensor, "batch pos 1"]],
) -> SiteHook:
    axis, coefficients = unit(direction), _finite(coefficient)

    def hook(activation: Residual) -> Residual | None:
        rows = _per_row(coefficients, activation)
        if not rows.any():
            return None
        return _moved(activation, rows * scale(activation) * _along(axis, activation), rows)

    return hook


@dataclass(frozen=True)
class Directions:
    """Several steerings of one call at one site: each prompt gets the direction of its own.

    Args:
        directions: their lengths do not count.
        shares: one per direction: the fraction of a token's norm that is added (`add_each`), or of
            the component that is taken away (`ablate_each`).
        which: per prompt of the call, the number of its direction.

    Raises:
        BadInputError: shares that are not finite, or a direction that is not there.
        MismatchError: not one share per direction.
    """

    directions: Float[Tensor, "direction d_model"]
    shares: Float[Tensor, " _n"]
    which: Int[Tensor, " prompt"]

    def __post_init__(self) -> None:
        _finite(self.shares)
        if len(self.shares) != len(self.directions):
            raise MismatchError(
                "Every direction has one share.",
                got=len(self.shares),
                valid=(len(self.directions),),
            )
        known = (self.which >= 0) & (self.which < len(self.directions))
        if not bool(known.all()):
            raise BadInputError(
                "A prompt is given a direction that is not there.",
                got=self.which[~known].tolist()[:5],
                valid=(f"0 to {len(self.directions) - 1}",),
            )

    def of_rows(
        self, activation: Residual
    ) -> tuple[Float[Tensor, "_rows 1 d_model"], Float[Tensor, "_rows 1 1"]]:
        """Unit direction and share of every row of the running batch."""
        which = _of_rows(self.which, activation, "Numbers of directions")
        which = which.to(activation.device)
        axes = _along_each(self._axes, activation)
        return axes[which][:, None], self.shares.to(axes)[which][:, None, None]

    @cached_property
    def _axes(self) -> Float[Tensor, "direction d_model"]:
        return unit(self.directions)


def add_each(directions: Directions) -> SiteHook:
    """`add_share` with a direction and a share of each prompt's own."""

    def hook(activation: Residual) -> Residual | None:
        axes, shares = directions.of_rows(activation)
        if not shares.any():
            return None
        size = _wide(activation).norm(dim=-1, keepdim=True)
        return _moved(activation, shares * size * axes, shares)

    return hook


def ablate_each(directions: Directions) -> SiteHook:
    """`x - share * (x . v) v`, each prompt with its own: share 1 is `ablate`, 0 changes nothing."""

    def hook(activation: Residual) -> Residual | None:
        axes, shares = directions.of_rows(activation)
        if not shares.any():
            return None
        along = (_wide(activation) * axes).sum(dim=-1, keepdim=True)
        return _moved(activation, -shares * along * axes, shares)

    return hook


def ablate(direction: Float[Tensor, " d_model"]) -> SiteHook:
    """`x - (x . v) v`: nothing is left along `v = unit(direction)`; idempotent."""
    return clamp(direction, 0.0)


def clamp(direction: Float[Tensor, " d_model"], value: Coefficient) -> SiteHook:
    """Set the component along `unit(direction)` to `value` (activation units), keep the rest."""
    axis, values = unit(direction), _finite(value)

    def hook(activation: Residual) -> Residual:
        wide, along = _wide(activation), _along(axis, activation)
        change = _per_row(values, activation) - (wide @ along)[..., None]
        return (wide + change * along).to(activation.dtype)

    return hook


@contextmanager
def edit(
    model: HookedModel, edits: Mapping[Site, SiteHook] | Sequence[tuple[Site, SiteHook]]
) -> Iterator[None]:
    """Run the model with `edits` in place; on exit it is the model it was, to the bit.

    Raises:
        BadInputError: a site that the model does not have, or that can only be read, before
            anything is attached.
    """
    pairs = list(edits.items()) if isinstance(edits, Mapping) else list(edits)
    _require_writable(model, [site for site, _ in pairs])
    with attached(model, pairs):
        count_edit(model, 1)
        try:
            yield
        finally:
            count_edit(model, -1)


def _require_writable(model: HookedModel, sites: Sequence[Site]) -> None:
    """A bridge's `resid_mid` is the input of the second norm: what is put there never gets into
    the residual stream. Its hook point then bears the name of a part of the block."""
    for site, point in zip(sites, resolve_all(model, sites), strict=True):
        name = str(point.name)
        if name != site.hook_name and name.rpartition(".")[0] != f"blocks.{site.layer}":
            raise BadInputError(
                "This model's hook point can be read, not edited: it feeds a part of the block "
                f"({name}) beside the residual stream.",
                got=str(site),
                valid=(Site(site.layer, "resid_pre"), Site(site.layer, "resid_post")),
            )


def _finite(coefficient: Coefficient) -> Float[Tensor, ""] | Float[Tensor, " _n"]:
    values = torch.as_tensor(coefficient, dtype=torch.float64)
    if values.ndim > 1 or not bool(values.isfinite().all()):
        raise BadInputError(
            "A steering coefficient is a finite number, or a flat sequence of them.",
            got=coefficient,
        )
    return values


def _wide(activation: Residual) -> Residual:
    """At least float32: half precision would round the shift as well as its sum."""
    return activation.to(torch.promote_types(activation.dtype, torch.float32))


def _along(axis: Float[Tensor, " _n"], activation: Residual) -> Float[Tensor, " d_model"]:
    return _along_each(axis, activation)


def _along_each(axes: Float[Tensor, "*_some _n"], activation: Residual) -> Float[Tensor, ...]:
    if axes.shape[-1] != activation.shape[-1]:
        raise MismatchError(
            "The steering direction has another width than the model.",
            got=axes.shape[-1],
            valid=(activation.shape[-1],),
        )
    return axes.to(activation.device, torch.promote_types(activation.dtype, torch.float32))


def _moved(
    activation: Residual, shift: Float[Tensor, ...], rows: Float[Tensor, "_rows 1 1"]
) -> Residual:
    """The sum, save where a row's coefficient is 0: there not even the sign of a zero changes."""
    return torch.where(rows == 0, activation, (_wide(activation) + shift).to(activation.dtype))


def _per_row(coefficients: Float[Tensor, ...], activation: Residual) -> Float[Tensor, "_rows 1 1"]:
    """One for each batch row, or a single one; in at least float32."""
    if coefficients.ndim == 1:
        coefficients = _of_rows(
            coefficients, activation, "Steering coefficients", "a single number"
        )
    dtype = torch.promote_types(activation.dtype, torch.float32)
    return coefficients.reshape(-1, 1, 1).to(dtype).to(activation.device)


def _of_rows(
    values: Shaped[Tensor, " _n"], activation: Residual, what: str, *others: str
) -> Shaped[Tensor, " _m"]:
    """Of values per prompt of the call (per row of a bare forward pass), those of the rows."""
    rows = current_rows()
    expected = activation.shape[0] if rows is None else rows.total
    if len(values) != expected:
        raise MismatchError(
            f"{what} are one per prompt of the call (one per batch row where the model is run on "
            f"token ids){', or a single number' if others else ''}.",
            got=len(values),
            valid=(expected, *others),
        )
    return values if rows is None else values[list(rows.prompts)]
