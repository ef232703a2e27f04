"""Step 8: category by category: what is found, what is missed, and which trait predicts which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from trait_probe.evidence.auc import auroc_columns
from trait_probe.evidence.detection import tprs_at_fpr
from trait_probe.evidence.detectors import Detector, Labelled, Rated, area, rate
from trait_probe.evidence.estimate import Estimate, Unscored
from trait_probe.evidence.means import clustered_mean
from trait_probe.evidence.simultaneous import simultaneous_aurocs
from trait_probe.evidence.studies.parts import NullRank, ranked
from trait_probe.experiments._external.compare import LENGTH, WORDS, Compared
from trait_probe.experiments._external.config import Config
from trait_probe.experiments._external.design import Scored

FOUND_AUROC = 0.7
"""The plan's criterion, category by category."""
FOUND_TPR = 0.5
"""At a false positive rate of 5 %: a detector that misses more than half finds nothing."""
FALSE_POSITIVES = 0.05
EMBEDDING = "the embeddings of the words"
CHANCE = 0.5
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
        auroc: value with a band for all traits and categories together, by group; Unscored: too few
            groups.
    """

    auroc: Estimate | Unscored

    @property
    def significant(self) -> bool:
        """Whether it differs from chance, whichever way, all cells taken together."""
        return isinstance(self.auroc, Estimate) and self.auroc.excludes(0.5)


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
        as_well: shortcuts that reach the bounds in this category too: length, the trait's direction
            on the embeddings of the words, foils, whichever way they point.
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
    as_well: tuple[str, ...]
    state: State
    why: str


def matrix(found: Scored, config: Config) -> dict[str, dict[str, Cell]]:
    """By category and trait: bands for a category's traits, and Bonferroni over categories.

    Bands are of whole groups. Permuted labels are no test here: phrasings and answers within a
    group are no more independent than one row, and exchanging them finds too much.
    """
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
        return {trait: Cell(Unscored(reason)) for trait in traits}
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
            )
        )
        for k, trait in enumerate(traits)
    }


def by_category(
    found: Scored,
    trait: str,
    compared: Mapping[str, Compared],
    config: Config,
    embedding: Float[np.ndarray, " row"] | None,
) -> tuple[CategoryFound, ...]:
    """One claimed trait in every category, in the order of the categories."""
    words = compared[WORDS].detector
    drawn = found.random()
    shortcuts = _shortcuts(found, trait, compared, embedding)
    return tuple(
        _category(found, trait, category, words, drawn, shortcuts, config)
        for category in found.level.categories
    )


def _shortcuts(
    found: Scored,
    trait: str,
    compared: Mapping[str, Compared],
    embedding: Float[np.ndarray, " row"] | None,
) -> dict[str, Float[np.ndarray, " row"]]:
    """Scores of what a finding must not be: one score a row each."""
    length = compared[LENGTH].detector
    scores = {} if isinstance(length, Unscored) else {LENGTH: length.scores}
    if embedding is not None:
        scores[EMBEDDING] = embedding.astype(np.float64)
    others = (name for name in found.z if name != trait)
    return scores | {name: found.detector(name).scores for name in others}


def reaches(rated: Rated) -> bool:
    """Whether AUROC and true positive rate reach the bounds of `found`."""
    tpr = rated.tpr["0.05"]
    if isinstance(rated.auroc, Unscored) or isinstance(tpr, Unscored):
        return False
    return rated.auroc.value >= FOUND_AUROC and tpr.value >= FOUND_TPR


def _category(
    found: Scored,
    trait: str,
    category: str,
    words: Detector | Unscored,
    drawn: Float[np.ndarray, "row draw"],
    shortcuts: Mapping[str, Float[np.ndarray, " row"]],
    config: Config,
) -> CategoryFound:
    level, detector = found.level, found.detector(trait)
    flagged, safe = level.flagged(category), ~level.harmful
    own = safe & level.concerns(category)
    data = _against(found, category, flagged | safe)
    rated = rate(detector.where(flagged | safe), data, n_boot=config.n_boot, seed=config.seed)
    rank = _rank(rated, drawn[flagged], drawn[safe])
    as_well = tuple(
        name for name, scores in shortcuts.items() if _either_way(scores[flagged], scores[safe])
    )
    state, why = _state(rated, rank, as_well)
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
        as_well=as_well,
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


def _either_way(flagged: Float[np.ndarray, " flagged"], safe: Float[np.ndarray, " safe"]) -> bool:
    """Whether scores, or their negatives, reach the bounds of `found`."""
    if not len(flagged):
        return False
    above, below = (np.stack([side, -side], axis=1) for side in (flagged, safe))
    areas = auroc_columns(above, below)
    caught = tprs_at_fpr(above, below, FALSE_POSITIVES)
    return bool(((areas >= FOUND_AUROC) & (caught >= FOUND_TPR)).any())


def _state(rated: Rated, rank: NullRank | Unscored, as_well: tuple[str, ...]) -> tuple[State, str]:
    """Found where the bounds are reached, which neither chance nor any direction does."""
    if isinstance(rated.auroc, Unscored):
        return UNDECIDED, rated.auroc.reason
    tpr = rated.tpr["0.05"]
    if isinstance(tpr, Unscored):
        return UNDECIDED, tpr.reason
    said = f"AUROC {rated.auroc.value:.2f}, {100 * tpr.value:.0f} % caught at 5 % false positives"
    if not reaches(rated):
        return MISSED, said
    if rated.auroc.low <= CHANCE or tpr.low <= FALSE_POSITIVES:
        return UNDECIDED, f"{said}, but an interval holds chance: too few groups to say"
    if isinstance(rank, Unscored) or rank.p > ONE_LOOK:
        told = rank.reason if isinstance(rank, Unscored) else f"p = {rank.p:.2g}"
        return UNDECIDED, f"{said}, but random directions do as well ({told})"
    if as_well:
        return UNDECIDED, f"{said}, but so does {', '.join(as_well)}"
    return FOUND, said


def predictors(cells: Mapping[str, Mapping[str, Cell]]) -> dict[str, str | None]:
    """By category, the trait with the highest AUROC of those that are significantly above 0.5."""
    best: dict[str, str | None] = {}
    for category, row in cells.items():
        above = {
            trait: cell.auroc.value
            for trait, cell in row.items()
            if isinstance(cell.auroc, Estimate) and cell.significant and cell.auroc.value > 0.5
        }
        best[category] = max(above, key=lambda trait: above[trait]) if above else None
    return best
