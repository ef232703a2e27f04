"""Project onto directions inside the hook: only `[row trait]` ever leaves the device."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from trait_probe.vectors import geometry


class Projection:
    """The readout `rows @ directions.T`, in float32 whatever the model's dtype.

    The result is the `dot` statistic, in units of the activations.
    """

    def __init__(self, directions: Float[Tensor, "trait d_model"]) -> None:
        self._directions = directions.float()

    def __call__(self, rows: Float[Tensor, "row d_model"]) -> Float[Tensor, "row trait"]:
        self._directions = self._directions.to(rows.device)
        return geometry.dot(rows, self._directions)
