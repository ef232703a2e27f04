"""The judge as an instrument: whether it agrees with people, and with itself, and how often it is
silent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from trait_probe.errors import BadInputError
from trait_probe.evidence.association import spearman
from trait_probe.evidence.checks import Check, missing_check
from trait_probe.evidence.crossed import share
from trait_probe.evidence.estimate import Estimate, Unscored
from trait_probe.evidence.repeated import repeat_sd
from trait_probe.judges.cache import CachedJudge
from trait_probe.judges.judge import Judge, Scored
from trait_probe.judges.many import Item, judge_all
from trait_probe.prompts._files import read_jsonl

MIDDLE = 50.0
"""Scores from here on say that the trait is there."""

UNSCORED_CHECK = "answers scored by the judge"

N_BOOT = 2000
SEED = 0

GOLD_FIELDS = ("question", "answer", "score")
GOLD_FORM = 'Write one object per line: {"question": "...", "answer": "...", "score": 80}.'


@dataclass(frozen=True)
class Gold:
    """An answer with the score, 0 to 100, that people (or an exact rule) gave it.

    Raises:
        BadInputError: an empty question, or a score outside 0 to 100.
    """

    question: str
    answer: str
    score: float

    def __post_init__(self) -> None:
        if not self.question.strip():
            raise BadInputError("The 'question' is empty.", fix=GOLD_FORM)
        if not 0.0 <= self.score <= 100.0:
            raise BadInputError(
                "A gold score lies between 0 and 100.", got=self.score, fix=GOLD_FORM
            )


@dataclass(frozen=True)
class Agreement:
    """How a judge's scores compare with gold scores of the same answers.

    Attributes:
        same_side: share of scored items that both put at 50 or above, or both below.
        rank: Spearman's rank correlation, where the gold scores have more than two grades.
        n: gold items, `unscored` those that the judge did not score.
        reasons: why not, with counts.
    """

    same_side: Estimate | Unscored
    rank: Estimate | Unscored
    n: int
    unscored: int
    reasons: Mapping[str, int]

    def to_json(self) -> dict[str, object]:
        """Plain fields."""
        return {
            "same_side": self.same_side.to_json(),
            "rank": self.rank.to_json(),
            "n": self.n,
            "unscored": self.unscored,
            "reasons": dict(self.reasons),
        }


@dataclass(frozen=True)
class Repeats:
    """How a judge's scores of the same items scatter when it is asked again.

    Attributes:
        spread: standard deviation within items, in points of 100.
        flips: share of items (with two scores or more) that were scored on both sides of 50.
        n: distinct items, each asked `times` times.
        unscored: calls without a score, of `n * times`.
        reasons: why, with counts.
    """

    spread: Estimate | Unscored
    flips: Estimate | Unscored
    n: int
    times: int
    unscored: int
    reasons: Mapping[str, int]

    def to_json(self) -> dict[str, object]:
        """Plain fields."""
        return {
            "spread": self.spread.to_json(),
            "flips": self.flips.to_json(),
            "n": self.n,
            "times": self.times,
            "unscored": self.unscored,
            "reasons": dict(self.reasons),
        }


def load_gold(path: str | PathLike[str]) -> tuple[Gold, ...]:
    """Read gold items, one JSON object `{"question", "answer", "score"}` per line (UTF-8).

    Raises:
        BadInputError: no such file, no items, a malformed line, or an answer to a question that
            has two scores; named with its line.
    """
    file = Path(path)
    if not file.is_file():
        raise BadInputError("There is no such file of gold scores.", got=str(file), fix=GOLD_FORM)
    found: dict[Item, tuple[Gold, str]] = {}
    for where, row in _lines(file):
        gold = _gold(where, row)
        before, place = found.setdefault((gold.question, gold.answer), (gold, where))
        if before.score != gold.score:
            raise BadInputError(
                f"{where}: the same answer has another score ({place}).",
                got=(before.score, gold.score),
                fix="Keep one line for each answer to a question.",
            )
    if not found:
        raise BadInputError(f"{file} holds no gold scores.", fix=GOLD_FORM)
    return tuple(gold for gold, _ in found.values())


def gold_agreement(judge: Judge, gold: Sequence[Gold]) -> Agreement:
    """Compare a judge with gold scores; answers to one question are one cluster.

    Intervals: `crossed.share` and `association.spearman` (2000 resamples, seed 0). Items that the
    judge does not score are left out of both and counted.

    Raises:
        BadInputError: no gold items.
    """
    if not gold:
        raise BadInputError("Agreement needs gold items.", got="none", fix="See `load_gold`.")
    results = judge_all(judge, [(one.question, one.answer) for one in gold])
    pairs = [(one, got) for one, got in zip(gold, results, strict=True) if isinstance(got, Scored)]
    groups = [one.question for one, _ in pairs]
    true = np.array([one.score for one, _ in pairs], dtype=np.float64)
    judged = np.array([got.score for _, got in pairs], dtype=np.float64)
    reasons = _reasons(results)
    return Agreement(
        same_side=share(_present(true) == _present(judged), groups),
        rank=_rank(true, judged, groups),
        n=len(gold),
        unscored=len(gold) - len(pairs),
        reasons=reasons,
    )


def repeat_variance(judge: Judge, items: Sequence[Item], times: int) -> Repeats:
    """Ask for each distinct item `times` times and see how the scores scatter.

    A `CachedJudge` would repeat itself, so the judge behind it is asked, and nothing is kept. A
    judge without chance has a spread of exactly 0. Items of one question are one cluster of the
    intervals.

    Raises:
        BadInputError: no items, or fewer than two times.
    """
    if times < 2 or not items:
        raise BadInputError(
            "Repeats need items, each asked at least twice.", got=(len(items), times)
        )
    asked = judge
    while isinstance(asked, CachedJudge):
        asked = asked.judge
    distinct = list(dict.fromkeys(items))
    rounds = [judge_all(asked, distinct) for _ in range(times)]
    scores = [
        np.array([one.score for one in row if isinstance(one, Scored)], dtype=np.float64)
        for row in zip(*rounds, strict=True)
    ]
    questions = [question for question, _ in distinct]
    several = [i for i, row in enumerate(scores) if len(row) >= 2]
    sides = [_present(scores[i]) for i in several]
    flips = np.array([bool(side.any() and not side.all()) for side in sides], dtype=np.bool_)
    reasons = _reasons([one for row in rounds for one in row])
    return Repeats(
        spread=repeat_sd(scores, questions, unit="points", n_boot=N_BOOT, seed=SEED),
        flips=share(flips, [questions[i] for i in several]),
        n=len(distinct),
        times=times,
        unscored=sum(reasons.values()),
        reasons=reasons,
    )


def unscored_check(n_unscored: int, n: int, most: float) -> Check:
    """Missing where more than the share `most` is unscored: such a claim cannot be tested.

    What a judge leaves out is no random sample; a result on the rest would speak for few.

    Args:
        n: answers put to the judge.
        most: a share chosen beforehand, from 0 up to (not including) 1.

    Raises:
        BadInputError: counts that do not fit, or a share outside [0, 1).
    """
    if not 0 <= n_unscored <= n:
        raise BadInputError("Of n answers 0 to n are unscored.", got=(n_unscored, n))
    if not 0.0 <= most < 1.0:
        raise BadInputError(
            "The largest share of unscored answers is at least 0 and below 1.",
            got=most,
            fix="Pass a share such as 0.2.",
        )
    required = f"at most {100 * most:g} % unscored"
    if n == 0:
        return missing_check(UNSCORED_CHECK, "no answer was put to the judge", required)
    observed = f"{n_unscored} of {n} answers unscored ({100 * n_unscored / n:.3g} %)"
    if n_unscored > most * n + 1e-9:
        return missing_check(UNSCORED_CHECK, observed, required)
    return Check(UNSCORED_CHECK, "passed", observed, required)


def _lines(file: Path) -> Iterator[tuple[str, object]]:
    """Where each line stands, and what it holds."""
    try:
        for where, _, row in read_jsonl(file):
            yield where, row
    except BadInputError as error:
        raise BadInputError(error.problem, got=error.got, fix=GOLD_FORM) from error


def _gold(where: str, row: object) -> Gold:
    if not isinstance(row, Mapping) or set(row) != set(GOLD_FIELDS):
        raise BadInputError(
            f"{where}: a gold item has the fields {', '.join(GOLD_FIELDS)}, and no others.",
            got=sorted(row) if isinstance(row, Mapping) else row,
            fix=GOLD_FORM,
        )
    question, answer, score = (row[field] for field in GOLD_FIELDS)
    texts = isinstance(question, str) and isinstance(answer, str)
    if not texts or isinstance(score, bool) or not isinstance(score, int | float):
        raise BadInputError(
            f"{where}: 'question' and 'answer' are text, 'score' is a number.",
            got=[type(row[field]).__name__ for field in GOLD_FIELDS],
            fix=GOLD_FORM,
        )
    try:
        return Gold(question, answer, float(score))
    except BadInputError as error:
        raise BadInputError(f"{where}: {error.problem}", got=error.got, fix=error.fix) from error


def _present(scores: Float[np.ndarray, " item"]) -> Bool[np.ndarray, " item"]:
    return np.asarray(scores >= MIDDLE)


def _rank(
    true: Float[np.ndarray, " item"], judged: Float[np.ndarray, " item"], groups: Sequence[str]
) -> Estimate | Unscored:
    if len(set(groups)) < 2:
        return Unscored(f"{len(true)} scores of {len(set(groups))} questions; 2 are needed")
    if len(set(true.tolist())) <= 2:
        return Unscored("the gold scores are not graded: they have two values at most")
    return spearman(true, judged, groups, n_boot=N_BOOT, seed=SEED)


def _reasons(results: Sequence[Scored | Unscored]) -> dict[str, int]:
    """Why answers were not scored, most frequent first."""
    counts = Counter(one.reason for one in results if isinstance(one, Unscored))
    return dict(counts.most_common())
