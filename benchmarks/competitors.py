"""Seven ways to get the same projections, each as its own users would write it.

All get token ids and give `[token direction]` in the order of the prompts; padding, batching and
collecting are part of the time. Those with batches of their own share one loop (`_looped`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.workload import Task
from trait_probe.forward.engine import read
from trait_probe.hooks.projection import Projection
from trait_probe.identity import HookedModel

ROWS = 32
TRANSFORMER_LENS_ROWS = 8  # its cache of 32 rows of 400 tokens would not fit 24 GiB
Hidden = Callable[[Tensor, Tensor], Tensor]
"""Token ids and mask in, the site's activations `[batch pos d_model]` out."""


@dataclass(frozen=True)
class Competitor:
    """One way, and in words what it does."""

    name: str
    how: str
    run: Callable[[Task], np.ndarray]


def load_hugging_face(
    folder: Path, *, dtype: torch.dtype = torch.float32, device: str = "cpu"
) -> Any:
    """A model of its own for the competitors, with the attention that Hugging Face chooses."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, device_map={"": device})
    return model.eval()


def ours(model: HookedModel, batch_tokens: int | None = None) -> Competitor:
    """`trait_probe.forward.engine.read`; the batch size is its own choice unless given."""
    extra: dict[str, Any] = {} if batch_tokens is None else {"batch_tokens": batch_tokens}

    def run(task: Task) -> np.ndarray:
        readouts = {task.site: Projection(task.directions)}
        return read(model, task.prompts, readouts, position="all[:]", **extra).values[task.site]

    size = "default batches" if batch_tokens is None else f"batches of {batch_tokens} tokens"
    return Competitor("ours", f"trait_probe.forward.engine.read, {size}", run)


def usual(hf: Any) -> Competitor:
    """File-order batches, full forward, hidden states of all layers."""
    how = f"Hugging Face, file order, {ROWS} rows, output_hidden_states, full forward"
    return Competitor("usual loop", how, lambda task: _looped(task, _hidden_states(hf, task)))


def length_sorted(hf: Any) -> Competitor:
    how = f"Hugging Face, longest first, {ROWS} rows, output_hidden_states, full forward"
    return Competitor(
        "sorted loop", how, lambda task: _looped(task, _hidden_states(hf, task), by_length=True)
    )


def one_at_a_time(hf: Any) -> Competitor:
    how = "Hugging Face, one prompt at a time, output_hidden_states, full forward"
    return Competitor(
        "one at a time", how, lambda task: _looped(task, _hidden_states(hf, task), rows=1)
    )


def transformer_lens(bridge: Any) -> Competitor:
    """`run_with_cache` keeps every hook's activation, and its cache gives the one asked for."""

    def run(task: Task) -> np.ndarray:
        def hidden(ids: Tensor, mask: Tensor) -> Tensor:
            _, cache = bridge.run_with_cache(ids, attention_mask=mask)
            states: Tensor = cache[task.site.hook_name]
            return states

        return _looped(task, hidden, rows=TRANSFORMER_LENS_ROWS, by_length=True)

    how = f"TransformerBridge.run_with_cache, longest first, {TRANSFORMER_LENS_ROWS} rows"
    return Competitor("TransformerLens", how, run)


def nnsight(folder: Path, *, stop: bool) -> Competitor:
    """One trace per batch; with `stop` it ends behind the layer, as ours does.

    Raises:
        ImportError: nnsight is not installed.
    """
    from nnsight import TransformersModel

    # It leaves its own hooks on the model that it wraps: it gets a copy that nobody else runs.
    tokenizer = AutoTokenizer.from_pretrained(folder)
    wrapped = TransformersModel(load_hugging_face(folder), tokenizer=tokenizer)

    def run(task: Task) -> np.ndarray:
        layer = wrapped.model.layers[task.site.layer]

        def hidden(ids: Tensor, mask: Tensor) -> Tensor:
            with wrapped.trace(ids, attention_mask=mask) as tracer:
                states: Tensor = layer.output.save()
                if stop:
                    tracer.stop()
            return states

        return _looped(task, hidden, by_length=True)

    name = "nnsight, stopped" if stop else "nnsight"
    end = "tracer.stop() behind the layer" if stop else "full forward"
    return Competitor(name, f"nnsight trace, longest first, {ROWS} rows, {end}", run)


def steering_vectors(hf: Any) -> Competitor:
    """`record_activations` of the one layer.

    Raises:
        ImportError: steering-vectors is not installed.
    """
    from steering_vectors import record_activations

    def run(task: Task) -> np.ndarray:
        layer = task.site.layer

        def hidden(ids: Tensor, mask: Tensor) -> Tensor:
            with record_activations(hf, layer_nums=[layer]) as recorded:
                hf(ids, attention_mask=mask)
            states: Tensor = recorded[layer][-1]
            return states

        return _looped(task, hidden, by_length=True)

    how = f"steering_vectors.record_activations, longest first, {ROWS} rows, full forward"
    return Competitor("steering-vectors", how, run)


def _hidden_states(hf: Any, task: Task) -> Hidden:
    def hidden(ids: Tensor, mask: Tensor) -> Tensor:
        output = hf(ids.to(hf.device), attention_mask=mask.to(hf.device), output_hidden_states=True)
        states: Tensor = output.hidden_states[task.site.layer + 1]
        return states

    return hidden


@torch.inference_mode()
def _looped(task: Task, hidden: Hidden, *, rows: int = ROWS, by_length: bool = False) -> np.ndarray:
    """Batch after batch, project each afterwards."""
    lengths = task.lengths
    order = np.argsort(-lengths, kind="stable") if by_length else np.arange(len(lengths))
    starts = np.concatenate([[0], np.cumsum(lengths)])
    values = np.empty((task.tokens, len(task.directions)), dtype=np.float32)
    for first in range(0, len(order), rows):
        chosen = order[first : first + rows]
        ids, mask = padded([task.prompts[index].token_ids for index in chosen])
        states = hidden(ids, mask)
        flat = states[mask.bool().to(states.device)].float()
        found = (flat @ task.directions.to(states.device).T).cpu().numpy()
        pieces = np.split(found, np.cumsum(lengths[chosen])[:-1])
        for index, piece in zip(chosen, pieces, strict=True):
            values[starts[index] : starts[index + 1]] = piece
    return values


def padded(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Token ids and mask, padded on the right with 0."""
    width = max(map(len, rows))
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, tokens in enumerate(rows):
        ids[row, : len(tokens)] = torch.tensor(tokens, dtype=torch.long)
        mask[row, : len(tokens)] = 1
    return ids, mask
