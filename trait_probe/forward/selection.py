"""Which tokens of which prompts a position rule selects, as flat arrays over all prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from trait_probe.forward.batching import Batch
from trait_probe.prompts.positions import Pooling, PositionRule
from trait_probe.prompts.render import Rendered


@dataclass(frozen=True)
class Selection:
    """The tokens of one rule, prompt after prompt.

    Attributes:
        counts: `[prompt]` tokens selected in each prompt.
        starts: `[prompt]` where each prompt's tokens begin in `positions`.
        positions: `[row]` absolute position of each selected token.
        pooled_rows: `[prompt]` each prompt's place among those with any token.
    """

    counts: Int[np.ndarray, " prompt"]
    starts: Int[np.ndarray, " prompt"]
    positions: Int[np.ndarray, " row"]
    pooled_rows: Int[np.ndarray, " prompt"]

    @classmethod
    def of(cls, rule: PositionRule, prompts: Sequence[Rendered]) -> Selection:
        """Apply the rule to each prompt.

        Raises:
            BadInputError: a prompt lacks the rule's span.
        """
        chosen = [rule.selected(prompt.spans) for prompt in prompts]
        counts = np.array([len(one) for one in chosen], dtype=np.int64)
        ends = counts.cumsum()
        positions = [np.arange(one.start, one.stop, one.step) for one in chosen]
        return cls(
            counts=counts,
            starts=ends - counts,
            positions=np.concatenate([np.zeros(0, np.int64), *positions]),
            pooled_rows=(counts > 0).cumsum() - 1,
        )

    def n_rows(self, pooling: Pooling) -> int:
        """Rows of the result: one per token, or one per prompt with any token."""
        return len(self.positions) if pooling == "none" else int((self.counts > 0).sum())

    def prompts(self, pooling: Pooling) -> Int[np.ndarray, " row"]:
        """The prompt of each row of the result."""
        repeats = self.counts if pooling == "none" else (self.counts > 0).astype(np.int64)
        return np.repeat(np.arange(len(self.counts)), repeats)

    def offsets(self) -> Int[np.ndarray, " row"]:
        """Place of each token within its prompt's selection, from 0."""
        offsets: Int[np.ndarray, " row"] = np.arange(len(self.positions)) - np.repeat(
            self.starts, self.counts
        )
        return offsets


@dataclass(frozen=True)
class BatchRows:
    """What one rule selects in one batch.

    Attributes:
        row: `[token]` batch row of each selected token.
        position: `[token]` its position.
        lengths: `[segment]` tokens of each prompt that has any.
        target: rows of the result that the batch fills: per token, or per segment when pooled.
    """

    row: Int[np.ndarray, " token"]
    position: Int[np.ndarray, " token"]
    lengths: Int[np.ndarray, " segment"]
    target: Int[np.ndarray, " target"]


def rows_of_batch(selection: Selection, batch: Batch, pooling: Pooling) -> BatchRows:
    """The batch's part of a selection; prompts that share a row each keep their own tokens."""
    members = np.array([index for group in batch.members for index in group])
    row = np.repeat(np.arange(len(batch.members)), [len(group) for group in batch.members])
    some = selection.counts[members] > 0
    members, row = members[some], row[some]
    counts = selection.counts[members]
    before = counts.cumsum() - counts
    within = np.arange(counts.sum()) - np.repeat(before, counts)
    tokens = np.repeat(selection.starts[members], counts) + within
    target = tokens if pooling == "none" else selection.pooled_rows[members]
    return BatchRows(np.repeat(row, counts), selection.positions[tokens], counts, target)


def pool_segments(
    values: Float[Tensor, "token component"], lengths: Int[np.ndarray, " segment"], pooling: Pooling
) -> Float[Tensor, "_ component"]:
    """Each segment's rows as one, on their device; means are summed in float64 where it has it."""
    if pooling == "none" or len(lengths) == 0:
        return values
    if pooling == "last":
        ends = torch.from_numpy(lengths.cumsum() - 1).to(values.device)
        return values[ends]
    wide = values if values.device.type == "mps" else values.double()
    sizes = torch.from_numpy(lengths).to(values.device)
    pooled: Tensor = torch.segment_reduce(wide, pooling, lengths=sizes, axis=0)
    return pooled.to(values.dtype)
