"""Which prompts the rows of the running batch stand for, so that an edit can treat each apart.

The loops over prompts sort them by length and run equal ones once. Neither may show: a coefficient
given for prompt 3 has to act on prompt 3, in whatever row it runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from trait_probe.identity import HookedModel


@dataclass(frozen=True)
class Rows:
    """The rows of a batch.

    Attributes:
        prompts: per row, the index of its prompt in the whole call.
        total: prompts of the whole call.
    """

    prompts: tuple[int, ...]
    total: int


_rows: ContextVar[Rows | None] = ContextVar("rows", default=None)
_edits: WeakKeyDictionary[Any, int] = WeakKeyDictionary()


def current_rows() -> Rows | None:
    """The rows that are running; None in a forward pass that the user runs on token ids."""
    return _rows.get()


@contextmanager
def running(prompts: Sequence[int], total: int) -> Iterator[None]:
    """Say, while a batch runs, which prompts its rows stand for."""
    token = _rows.set(Rows(tuple(prompts), total))
    try:
        yield
    finally:
        _rows.reset(token)


def is_edited(model: HookedModel) -> bool:
    """Whether an edit is in place: equal prompts may then have unequal activations."""
    return _edits.get(model, 0) > 0


def count_edit(model: HookedModel, change: int) -> None:
    """Count an edit in (1) or out (-1)."""
    _edits[model] = _edits.get(model, 0) + change
