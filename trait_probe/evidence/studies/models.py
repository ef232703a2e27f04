"""What a shift between models is made from: scores of one direction in several models."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from trait_probe.errors import BadInputError, MismatchError
from trait_probe.evidence._arrays import as_finite, require_same_length
from trait_probe.evidence.locks import ReportLock
from trait_probe.evidence.nulls import after_choice
from trait_probe.evidence.splits import Split, require_unfitted

Grid = Float[np.ndarray, "row place ..."]
SAME = 0.99
COPY = 0.95
SAME_SCORES = 0.999


@dataclass(frozen=True)
class ModelScores:
    """One direction (or many null ones) read on the same rows of base, variant and controls.

    Args:
        base, variant: scores `[row place]`, or `[row place draw]` of null directions.
        controls: benign fine-tunes of the same base (other data or other seeds); may be empty.

    Raises:
        MismatchError: shapes differ.
    """

    base: Grid
    variant: Grid
    controls: tuple[Grid, ...]

    def __post_init__(self) -> None:
        others = [self.variant, *self.controls]
        if any(other.shape != self.base.shape for other in others):
            raise MismatchError(
                "Base, variant and controls must be scored on the same rows and places.",
                got=[other.shape for other in others],
                valid=(self.base.shape,),
                fix="Replay the same token ids through all models.",
            )
        for scores in (self.base, *others):
            as_finite(scores, "The scores of every model")

    def shift(self) -> Grid:
        """Variant minus base, in the scores' units."""
        return np.asarray(as_finite(self.variant, "The variant's scores") - self.base)

    def beyond_controls(self) -> Grid:
        """(variant - base) - mean of (control - base); without a control the plain shift."""
        if not self.controls:
            return self.shift()
        mean = np.mean([as_finite(one, "A control's scores") for one in self.controls], axis=0)
        return np.asarray(as_finite(self.variant, "The variant's scores") - mean)

    def pretend(self, j: int) -> ModelScores:
        """Control `j` in the variant's role, the other controls as its controls."""
        others = (*self.controls[:j], *self.controls[j + 1 :])
        return ModelScores(self.base, self.controls[j], others)

    def unit(self, selection: Int[np.ndarray, " _selection"]) -> Float[np.ndarray, "place ..."]:
        """SD over the base's selection rows: the report rows have no part in their unit."""
        rows = as_finite(self.base[selection], "The base's scores", at_least=2)
        largest = np.abs(rows).max(axis=0)
        smallest = np.where(largest > 0.0, 1e-6 * largest, 1.0)
        return np.asarray(np.maximum(rows.std(axis=0, ddof=1), smallest))

    def standardized(self, selection: Int[np.ndarray, " _selection"]) -> Grid:
        """`beyond_controls` in SD of the base."""
        return np.asarray(self.beyond_controls() / self.unit(selection))

    def best_place(self, selection: Int[np.ndarray, " _selection"]) -> int:
        """Where the selection rows differ most from the controls', in SD of the base."""
        return int(self.standardized(selection)[selection].mean(axis=0).argmax())

    def reported(self, split: Split) -> Float[np.ndarray, " draw"]:
        """Mean beyond the controls on the report rows, in SD of the base, of each direction.

        Each is read at the place where its own selection rows differ most.
        """
        beyond = self.standardized(split.selection)
        means = (beyond[rows].mean(axis=0) for rows in (split.selection, split.report))
        return after_choice(*(found.reshape(len(found), -1) for found in means))

    def apart(self, trait: ModelScores, cosines: Float[np.ndarray, " place"]) -> ModelScores:
        """Scores of this direction made orthogonal to a trait's, from the scores of both.

        Directions overlap: a true shift along the trait moves the others too, in proportion to
        the cosine; (own - cos trait) / sqrt(1 - cos^2) is the unit direction that it leaves alone.

        Args:
            cosines: of the two unit directions at each place.

        Raises:
            BadInputError: the directions are one and the same (|cosine| above 0.99 somewhere).
        """
        largest = float(np.abs(cosines).max())
        if largest > SAME:
            raise BadInputError(
                "An unrelated trait's direction must not be that of the trait.",
                got=f"cosine {largest:.3f}",
                fix="Leave it out of the unrelated traits.",
            )
        size = np.sqrt(1.0 - cosines**2)
        mine = (self.base, self.variant, *self.controls)
        theirs = (trait.base, trait.variant, *trait.controls)
        base, variant, *controls = (
            np.asarray((own - cosines * other) / size)
            for own, other in zip(mine, theirs, strict=True)
        )
        return ModelScores(base, variant, tuple(controls))


@dataclass(frozen=True)
class ShiftRows:
    """The prompts that all models read.

    Args:
        ids: per row, what identifies its prompt.
        groups: per row, the prompt family that it moves with.
        lock: selection and report rows; no group is on both sides.
        fitted_on: ids of everything that directions and means were estimated on, none of which
            may be tested; None states that nothing was.
        texts: the words of each row, so that `fitted_on` may hold `splits.text_id`s.

    Raises:
        MismatchError: not one entry per row.
        BadInputError: a group or prompt on both sides, or a tested prompt that was fitted on.
    """

    ids: tuple[str, ...]
    groups: tuple[str, ...]
    lock: ReportLock
    fitted_on: frozenset[str] | None
    texts: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        require_same_length(len(self.ids), self.groups, "groups")
        if self.texts is not None:
            require_same_length(len(self.ids), self.texts, "texts")
        self.lock.require_apart(self.groups)
        self.lock.require_apart(self.ids, "Prompts")
        require_unfitted(self.ids, self.fitted_on, self.texts)

    @property
    def report_groups(self) -> tuple[str, ...]:
        """Groups of the report rows, once the lock was opened."""
        return tuple(self.groups[i] for i in self.lock.split.report)


def require_apart(directions: Mapping[str, Float[np.ndarray, "place d_model"]]) -> None:
    """Raise when two unrelated traits are one: they would count as two independent rivals.

    Raises:
        BadInputError: a pair whose |cosine| is above 0.95 at every place.
    """
    _refuse_copies(directions, COPY, "cosine")


def require_no_copies(unrelated: Mapping[str, ModelScores]) -> None:
    """Raise when two unrelated traits score the base's prompts alike: they are one rival.

    Raises:
        BadInputError: a pair whose |correlation| over prompts is above 0.999 at every place.
    """
    columns = {name: _unit_columns(models.base) for name, models in unrelated.items()}
    _refuse_copies(columns, SAME_SCORES, "correlation")


def _refuse_copies(
    units: Mapping[str, Float[np.ndarray, "place _"]], limit: float, measure: str
) -> None:
    """Raise for a pair of unit vectors whose |inner product| is above `limit` at every place."""
    for one, other in itertools.combinations(units, 2):
        alike = float(np.abs((units[one] * units[other]).sum(axis=1)).min())
        if alike > limit:
            raise BadInputError(
                "Unrelated traits must not be copies of each other.",
                got=f"{one!r} and {other!r}, {measure} {alike:.2f} or more everywhere",
                fix="Leave one of them out.",
            )


def _unit_columns(scores: Float[np.ndarray, "row place"]) -> Float[np.ndarray, "place row"]:
    """Centred columns of length 1; a constant one is all zeros and like no other."""
    centred = (scores.astype(np.float64) - scores.mean(axis=0, dtype=np.float64)).T
    size = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.asarray(centred / np.where(size > 0.0, size, np.inf))


def require_unit(
    directions: Mapping[str, Float[np.ndarray, "_place d_model"]], places: int
) -> None:
    """Raise unless every trait has a unit direction per place.

    Raises:
        BadInputError: a direction that is not finite or not of length 1.
        MismatchError: not one per place.
    """
    for name, found in directions.items():
        if len(found) != places:
            raise MismatchError(
                f"The directions of {name!r} must be one per place.",
                got=len(found),
                valid=(places,),
                fix="Stack them in the order of the places.",
            )
        norms = np.linalg.norm(as_finite(found, f"The directions of {name!r}"), axis=1)
        if np.abs(norms - 1.0).max() > 1e-3:
            raise BadInputError(
                f"The directions of {name!r} must have length 1, or cosines are none.",
                got=[float(norm) for norm in norms],
                fix="Divide each by its norm.",
            )
