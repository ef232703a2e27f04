"""The padded batches that our engine ran, and the same forward pass without it.

They are taken down at the model itself, so that nothing here depends on how batches are made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.competitors import ours
from benchmarks.workload import Task

Forward = Callable[[Tensor, Tensor], Any]


@dataclass(frozen=True)
class Padded:
    """One batch as the model got it, both `[batch pos]`."""

    ids: Tensor
    mask: Tensor


def engine_batches(model: Any, task: Task, batch_tokens: int | None = None) -> list[Padded]:
    """What reading `task` puts through the model, in order."""
    found: list[Padded] = []

    def note(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        ids = args[0] if args else kwargs["input_ids"]
        found.append(Padded(ids.clone(), kwargs["attention_mask"].clone()))

    handle = model.original_model.register_forward_pre_hook(note, with_kwargs=True)
    try:
        ours(model, batch_tokens).run(task)
    finally:
        handle.remove()
    return found


def padding_share(batches: Sequence[Padded]) -> float:
    """Share of the positions that are padding."""
    real = sum(int(batch.mask.sum()) for batch in batches)
    return 1 - real / sum(batch.mask.numel() for batch in batches)


class _Reached(Exception):  # noqa: N818  # a signal, not an error
    """The layer was reached: the rest of the forward pass is not run."""


def _stop(*_: Any) -> None:
    raise _Reached


@torch.inference_mode()
def run_bare(module: torch.nn.Module, forward: Forward, batches: Sequence[Padded]) -> None:
    """Run each batch up to and with `module`; nothing is read.

    Raises:
        RuntimeError: `module` is not run by `forward`.
    """
    handle = module.register_forward_hook(_stop)
    try:
        for batch in batches:
            try:
                forward(batch.ids, batch.mask)
            except _Reached:
                continue
            raise RuntimeError("the forward pass ended without running the module")
    finally:
        handle.remove()
