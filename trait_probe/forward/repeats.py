"""Prompts that come again in a later chunk: their results are taken from the first time.

What is remembered after a chunk depends on the finished chunks alone, so that a resumed run, which
fills this memory from their files, goes on as the run that was stopped would have.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from trait_probe.forward.budget import BatchBudget
from trait_probe.forward.engine import select
from trait_probe.forward.project import assemble, project_rendered
from trait_probe.forward.projections import Projections
from trait_probe.forward.reader import Part
from trait_probe.identity import HookedModel
from trait_probe.prompts.positions import Pooling, PositionRule
from trait_probe.prompts.render import Rendered
from trait_probe.vectors.vector import VectorSet

LIMIT_BYTES = 8 * 2**20
"""Remembered at most; then new prompts are no longer remembered, and run each time."""
ENTRY_BYTES = 600
"""Of Python's own for an entry, roughly."""
KEY_BYTES = 12

Values = list[Float[np.ndarray, "_row _column"]]
"""Of one prompt: per position rule, its rows."""


class Repeats:
    """Results of prompts by what was read: tokens and positions, whatever the prompt's id."""

    def __init__(self, positions: Sequence[str], limit_bytes: int | None = None) -> None:
        self._rules = [PositionRule.parse(rule) for rule in positions]
        self._left = LIMIT_BYTES if limit_bytes is None else limit_bytes
        self._known: dict[bytes, Values] = {}

    def key(self, prompt: Rendered) -> bytes:
        """Equal for prompts with the same tokens, read at the same positions."""
        digest = hashlib.blake2b(np.array(prompt.token_ids, dtype=np.int64).tobytes())
        for rule in self._rules:
            digest.update(repr(rule.selected(prompt.spans)).encode())
        return digest.digest()[:KEY_BYTES]

    def get(self, key: bytes) -> Values | None:
        """The results of that prompt; None if it has not come, or was not remembered."""
        return self._known.get(key)

    def add(self, keys: Sequence[bytes], values: Sequence[Values]) -> None:
        """Remember a finished chunk's prompts, in their order, while there is room."""
        for key, one in zip(keys, values, strict=True):
            size = ENTRY_BYTES + sum(array.nbytes for array in one)
            if key not in self._known and size <= self._left:
                self._left -= size
                # Copies: a view would keep the whole chunk's array alive.
                self._known[key] = [array.copy() for array in one]


def project_once(
    model: HookedModel,
    rendered: Sequence[Rendered],
    vectors: VectorSet,
    positions: Sequence[str],
    pooling: Pooling,
    *,
    budget: BatchBudget,
    part: Part,
    repeats: Repeats,
) -> tuple[list[Projections], list[bytes]]:
    """`project_rendered` of the prompts that did not come before; the others are remembered.

    Returns:
        The projections of all, per rule, and each prompt's key.
    """
    keys = [repeats.key(prompt) for prompt in rendered]
    fresh = [number for number, key in enumerate(keys) if repeats.get(key) is None]
    new = [rendered[number] for number in fresh]
    found = (
        project_rendered(model, new, vectors, positions, pooling, budget=budget, part=part)
        if new
        else []
    )
    values = dict(zip(fresh, by_prompt(found, len(new)), strict=True))
    if len(fresh) == len(rendered):
        repeats.add(keys, list(values.values()))
        return found, keys
    every = [values.get(number) or repeats.get(key) or [] for number, key in enumerate(keys)]
    whole = [
        assemble(
            model,
            rendered,
            vectors,
            selection,
            np.concatenate([one[rule] for one in every]),
            str(position),
            pooling,
        )
        for rule, (selection, position) in enumerate(
            zip(select(rendered, positions), positions, strict=True)
        )
    ]
    repeats.add(keys, every)
    return whole, keys


def by_prompt(found: Sequence[Projections], n_prompts: int) -> list[Values]:
    """Each prompt's dots, per rule."""
    pieces = []
    for one in found:
        counts = np.bincount(one.prompt, minlength=n_prompts)
        pieces.append(np.split(one.dot, counts.cumsum()[:-1]))
    return [list(rules) for rules in zip(*pieces, strict=True)]


def keys_to_text(keys: Sequence[bytes]) -> str:
    """For a file's metadata."""
    return base64.b64encode(b"".join(keys)).decode()


def keys_from_text(text: str) -> list[bytes]:
    """The inverse of `keys_to_text`."""
    data = base64.b64decode(text)
    return [data[at : at + KEY_BYTES] for at in range(0, len(data), KEY_BYTES)]
