"""Does a direction that came through a linear map still mean its trait in the other model?

Three conditions, all on plain arrays: the map explains held-out texts better than maps between
shuffled texts do; the direction separates the trait's contrast set, with the sign it came with;
and it does so better than random directions of the source pushed through the same map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float64, Int

from trait_probe.basis import Site
from trait_probe.evidence.auc import auroc_columns, auroc_interval
from trait_probe.evidence.estimate import Estimate, Unscored, strict_json
from trait_probe.evidence.explained import explained_variance
from trait_probe.evidence.nulls import percentile, permutation_p, random_directions_of
from trait_probe.evidence.splits import split_by_group
from trait_probe.vectors import fit, geometry
from trait_probe.vectors.linear_map import LinearMap, fit_map

ALPHA = 0.05
"""A share of the transferred random directions that may do as well as the vector."""
MIN_PAIR_GROUPS = 4
"""Two to orient random directions on and two to read."""
_EQUAL = 1e-9  # AUROCs are shares of comparisons: closer ones are the same


@dataclass(frozen=True, eq=False)
class TargetPairs:
    """A contrast set as the target model reads it.

    Attributes:
        positive, negative: row i of both is one pair.
        groups: of each pair.
        contrast_hash: of the contrast set.
    """

    positive: Float64[np.ndarray, "pair target"]
    negative: Float64[np.ndarray, "pair target"]
    groups: Sequence[str]
    contrast_hash: str


@dataclass(frozen=True)
class TransferCheck:
    """What was measured of one transferred direction, and why it was refused, if it was.

    Attributes:
        r2: of the map, all dimensions together, over held-out texts.
        r2_null: the same of maps between shuffled texts.
        r2_along: of the map along the transferred direction alone: the rest may be one massive
            dimension. Informative.
        auroc: on all pairs of the contrast set in the target, the sign as it came.
        null_percentile: share of the random directions below the vector, ties counting half; by
            AUROC, of equals by the distance of the class means. All are read on the half of the
            pairs that the random ones were not oriented on.
        null_p: (1 + random directions that reach the vector) / (1 + n_null).
        n_null: random directions.
        n_null_tied: of these, how many have the vector's AUROC: many where the set is so easy that
            the distance decides.
        own_cosine: with the direction that the same method fits on these pairs in the target.
            Informative.
        pairs_fitted_on: whether the source direction was fitted on this very contrast set, as most
            are. What it owes to the wording of single pairs then separates them here as well:
            check on pairs of their own where it matters.
        refused: the reasons, in words; None where the vector may be used.
    """

    trait: str
    source_site: Site
    target_site: Site
    r2: Estimate
    r2_null: tuple[float, ...]
    r2_along: Estimate | Unscored
    auroc: Estimate | Unscored
    null_percentile: float | Unscored
    null_p: float | Unscored
    n_null: int
    n_null_tied: int
    own_cosine: float | Unscored
    pairs_fitted_on: bool
    refused: str | None

    def to_json(self) -> dict[str, object]:
        """Plain fields; sites by hook name."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        fields["source_site"] = self.source_site.hook_name
        fields["target_site"] = self.target_site.hook_name
        return {name: strict_json(value) for name, value in fields.items()}


@dataclass(frozen=True)
class _Separation:
    """How the direction separates the pairs, and how it ranks among the random ones."""

    auroc: Estimate | Unscored
    null_percentile: float | Unscored
    null_p: float | Unscored
    n_null_tied: int


@dataclass(frozen=True, eq=False)
class FittedMap:
    """A map, and what its directions are measured with.

    Attributes:
        found: the map.
        held_source, held_target: both models' rows of the texts that the map was not fitted on.
        held_groups: of each of them.
        random: random directions of the source, sent through the map.
    """

    found: LinearMap
    held_source: Float64[np.ndarray, "row source"]
    held_target: Float64[np.ndarray, "row target"]
    held_groups: Sequence[str]
    random: Float64[np.ndarray, "draw target"]

    @classmethod
    def of(
        cls,
        source_rows: Float64[np.ndarray, "row source"],
        target_rows: Float64[np.ndarray, "row target"],
        groups: Sequence[str],
        *,
        held_out: float = 0.25,
        n_random: int = 200,
        seed: int = 0,
    ) -> FittedMap:
        """Fit the map, and send random directions of the source rows' covariance through it."""
        found = fit_map(source_rows, target_rows, groups, held_out=held_out, seed=seed)
        held = found.split.report
        return cls(
            found=found,
            held_source=source_rows[held],
            held_target=target_rows[held],
            held_groups=[groups[i] for i in held],
            random=found.displaced(random_directions_of(source_rows, n_random, seed)),
        )


@dataclass(frozen=True, eq=False)
class Candidate:
    """One direction on its way into the target.

    Attributes:
        trait: full name.
        source_site, target_site: where it was fitted and where it is to be used.
        direction: in the target, of any length.
        method: that it was fitted with in the source.
        contrast_hash: that it was fitted on in the source.
    """

    trait: str
    source_site: Site
    target_site: Site
    direction: Float64[np.ndarray, " target"]
    method: str
    contrast_hash: str


def check_direction(
    candidate: Candidate,
    fitted: FittedMap,
    pairs: TargetPairs,
    *,
    min_r2: float = 0.0,
    seed: int = 0,
) -> TransferCheck:
    """Measure a direction in the target and decide on it.

    Args:
        min_r2: what the interval of the map's R2 must lie above, besides its null.
    """
    axis = candidate.direction / np.linalg.norm(candidate.direction)
    separation = _separation(axis, pairs, fitted.random, seed)
    n_null = len(fitted.random)
    reasons = [*_map_reasons(fitted.found, min_r2), *_separation_reasons(separation, n_null)]
    return TransferCheck(
        trait=candidate.trait,
        source_site=candidate.source_site,
        target_site=candidate.target_site,
        r2=fitted.found.r2,
        r2_null=fitted.found.shuffled_r2,
        r2_along=_r2_along(axis, fitted, seed),
        auroc=separation.auroc,
        null_percentile=separation.null_percentile,
        null_p=separation.null_p,
        n_null=n_null,
        n_null_tied=separation.n_null_tied,
        own_cosine=_own_cosine(axis, pairs, candidate.method),
        pairs_fitted_on=candidate.contrast_hash == pairs.contrast_hash,
        refused="; ".join(reasons) or None,
    )


def _r2_along(
    axis: Float64[np.ndarray, " target"], fitted: FittedMap, seed: int
) -> Estimate | Unscored:
    predicted = fitted.found.predicted(fitted.held_source)
    return explained_variance(
        (fitted.held_target @ axis)[:, None],
        (predicted @ axis)[:, None],
        fitted.held_groups,
        seed=seed,
    )


def _separation(
    axis: Float64[np.ndarray, " target"],
    pairs: TargetPairs,
    random: Float64[np.ndarray, "draw target"],
    seed: int,
) -> _Separation:
    n_groups = len(set(pairs.groups))
    if n_groups < MIN_PAIR_GROUPS:
        few = Unscored(f"{n_groups} groups of contrast pairs, {MIN_PAIR_GROUPS} needed")
        return _Separation(few, few, few, 0)
    area = auroc_interval(
        pairs.positive @ axis,
        pairs.negative @ axis,
        positive_clusters=pairs.groups,
        negative_clusters=pairs.groups,
    )
    halves = split_by_group(pairs.groups, seed=seed)
    own = _measured(axis[None], pairs, halves.report)
    units = random / np.linalg.norm(random, axis=1, keepdims=True)
    upright = np.where(_measured(units, pairs, halves.selection).areas >= 0.5, 1.0, -1.0)
    null = _measured(upright[:, None] * units, pairs, halves.report)
    value, ranks = _ranks(own, null)
    tied = int(np.isclose(null.areas, own.areas, rtol=0.0, atol=_EQUAL).sum())
    return _Separation(area, percentile(value, ranks), permutation_p(value, ranks), tied)


class _Measured(NamedTuple):
    """Of unit directions: AUROC, and the distance of the class means in activation units."""

    areas: Float64[np.ndarray, " draw"]
    distances: Float64[np.ndarray, " draw"]


def _measured(
    units: Float64[np.ndarray, "draw target"],
    pairs: TargetPairs,
    rows: Int[np.ndarray, " chosen"],
) -> _Measured:
    above, below = pairs.positive[rows] @ units.T, pairs.negative[rows] @ units.T
    return _Measured(auroc_columns(above, below), above.mean(axis=0) - below.mean(axis=0))


def _ranks(own: _Measured, null: _Measured) -> tuple[float, Float64[np.ndarray, " draw"]]:
    """Places of the direction and of the random ones: by AUROC, of equals by distance.

    AUROC has a ceiling. Where a trait is the main thing that varies in a model, half of the random
    directions tell its contrast set apart without an error, and so does the trait's own.
    """
    both = (np.concatenate(parts) for parts in zip(own, null, strict=True))
    areas, distances = both
    table = np.stack([np.round(areas / _EQUAL) * _EQUAL, distances], axis=1)
    places = np.unique(table, axis=0, return_inverse=True)[1].reshape(-1).astype(np.float64)
    return float(places[0]), places[1:]


def _own_cosine(
    axis: Float64[np.ndarray, " target"], pairs: TargetPairs, method: str
) -> float | Unscored:
    positive, negative = torch.from_numpy(pairs.positive), torch.from_numpy(pairs.negative)
    own = fit.method(method)(positive, negative)
    if not bool(geometry.norm(own) > 0):
        return Unscored("the target model's own direction has no length")
    oriented = fit.orient(own, positive, negative).direction
    return float(geometry.cosine(torch.from_numpy(axis), oriented[None])[0])


def _map_reasons(found: LinearMap, min_r2: float) -> list[str]:
    bar = max(found.r2_to_beat, min_r2)
    if found.r2.low > bar:
        return []
    return [
        f"the map explains {_share(found.r2)} of the variance of held-out texts, which is not "
        f"surely more than {bar:.3f} (maps between shuffled texts: {max(found.shuffled_r2):.3f})"
    ]


def _separation_reasons(separation: _Separation, n_null: int) -> list[str]:
    area, p = separation.auroc, separation.null_p
    if isinstance(area, Unscored) or isinstance(p, Unscored):
        return [f"its contrast set cannot be checked in the target model: {_why(separation)}"]
    reasons = []
    if area.high < 0.5:
        reasons.append(
            f"its sign is turned round in the target model: AUROC {_share(area)} on its own "
            "contrast set"
        )
    elif area.low <= 0.5:
        reasons.append(
            f"it does not separate its own contrast set in the target model: AUROC {_share(area)}"
        )
    if p > ALPHA:
        reached = round(p * (1 + n_null)) - 1
        reasons.append(
            f"{reached} of {n_null} random directions through the same map separate that set as "
            "well or better"
        )
    return reasons


def _why(separation: _Separation) -> str:
    parts = (separation.auroc, separation.null_p)
    return next(part.reason for part in parts if isinstance(part, Unscored))


def _share(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"
