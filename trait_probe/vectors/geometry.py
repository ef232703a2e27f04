"""Projection math on plain tensors: torch only, no model, no files.

Half-precision inputs are widened to float32 before anything is summed (float64 stays float64): one
massive dimension of a bfloat16 residual stream otherwise swallows all the others.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from trait_probe.errors import BadInputError


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _pair(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    x, y = _wide(x), _wide(y)
    dtype = torch.promote_types(x.dtype, y.dtype)
    return x.to(dtype), y.to(dtype)


def norm(v: Float[Tensor, "... d_model"]) -> Float[Tensor, " ..."]:
    """Euclidean length, in activation units; at least 0. Not differentiable at 0."""
    v = _wide(v)
    # Scaled by the largest entry: the squares of very small or large entries leave float32.
    largest = v.abs().amax(dim=-1, keepdim=True)
    scale = torch.where((largest > 0) & largest.isfinite(), largest, torch.ones_like(largest))
    lengths: Tensor = torch.linalg.vector_norm(v / scale, dim=-1)
    return lengths * scale.squeeze(-1)


def unit(v: Float[Tensor, "... d_model"]) -> Float[Tensor, "... d_model"]:
    """The same direction with length 1 (float32, or float64 where `v` is).

    Raises:
        BadInputError: a vector is zero or not finite, so it has no direction.
    """
    v = _wide(v)
    lengths = norm(v)
    bad = ~(lengths.isfinite() & (lengths > 0))
    if bool(bad.any()):
        raise BadInputError(
            "A direction needs a finite length above 0.",
            got=f"{int(bad.sum())} of {lengths.numel()} vectors with length 0, inf or nan",
            fix="Check that the positive and negative prompts differ and the activations are "
            "finite (float16 overflows: load the model in bfloat16 or float32).",
        )
    scaled = v / v.abs().amax(dim=-1, keepdim=True)
    return scaled / norm(scaled).unsqueeze(-1)


def dot(
    x: Float[Tensor, "... d_model"], V: Float[Tensor, "trait d_model"]
) -> Float[Tensor, "... trait"]:
    """The projection `x @ V.T`: activation units where the rows of `V` have length 1.

    Linear in `x`, and at most `norm(x)` in absolute value for unit rows.
    """
    x, V = _pair(x, V)
    return x @ V.T


def cosine(
    x: Float[Tensor, "... d_model"], V: Float[Tensor, "trait d_model"]
) -> Float[Tensor, "... trait"]:
    """The cosine between every vector of `x` and every row of `V`, in [-1, 1].

    Raises:
        BadInputError: a vector is zero or not finite.
    """
    return dot(unit(x), unit(V)).clamp(-1.0, 1.0)


def standardize(
    scores: Float[Tensor, "... trait"],
    mean: Float[Tensor, " trait"],
    std: Float[Tensor, " trait"],
) -> Float[Tensor, "... trait"]:
    """`z`: scores of `dot` in standard deviations from the mean of a reference set at that site.

    Raises:
        BadInputError: a reference standard deviation is not a finite number above 0.
    """
    if not bool((std.isfinite() & (std > 0)).all()):
        raise BadInputError(
            "A reference standard deviation must be finite and above 0 for z scores.",
            got=std.tolist(),
            fix="Take a reference set on which the projection varies.",
        )
    scores, mean = _pair(scores, mean)
    return (scores - mean) / std.to(scores.dtype)


def remove(
    x: Float[Tensor, "... d_model"], v: Float[Tensor, " d_model"]
) -> Float[Tensor, "... d_model"]:
    """`x` without its component along `v` (of any length): idempotent, orthogonal to `v`.

    Raises:
        BadInputError: `v` is zero or not finite.
    """
    x, direction = _pair(x, unit(v))
    return x - (x @ direction).unsqueeze(-1) * direction


def angle(
    a: Float[Tensor, "... d_model"], b: Float[Tensor, "... d_model"]
) -> Float[Tensor, " ..."]:
    """The angle in degrees, in [0, 180], by Kahan's formula.

    `arccos` of the cosine loses half the digits near 0 and 180 degrees; this does not (W. Kahan,
    "How futile are mindless assessments of roundoff", section 12).

    Raises:
        BadInputError: a vector is zero or not finite.
    """
    a, b = _pair(unit(a), unit(b))
    return torch.rad2deg(2 * torch.atan2(norm(a - b), norm(a + b)))


def energy_share(v: Float[Tensor, " d_model"], k: int = 1) -> float:
    """The share, in (0, 1], of the squared length that the `k` largest dimensions carry.

    Near 1 at small `k` the direction is one massive activation, not a trait (Sun et al. 2024,
    "Massive activations in large language models").

    Raises:
        BadInputError: `k` is not in 1..d_model, or `v` is zero or not finite.
    """
    if not 1 <= k <= v.shape[-1]:
        raise BadInputError(
            "k counts dimensions of the vector.", got=k, valid=[f"1 to {v.shape[-1]}"]
        )
    squares = unit(v).double().square()
    return float(squares.topk(k).values.sum() / squares.sum())


def pairwise_cosines(V: Float[Tensor, "trait d_model"]) -> Float[Tensor, "trait trait"]:
    """Cosines between all rows, in [-1, 1], symmetric: near-duplicates show at a glance.

    Raises:
        BadInputError: a row is zero or not finite.
    """
    return cosine(V, V)
