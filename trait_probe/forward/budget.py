"""How many tokens run at once: chosen to fit the device, halved where memory runs out.

On a CPU small batches are fast: a batch whose widest activation stays in the cache needs no new
memory pages, and sorted prompts need little padding. A GPU wants as many tokens as fit.
"""

from __future__ import annotations

import logging

import torch

from trait_probe.errors import BadInputError
from trait_probe.identity import HookedModel, device_of

CPU_BYTES = 18 * 2**20
"""Of the widest activations of a batch on a CPU; measured on a 100M-parameter Llama (LOG.md)."""
CPU_TOKENS = (256, 4096)
GENERATION_TOKENS = 2048
"""A step has one token a row: on a CPU too, it takes many rows to be worth a step."""
CUDA_SHARE = 0.5
"""Of the free memory that a batch may plan with; the estimate below is rough."""
CUDA_TOKENS = (1024, 32768)
CUDA_WIDTH = 512
"""Tokens of a typical long prompt: eager attention keeps a score for each pair of them."""

_LOG = logging.getLogger(__name__)


class BatchBudget:
    """Most tokens of a batch, padding included; what a shortage of memory taught is kept."""

    def __init__(self, tokens: int) -> None:
        if tokens < 1:
            raise BadInputError("A batch holds at least one token.", got=tokens)
        self.tokens = tokens

    def halve(self, failed: int) -> None:
        """Memory ran out at `failed` tokens: from now on half of that, and a warning says so."""
        self.tokens = max(failed // 2, 1)
        _LOG.warning(
            "out of memory with a batch of %d tokens; going on with at most %d",
            failed,
            self.tokens,
        )


def as_budget(model: HookedModel, batch_tokens: int | BatchBudget | None) -> BatchBudget:
    """The budget that was given, or one that fits the model and its device (`None`)."""
    if isinstance(batch_tokens, BatchBudget):
        return batch_tokens
    return BatchBudget(automatic_tokens(model) if batch_tokens is None else batch_tokens)


def automatic_tokens(model: HookedModel) -> int:
    """Tokens of a batch that suit the model on its device; the same for the same free memory."""
    device = device_of(model)
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return _between(CUDA_TOKENS, int(CUDA_SHARE * free) // _bytes_per_token(model))
    return _between(CPU_TOKENS, CPU_BYTES // (3 * _mlp_width(model) * _item_bytes(model)))


def generation_tokens(model: HookedModel) -> int:
    """Prompt tokens of a batch to be continued; on a GPU their keys and values have to fit."""
    device = device_of(model)
    if device.type != "cuda":
        return GENERATION_TOKENS
    cfg, free = model.cfg, torch.cuda.mem_get_info(device)[0]
    heads = int(getattr(cfg, "n_key_value_heads", None) or cfg.n_heads)
    cached = 2 * int(cfg.n_layers) * heads * int(cfg.d_head) * _item_bytes(model)
    # As many new tokens as prompt tokens are planned for.
    return _between(CUDA_TOKENS, int(CUDA_SHARE * free) // (2 * cached + _bytes_per_token(model)))


def _between(limits: tuple[int, int], tokens: int) -> int:
    return min(max(tokens, limits[0]), limits[1])


def _bytes_per_token(model: HookedModel) -> int:
    """Activations of one block that live at the same time, attention scores in float32 included."""
    cfg = model.cfg
    wide = 3 * _mlp_width(model) + 8 * int(cfg.d_model)
    scores = 3 * int(cfg.n_heads) * min(int(cfg.n_ctx), CUDA_WIDTH)
    return wide * _item_bytes(model) + scores * 4


def _mlp_width(model: HookedModel) -> int:
    return int(getattr(model.cfg, "d_mlp", None) or 4 * int(model.cfg.d_model))


def _item_bytes(model: HookedModel) -> int:
    return next(iter(model.named_parameters()))[1].element_size()
