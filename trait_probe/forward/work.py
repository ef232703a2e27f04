"""What is done with each chunk of prompts, as plain data that another process can be given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from trait_probe.forward.budget import BatchBudget
from trait_probe.forward.reader import Part
from trait_probe.forward.rendering import render_for
from trait_probe.forward.repeats import Repeats
from trait_probe.identity import HookedModel
from trait_probe.prompts.positions import Pooling, PositionRule
from trait_probe.prompts.render import Rendered, Truncate
from trait_probe.prompts.stream import Chunk, ChunkLimit

SHARD_PROMPTS = 2048
"""Prompts of a shard, unless their results would be more than this many numbers:"""
SHARD_NUMBERS = 2**22
SHARD_BYTES = 2**23
"""Of text of its prompts."""


@dataclass(frozen=True)
class Finished:
    """A chunk's results as the bytes of a file.

    Attributes:
        data: the file.
        rows: rows of results in it.
        tokens: tokens that the model read for it.
    """

    data: bytes
    rows: int
    tokens: int


@runtime_checkable
class Work(Protocol):
    """One kind of job over chunks."""

    @property
    def positions(self) -> tuple[str, ...]:
        """The position rules that are read."""

    @property
    def truncate(self) -> Truncate | None:
        """What is cut from prompts longer than the context."""

    def check(self, model: HookedModel) -> None:
        """Refuse a model that the job does not fit, before anything runs."""

    def limit(self, shard_prompts: int) -> ChunkLimit:
        """Where chunks end, so that a chunk's results fit the memory."""

    def file(self, index: int) -> str:
        """Name of the chunk's file within the run."""

    def compute(
        self,
        model: HookedModel,
        chunk: Chunk,
        rendered: list[Rendered],
        budget: BatchBudget,
        repeats: Repeats | None = None,
        total: int | None = None,
    ) -> Finished:
        """Run the chunk.

        Args:
            repeats: prompts that it remembers need not run.
            total: prompts of the whole job, where that is known.
        """

    def memory(self) -> Repeats | None:
        """An empty memory of prompts, for chunks that are computed in their order."""

    def recall(self, path: Path, repeats: Repeats) -> None:
        """Remember the prompts of a chunk that was finished by an earlier process."""


def make_ready(model: HookedModel, work: Work, chunk: Chunk) -> list[Rendered]:
    """Draw and render a chunk; done ahead of the forward passes."""
    return render_for(model, chunk.load(), truncate=work.truncate)


def limit_of(
    positions: Sequence[str], pooling: Pooling, columns: int, shard_prompts: int
) -> ChunkLimit:
    """A chunk of at most `SHARD_NUMBERS` results with `columns` numbers a row."""
    rows = max(SHARD_NUMBERS // columns, 1)
    most = [most_rows(rule, pooling) for rule in positions]
    bounded = sum(number for number in most if number is not None)
    prompts = min(shard_prompts, max(rows // max(bounded, 1), 1))
    # Tokens are hardly ever more than the bytes of the text: so many bytes give no more rows.
    return ChunkLimit(prompts, min(rows, SHARD_BYTES) if None in most else SHARD_BYTES)


def most_rows(rule: str, pooling: Pooling) -> int | None:
    """Rows that the rule can give in one prompt; None where it depends on the prompt."""
    parsed = PositionRule.parse(rule)
    if pooling != "none" or parsed.index is not None:
        return 1
    if parsed.stop is not None and parsed.stop > 0 and parsed.start >= 0:
        return max(len(range(parsed.start, parsed.stop, parsed.step)), 1)
    if parsed.stop is None and parsed.start < 0:
        return max(len(range(0, -parsed.start, parsed.step)), 1)
    return None


def n_tokens(rendered: Sequence[Rendered]) -> int:
    """Tokens of all prompts."""
    return sum(len(item.token_ids) for item in rendered)


def part_of(chunk: Chunk, total: int | None) -> Part:
    """The chunk's place among all prompts, as far as they are known."""
    return Part(chunk.first, chunk.first + chunk.count if total is None else total)
