"""What a shift between models is made from: scores of one direction in several models."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from trait_probe.errors import BadInputError, MismatchError
from trait_probe.evidence._arrays import as_finite, require_same_length
from trait_probe.evidence.locks import ReportLock
from trait_probe.evidence.splits import Split, require_disjoint

Grid = Float[np.ndarray, "row place ..."]
SAME = 0.99


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

    def reported(self, split: Split) -> Float[np.ndarray, " draw"]:
        """Mean beyond the controls on the report rows, in SD of the base, of each direction.

        Each is read at the place where its own selection rows differ most.
        """
        return after_choice(self.standardized(split.selection), split)

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


def after_choice(beyond: Grid, split: Split) -> Float[np.ndarray, " draw"]:
    """Mean over the report rows at the place with the largest mean over the selection rows."""
    flat = beyond.reshape(*beyond.shape[:2], -1)
    places = flat[split.selection].mean(axis=0).argmax(axis=0)
    return np.asarray(flat[split.report].mean(axis=0)[places, np.arange(len(places))])


@dataclass(frozen=True)
class ShiftRows:
    """The prompts that all models read.

    Args:
        ids: per row, what identifies its prompt.
        groups: per row, the prompt family that it moves with.
        lock: selection and report rows; no group is on both sides.
        fitted_on: ids of everything that directions and means were estimated on; none may be
            tested.

    Raises:
        MismatchError: not one entry per row.
        BadInputError: a group on both sides, or a tested prompt that was fitted on.
    """

    ids: tuple[str, ...]
    groups: tuple[str, ...]
    lock: ReportLock
    fitted_on: frozenset[str]

    def __post_init__(self) -> None:
        require_same_length(len(self.ids), self.groups, "groups")
        self.lock.require_apart(self.groups)
        require_disjoint(self.fitted_on, self.ids, "Directions and means")

    @property
    def report_groups(self) -> tuple[str, ...]:
        """Groups of the report rows, once the lock was opened."""
        return tuple(self.groups[i] for i in self.lock.split.report)
