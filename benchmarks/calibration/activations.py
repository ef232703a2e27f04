"""Synthetic activations with what real ones have: a few large dimensions, layers that resemble
each other, prompts that come in families; and trait directions fitted to labels that mean nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from trait_probe.evidence.nulls import random_directions

D_MODEL = 32
LAYERS = 4
N_RANDOM = 200
PAIRS = 64
"""Of a contrast set."""
TRAITS = ("first", "second", "third")
WORDS = tuple(f"word{i}" for i in range(60))


@dataclass(frozen=True)
class Space:
    """One model's activation statistics: per layer, a covariance and its root."""

    covariances: tuple[Float[np.ndarray, "d_model d_model"], ...]
    roots: tuple[Float[np.ndarray, "d_model d_model"], ...]

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Space:
        """Power-law spectra, a few dimensions with most of the variance, in random bases."""
        covariances, roots = [], []
        for _ in range(LAYERS):
            basis, _ = np.linalg.qr(rng.standard_normal((D_MODEL, D_MODEL)))
            values = np.arange(1, D_MODEL + 1) ** -1.0
            covariances.append((basis * values) @ basis.T)
            roots.append((basis * np.sqrt(values)) @ basis.T)
        return cls(tuple(covariances), tuple(roots))

    def rows(
        self, groups: Sequence[int], rng: np.random.Generator, *, share: float = 0.5
    ) -> Float[np.ndarray, "row layer d_model"]:
        """Activations of prompts; `share` of the variance is the family's, layers correlate 0.8."""
        codes = np.asarray(groups)
        n = len(codes)

        def white(k: int) -> Float[np.ndarray, "_k layer d_model"]:
            common = rng.standard_normal((k, 1, D_MODEL))
            return np.sqrt(0.8) * common + np.sqrt(0.2) * rng.standard_normal((k, LAYERS, D_MODEL))

        family = white(int(codes.max()) + 1)[codes]
        own = np.sqrt(share) * family + np.sqrt(1.0 - share) * white(n)
        return np.stack([own[:, i] @ root for i, root in enumerate(self.roots)], axis=1)

    def fitted(self, rng: np.random.Generator) -> Float[np.ndarray, "layer d_model"]:
        """A trait's unit directions: mean difference of a contrast set without any difference."""
        sides = [self.rows(np.arange(PAIRS), rng) for _ in range(2)]
        found = sides[0].mean(axis=0) - sides[1].mean(axis=0)
        return np.asarray(found / np.linalg.norm(found, axis=-1, keepdims=True))

    def null(self, n: int, seed: int) -> Float[np.ndarray, "layer draw d_model"]:
        """Random directions of each layer's covariance."""
        drawn = [random_directions(c, n, seed + i) for i, c in enumerate(self.covariances)]
        return np.stack(drawn)


def project(
    rows: Float[np.ndarray, "row layer d_model"], directions: Float[np.ndarray, "layer d_model"]
) -> Float[np.ndarray, "row layer"]:
    """Scores of one direction a layer."""
    return np.asarray(np.einsum("rld,ld->rl", rows, directions))


def project_many(
    rows: Float[np.ndarray, "row layer d_model"],
    directions: Float[np.ndarray, "layer draw d_model"],
) -> Float[np.ndarray, "row layer draw"]:
    """Scores of many directions a layer."""
    return np.asarray(np.einsum("rld,lkd->rlk", rows, directions))


def sentences(n: int, rng: np.random.Generator) -> list[list[str]]:
    """Words that mean nothing, 8 to 15 a prompt."""
    return [
        [WORDS[i] for i in rng.integers(len(WORDS), size=int(rng.integers(8, 16)))]
        for _ in range(n)
    ]
