"""A subspace of activations spanned by their principal components, and directions within it."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float, Float64
from torch import Tensor

from trait_probe.errors import BadInputError, MismatchError
from trait_probe.vectors import geometry
from trait_probe.vectors.moments import Moments


@dataclass(frozen=True)
class Subspace:
    """The first principal components of activations at a site.

    Attributes:
        basis: `[component d_model]`, unit and orthogonal, largest variance first; signs mean
            nothing.
        explained: share of the activations' variance along each component, in [0, 1].
        n: rows of activations that it was fitted on.
    """

    basis: Float64[Tensor, "component d_model"]
    explained: Float64[Tensor, " component"]
    n: int

    @property
    def n_components(self) -> int:
        return len(self.basis)

    def coordinates(self, direction: Float[Tensor, " d_model"]) -> Float64[Tensor, " component"]:
        """Of the unit direction: its component along each axis; squared length at most 1.

        Raises:
            MismatchError: another width.
        """
        if direction.shape[0] != self.basis.shape[1]:
            raise MismatchError(
                "The direction has another width than the subspace.",
                got=direction.shape[0],
                valid=(self.basis.shape[1],),
            )
        found: Tensor = self.basis @ geometry.unit(direction.double())
        return found

    def share_inside(self, direction: Float[Tensor, " d_model"]) -> float:
        """Share, 0 to 1, of the direction's squared length that lies inside."""
        return min(float(self.coordinates(direction).square().sum()), 1.0)

    def direction(
        self, coordinates: Float[Tensor, "*batch component"]
    ) -> Float[Tensor, "*batch d_model"]:
        """Unit directions (float32) with these coordinates; their common length does not count.

        Raises:
            BadInputError: coordinates of length 0, or not finite.
        """
        lengths = coordinates.double().norm(dim=-1, keepdim=True)
        if not bool((lengths.isfinite() & (lengths > 0)).all()):
            raise BadInputError(
                "Coordinates of a direction are finite and not all 0.",
                got=lengths.flatten().tolist()[:5],
            )
        found: Tensor = (coordinates.double() / lengths) @ self.basis
        return found.float()


def principal_subspace(moments: Moments, n_components: int) -> Subspace:
    """The first `n_components` principal components of the rows behind `moments`.

    Raises:
        BadInputError: more components than the activations' width, or than rows minus one (which
            hold variance along no more directions).
    """
    if n_components > moments.n - 1:
        raise BadInputError(
            "Activations vary along fewer directions than components are asked for.",
            got=n_components,
            valid=(f"at most {moments.n - 1}, from {moments.n} rows of activations",),
            fix="Ask for fewer components, or give more or longer texts.",
        )
    basis, variances = moments.principal_components(n_components)
    total = float(moments.covariance.trace())
    if total <= 0:
        raise BadInputError("Activations that do not vary have no principal components.", got=total)
    return Subspace(basis.cpu(), (variances / total).cpu(), moments.n)
