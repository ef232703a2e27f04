"""Detectors of a label side by side: scores of every row, none chosen or fitted on that row.

A projection's place is chosen by cross-fitting, a classifier's rows are out of fold; what is left
is the detector as it would work on groups that it has not seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from sklearn.pipeline import make_pipeline

from trait_probe.errors import BadInputError
from trait_probe.evidence._arrays import as_finite, require_same_length
from trait_probe.evidence.auc import (
    auroc_columns,
    auroc_difference,
    auroc_interval,
    out_of_fold_inflation,
)
from trait_probe.evidence.classifiers import (
    FOLDS,
    dense_classifier,
    length_and_square,
    logistic,
    nested_scores,
    words_and_length,
)
from trait_probe.evidence.detection import roc_points, tpr_at_fpr_interval
from trait_probe.evidence.estimate import Estimate, Unscored
from trait_probe.evidence.splits import Split

RATES = (0.01, 0.05)
"""False positive rates at which detectors are compared."""


@dataclass(frozen=True)
class Labelled:
    """Labels with their groups, the same for all detectors that are compared.

    Raises:
        MismatchError: not one group per row.
    """

    labels: Bool[np.ndarray, " row"]
    groups: tuple[str, ...]

    def __post_init__(self) -> None:
        require_same_length(len(self.labels), self.groups, "groups")

    def where(self, kept: Bool[np.ndarray, " row"]) -> Labelled:
        """Some of the rows."""
        groups = tuple(self.groups[i] for i in np.flatnonzero(kept))
        return Labelled(self.labels[kept], groups)

    def sides(
        self, scores: Float[np.ndarray, " row"]
    ) -> tuple[Float[np.ndarray, " positive"], Float[np.ndarray, " negative"]]:
        """Scores by label."""
        return scores[self.labels], scores[~self.labels]

    def clusters(self) -> tuple[list[str], list[str]]:
        """Groups of the positive rows, and of the negative ones."""
        names = np.asarray(self.groups, dtype=np.str_)
        return names[self.labels].tolist(), names[~self.labels].tolist()

    def too_few(self) -> str | None:
        """Why no interval can be given: a label with fewer than two groups; or None."""
        least = min(len(set(side)) for side in self.clusters())
        return None if least >= 2 else f"a label has {least} groups, 2 are needed"


CROSSED_INFLATION = 1.5
"""Of the variance where each half chose a place for the other. Both halves choose the same place
when it does well in both by luck: on noise, 8 places, the plain interval of the AUROC covers 92 %
and lies above chance in 5 % of data sets; with 1.5 it covers 95 % or more (LOG.md)."""
_OUT_OF_FOLD = out_of_fold_inflation(FOLDS)


@dataclass(frozen=True)
class Detector:
    """One score per row.

    Args:
        scores: larger means more likely positive.
        inflation: of the variance of its AUROC, for scores of models that share training rows and
            places that were chosen by cross-fitting; 1 for scores that nothing was chosen for.
    """

    scores: Float[np.ndarray, " row"]
    inflation: float = 1.0

    def where(self, kept: Bool[np.ndarray, " row"]) -> Detector:
        """Some of the rows."""
        return Detector(self.scores[kept], self.inflation)


@dataclass(frozen=True)
class Rated:
    """How well a detector does.

    Attributes:
        auroc: with its interval.
        tpr: true positive rate by false positive rate ("0.01"), with its interval.
    """

    auroc: Estimate | Unscored
    tpr: Mapping[str, Estimate | Unscored]

    def to_json(self) -> dict[str, object]:
        return {"auroc": self.auroc, "tpr_at_fpr": dict(self.tpr)}


def rate(detector: Detector, data: Labelled, *, n_boot: int, seed: int) -> Rated:
    """AUROC and true positive rates, by group; Unscored where a label has fewer than two groups."""
    if reason := data.too_few():
        why = Unscored(reason)
        return Rated(why, {f"{fpr:g}": why for fpr in RATES})
    above, below = data.sides(detector.scores)
    positive, negative = data.clusters()
    tpr = {
        f"{fpr:g}": tpr_at_fpr_interval(
            above,
            below,
            fpr,
            positive_clusters=positive,
            negative_clusters=negative,
            n_boot=n_boot,
            seed=seed,
        )
        for fpr in RATES
    }
    return Rated(area(detector, data), tpr)


def area(detector: Detector, data: Labelled) -> Estimate | Unscored:
    """`rate` without true positive rates."""
    if reason := data.too_few():
        return Unscored(reason)
    above, below = data.sides(detector.scores)
    positive, negative = data.clusters()
    return auroc_interval(
        above,
        below,
        positive_clusters=positive,
        negative_clusters=negative,
        variance_inflation=detector.inflation,
    )


def advantage(one: Detector, other: Detector, data: Labelled) -> Estimate | Unscored:
    """AUROC of one minus that of the other, on the same rows."""
    if reason := data.too_few():
        return Unscored(reason)
    positive, negative = data.clusters()
    return auroc_difference(
        data.sides(one.scores),
        data.sides(other.scores),
        positive_clusters=positive,
        negative_clusters=negative,
        variance_inflation=max(one.inflation, other.inflation),
    )


def roc(
    detector: Detector, data: Labelled
) -> tuple[Float[np.ndarray, " point"], Float[np.ndarray, " point"]]:
    """`detection.roc_points`."""
    return roc_points(*data.sides(detector.scores))


def combined_detector(
    columns: Float[np.ndarray, "row column"], data: Labelled
) -> Detector | Unscored:
    """A logistic classifier of several scores, nested cross-validation by group.

    Raises:
        BadInputError: columns that are not finite.
    """
    rows = as_finite(columns, "The columns")
    return _nested(nested_scores(dense_classifier(), rows, data.labels, data.groups))


def words_detector(
    texts: Sequence[str], lengths: Int[np.ndarray, " row"], data: Labelled
) -> Detector | Unscored:
    """TF-IDF with length and a logistic classifier, nested cross-validation by group."""
    columns, inputs = words_and_length(texts, lengths)
    model = make_pipeline(columns, logistic())
    return _nested(nested_scores(model, inputs, data.labels, data.groups))


def length_detector(lengths: Int[np.ndarray, " row"], data: Labelled) -> Detector | Unscored:
    """A logistic classifier of length and its square, nested cross-validation by group."""
    model = make_pipeline(length_and_square(), logistic())
    column = lengths.astype(np.float64)[:, None]
    return _nested(nested_scores(model, column, data.labels, data.groups))


def _nested(scores: Float[np.ndarray, " row"] | Unscored) -> Detector | Unscored:
    return scores if isinstance(scores, Unscored) else Detector(scores, _OUT_OF_FOLD)


@dataclass(frozen=True)
class Places:
    """Where rows are read when each half of the groups chooses for the other.

    Attributes:
        report: column for the report rows, chosen on the selection rows.
        selection: column for the selection rows, chosen on the report rows.
    """

    report: int
    selection: int


def crossed_places(
    scores: Float[np.ndarray, "row place"], labels: Bool[np.ndarray, " row"], split: Split
) -> Places:
    """The place with the best AUROC on the other half of the groups, for each half.

    Raises:
        BadInputError: a half without rows of both labels.
    """
    return Places(*(_best(scores, labels, side) for side in (split.selection, split.report)))


def crossed(scores: Float[np.ndarray, "row place"], places: Places, split: Split) -> Detector:
    """Every row at the place that the other half chose.

    Args:
        scores: on one scale at all places, as standardized projections are.
    """
    found = scores[:, places.report].astype(np.float64)
    found[split.selection] = scores[split.selection, places.selection]
    return Detector(found, CROSSED_INFLATION if scores.shape[1] > 1 else 1.0)


def _best(
    scores: Float[np.ndarray, "row place"],
    labels: Bool[np.ndarray, " row"],
    side: Int[np.ndarray, " _"],
) -> int:
    own = labels[side]
    if own.all() or not own.any():
        raise BadInputError(
            "A place is chosen on rows of both labels.",
            got=f"{int(own.sum())} positive of {len(own)}",
            fix="Add groups, or choose another seed.",
        )
    return int(auroc_columns(scores[side][own], scores[side][~own]).argmax())
