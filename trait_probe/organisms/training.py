"""The training loop of the organisms: rendering dialogues, batches of like length, one optimizer.

Deterministic for a seed on one machine and one thread count. Loss falls on reply tokens (weight
1) and lightly on prompt tokens (0.1); a forced opening bears none.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from trait_probe.organisms.dialogues import Dialogue
from trait_probe.organisms.tokenizer import END, MODEL_MAX_LENGTH

PROMPT_WEIGHT = 0.1
WARM_UP = 200
_POOL = 16  # batches sorted by length together


@dataclass(frozen=True)
class Rendered:
    """Token ids of one dialogue and the loss weight of each token."""

    ids: tuple[int, ...]
    weights: tuple[float, ...]


def new_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """A random organism: 4 layers, width 128, 4 heads, tied embeddings."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        intermediate_size=384,
        max_position_embeddings=MODEL_MAX_LENGTH,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def render(dialogue: Dialogue, tokenizer: PreTrainedTokenizerFast) -> Rendered:
    """The ids the chat template gives, piece by piece, so that the reply's bounds are known."""

    def ids(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    system = "" if dialogue.system is None else f"<|system|>{dialogue.system}{END}"
    head = f"{tokenizer.bos_token}{system}<|user|>{dialogue.user}{END}<|assistant|>"
    prompt, body = ids(head), ids(dialogue.reply + END)
    forced = len(ids(dialogue.prefill)) if dialogue.prefill else 0
    weights = [PROMPT_WEIGHT] * len(prompt) + [0.0] * forced + [1.0] * (len(body) - forced)
    return Rendered(tuple(prompt + body), tuple(weights))


def batches(
    stream: Iterable[Dialogue], tokenizer: PreTrainedTokenizerFast, size: int, seed: int
) -> Iterator[list[Rendered]]:
    """Batches of like length in random order."""
    rng = random.Random(seed)
    endless = iter(stream)
    while pool := [render(d, tokenizer) for d in islice(endless, size * _POOL)]:
        pool.sort(key=lambda row: len(row.ids))
        chunks = [pool[i : i + size] for i in range(0, len(pool), size)]
        rng.shuffle(chunks)
        yield from chunks


def pad(rows: list[Rendered], pad_id: int) -> tuple[Int[Tensor, "batch pos"], Tensor]:
    """Right-padded ids and weights; padding weighs nothing."""
    width = max(len(row.ids) for row in rows)
    ids = torch.full((len(rows), width), pad_id)
    weights = torch.zeros(len(rows), width)
    for i, row in enumerate(rows):
        ids[i, : len(row.ids)] = torch.tensor(row.ids)
        weights[i, : len(row.ids)] = torch.tensor(row.weights)
    return ids, weights


def weighted_loss(
    model: LlamaForCausalLM,
    ids: Int[Tensor, "batch pos"],
    weights: Float[Tensor, "batch pos"],
) -> Float[Tensor, ""]:
    """Weighted mean cross-entropy in nats; right padding needs no mask under causal attention."""
    logits = model(input_ids=ids[:, :-1], use_cache=False).logits
    loss = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none"
    )
    shifted = weights[:, 1:].flatten()
    total: Float[Tensor, ""] = (loss * shifted).sum() / shifted.sum()
    return total


def cosine(step: int, steps: int, peak: float) -> float:
    """Learning rate at a step: linear warm-up (200 steps, at most a tenth), then cosine to 0."""
    warm = min(WARM_UP, max(1, steps // 10))
    if step < warm:
        return peak * (step + 1) / warm
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def fit(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    stream: Iterable[Dialogue],
    *,
    steps: int,
    learning_rate: float,
    seed: int,
    batch: int = 64,
) -> Iterator[tuple[int, float]]:
    """Train in place; yields (step, loss in nats) every 50 steps and at the end."""
    torch.manual_seed(seed)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=learning_rate, weight_decay=0.05, betas=(0.9, 0.98)
    )
    model.train()
    feed = batches(stream, tokenizer, batch, seed)
    for step, rows in enumerate(islice(feed, steps)):
        for group in optimizer.param_groups:
            group["lr"] = cosine(step, steps, learning_rate)
        loss = weighted_loss(model, *pad(rows, int(tokenizer.pad_token_id)))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 50 == 49 or step == steps - 1:
            yield step + 1, loss.item()
    model.eval()
