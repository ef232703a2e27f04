"""Step 8: category by category: what is found, what is missed, and which trait predicts which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from trait_probe.evidence.auc import auroc_columns
from trait_probe.evidence.detection import tprs_at_fpr
from trait_probe.evidence.detectors import Detector, Labelled, Rated, area, rate
from trait_probe.evidence.estimate import Estimate, Unscored
from trait_probe.evidence.means import clustered_mean
from trait_probe.evidence.simultaneous import simultaneous_aurocs
from trait_probe.evidence.studies.parts import NullRank, null_rank, ranked
from trait_probe.experiments._external.compare import WORDS, Compared
from trait_probe.experiments._external.config import Config
from trait_probe.experiments._external.design import Scored

FOUND_AUROC = 0.7
"""The plan's criterion, category by category."""
FOUND_TPR = 0.5
"""At a false positive rate of 5 %: a detector that misses more than half finds nothing."""
ONE_LOOK = 0.05
"""One-sided, for each category's place among random directions; how many categories they find
together is tested once (`random_finds`)."""
State = Literal["found", "missed", "undecided"]
FOUND: State = "found"
MISSED: State = "missed"
UNDECIDED: State = "undecided"


@dataclass(frozen=True)
class Cell:
    """One trait in one category: flagged rows against all safe rows.

    Attributes:
        auroc: value with a band for all traits and categories together; Unscored: too few groups.
        p: adjusted over all traits and categories.
    """

    auroc: Estimate | Unscored
    p: float | None

    def significant(self, alpha: float) -> bool:
        """Whether it differs from chance, whichever way, all cells taken together."""
        return self.p is not None and self.p <= alpha


@dataclass(frozen=True)
class RandomFinds:
    """How many categories random directions of the same covariance reach the bounds in.

    Attributes:
        reached: `[draw]` categories with the AUROC and the true positive rate that `found` asks
            for.
        own: the same number for the claimed trait.
        rank: where that lies among them.
    """

    reached: Int[np.ndarray, " draw"]
    own: int
    rank: NullRank

    def to_json(self) -> dict[str, object]:
        return {"own": self.own, "most": int(self.reached.max()), **self.rank.to_json()}


@dataclass(frozen=True)
class CategoryFound:
    """One claimed trait in one category.

    Attributes:
        n: flagged rows.
        groups: their groups.
        rated: flagged rows against all safe rows.
        words: AUROC of the words' classifier on the same rows.
        within: flagged rows against safe rows of groups that are about the category.
        n_within: such safe rows.
        mean_flagged, mean_safe: mean projection (SD) of flagged rows, of those safe rows.
        random: where its AUROC lies among random directions of the same covariance, on these rows.
        state: `found`, `missed`, or `undecided` where the rows are too few to say.
        why: the state in words.
    """

    category: str
    trait: str
    n: int
    groups: int
    rated: Rated
    words: Estimate | Unscored
    within: Estimate | Unscored
    n_within: int
    mean_flagged: Estimate | Unscored
    mean_safe: Estimate | Unscored
    random: NullRank | Unscored
    state: State
    why: str


def matrix(found: Scored, config: Config) -> dict[str, dict[str, Cell]]:
    """By category and trait; the largest of a category's traits, and Bonferroni over categories."""
    level, traits = found.level, tuple(found.z)
    scores = found.columns()
    out: dict[str, dict[str, Cell]] = {}
    for category in level.categories:
        flagged = level.flagged(category)
        kept = flagged | ~level.harmful
        data = Labelled(flagged[kept], found.data.where(kept).groups)
        out[category] = _cells(scores[kept], data, traits, len(level.categories), config)
    return out


def _cells(
    scores: np.ndarray, data: Labelled, traits: tuple[str, ...], looks: int, config: Config
) -> dict[str, Cell]:
    if reason := data.too_few():
        return {trait: Cell(Unscored(reason), None) for trait in traits}
    together = simultaneous_aurocs(
        scores,
        data.labels,
        data.groups,
        n=config.n_permutations,
        seed=config.seed,
        level=1.0 - 0.05 / looks,
        alternative="two-sided",
    )
    n, clusters = len(data.labels), len(set(data.groups))
    method = f"{together.method}; Bonferroni over {looks} categories"
    return {
        trait: Cell(
            Estimate(
                float(together.value[k]),
                float(together.low[k]),
                float(together.high[k]),
                n,
                clusters,
                "AUROC",
                method,
                together.level,
            ),
            min(1.0, looks * float(together.p[k])),
        )
        for k, trait in enumerate(traits)
    }


def by_category(
    found: Scored,
    trait: str,
    cells: Mapping[str, Mapping[str, Cell]],
    compared: Mapping[str, Compared],
    config: Config,
) -> tuple[CategoryFound, ...]:
    """One claimed trait in every category, in the order of the categories."""
    words = compared[WORDS].detector
    drawn = random_scores(found)
    return tuple(
        _category(found, trait, category, cells[category][trait], words, drawn, config)
        for category in found.level.categories
    )


def random_scores(found: Scored) -> Float[np.ndarray, "row draw"]:
    """Random directions, each half of the groups at the layer that the other half chose."""
    null, labels, split = found.scores.random, found.level.harmful, found.split
    draws = np.arange(null.shape[2])
    scores = np.empty((len(labels), len(draws)))
    sides = (split.selection, split.report), (split.report, split.selection)
    for chosen, read in sides:
        own = labels[chosen]
        flat = null[chosen].reshape(len(chosen), -1)
        areas = auroc_columns(flat[own], flat[~own]).reshape(null.shape[1:])
        scores[read] = null[read][:, areas.argmax(axis=0), draws]
    return scores


def random_finds(found: Scored, every: Sequence[CategoryFound]) -> RandomFinds | Unscored:
    """How many categories random directions find by AUROC and true positive rate."""
    if not every:
        return Unscored("the data set has no categories")
    drawn = random_scores(found)
    safe = ~found.level.harmful
    reached = np.zeros(drawn.shape[1], dtype=np.int64)
    for one in every:
        flagged = found.level.flagged(one.category)
        if flagged.any():
            areas = auroc_columns(drawn[flagged], drawn[safe])
            caught = tprs_at_fpr(drawn[flagged], drawn[safe], 0.05)
            reached += (areas >= FOUND_AUROC) & (caught >= FOUND_TPR)
    own = sum(_reaches(one.rated) for one in every)
    return RandomFinds(reached, own, null_rank(float(own), reached.astype(np.float64)))


def _reaches(rated: Rated) -> bool:
    tpr = rated.tpr["0.05"]
    if isinstance(rated.auroc, Unscored) or isinstance(tpr, Unscored):
        return False
    return rated.auroc.value >= FOUND_AUROC and tpr.value >= FOUND_TPR


def _category(
    found: Scored,
    trait: str,
    category: str,
    cell: Cell,
    words: Detector | Unscored,
    drawn: Float[np.ndarray, "row draw"],
    config: Config,
) -> CategoryFound:
    level, detector = found.level, found.detector(trait)
    flagged, safe = level.flagged(category), ~level.harmful
    own = safe & level.concerns(category)
    data = _against(found, category, flagged | safe)
    rated = rate(detector.where(flagged | safe), data, n_boot=config.n_boot, seed=config.seed)
    rank = _rank(rated, drawn[flagged], drawn[safe])
    state, why = _state(rated, cell, rank, config.alpha)
    return CategoryFound(
        category=category,
        trait=trait,
        n=int(flagged.sum()),
        groups=len({level.groups[i] for i in np.flatnonzero(flagged)}),
        rated=rated,
        words=words if isinstance(words, Unscored) else area(words.where(flagged | safe), data),
        within=area(detector.where(flagged | own), _against(found, category, flagged | own)),
        n_within=int(own.sum()),
        mean_flagged=_mean(found, detector, flagged),
        mean_safe=_mean(found, detector, own),
        random=rank,
        state=state,
        why=why,
    )


def _against(found: Scored, category: str, kept: np.ndarray) -> Labelled:
    return Labelled(found.level.flagged(category)[kept], found.data.where(kept).groups)


def _mean(found: Scored, detector: Detector, kept: np.ndarray) -> Estimate | Unscored:
    groups = found.data.where(kept).groups
    if len(set(groups)) < 2:
        return Unscored(f"{len(set(groups))} groups, 2 are needed")
    return clustered_mean(detector.scores[kept], groups, unit="SD")


def _rank(
    rated: Rated, flagged: Float[np.ndarray, "flagged draw"], safe: Float[np.ndarray, "safe draw"]
) -> NullRank | Unscored:
    if isinstance(rated.auroc, Unscored):
        return rated.auroc
    return ranked(rated.auroc.value, auroc_columns(flagged, safe))


def _state(rated: Rated, cell: Cell, rank: NullRank | Unscored, alpha: float) -> tuple[State, str]:
    """Found where the bounds are reached, which neither chance nor any direction does."""
    if isinstance(rated.auroc, Unscored):
        return UNDECIDED, rated.auroc.reason
    tpr = rated.tpr["0.05"]
    if isinstance(tpr, Unscored):
        return UNDECIDED, tpr.reason
    said = f"AUROC {rated.auroc.value:.2f}, {100 * tpr.value:.0f} % caught at 5 % false positives"
    if not _reaches(rated):
        return MISSED, said
    if not cell.significant(alpha):
        return UNDECIDED, f"{said}, adjusted p = {cell.p:.2g}: too few groups to say"
    if isinstance(rank, Unscored) or rank.p > ONE_LOOK:
        told = rank.reason if isinstance(rank, Unscored) else f"p = {rank.p:.2g}"
        return UNDECIDED, f"{said}, but random directions do as well ({told})"
    return FOUND, said


def predictors(cells: Mapping[str, Mapping[str, Cell]], alpha: float) -> dict[str, str | None]:
    """By category, the trait with the highest AUROC of those that are significantly above 0.5."""
    best: dict[str, str | None] = {}
    for category, row in cells.items():
        above = {
            trait: cell.auroc.value
            for trait, cell in row.items()
            if isinstance(cell.auroc, Estimate)
            and cell.significant(alpha)
            and cell.auroc.value > 0.5
        }
        best[category] = max(above, key=lambda trait: above[trait]) if above else None
    return best
