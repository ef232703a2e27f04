"""What the studies share: rows with labels and a split, and the choice of a place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from trait_probe.errors import BadInputError, MismatchError
from trait_probe.evidence._arrays import as_finite, effective_clusters, require_same_length
from trait_probe.evidence.auc import auroc_columns, auroc_difference
from trait_probe.evidence.checks import Check, missing_check
from trait_probe.evidence.claims import SIZE_CHECK
from trait_probe.evidence.estimate import Estimate, Unscored
from trait_probe.evidence.locks import ReportLock
from trait_probe.evidence.power import MIN_CLUSTERS
from trait_probe.evidence.splits import Split, require_unfitted
from trait_probe.evidence.studies.parts import NullScores, Scores


@dataclass(frozen=True)
class LabelledRows:
    """Two groups of prompts, the locked split they were dealt into, and their words.

    Args:
        ids: per row, what identifies its prompt.
        labels: True for the group that the statement says scores higher.
        groups: per row, the prompt or prompt family that it moves with.
        lock: selection and report rows; no group is on both sides.
        fitted_on: ids or `splits.text_id`s of everything that directions, means and thresholds
            were estimated on, none of which may be tested; None states that nothing was.
        lengths: tokens per row.
        texts: the words of each row; None where there are none to classify.
        blocks: per row, the request that it phrases: permuted labels keep the rows of one block
            together. None: each row is a request of its own.

    Raises:
        MismatchError: not one entry per row.
        BadInputError: a group on both sides of the split, or a tested prompt that was fitted on.
    """

    ids: tuple[str, ...]
    labels: Bool[np.ndarray, " row"]
    groups: tuple[str, ...]
    lock: ReportLock
    fitted_on: frozenset[str] | None
    lengths: Int[np.ndarray, " row"]
    texts: tuple[str, ...] | None = None
    blocks: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        n = len(self.labels)
        require_same_length(n, self.ids, "ids")
        require_same_length(n, self.groups, "groups")
        if self.blocks is not None:
            require_same_length(n, self.blocks, "blocks")
        if len(self.lengths) != n or (self.texts is not None and len(self.texts) != n):
            raise MismatchError(
                "Labels, lengths and texts have one entry per row.",
                got=n,
                fix="Build all of them from the same table.",
            )
        if self.labels.dtype != np.bool_:
            raise BadInputError(
                "Labels are True or False; numbers would pick rows by their number.",
                got=self.labels.dtype,
                fix="Pass labels == 1.",
            )
        self.lock.require_apart(self.groups)
        self.lock.require_apart(self.ids, "Prompts")
        require_unfitted(self.ids, self.fitted_on, self.texts)

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

    @property
    def report_blocks(self) -> tuple[str, ...] | None:
        """Blocks of the report rows, where there are any."""
        return None if self.blocks is None else tuple(self.blocks[i] for i in self.split.report)

    def clusters(self) -> tuple[int, int]:
        """Groups of the report rows with a positive row, and with a negative one."""
        names = np.array(self.report_groups)
        return (
            len(set(names[self.report_labels].tolist())),
            len(set(names[~self.report_labels].tolist())),
        )

    def effective_clusters(self) -> float:
        """`effective_clusters` of the class with fewer."""
        names = np.array(self.report_groups)
        sides = (names[self.report_labels], names[~self.report_labels])
        return min(effective_clusters(side.tolist()) for side in sides)


def words_of(rows: LabelledRows) -> tuple[str, ...] | Unscored:
    """The texts, where there is something to read: a baseline on equal texts is none."""
    if rows.texts is None:
        return Unscored("no texts were handed in")
    if len({" ".join(rows.texts[i].split()) for i in rows.lock.selection}) < 2:
        return Unscored("all texts of the selection rows are the same: there are no words to read")
    return rows.texts


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
    if min(rows.clusters()) == 0 or rows.effective_clusters() < MIN_CLUSTERS:
        observed = (
            f"{min(rows.clusters())} groups in the smaller class, effectively "
            f"{rows.effective_clusters():.1f}"
        )
        return missing_check(SIZE_CHECK, observed, f"{MIN_CLUSTERS} or more")
    return None


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
