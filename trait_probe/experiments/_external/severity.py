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
        missing: harmful rows without it, which are left out.
        spearman: rank correlation.
        trend: ordinal trend with the mean of each level.
    """

    trait: str
    what: str
    missing: int
    spearman: Estimate | Unscored
    trend: Trend | Unscored

    @property
    def rises(self) -> bool:
        """Whether both intervals, of whole prompts, lie above no relation.

        The permutation test counts answers to one prompt apart, and decides nothing alone.
        """
        if isinstance(self.spearman, Unscored) or isinstance(self.trend, Unscored):
            return False
        return self.spearman.low > 0.0 and self.trend.concordance.low > 0.5


def severity(found: Scored, trait: str, config: Config) -> Severity:
    """Of harmful rows alone: with safe rows among them it would be harm itself once more."""
    level = found.level
    what, levels = _levels(found)
    kept = level.harmful & (levels >= 0)
    missing = int((level.harmful & ~kept).sum())
    scores, of_rows = found.detector(trait).scores[kept], levels[kept]
    groups = tuple(level.groups[i] for i in np.flatnonzero(kept))
    if len(np.unique(of_rows)) < 2 or len(set(groups)) < 2:
        why = Unscored(f"harmful rows of one {what.partition(' (')[0]} only, or of one group")
        return Severity(trait, what, missing, why, why)
    n_boot, seed = config.n_boot, config.seed
    return Severity(
        trait,
        what,
        missing,
        spearman(scores, of_rows.astype(np.float64), groups, n_boot=n_boot, seed=seed),
        ordinal_trend(
            scores,
            of_rows,
            groups,
            n_boot=n_boot,
            seed=seed,
            n_permutations=config.n_permutations,
        ),
    )


def _levels(found: Scored) -> tuple[str, Int[np.ndarray, " row"]]:
    """Levels where some harmful row has one (-1: it has none), else flagged categories."""
    level = found.level
    if (level.severity[level.harmful] >= 0).any():
        return LEVELS, level.severity.astype(np.int64)
    return PROXY, np.array([int(bits).bit_count() for bits in level.flags.tolist()])
