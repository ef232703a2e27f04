"""Length-sorted batches under a token budget; equal prompts run once, large batches in halves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from jaxtyping import Int
from torch import Tensor

from trait_probe.errors import RunError, first_line
from trait_probe.forward.budget import BatchBudget
from trait_probe.prompts.render import Rendered

Result = TypeVar("Result")


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

    @property
    def first_members(self) -> tuple[int, ...]:
        """Per row, the first prompt that it stands for."""
        return tuple(members[0] for members in self.members)

    @property
    def tokens(self) -> int:
        """Tokens of all its prompts, without padding and with those that share a row."""
        lengths = self.mask.sum(dim=1).tolist()
        return sum(
            length * len(members) for length, members in zip(lengths, self.members, strict=True)
        )

    def halves(self) -> tuple[Batch, Batch]:
        """The same rows in two batches; a single row cannot be halved (`ValueError`)."""
        middle = len(self.members) // 2
        if middle == 0:
            raise ValueError("a batch of one row cannot be halved")
        first = Batch(self.members[:middle], self.ids[:middle], self.mask[:middle])
        return first, Batch(self.members[middle:], self.ids[middle:], self.mask[middle:])


def batches(
    prompts: Sequence[Rendered],
    budget: BatchBudget,
    *,
    padding: Literal["left", "right"] = "right",
    merge: bool = True,
) -> Iterator[Batch]:
    """Longest prompts first, so that running out of memory shows at once.

    Args:
        prompts: rendered prompts, in any order.
        budget: most tokens of a batch, padding included; looked at anew for each batch. A longer
            prompt runs alone.
        padding: right for reading (real tokens never attend to it), left for generating.
        merge: whether identical token ids share a row.
    """
    rows = _merged(prompts) if merge else [(index,) for index in range(len(prompts))]
    rows.sort(key=lambda members: len(prompts[members[0]].token_ids), reverse=True)
    start = 0
    while start < len(rows):
        width = max(len(prompts[rows[start][0]].token_ids), 1)
        chosen = rows[start : start + max(budget.tokens // width, 1)]
        ids, mask = _pad([prompts[members[0]].token_ids for members in chosen], width, padding)
        yield Batch(tuple(chosen), ids, mask)
        start += len(chosen)


def _merged(prompts: Sequence[Rendered]) -> list[tuple[int, ...]]:
    members: dict[tuple[int, ...], list[int]] = {}
    for index, prompt in enumerate(prompts):
        members.setdefault(prompt.token_ids, []).append(index)
    return [tuple(indices) for indices in members.values()]


def run_halving(
    found: Iterable[Batch], budget: BatchBudget, run: Callable[[Batch], Result]
) -> Iterator[tuple[Batch, Result]]:
    """Run every batch; where the device runs out of memory, its halves.

    The budget is halved with it, so that no batch of that size is tried again. A single row that
    does not fit raises.
    """
    for whole in found:
        waiting = [whole]
        while waiting:
            batch = waiting.pop()
            if batch.ids.numel() > budget.tokens and len(batch.members) > 1:
                waiting += reversed(batch.halves())
                continue
            results = _attempt(batch, run)
            # The halves run here: within `except`, the error would keep the tensors alive.
            if results:
                yield batch, results[0]
            else:
                budget.halve(batch.ids.numel())
                torch.cuda.empty_cache()
                waiting.append(batch)


def _attempt(batch: Batch, run: Callable[[Batch], Result]) -> list[Result]:
    """The result in a list; an empty one when memory ran out over more than one row.

    Raises:
        RunError: memory ran out over a single row.
    """
    try:
        return [run(batch)]
    except RuntimeError as error:
        if not _is_out_of_memory(error):
            raise
        if len(batch.members) == 1:
            raise RunError(
                f"A single prompt of {batch.ids.numel()} tokens does not fit the memory.",
                got=first_line(error),
                fix="Leave it out or cut it (truncate), take a smaller dtype, or a larger device.",
            ) from error
        return []


def _is_out_of_memory(error: RuntimeError) -> bool:
    """PyTorch has an error class for GPUs alone; its CPU allocator raises a plain RuntimeError."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


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
