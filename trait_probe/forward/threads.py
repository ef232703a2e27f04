"""Threads that fit the model: one for tiny models, PyTorch's own choice for the others.

A tiny model's matrices are not worth splitting: its threads mostly wait for each other, and where
other programs share the cores each wait may cost a scheduler's time slice. Who has the cores alone
says so with OMP_NUM_THREADS, which is always followed. (A number that changed with the load would
change the last digits of results.)
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from trait_probe.identity import HookedModel, device_of

CHOSEN = "OMP_NUM_THREADS"
TINY = 5_000_000
"""Numbers of a model, or of a matrix of activations."""


@contextmanager
def fitting_threads(model: HookedModel) -> Iterator[None]:
    """Run with one CPU thread if the model is tiny, on the CPU, and the user chose no number."""
    size = sum(parameter.numel() for _, parameter in model.named_parameters())
    with threads_for(size if device_of(model).type == "cpu" else TINY + 1):
        yield


@contextmanager
def threads_for(size: int) -> Iterator[None]:
    """Run with one CPU thread where there are few numbers and the user chose none; restore it."""
    before = torch.get_num_threads()
    if size <= TINY and CHOSEN not in os.environ:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
