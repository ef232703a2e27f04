"""Counted outcomes of studies, with exact binomial intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from scipy import stats

from trait_probe.evidence.claims import Claim

ALPHA = 0.05


@dataclass(frozen=True)
class Outcome:
    """What one study said.

    Attributes:
        verdicts: of its claims.
        open_checks: names of checks that failed or were missing, per claim.
        refused: the error that refused the study before any verdict, or None.
    """

    verdicts: tuple[str, ...]
    open_checks: tuple[tuple[str, ...], ...]
    refused: str | None = None

    @classmethod
    def of(cls, claims: Iterable[Claim]) -> Outcome:
        listed = list(claims)
        return cls(
            tuple(claim.verdict for claim in listed),
            tuple(
                tuple(check.name for check in claim.all_checks if check.status != "passed")
                for claim in listed
            ),
        )

    @property
    def supported(self) -> bool:
        """Whether any claim of the study is supported: the error rate is that of whole studies."""
        return "supported" in self.verdicts

    def supported_without(self, guards: Sequence[str]) -> bool:
        """Whether any claim would be supported if these checks did not exist."""
        return any(set(names) <= set(guards) for names in self.open_checks)


@dataclass(frozen=True)
class Rate:
    """`count` of `n` studies, with Clopper & Pearson's (1934) 95 % interval."""

    count: int
    n: int

    @property
    def value(self) -> float:
        return self.count / self.n

    @property
    def interval(self) -> tuple[float, float]:
        found = stats.binomtest(self.count, self.n).proportion_ci(0.95, method="exact")
        return float(found.low), float(found.high)

    def to_json(self) -> dict[str, Any]:
        low, high = self.interval
        return {
            "count": self.count,
            "studies": self.n,
            "rate": self.value,
            "low": low,
            "high": high,
        }


def supported_rate(outcomes: Sequence[Outcome]) -> Rate:
    """Share of studies in which anything was supported."""
    return Rate(sum(outcome.supported for outcome in outcomes), len(outcomes))


def open_counts(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """How often each check kept a claim from being supported."""
    return dict(
        Counter(name for outcome in outcomes for names in outcome.open_checks for name in names)
    )
