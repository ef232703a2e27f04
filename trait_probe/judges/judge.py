"""A judge scores one answer for one trait, or says why it cannot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from trait_probe.errors import BadInputError
from trait_probe.evidence.estimate import Unscored

__all__ = ["Judge", "RuleJudge", "Scored", "Unscored"]


@dataclass(frozen=True)
class Scored:
    """A score from 0 (trait absent) to 100 (trait unmistakable), and why."""

    score: float
    rationale: str

    def __post_init__(self) -> None:
        if not 0.0 <= self.score <= 100.0:
            raise BadInputError("A judge's score lies between 0 and 100.", got=self.score)


@runtime_checkable
class Judge(Protocol):
    """Anything that scores an answer to a question; never 0 for what it could not score."""

    def __call__(self, question: str, answer: str) -> Scored | Unscored: ...


@dataclass(frozen=True)
class RuleJudge:
    """An exact rule as a judge: 100 where it holds, 0 where it does not.

    Args:
        name: what the rule says, for the rationale.
        rule: `(question, answer) -> bool`.
    """

    name: str
    rule: Callable[[str, str], bool]

    def __call__(self, question: str, answer: str) -> Scored | Unscored:
        if not answer.strip():
            return Unscored("the answer is empty")
        holds = self.rule(question, answer)
        return Scored(100.0 if holds else 0.0, f"{self.name}: {'yes' if holds else 'no'}")
