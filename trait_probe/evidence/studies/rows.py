"""What the studies share: rows with labels and a split, and the choice of a place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from trait_probe.errors import BadInputError, MismatchError
from trait_probe.evidence._arrays import as_finite, require_same_length
from trait_probe.evidence.auc import auroc_columns, auroc_difference
from trait_probe.evidence.checks import Check, Kind, Status, missing_check
from trait_probe.evidence.claims import SIZE_CHECK, Claim
from trait_probe.evidence.estimate import Estimate, Unscored
from trait_probe.evidence.locks import ReportLock
from trait_probe.evidence.multiplicity import holm
from trait_probe.evidence.nulls import percentile, permutation_p
from trait_probe.evidence.power import MIN_CLUSTERS
from trait_probe.evidence.splits import Split, require_disjoint

Scores = Float[np.ndarray, "row place"]
NullScores = Float[np.ndarray, "row place draw"]


@dataclass(frozen=True)
class LabelledRows:
    """Two groups of prompts, the locked split they were dealt into, and their words.

    Args:
        ids: per row, what identifies its prompt.
        labels: True for the group that the statement says scores higher.
        groups: per row, the prompt or prompt family that it moves with.
        lock: selection and report rows; no group is on both sides.
        fitted_on: ids of everything that directions, means and thresholds were estimated on; none
            of them may be tested. Empty only where nothing was estimated from prompts.
        lengths: tokens per row.
        texts: the words of each row; None where there are none to classify.

    Raises:
        MismatchError: not one entry per row.
        BadInputError: a group on both sides of the split, or a tested prompt that was fitted on.
    """

    ids: tuple[str, ...]
    labels: Bool[np.ndarray, " row"]
    groups: tuple[str, ...]
    lock: ReportLock
    fitted_on: frozenset[str]
    lengths: Int[np.ndarray, " row"]
    texts: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        n = len(self.labels)
        require_same_length(n, self.ids, "ids")
        require_same_length(n, self.groups, "groups")
        if len(self.lengths) != n or (self.texts is not None and len(self.texts) != n):
            raise MismatchError("Labels, lengths and texts have one entry per row.", got=n)
        self.lock.require_apart(self.groups)
        require_disjoint(self.fitted_on, self.ids, "Directions, means and thresholds")

    @property
    def split(self) -> Split:
        """Both sides, once the lock was opened."""
        return self.lock.split

    @property
    def report_labels(self) -> Bool[np.ndarray, " report"]:
        """Labels of the report rows."""
        return np.asarray(self.labels[self.split.report])

    @property
    def report_groups(self) -> tuple[str, ...]:
        """Groups of the report rows."""
        return tuple(self.groups[i] for i in self.split.report)

    def clusters(self) -> tuple[int, int]:
        """Groups of the report rows with a positive row, and with a negative one."""
        names = np.array(self.report_groups)
        return (
            len(set(names[self.report_labels].tolist())),
            len(set(names[~self.report_labels].tolist())),
        )


def opened_once(lock: ReportLock) -> Check:
    """Failed where the report rows were looked at before with other choices."""
    status: Status = "failed" if lock.reopened else "passed"
    return Check("report split opened once", status, lock.note(), "one selection, made unseen")


def chosen_places(places: Mapping[str, str]) -> dict[str, object]:
    """What a study tells the lock: the same for every kind of claim on the same choice."""
    return {"places": dict(places)}


@dataclass(frozen=True)
class AurocPair:
    """Scores of the report rows by class, with their clusters, as `auc` takes them."""

    rows: LabelledRows

    def sides(
        self, scores: Float[np.ndarray, " report"]
    ) -> tuple[Float[np.ndarray, " positive"], Float[np.ndarray, " negative"]]:
        labels = self.rows.report_labels
        return scores[labels], scores[~labels]

    @property
    def clusters(self) -> tuple[list[str], list[str]]:
        names, labels = np.array(self.rows.report_groups), self.rows.report_labels
        return names[labels].tolist(), names[~labels].tolist()

    def advantage(
        self,
        first: Float[np.ndarray, " report"],
        second: Float[np.ndarray, " report"],
        *,
        level: float = 0.95,
    ) -> Estimate:
        """AUROC of `first` minus `second`; exactly 0 where both rank every row alike."""
        positive, negative = self.clusters
        found = auroc_difference(
            self.sides(first),
            self.sides(second),
            positive_clusters=positive,
            negative_clusters=negative,
            level=level,
        )
        if isinstance(found, Estimate):
            return found
        n = len(self.rows.report_labels)
        k = len(set(self.rows.report_groups))
        return Estimate(0.0, 0.0, 0.0, n, k, "AUROC difference", found.reason, level)


def too_small(rows: LabelledRows) -> Check | None:
    """The missing check of a study whose smaller class has too few groups to report on."""
    smaller = min(rows.clusters())
    if smaller >= MIN_CLUSTERS:
        return None
    return missing_check(
        SIZE_CHECK, f"{smaller} groups in the smaller class", f"{MIN_CLUSTERS} or more"
    )


def best_place(scores: Scores | NullScores, rows: LabelledRows) -> Int[np.ndarray, ...]:
    """Place with the largest AUROC on the selection rows, of one series or of every null draw.

    Raises:
        BadInputError: a class has no selection row.
    """
    chosen = rows.lock.selection
    labels = rows.labels[chosen]
    if labels.all() or not labels.any():
        raise BadInputError(
            "A place is chosen on selection rows of both classes.",
            got=f"{int(labels.sum())} positive of {len(labels)}",
            fix="Split so that both sides hold both classes.",
        )
    some = as_finite(scores[chosen], "The scores")
    flat = some.reshape(len(some), -1)
    areas = auroc_columns(flat[labels], flat[~labels]).reshape(some.shape[1:])
    return np.asarray(areas.argmax(axis=0))


def null_aurocs(null: NullScores, rows: LabelledRows) -> Float[np.ndarray, " draw"]:
    """Report AUROC of each null direction, at the place that it chose for itself."""
    places = best_place(null, rows)
    values = null[rows.split.report][:, places, np.arange(null.shape[2])].astype(np.float64)
    labels = rows.report_labels
    return auroc_columns(values[labels], values[~labels])


@dataclass(frozen=True)
class NullRank:
    """Where an effect lies among what null directions gave: share below, one-sided p, draws."""

    percentile: float
    p: float
    n: int

    def to_json(self) -> dict[str, object]:
        return dict(vars(self))


def untestable(kind: Kind, name: str, statement: str, why: Check, looks: int) -> Claim:
    """The claim of a study that is too small, or lacks what everything else rests on."""
    return Claim(
        id=name,
        kind=kind,
        statement=statement,
        effect=Unscored(why.observed),
        checks=(why,),
        controls={},
        nulls={},
        shortcuts={},
        split="report rows",
        looks=looks,
        trigger_involved=False,
    )


def null_rank(value: float, null: Float[np.ndarray, " draw"]) -> NullRank:
    """Percentile (ties one half) and Phipson & Smyth's p."""
    return NullRank(percentile(value, null), permutation_p(value, null), len(null))


def null_check(name: str, rank: NullRank | None, adjusted_p: float, alpha: float) -> Check:
    """Passed when the effect stands out among null directions, for all the study's traits."""
    required = f"p <= {alpha:g} (Holm-adjusted over the traits) among null directions"
    if rank is None:
        return missing_check(name, "not handed in", required)
    observed = f"above {100 * rank.percentile:.4g} % of {rank.n}, adjusted p = {adjusted_p:.4g}"
    return Check(name, "passed" if adjusted_p <= alpha else "failed", observed, required)


def holm_ranks(ranks: Sequence[NullRank | None]) -> list[float]:
    """Holm-adjusted p values of the traits; one without a null counts as p = 1."""
    if not ranks:
        return []
    return [float(p) for p in holm(np.array([1.0 if r is None else r.p for r in ranks]))]


def require_traits(traits: Mapping[str, object]) -> None:
    """Raise unless there is a trait."""
    if not traits:
        raise BadInputError("A study needs at least one trait.", got=0, fix="Hand in its scores.")


def require_shapes(traits: Mapping[str, Scores], rows: int, places: int) -> None:
    """Raise unless every trait has one score per row and place, and there is a trait."""
    require_traits(traits)
    for name, scores in traits.items():
        if scores.shape != (rows, places):
            raise MismatchError(
                f"The scores of {name!r} must have one row per prompt and one column per place.",
                got=scores.shape,
                valid=((rows, places),),
                fix="Build scores, labels and places from the same table.",
            )


def require_null(null: NullScores | None, rows: int, places: int) -> None:
    """Raise unless null directions have a score per row and place, and there is one."""
    if null is None:
        return
    if null.shape[:2] != (rows, places) or not null.shape[2]:
        raise MismatchError(
            "Null directions have one row per prompt, one column per place, and one draw or more.",
            got=null.shape,
            valid=(f"({rows}, {places}, draws)",),
            fix="Score them on the same prompts and places as the traits.",
        )


def require_rows_of(values: Mapping[str, Float[np.ndarray, "_row ..."]], rows: int) -> None:
    """Raise unless every array has one row per prompt."""
    for name, found in values.items():
        if len(found) != rows:
            raise MismatchError(
                f"{name!r} must have one row per prompt.", got=len(found), valid=(rows,)
            )
