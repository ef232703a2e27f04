"""How the inputs of a study move one by one: what a mean hides."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from trait_probe.evidence._arrays import as_finite
from trait_probe.evidence.effects import share_reversed
from trait_probe.evidence.estimate import Unscored

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class InputShifts:
    """Distribution of the differences of single inputs, in the unit of the differences.

    Args:
        n: inputs.
        mean: their mean difference.
        sd: standard deviation (n - 1); Unscored for one input.
        quantiles: at `QUANTILES` (5, 25, 50, 75, 95 %), linear between inputs.
        share_reversed: share that moves against the mean (`effects.share_reversed`), in [0, 1].
        share_zero: share that does not move at all, in [0, 1].
    """

    n: int
    mean: float
    sd: float | Unscored
    quantiles: tuple[float, ...]
    share_reversed: float
    share_zero: float

    def to_json(self) -> dict[str, object]:
        """Plain fields; quantiles by their percentage."""
        return {
            "n": self.n,
            "mean": self.mean,
            "sd": self.sd.to_json() if isinstance(self.sd, Unscored) else self.sd,
            "quantiles": {
                f"{100 * q:g}": value for q, value in zip(QUANTILES, self.quantiles, strict=True)
            },
            "share_reversed": self.share_reversed,
            "share_zero": self.share_zero,
        }


def input_shifts(differences: Float[np.ndarray, " prompt"]) -> InputShifts:
    """The distribution of `differences`, one per input.

    Raises:
        BadInputError: no inputs, or differences not finite.
    """
    values = as_finite(differences, "The differences")
    alone = len(values) < 2
    return InputShifts(
        n=len(values),
        mean=float(values.mean()),
        sd=Unscored("one input has no spread; 2 needed") if alone else float(values.std(ddof=1)),
        quantiles=tuple(float(q) for q in np.quantile(values, QUANTILES)),
        share_reversed=share_reversed(values),
        share_zero=float((values == 0.0).mean()),
    )


def upper_tail(values: Float[np.ndarray, " value"], share: float = 0.05) -> float:
    """The value that `share` of the values exceed (default: the 95th percentile), interpolated.

    Raises:
        BadInputError: no values, or not finite.
    """
    return float(np.quantile(as_finite(values, "The values"), 1.0 - share))
