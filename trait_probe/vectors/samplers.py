"""Samplers of points for a search: CMA-ES, and independent draws.

(Hansen 2016, "The CMA evolution strategy: a tutorial", arXiv 1604.00772; package `cma`.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float64

Points = Float64[np.ndarray, "candidate dimension"]


class Sampler(Protocol):
    """Draws points, and learns from their fitness."""

    def ask(self) -> Points: ...

    def tell(self, points: Points, fitness: Float64[np.ndarray, " candidate"]) -> None: ...

    @property
    def centre(self) -> Float64[np.ndarray, " dimension"]: ...


class CMA:
    """CMA-ES by ask and tell; draws from a generator of its own and touches no global state."""

    def __init__(
        self, start: Float64[np.ndarray, " dimension"], sigma: float, popsize: int, seed: int
    ) -> None:
        rng = np.random.default_rng(seed)
        options: dict[str, Any] = {
            "popsize": popsize,
            "randn": lambda n, dimension: rng.standard_normal((n, dimension)),
            "seed": np.nan,  # leaves numpy's global generator alone
            "verbose": -9,
            "verb_log": 0,
            "verb_disp": 0,
        }
        self._strategy = _strategy(start, sigma, options)

    def ask(self) -> Points:
        return np.array(self._strategy.ask(), dtype=np.float64)

    def tell(self, points: Points, fitness: Float64[np.ndarray, " candidate"]) -> None:
        self._strategy.tell(list(points), (-fitness).tolist())

    @property
    def centre(self) -> Float64[np.ndarray, " dimension"]:
        return np.array(self._strategy.mean, dtype=np.float64)


class Random:
    """Independent draws from the distribution that CMA-ES begins with; learns nothing."""

    def __init__(
        self, start: Float64[np.ndarray, " dimension"], sigma: float, popsize: int, seed: int
    ) -> None:
        self._start, self._sigma, self._popsize = start, sigma, popsize
        self._rng = np.random.default_rng(seed)

    def ask(self) -> Points:
        noise = self._rng.standard_normal((self._popsize, len(self._start)))
        return self._start + self._sigma * noise

    def tell(self, points: Points, fitness: Float64[np.ndarray, " candidate"]) -> None:
        """Nothing is learnt."""

    @property
    def centre(self) -> Float64[np.ndarray, " dimension"]:
        return self._start


METHODS: Mapping[str, Callable[..., Sampler]] = {"cma_es": CMA, "random": Random}


def _strategy(
    start: Float64[np.ndarray, " dimension"], sigma: float, options: dict[str, Any]
) -> Any:
    """The package's own object; loaded on first use, and its hint about plots kept quiet."""
    import warnings

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Could not import matplotlib", module="cma")
        import cma
    return cma.CMAEvolutionStrategy(start, sigma, options)
