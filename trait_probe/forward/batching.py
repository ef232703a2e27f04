"""Length-sorted batches under a token budget; equal prompts run once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Int
from torch import Tensor

from trait_probe.errors import BadInputError
from trait_probe.prompts.render import Rendered

DEFAULT_BATCH_TOKENS = 4096


@dataclass(frozen=True)
class Batch:
    """Rows of one forward pass.

    Attributes:
        members: per row, the indices (into the caller's sequence) of the prompts it stands for.
        ids: `[batch pos]` token ids, padded with 0.
        mask: `[batch pos]` 1 for tokens, 0 for padding.
    """

    members: tuple[tuple[int, ...], ...]
    ids: Int[Tensor, "batch pos"]
    mask: Int[Tensor, "batch pos"]

    def halves(self) -> tuple[Batch, Batch]:
        """The same rows in two batches; a single row cannot be halved (`ValueError`)."""
        middle = len(self.members) // 2
        if middle == 0:
            raise ValueError("a batch of one row cannot be halved")
        first = Batch(self.members[:middle], self.ids[:middle], self.mask[:middle])
        return first, Batch(self.members[middle:], self.ids[middle:], self.mask[middle:])


def batches(
    prompts: Sequence[Rendered],
    *,
    batch_tokens: int = DEFAULT_BATCH_TOKENS,
    padding: Literal["left", "right"] = "right",
) -> Iterator[Batch]:
    """Longest prompts first, so that running out of memory shows at once.

    Args:
        prompts: rendered prompts, in any order; identical token ids share a row.
        batch_tokens: most tokens of a batch, padding included; a longer prompt runs alone.
        padding: right for reading (real tokens never attend to it), left for generating.
    """
    if batch_tokens < 1:
        raise BadInputError("A batch holds at least one token.", got=batch_tokens)
    members: dict[tuple[int, ...], list[int]] = {}
    for index, prompt in enumerate(prompts):
        members.setdefault(prompt.token_ids, []).append(index)
    rows = sorted(members, key=len, reverse=True)
    start = 0
    while start < len(rows):
        width = max(len(rows[start]), 1)
        stop = start + max(batch_tokens // width, 1)
        chosen = rows[start:stop]
        ids, mask = _pad(chosen, width, padding)
        yield Batch(tuple(tuple(members[row]) for row in chosen), ids, mask)
        start = stop


def _pad(
    rows: Sequence[tuple[int, ...]], width: int, padding: str
) -> tuple[Int[Tensor, "batch pos"], Int[Tensor, "batch pos"]]:
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    for row, tokens in enumerate(rows):
        where = slice(0, len(tokens)) if padding == "right" else slice(width - len(tokens), width)
        ids[row, where] = torch.tensor(tokens, dtype=torch.long)
        mask[row, where] = 1
    return ids, mask
