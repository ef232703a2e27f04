"""Threads that fit the model: one for tiny models, PyTorch's own choice for the others.

A tiny model's matrices are not worth splitting: its threads mostly wait for each other, and where
other programs share the cores each wait may cost a scheduler's time slice.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from trait_probe.identity import HookedModel, device_of

TINY = 5_000_000
"""Numbers of a model, or of a matrix of activations."""


@contextmanager
def fitting_threads(model: HookedModel) -> Iterator[None]:
    """Run with one CPU thread if the model is tiny and on the CPU; restore the caller's number."""
    size = sum(parameter.numel() for _, parameter in model.named_parameters())
    with threads_for(size if device_of(model).type == "cpu" else TINY + 1):
        yield


@contextmanager
def threads_for(size: int) -> Iterator[None]:
    """Run with one CPU thread where there are few numbers; restore the caller's number."""
    before = torch.get_num_threads()
    if size <= TINY:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
