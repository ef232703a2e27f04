"""Errors in the house form: what was asked, what came, the nearest valid values, how to fix it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TraitProbeError(Exception):
    """Root of every error this package raises on purpose.

    Args:
        problem: one sentence: what was asked and which rule it breaks.
        got: the offending value, as the user wrote it.
        valid: valid values, nearest first (see `nearest`).
        fix: what to do, as an imperative sentence.
    """

    def __init__(
        self,
        problem: str,
        *,
        got: object = None,
        valid: Iterable[object] = (),
        fix: str | None = None,
    ) -> None:
        self.problem = problem
        self.got = got
        self.valid = tuple(valid)
        self.fix = fix
        super().__init__(self._sentence())

    def _sentence(self) -> str:
        lines = [self.problem]
        if self.got is not None:
            lines.append(f"  got:   {self.got!r}")
        if self.valid:
            lines.append(f"  valid: {', '.join(str(value) for value in self.valid)}")
        if self.fix is not None:
            lines.append(f"  fix:   {self.fix}")
        return "\n".join(lines)


class BadInputError(TraitProbeError):
    """The user asked for something that does not exist or does not fit; nothing was written."""


class MismatchError(BadInputError):
    """Two objects that must share a basis, a site or a width do not."""


class RunError(TraitProbeError):
    """A run could not go on (disk full, locked folder); what was finished is kept."""


def first_line(error: BaseException) -> str:
    """What another library's error says, without its trace or advice."""
    return str(error).strip().split("\n")[0]


def nearest(name: str, candidates: Iterable[str], n: int = 5) -> tuple[str, ...]:
    """Up to `n` candidates, most similar to `name` first; all of them when few."""
    options = list(candidates)
    close = difflib.get_close_matches(name, options, n=n, cutoff=0.3)
    return tuple(dict.fromkeys([*close, *options]))[:n]
