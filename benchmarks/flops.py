"""Floating-point operations that the real tokens need, and the rate the machine can reach."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

import numpy as np
import torch

Shape = tuple[int, int, int]


def needed(config: Any, blocks: int, lengths: Iterable[int]) -> float:
    """Of `blocks` blocks on prompts of these lengths: linear layers and attention's QK and PV.

    Real tokens only, and only pairs of tokens where one may attend to the other: neither padding
    nor the masked half of the scores counts as work. No embedding, norm, softmax or logits.
    """
    sizes = np.asarray(list(lengths), dtype=float)
    width, inner = config.hidden_size, config.intermediate_size
    head = getattr(config, "head_dim", None) or width // config.num_attention_heads
    queries, keys = config.num_attention_heads * head, config.num_key_value_heads * head
    per_token = 2 * width * (2 * queries + 2 * keys + 3 * inner)
    per_pair = 2 * 2 * queries
    pairs = sizes * (sizes + 1) / 2
    return float(blocks * (per_token * sizes.sum() + per_pair * pairs.sum()))


def model_shapes(config: Any, rows: int) -> list[Shape]:
    """The matrix products of a block for `rows` tokens."""
    width, inner = config.hidden_size, config.intermediate_size
    return [(rows, width, width), (rows, width, inner), (rows, inner, width)]


def product_rates(
    shapes: Sequence[Shape], *, device: str = "cpu", dtype: torch.dtype, seconds: float = 0.3
) -> dict[str, float]:
    """FLOP/s of `torch.mm` per shape: the median product of about `seconds` seconds."""
    return {"x".join(map(str, shape)): _rate(shape, device, dtype, seconds) for shape in shapes}


def mean_rate(shape: Shape, seconds: float = 0.4) -> float:
    """FLOP/s of float32 products of this shape on the CPU, over all of the time they took."""
    rows, inner, columns = shape
    a, b = torch.randn(rows, inner), torch.randn(inner, columns)
    out = torch.mm(a, b)
    done, start = 0, time.perf_counter()
    while (took := time.perf_counter() - start) < seconds:
        torch.mm(a, b, out=out)
        done += 1
    return done * 2.0 * rows * inner * columns / took


def _rate(shape: Shape, device: str, dtype: torch.dtype, seconds: float) -> float:
    rows, inner, columns = shape
    a = torch.randn(rows, inner, device=device).to(dtype)
    b = torch.randn(inner, columns, device=device).to(dtype)
    out = torch.mm(a, b)
    # On a GPU, starting a product costs as much as a small one: time several at once.
    repeats = 10 if torch.device(device).type == "cuda" else 1
    took: list[float] = []
    while len(took) < 3 or sum(took) < seconds:
        _wait(device)
        start = time.perf_counter()
        for _ in range(repeats):
            torch.mm(a, b, out=out)
        _wait(device)
        took.append(time.perf_counter() - start)
    return repeats * 2.0 * rows * inner * columns / median(took)


def _wait(device: str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()
