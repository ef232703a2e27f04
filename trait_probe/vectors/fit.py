"""Directions from activations: each method is a plain function of two classes of rows.

Rows are pooled activations at one site; row i of `positive` and of `negative` is one pair. All
sums are in float64. Directions come back unnormalized, in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from trait_probe.errors import BadInputError, nearest
from trait_probe.evidence.auc import auroc
from trait_probe.vectors.moments import Moments

Fit = Callable[
    [Float[Tensor, "pair d_model"], Float[Tensor, "pair d_model"]], Float64[Tensor, " d_model"]
]


def mean_difference(
    positive: Float[Tensor, "pair d_model"], negative: Float[Tensor, "pair d_model"]
) -> Float64[Tensor, " d_model"]:
    """Mean of the positive minus mean of the negative rows, in activation units.

    Equivariant under rotation. Source: Marks & Tegmark 2023, "The geometry of truth".
    """
    _require_rows(positive, negative)
    return positive.double().mean(dim=0) - negative.double().mean(dim=0)


def mean_difference_of_moments(positive: Moments, negative: Moments) -> Float64[Tensor, " d_model"]:
    """`mean_difference` from streamed moments; the classes may differ in size."""
    for moments in (positive, negative):
        if moments.n < 1:
            raise BadInputError("A class mean needs at least 1 row.", got=moments.n)
    return positive.mean - negative.mean


def whitened_mean_difference(
    positive: Float[Tensor, "pair d_model"], negative: Float[Tensor, "pair d_model"]
) -> Float64[Tensor, " d_model"]:
    """Fisher's linear discriminant: inverse within-class covariance times the mean difference.

    The covariance is shrunk towards a multiple of the identity by `oas_shrinkage`; the result is
    in inverse activation units and equivariant under rotation. With fewer rows than dimensions
    the inverse is applied through the rows' Gram matrix (Woodbury), without a d_model**2 matrix.
    The shrinkage target is the mean variance, so one massive dimension (100 times the others)
    lifts it far above theirs and they stay nearly unwhitened: look at the energy share.

    Raises:
        BadInputError: no class has any spread.
    """
    _require_rows(positive, negative)
    difference = mean_difference(positive, negative)
    centred = torch.cat([_centred(positive), _centred(negative)])
    n, d_model = centred.shape
    if n >= d_model:
        return _solve_shrunk(centred.T @ centred / n, n, difference)
    gram = centred @ centred.T / n
    shrinkage, scale = oas_shrinkage(gram.trace(), gram.square().sum(), n, d_model)
    ridge = shrinkage * scale * torch.eye(n, dtype=gram.dtype, device=gram.device)
    inner: Tensor = torch.linalg.solve(ridge + (1 - shrinkage) * gram, centred @ difference / n)
    return (difference - (1 - shrinkage) * (centred.T @ inner)) / (shrinkage * scale)


def whitened_mean_difference_of_moments(
    positive: Moments, negative: Moments
) -> Float64[Tensor, " d_model"]:
    """`whitened_mean_difference` from streamed moments; the classes may differ in size.

    Raises:
        BadInputError: a class has no rows, or no class has any spread.
    """
    difference = mean_difference_of_moments(positive, negative)
    n = positive.n + negative.n
    return _solve_shrunk((positive.scatter + negative.scatter) / n, n, difference)


def oas_shrinkage(
    trace: Float64[Tensor, ""], trace_of_square: Float64[Tensor, ""], n: int, d_model: int
) -> tuple[float, float]:
    """Oracle approximating shrinkage: its weight, in (0, 1], and the scale of its target.

    The shrunk covariance is `(1 - weight) * S + weight * scale * identity`, where `S` divides by
    `n`. Needs only the trace of `S` and of `S @ S`, so rows and moments give the same answer
    (Ledoit-Wolf needs fourth moments). Source: Chen, Wiesel, Eldar & Hero 2010, equation 23,
    without its terms in 2 / d_model, as scikit-learn's `oas`.

    Raises:
        BadInputError: the trace is not a finite number above 0.
    """
    scale = float(trace) / d_model
    if not 0 < scale < float("inf"):
        raise BadInputError(
            "Whitening needs rows that vary within their class and are finite.",
            got=f"mean within-class variance {scale}",
            fix="Use method='mean_difference', or more varied prompts.",
        )
    alpha = float(trace_of_square) / d_model**2
    numerator = alpha + scale**2
    denominator = (n + 1) * (alpha - scale**2 / d_model)
    return (1.0 if denominator <= numerator else numerator / denominator), scale


def _solve_shrunk(
    covariance: Float64[Tensor, "d_model d_model"], n: int, difference: Float64[Tensor, " d_model"]
) -> Float64[Tensor, " d_model"]:
    weight, scale = oas_shrinkage(
        covariance.trace(), covariance.square().sum(), n, covariance.shape[0]
    )
    shrunk = (1 - weight) * covariance
    shrunk.diagonal().add_(weight * scale)
    return torch.cholesky_solve(difference[:, None], torch.linalg.cholesky(shrunk))[:, 0]


def logistic_probe(
    positive: Float[Tensor, "pair d_model"], negative: Float[Tensor, "pair d_model"]
) -> Float64[Tensor, " d_model"]:
    """Coefficients of an L2 logistic regression (C = 1) on standardized dimensions.

    Mapped back to raw activations, so that `rows @ direction` orders rows as the probe's logit
    does; in inverse activation units. Not equivariant under rotation: standardizing is per
    dimension.
    """
    _require_rows(positive, negative)
    rows = torch.cat([positive, negative]).double().cpu().numpy()
    labels = [1] * len(positive) + [0] * len(negative)
    scaler = StandardScaler().fit(rows)
    probe = LogisticRegression(max_iter=5000).fit(scaler.transform(rows), labels)
    return torch.from_numpy(probe.coef_[0] / scaler.scale_).to(positive.device)


def pca(
    positive: Float[Tensor, "pair d_model"], negative: Float[Tensor, "pair d_model"]
) -> Float64[Tensor, " d_model"]:
    """First principal component, about zero, of the pair differences; its sign means nothing.

    Its length is the root mean square of the differences along it, in activation units.
    Equivariant under rotation up to sign. Source: Zou et al. 2023, "Representation engineering",
    whose random order within pairs amounts to not centring the differences. Fix the sign with
    `orient`.
    """
    _require_rows(positive, negative)
    differences = positive.double() - negative.double()
    _, scales, components = torch.linalg.svd(differences, full_matrices=False)
    rms: Tensor = scales[0] / len(differences) ** 0.5
    direction: Tensor = rms * components[0]
    return direction


METHODS: Mapping[str, Fit] = MappingProxyType(
    {
        "mean_difference": mean_difference,
        "whitened_mean_difference": whitened_mean_difference,
        "logistic_probe": logistic_probe,
        "pca": pca,
    }
)


def method(name: str) -> Fit:
    """The extraction method of that name.

    Raises:
        BadInputError: there is none.
    """
    if name not in METHODS:
        raise BadInputError(
            "There is no extraction method of that name.", got=name, valid=nearest(name, METHODS)
        )
    return METHODS[name]


class Oriented(NamedTuple):
    """A direction whose sign was chosen on held-out pairs.

    `auc` is that of the returned direction on the same pairs: at least 0.5 by construction, so it
    describes the choice and is no evidence (`reliability.assess` gives the fair one).
    """

    direction: Float[Tensor, " d_model"]
    auc: float


def orient(
    direction: Float[Tensor, " d_model"],
    held_positive: Float[Tensor, "pair d_model"],
    held_negative: Float[Tensor, "pair d_model"],
) -> Oriented:
    """Choose the sign for which held-out positives score higher; an exact tie changes nothing."""
    area = auc(direction, held_positive, held_negative)
    if area >= 0.5:
        return Oriented(direction, area)
    return Oriented(-direction, 1.0 - area)


def auc(
    direction: Float[Tensor, " d_model"],
    positive: Float[Tensor, "pair d_model"],
    negative: Float[Tensor, "pair d_model"],
) -> float:
    """The chance, in [0, 1], that a positive row projects higher than a negative one; ties half."""
    _require_rows(positive, negative)
    weights = direction.double()
    above, below = ((rows.double() @ weights).cpu().numpy() for rows in (positive, negative))
    return auroc(above, below)


def _centred(rows: Tensor) -> Tensor:
    rows = rows.double()
    return rows - rows.mean(dim=0)


def _require_rows(positive: Tensor, negative: Tensor) -> None:
    for name, rows in (("positive", positive), ("negative", negative)):
        if len(rows) == 0:
            raise BadInputError(f"There are no {name} rows.", got=tuple(rows.shape))
        if not bool(rows.isfinite().all()):
            raise BadInputError(
                f"The {name} activations are not all finite.",
                got=f"{int((~rows.isfinite()).sum())} values inf or nan",
                fix="float16 overflows: load the model in bfloat16 or float32.",
            )
