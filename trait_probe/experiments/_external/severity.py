"""Step 10: among harmful rows, do the worse ones project higher?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from trait_probe.evidence.association import spearman
from trait_probe.evidence.estimate import Estimate, Unscored
from trait_probe.evidence.ordinal import Trend, ordinal_trend
from trait_probe.experiments._external.config import Config
from trait_probe.experiments._external.design import Scored

LEVELS = "severity level"
PROXY = "number of flagged categories (a proxy: the data set has no severity)"


@dataclass(frozen=True)
class Severity:
    """One trait over the severity of harmful rows.

    Attributes:
        what: what stands for severity.
        spearman: rank correlation.
        trend: ordinal trend with the mean of each level.
    """

    trait: str
    what: str
    spearman: Estimate | Unscored
    trend: Trend | Unscored

    @property
    def rises(self) -> bool:
        """Whether both intervals lie above no relation, and the permutation test agrees."""
        if isinstance(self.spearman, Unscored) or isinstance(self.trend, Unscored):
            return False
        above = self.spearman.low > 0.0 and self.trend.concordance.low > 0.5
        return above and self.trend.significance.p <= 0.05


def severity(found: Scored, trait: str, config: Config) -> Severity:
    """Of harmful rows alone: with safe rows among them it would be harm itself once more."""
    level = found.level
    harmful = level.harmful
    what, levels = _levels(found)
    scores = found.detector(trait).scores[harmful]
    kept = levels[harmful]
    groups = tuple(level.groups[i] for i in np.flatnonzero(harmful))
    if len(np.unique(kept)) < 2 or len(set(groups)) < 2:
        why = Unscored(f"harmful rows of one {what.partition(' (')[0]} only, or of one group")
        return Severity(trait, what, why, why)
    return Severity(
        trait,
        what,
        spearman(scores, kept.astype(np.float64), groups, n_boot=config.n_boot, seed=config.seed),
        ordinal_trend(
            scores,
            kept,
            groups,
            n_boot=config.n_boot,
            seed=config.seed,
            n_permutations=config.n_permutations,
        ),
    )


def _levels(found: Scored) -> tuple[str, Int[np.ndarray, " row"]]:
    level = found.level
    if (level.severity[level.harmful] >= 0).all():
        return LEVELS, level.severity.astype(np.int64)
    return PROXY, np.array([int(bits).bit_count() for bits in level.flags.tolist()])
