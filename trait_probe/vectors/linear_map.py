"""A linear map between the activations of two models on the same texts.

Ridge regression in float64 on one part of the texts; how well it does is measured on the others,
against maps fitted in the same way on a shuffled pairing of the texts. Rows are one per text, so
the two models need not share a tokenizer. Equivariant under rotation of either side.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int

from trait_probe.errors import BadInputError, MismatchError
from trait_probe.evidence.estimate import Estimate, Unscored
from trait_probe.evidence.explained import explained_share, explained_variance, isometric
from trait_probe.evidence.splits import Split, split_by_group

PENALTIES = tuple(float(share) for share in 10.0 ** np.arange(-10, 3))
"""Ridge penalties as shares of the source rows' total squared length.

From next to none to one that shrinks every direction to under 1 %. Relative to the total, since a
few massive dimensions may hold nearly all of it while the others need penalties far below.
"""
FOLDS = 5
MIN_GROUPS = 20
"""Fewer groups of texts fit no map worth its interval: 5 of them would be held out."""


@dataclass(frozen=True, eq=False)
class LinearMap:
    """Activations of the target model from those of the source, and how well that works.

    Attributes:
        matrix: target units per source unit; 8 bytes an entry (150 MB from 2304 to 8192).
        source_mean: of the fitting rows.
        target_mean: of the fitting rows.
        penalty: the chosen member of the penalties.
        r2: share of the held-out target variance that is explained, over texts not fitted on.
        shuffled_r2: the same for maps fitted and tested on shuffled pairings: about 0.
        split: fitting rows as its selection side, held-out rows as its report side.
    """

    matrix: Float64[np.ndarray, "source target"]
    source_mean: Float64[np.ndarray, " source"]
    target_mean: Float64[np.ndarray, " target"]
    penalty: float
    r2: Estimate
    shuffled_r2: tuple[float, ...]
    split: Split

    def displaced(
        self, directions: Float[np.ndarray, "row source"]
    ) -> Float64[np.ndarray, "row target"]:
        """Where differences of source activations land: without intercept, lengths kept."""
        return np.asarray(directions.astype(np.float64) @ self.matrix)

    def predicted(self, rows: Float[np.ndarray, "row source"]) -> Float64[np.ndarray, "row target"]:
        """The target activations of texts with these source activations."""
        return np.asarray(self.displaced(rows - self.source_mean) + self.target_mean)

    @property
    def r2_to_beat(self) -> float:
        """What the interval of `r2` has to lie above: 0, and the best shuffled pairing."""
        return max(0.0, *self.shuffled_r2)


def fit_map(
    source_rows: Float[np.ndarray, "row source"],
    target_rows: Float[np.ndarray, "_row target"],
    groups: Sequence[str],
    *,
    held_out: float = 0.25,
    penalties: Sequence[float] = PENALTIES,
    n_shuffles: int = 20,
    n_boot: int = 1000,
    seed: int = 0,
) -> LinearMap:
    """Fit the map on one part of the texts and measure it on the rest.

    Row i of both sides is the same text. Whole groups are held out, and whole groups are left out
    in the cross-validation that chooses the penalty, on fitting rows alone. A shuffled pairing
    permutes the target rows within the fitting and within the held-out part, and chooses its own
    penalty.

    Args:
        groups: of each row: texts of one group depend on each other.
        held_out: share of groups that the fit never sees, between 0 and 1.
        penalties: above 0, as shares of the source rows' total squared length.
        n_shuffles: at least 1; 20 make a map that beats them all significant at 5 %.

    Raises:
        BadInputError: fewer than `MIN_GROUPS` groups, rows that do not vary or are not finite.
        MismatchError: the sides and groups have not the same rows.
    """
    _check(source_rows, target_rows, groups, penalties, n_shuffles)
    source, target = source_rows.astype(np.float64), target_rows.astype(np.float64)
    split = split_by_group(groups, fraction=1.0 - held_out, seed=seed)
    fitting, held = split.selection, split.report
    _require_variation(source[fitting], target[fitting], target[held])
    rng = np.random.default_rng(seed)
    study = _Study.of(source, fitting, held, [groups[i] for i in fitting], rng)
    # Rotated into few columns, where each of the many trial fits is cheap; lengths stay.
    compact = isometric(target - target[fitting].mean(axis=0))
    penalty = study.best_penalty(compact[fitting], penalties)
    shuffled = [
        study.shuffled_r2(compact, fitting, held, penalties, rng) for _ in range(n_shuffles)
    ]
    (predicted,) = study.whole.predict(target[fitting], study.held_rows, [penalty])
    r2 = explained_variance(
        target[held], predicted, [groups[i] for i in held], n_boot=n_boot, seed=seed
    )
    assert isinstance(r2, Estimate)  # the held-out rows vary
    return LinearMap(
        matrix=study.whole.coefficients(target[fitting], penalty),
        source_mean=study.whole.mean,
        target_mean=target[fitting].mean(axis=0),
        penalty=penalty,
        r2=r2,
        shuffled_r2=tuple(shuffled),
        split=split,
    )


@dataclass(frozen=True, eq=False)
class _Ridge:
    """The singular value decomposition of some source rows: serves every penalty and target."""

    mean: Float64[np.ndarray, " source"]
    left: Float64[np.ndarray, "row axis"]
    scale: Float64[np.ndarray, " axis"]
    right: Float64[np.ndarray, "axis source"]

    @classmethod
    def of(cls, rows: Float64[np.ndarray, "row source"]) -> _Ridge:
        mean = rows.mean(axis=0)
        return cls(mean, *np.linalg.svd(rows - mean, full_matrices=False))

    def shrunk(self, penalty: float) -> Float64[np.ndarray, " axis"]:
        """What each axis of the source is multiplied with."""
        squares = self.scale**2
        return np.asarray(self.scale / (squares + penalty * squares.sum()))

    def along(
        self, target: Float64[np.ndarray, "row target"]
    ) -> Float64[np.ndarray, "axis target"]:
        """What the target rows, centred, have in common with each axis."""
        return np.asarray(self.left.T @ (target - target.mean(axis=0)))

    def coefficients(
        self, target: Float64[np.ndarray, "row target"], penalty: float
    ) -> Float64[np.ndarray, "source target"]:
        """The ridge solution for these target rows."""
        return np.asarray(self.right.T @ (self.shrunk(penalty)[:, None] * self.along(target)))

    def coordinates(
        self, rows: Float64[np.ndarray, "other source"]
    ) -> Float64[np.ndarray, "other axis"]:
        """Other source rows along the axes."""
        return np.asarray((rows - self.mean) @ self.right.T)

    def predict(
        self,
        target: Float64[np.ndarray, "row target"],
        others: Float64[np.ndarray, "other axis"],
        penalties: Sequence[float],
    ) -> Iterator[Float64[np.ndarray, "other target"]]:
        """For other rows, given by their coordinates, from the target rows fitted on."""
        mean, along = target.mean(axis=0), self.along(target)
        for penalty in penalties:
            yield (others * self.shrunk(penalty)) @ along + mean


@dataclass(frozen=True, eq=False)
class _Fold:
    """Fitting rows without some groups, and the coordinates of those groups' rows."""

    kept: Int[np.ndarray, " kept"]
    left_out: Int[np.ndarray, " left_out"]
    ridge: _Ridge
    coordinates: Float64[np.ndarray, "left_out axis"]

    def squared_errors(
        self, target: Float64[np.ndarray, "row target"], penalties: Sequence[float]
    ) -> Float64[np.ndarray, " penalty"]:
        rows = target[self.left_out]
        predicted = self.ridge.predict(target[self.kept], self.coordinates, penalties)
        return np.array([((rows - found) ** 2).sum() for found in predicted])


@dataclass(frozen=True, eq=False)
class _Study:
    """Everything about the source rows that no target and no pairing changes."""

    whole: _Ridge
    held_rows: Float64[np.ndarray, "held axis"]
    folds: tuple[_Fold, ...]

    @classmethod
    def of(
        cls,
        source: Float64[np.ndarray, "row source"],
        fitting: Int[np.ndarray, " fitting"],
        held: Int[np.ndarray, " held"],
        groups: Sequence[str],
        rng: np.random.Generator,
    ) -> _Study:
        whole = _Ridge.of(source[fitting])
        return cls(
            whole, whole.coordinates(source[held]), tuple(_folds(source[fitting], groups, rng))
        )

    def best_penalty(
        self, target: Float64[np.ndarray, "row target"], penalties: Sequence[float]
    ) -> float:
        """The penalty of smallest cross-validated error; of equals, the largest."""
        largest_first = sorted(penalties, reverse=True)
        errors = np.sum([fold.squared_errors(target, largest_first) for fold in self.folds], axis=0)
        return largest_first[int(errors.argmin())]

    def shuffled_r2(
        self,
        target: Float64[np.ndarray, "row target"],
        fitting: Int[np.ndarray, " fitting"],
        held: Int[np.ndarray, " held"],
        penalties: Sequence[float],
        rng: np.random.Generator,
    ) -> float:
        """Held-out R2 of a map between texts that do not belong together."""
        fitted, tested = target[rng.permutation(fitting)], target[rng.permutation(held)]
        penalty = self.best_penalty(fitted, penalties)
        (predicted,) = self.whole.predict(fitted, self.held_rows, [penalty])
        share = explained_share(tested, predicted)
        assert not isinstance(share, Unscored)  # the held-out rows vary, in whatever order
        return share


def _folds(
    source: Float64[np.ndarray, "row source"], groups: Sequence[str], rng: np.random.Generator
) -> list[_Fold]:
    names, codes = np.unique(np.asarray(groups, dtype=np.str_), return_inverse=True)
    fold_of_name = rng.permutation(len(names)) % FOLDS
    fold_of_row = fold_of_name[codes]
    folds = []
    for number in range(FOLDS):
        kept, left_out = (
            np.flatnonzero(mask) for mask in (fold_of_row != number, fold_of_row == number)
        )
        ridge = _Ridge.of(source[kept])
        folds.append(_Fold(kept, left_out, ridge, ridge.coordinates(source[left_out])))
    return folds


def _check(
    source: Float[np.ndarray, "row source"],
    target: Float[np.ndarray, "other target"],
    groups: Sequence[str],
    penalties: Sequence[float],
    n_shuffles: int,
) -> None:
    lengths = {"source": len(source), "target": len(target), "groups": len(groups)}
    if len(set(lengths.values())) > 1:
        raise MismatchError(
            "Row i of source, target and groups is the same text.",
            got=lengths,
            fix="Read the same prompts in both models, in one order.",
        )
    n_groups = len(set(groups))
    if n_groups < MIN_GROUPS:
        raise BadInputError(
            f"A map needs at least {MIN_GROUPS} groups of texts to be fitted and tested on.",
            got=f"{n_groups} groups of {len(groups)} texts",
            fix="Give more shared texts; several hundred are usual.",
        )
    if not penalties or min(penalties) <= 0 or n_shuffles < 1:
        raise BadInputError(
            "Penalties are above 0, and at least one pairing is shuffled.",
            got={"penalties": list(penalties), "n_shuffles": n_shuffles},
        )


def _require_variation(
    source: Float64[np.ndarray, "row source"],
    target: Float64[np.ndarray, "row target"],
    held: Float64[np.ndarray, "held target"],
) -> None:
    for name, rows in (("source", source), ("target", target), ("held-out target", held)):
        # The mean of rows predicts those that are all the same: there is no share to explain.
        if isinstance(explained_share(rows, rows), Unscored):
            raise BadInputError(
                f"The {name} activations are the same for every text.",
                got=f"{len(rows)} equal rows",
                fix="Read a position where the texts have different pasts.",
            )
