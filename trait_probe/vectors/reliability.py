"""How much a direction depends on the pairs it was fitted on: printed with every vector."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from trait_probe.errors import BadInputError
from trait_probe.vectors import geometry
from trait_probe.vectors.fit import Fit, auc
from trait_probe.vectors.trait_vector import Reliability

MIN_PAIRS = 4


def assess(
    positive: Float[Tensor, "pair d_model"],
    negative: Float[Tensor, "pair d_model"],
    held_positive: Float[Tensor, "row d_model"],
    held_negative: Float[Tensor, "row d_model"],
    fit: Fit,
    *,
    n_splits: int = 20,
    n_boot: int = 100,
    seed: int = 0,
) -> Reliability:
    """All measures of one direction; `held_*` are pairs that it is not fitted on.

    The held-out AUC is that of the direction with the sign of its own fitting pairs, so unlike
    `fit.orient`'s it can fall below 0.5: then the held-out pairs disagree with the others.

    Raises:
        BadInputError: fewer than `MIN_PAIRS` fitting pairs, no held-out pairs, or no direction.
    """
    direction = _signed(fit, positive, negative)
    return Reliability(
        split_half_cosine=split_half_cosine(positive, negative, fit, n_splits=n_splits, seed=seed),
        bootstrap_angle_deg=bootstrap_angle(positive, negative, fit, n_boot=n_boot, seed=seed),
        held_out_auc=auc(direction, held_positive, held_negative),
        n_pairs=len(positive),
        energy_share_top1=geometry.energy_share(direction),
    )


def split_half_cosine(
    positive: Float[Tensor, "pair d_model"],
    negative: Float[Tensor, "pair d_model"],
    fit: Fit,
    *,
    n_splits: int = 20,
    seed: int = 0,
) -> float:
    """Mean cosine, in [-1, 1], between directions of two random halves of the pairs.

    Not corrected for the halved size: the direction of all pairs is more reliable than this.

    Raises:
        BadInputError: fewer than `MIN_PAIRS` pairs, `n_splits` below 1, or no direction.
    """
    n = _require_pairs(positive, "n_splits", n_splits)
    rng = np.random.default_rng(seed)
    cosines = []
    for _ in range(n_splits):
        order = rng.permutation(n)
        first, second = (
            _signed(fit, *_take(positive, negative, half))
            for half in (order[: n // 2], order[n // 2 :])
        )
        cosines.append(float(geometry.cosine(first, second[None])))
    return float(np.mean(cosines))


def bootstrap_angle(
    positive: Float[Tensor, "pair d_model"],
    negative: Float[Tensor, "pair d_model"],
    fit: Fit,
    *,
    n_boot: int = 100,
    seed: int = 0,
) -> float:
    """Median angle, in degrees in [0, 180], to the directions of resampled pairs.

    Pairs are drawn with replacement; draws with a single distinct pair have no spread to fit on
    and are drawn again.

    Raises:
        BadInputError: fewer than `MIN_PAIRS` pairs, `n_boot` below 1, or no direction.
    """
    n = _require_pairs(positive, "n_boot", n_boot)
    whole = _signed(fit, positive, negative)
    angles = [
        float(geometry.angle(whole, _signed(fit, *_take(positive, negative, rows))))
        for rows in _resamples(n, n_boot, seed)
    ]
    return float(np.median(angles))


def _resamples(n: int, n_boot: int, seed: int) -> Iterator[Int[np.ndarray, " pair"]]:
    rng = np.random.default_rng(seed)
    for _ in range(n_boot):
        rows = rng.integers(n, size=n)
        while len(np.unique(rows)) < 2:
            rows = rng.integers(n, size=n)
        yield rows


def _take(
    positive: Tensor, negative: Tensor, rows: Int[np.ndarray, " pair"]
) -> tuple[Tensor, Tensor]:
    chosen = torch.from_numpy(rows).to(positive.device)
    return positive[chosen], negative[chosen]


def _signed(
    fit: Fit, positive: Float[Tensor, "pair d_model"], negative: Float[Tensor, "pair d_model"]
) -> Float[Tensor, " d_model"]:
    """The direction for which its own pairs differ upwards; never flips a mean difference."""
    direction = geometry.unit(fit(positive, negative).double())
    rise = (positive.double() - negative.double()).mean(dim=0) @ direction
    return -direction if bool(rise < 0) else direction


def _require_pairs(positive: Tensor, name: str, repeats: int) -> int:
    if repeats < 1:
        raise BadInputError(f"{name} counts repetitions.", got=repeats, valid=["1 or more"])
    if len(positive) < MIN_PAIRS:
        raise BadInputError(
            f"Reliability needs at least {MIN_PAIRS} pairs: two in each half.",
            got=len(positive),
            fix="Add contrast pairs.",
        )
    return len(positive)
