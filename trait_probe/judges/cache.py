"""Scores that were paid for, kept in an SQLite file: asked for once, read ever after.

A score belongs to a judge's identity (with the rubric's hash), a question and an answer. The first
score that is kept stands, whichever of several processes it came from. The file does not hold
questions or answers, only their hash.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from trait_probe.errors import BadInputError, RunError
from trait_probe.judges.claude_batches import BatchStore
from trait_probe.judges.cost import Cost
from trait_probe.judges.judge import Judge, Scored, Unscored
from trait_probe.judges.many import Item, judge_all
from trait_probe.judges.score_file import PaidBatches, ScoreFile
from trait_probe.runs.files import canonical_sha256

Keep = Callable[[Mapping[Item, Scored | Unscored]], None]
"""Keeps scores by item, all or none; may be called on any thread."""


@runtime_checkable
class KeepingJudge(Protocol):
    """A judge that hands out each score as soon as it has it, and remembers batches."""

    def judge_keeping(
        self, items: Sequence[Item], keep: Keep, batches: BatchStore
    ) -> Sequence[Scored | Unscored]: ...


def item_key(identity: Mapping[str, Any], question: str, answer: str) -> str:
    """SHA-256 (hex) of all that a score depends on."""
    return canonical_sha256([dict(identity), question, answer])


class CachedJudge:
    """A judge whose scores are kept in a file; it is asked only for what is not there.

    Unscored answers are kept too; errors are not. Threads and processes may share the file.

    Args:
        judge: who is asked; the attribute `judge`.
        path: the SQLite file, made with its folder where there is none.
        identity: what a score depends on besides question and answer, as JSON; None for the
            judge's own `identity`.

    Attributes:
        hits, misses: distinct items of all calls that were read from the file, and asked for.

    Raises:
        BadInputError: the judge has no `identity` and none is given, or the file is another
            program's.
        RunError: the file is damaged or cannot be written.
    """

    def __init__(
        self,
        judge: Judge,
        path: str | PathLike[str],
        *,
        identity: Mapping[str, Any] | None = None,
    ) -> None:
        known = getattr(judge, "identity", None) if identity is None else identity
        if not isinstance(known, Mapping) or not known:
            raise BadInputError(
                "Scores are kept by their judge's identity, and this judge has none.",
                got=type(judge).__name__,
                fix='Pass identity={"kind": "...", "rubric": "..."} with all that a score '
                "depends on.",
            )
        self.judge = judge
        self.identity = dict(known)
        self.path = Path(path)
        self.hits = self.misses = 0
        self._lock = threading.Lock()
        self._file = ScoreFile(self.path)
        self._batches = PaidBatches(self._file, canonical_sha256(self.identity))

    @property
    def concurrency(self) -> int:
        """Calls at once, as the judge itself allows; 1 where it does not say."""
        return int(getattr(self.judge, "concurrency", 1))

    def __call__(self, question: str, answer: str) -> Scored | Unscored:
        """The kept score, or the judge's, which is kept."""
        return self.judge_many([(question, answer)])[0]

    @property
    def spent(self) -> Cost | None:
        """What the judge has cost since it was made; None where it does not count."""
        spent: Cost | None = getattr(self.judge, "spent", None)
        return spent

    def missing(self, items: Sequence[Item]) -> list[Item]:
        """Distinct items without a kept score, such as for `ClaudeJudge.estimate`."""
        distinct = list(dict.fromkeys(items))
        kept = self._kept(distinct)
        return [item for item in distinct if item not in kept]

    def judge_many(self, items: Sequence[Item]) -> list[Scored | Unscored]:
        """Scores in order; each new one is kept as soon as the judge has it.

        Raises:
            RunError: the judge could not go on, or the file failed; kept scores stay.
        """
        distinct = list(dict.fromkeys(items))
        kept = self._kept(distinct)
        missing = [item for item in distinct if item not in kept]
        with self._lock:
            self.hits += len(kept)
            self.misses += len(missing)
        if missing:
            self._ask(missing)
            kept |= self._kept(missing)
        return [kept[item] for item in items]

    def _ask(self, missing: Sequence[Item]) -> None:
        try:
            if isinstance(self.judge, KeepingJudge):
                self.judge.judge_keeping(missing, self._keep, self._batches)
            elif hasattr(self.judge, "judge_many"):
                self._keep(dict(zip(missing, judge_all(self.judge, missing), strict=True)))
            else:
                judge_all(_Keeping(self.judge, self.concurrency, self._keep), missing)
        except RunError as error:
            n = len(self._kept(missing))
            raise RunError(
                f"{error.problem} Kept in {self.path}: {n} of {len(missing)} new scores.",
                got=error.got,
                fix=error.fix,
            ) from error

    def _keep(self, scores: Mapping[Item, Scored | Unscored]) -> None:
        self._file.add_all({self._key(item): score for item, score in scores.items()})

    def _key(self, item: Item) -> str:
        return item_key(self.identity, *item)

    def _kept(self, items: Sequence[Item]) -> dict[Item, Scored | Unscored]:
        keys = {self._key(item): item for item in items}
        return {keys[key]: score for key, score in self._file.scores(list(keys)).items()}


class _Keeping:
    """A judge one call at a time, each score kept when its call ends."""

    def __init__(self, judge: Judge, concurrency: int, keep: Keep) -> None:
        self.concurrency = concurrency
        self._judge = judge
        self._keep = keep

    def __call__(self, question: str, answer: str) -> Scored | Unscored:
        score = self._judge(question, answer)
        self._keep({(question, answer): score})
        return score


__all__ = ["CachedJudge", "Keep", "KeepingJudge", "item_key"]
