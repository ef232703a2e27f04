"""Streaming mean and scatter of activations: directions are fitted without storing the rows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from trait_probe.errors import BadInputError, MismatchError


@dataclass(frozen=True, eq=False)
class Moments:
    """Count, mean and scatter of the rows seen so far, in float64.

    Attributes:
        n: rows seen.
        mean: activation units.
        scatter: sum over rows of the outer product of the centred row with itself, in squared
            activation units; `d_model**2` numbers, so 0.5 GB at a width of 8192.
    """

    n: int
    mean: Float64[Tensor, " d_model"]
    scatter: Float64[Tensor, "d_model d_model"]

    @classmethod
    def empty(cls, d_model: int, device: torch.device | str = "cpu") -> Moments:
        """The moments of no rows: the identity of `merge`."""
        return cls(
            n=0,
            mean=torch.zeros(d_model, dtype=torch.float64, device=device),
            scatter=torch.zeros(d_model, d_model, dtype=torch.float64, device=device),
        )

    @classmethod
    def of(cls, rows: Float[Tensor, "row d_model"]) -> Moments:
        """The moments of one block of rows, kept where the rows are; zero rows are fine."""
        if rows.shape[0] == 0:
            return cls.empty(rows.shape[1], rows.device)
        rows = rows.double()
        mean = rows.mean(dim=0)
        centred = rows - mean
        return cls(n=rows.shape[0], mean=mean, scatter=centred.T @ centred)

    def update(self, rows: Float[Tensor, "row d_model"]) -> Moments:
        """These moments with the rows added; the rows move to the moments' device.

        Raises:
            MismatchError: the rows have another width.
        """
        return self.merge(Moments.of(rows.to(self.mean.device)))

    def merge(self, other: Moments) -> Moments:
        """The moments of both sets of rows, by Chan, Golub & LeVeque (1979), equation 2.1.

        Associative and commutative up to float64 rounding.

        Raises:
            MismatchError: the widths differ.
        """
        if self.mean.shape != other.mean.shape:
            raise MismatchError(
                "Moments of different widths cannot be merged.",
                got=other.mean.shape[0],
                valid=[self.mean.shape[0]],
                fix="Merge moments of one site of one model.",
            )
        if other.n == 0:
            return self
        n = self.n + other.n
        shift = other.mean - self.mean
        scatter = self.scatter + other.scatter
        # In place on the fresh sum: at large widths each further copy costs half a gigabyte.
        scatter.addr_(shift, shift, alpha=self.n * other.n / n)
        return Moments(n=n, mean=self.mean + shift * (other.n / n), scatter=scatter)

    @property
    def covariance(self) -> Float64[Tensor, "d_model d_model"]:
        """The unbiased covariance (divides by n - 1), in squared activation units.

        Raises:
            BadInputError: fewer than 2 rows were seen.
        """
        return self.scatter / self._degrees_of_freedom()

    @property
    def std(self) -> Float64[Tensor, " d_model"]:
        """The standard deviation of each dimension, in activation units; see `covariance`."""
        return (self.scatter.diagonal() / self._degrees_of_freedom()).clamp(min=0).sqrt()

    def along(self, direction: Float[Tensor, " d_model"]) -> tuple[float, float]:
        """Mean and standard deviation of the rows' dot product with `direction`; a z-reference."""
        axis = direction.to(self.mean)
        variance = float(axis @ self.covariance @ axis)
        return float(self.mean @ axis), max(variance, 0.0) ** 0.5

    def principal_components(
        self, n: int
    ) -> tuple[Float64[Tensor, "component d_model"], Float64[Tensor, " component"]]:
        """The `n` directions of largest variance, unit and orthogonal, and their variances.

        Largest first; a component's sign means nothing.

        Raises:
            BadInputError: `n` is not between 1 and the width.
        """
        width = self.mean.shape[0]
        if not 1 <= n <= width:
            raise BadInputError(
                "The number of components lies between 1 and the width of the activations.",
                got=n,
                valid=(f"1 to {width}",),
            )
        variances, directions = torch.linalg.eigh(self.covariance)
        return directions.T[-n:].flip(0), variances[-n:].flip(0).clamp(min=0)

    def _degrees_of_freedom(self) -> int:
        if self.n < 2:
            raise BadInputError("A covariance needs at least 2 rows.", got=self.n)
        return self.n - 1
