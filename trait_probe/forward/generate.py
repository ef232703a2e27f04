"""Batched generation with a key/value cache; token ids are kept, never re-tokenized.

Rows are left-padded with an attention mask, which is exact: a prompt's greedy answer does not
depend on its batch mates (float32).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from trait_probe.errors import BadInputError
from trait_probe.forward.batching import Batch, batches, run_halving
from trait_probe.forward.budget import BatchBudget, generation_tokens
from trait_probe.forward.progress import Progress
from trait_probe.forward.rendering import check_context, render_for
from trait_probe.forward.threads import fitting_threads
from trait_probe.hooks.lean import lean_norms
from trait_probe.hooks.rows import is_edited, running
from trait_probe.hooks.run import Decoder
from trait_probe.identity import HookedModel, device_of, tokenizer_of
from trait_probe.prompts.prompt import Prompt
from trait_probe.prompts.render import Rendered, Truncate


def generate_ids(
    model: HookedModel,
    prompts: Sequence[Rendered],
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    seed: int = 0,
    batch_tokens: int | None = None,
    label: str = "generating",
) -> list[tuple[int, ...]]:
    """New token ids of each prompt, without the end-of-sequence token, in the prompts' order.

    Args:
        max_new_tokens: most new tokens a prompt; at least 1.
        temperature: 0 is greedy (ties: lowest id); above 0 samples.
        seed: of the sampling, from 0. A prompt's draws depend on it, on the prompt's own tokens
            and on how often they came before in `prompts`, and on nothing else: not on batch
            mates or order. The same prompt given n times has n different draws.

    Raises:
        BadInputError: a prompt plus `max_new_tokens` exceeds the context, or has a response.
    """
    _check(model, prompts, max_new_tokens, temperature, seed)
    sampler = _Sampler(prompts, temperature, seed, max_new_tokens) if temperature > 0 else None
    answers: list[tuple[int, ...]] = [()] * len(prompts)
    stops = _stop_ids(model)
    merge = sampler is None and not is_edited(model)
    # Half of what is given for prompts: the new tokens need room in the cache as well.
    most = generation_tokens(model) if batch_tokens is None else (batch_tokens + 1) // 2
    budget = BatchBudget(most)
    found = batches(prompts, budget, padding="left", merge=merge)

    def run(batch: Batch) -> list[list[int]]:
        with running(batch.first_members, len(prompts)):
            return _generate_batch(model, batch, max_new_tokens, sampler, stops)

    total = sum(len(prompt.token_ids) for prompt in prompts)
    with fitting_threads(model), lean_norms(model), Progress(label, total) as progress:
        for batch, new in run_halving(found, budget, run):
            for members, tokens in zip(batch.members, new, strict=True):
                for index in members:
                    answers[index] = _until_stop(tokens, stops)
            progress.advance(batch.tokens)
    return answers


def generate(
    model: HookedModel,
    prompts: Iterable[Prompt] | Iterable[Rendered],
    *,
    max_new_tokens: int = 64,
    temperature: float = 0.0,
    seed: int = 0,
    truncate: Truncate | None = None,
    batch_tokens: int | None = None,
) -> list[str]:
    """The model's answers as text, in the prompts' order; arguments as for `generate_ids`."""
    rendered = render_for(model, list(prompts), truncate=truncate, reserve=max_new_tokens)
    answers = generate_ids(
        model,
        rendered,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        seed=seed,
        batch_tokens=batch_tokens,
    )
    return decode(model, answers)


def with_responses(prompts: Sequence[Rendered], answers: Sequence[Sequence[int]]) -> list[Rendered]:
    """Each prompt with its new tokens as the `response` span."""
    return [prompt.with_response(answer) for prompt, answer in zip(prompts, answers, strict=True)]


def decode(model: HookedModel, answers: Sequence[Sequence[int]]) -> list[str]:
    """Answers as text, special tokens left out."""
    tokenizer = tokenizer_of(model)
    return [tokenizer.decode(list(answer), skip_special_tokens=True) for answer in answers]


def _check(
    model: HookedModel,
    prompts: Sequence[Rendered],
    max_new_tokens: int,
    temperature: float,
    seed: int,
) -> None:
    if max_new_tokens < 1:
        raise BadInputError("Generation makes at least one token.", got=max_new_tokens)
    if not 0 <= temperature < float("inf"):
        raise BadInputError(
            "A temperature is 0 (greedy) or a positive, finite number.", got=temperature
        )
    if seed < 0:
        raise BadInputError("A seed is 0 or positive.", got=seed)
    answered = [item.prompt_id for item in prompts if item.spans["response"][1] > _start(item)]
    if answered:
        raise BadInputError(
            f"{len(answered)} of {len(prompts)} prompts already have a response.",
            got=answered[:5],
            fix="Leave 'response' out; what the answer has to start with is its 'prefill'.",
        )
    check_context(model, prompts, reserve=max_new_tokens)


def _start(item: Rendered) -> int:
    return item.spans["response"][0]


def _stop_ids(model: HookedModel) -> frozenset[int]:
    """End-of-sequence ids: the tokenizer's and the generation config's."""
    ids = {tokenizer_of(model).eos_token_id}
    original = getattr(model, "original_model", None)
    configured = getattr(getattr(original, "generation_config", None), "eos_token_id", None)
    ids.update(configured if isinstance(configured, list) else [configured])
    return frozenset(int(token) for token in ids if token is not None)


class _Sampler:
    """One uniform number for each prompt and new token, from the prompt's own generator."""

    def __init__(
        self, prompts: Sequence[Rendered], temperature: float, seed: int, max_new_tokens: int
    ) -> None:
        self._temperature = temperature
        before: Counter[tuple[int, ...]] = Counter()
        self._seeds: list[list[int]] = []
        for prompt in prompts:
            ids = prompt.token_ids
            self._seeds.append([seed, before[ids], len(ids), *ids])
            before[ids] += 1
        self._max_new_tokens = max_new_tokens

    def draws(self, prompts: Sequence[int]) -> Float[Tensor, "batch _new"]:
        rows = [np.random.default_rng(self._seeds[i]).random(self._max_new_tokens) for i in prompts]
        return torch.from_numpy(np.stack(rows))

    def choose(
        self, logits: Float[Tensor, "batch d_vocab"], draws: Float[Tensor, " batch"]
    ) -> Int[Tensor, " batch"]:
        """The token at which the cumulative probability passes the draw."""
        # In float64 where the device has it: sums over a large vocabulary lose float32's digits.
        dtype = torch.float32 if logits.device.type == "mps" else torch.float64
        weights = torch.softmax(logits.to(dtype) / self._temperature, dim=-1).cumsum(dim=-1)
        points = draws.to(dtype).to(logits.device)[:, None] * weights[:, -1:]
        tokens = torch.searchsorted(weights, points, right=True)[:, 0]
        return tokens.clamp(max=logits.shape[-1] - 1)


@torch.inference_mode()
def _generate_batch(
    model: HookedModel,
    batch: Batch,
    max_new_tokens: int,
    sampler: _Sampler | None,
    stops: frozenset[int],
) -> list[list[int]]:
    device = device_of(model)
    decoder = Decoder(model, batch.mask.to(device))
    draws = None if sampler is None else sampler.draws(batch.first_members)
    stop_ids = torch.tensor(sorted(stops), dtype=torch.long, device=device)
    done: Bool[Tensor, " batch"] = torch.zeros(len(batch.members), dtype=torch.bool, device=device)
    step: Tensor = batch.ids.to(device)
    chosen: list[Tensor] = []
    for number in range(max_new_tokens):
        logits = decoder.step(step).to(device)
        if sampler is None or draws is None:
            token = logits.argmax(dim=-1)
        else:
            token = sampler.choose(logits, draws[:, number])
        chosen.append(token)
        done |= torch.isin(token, stop_ids)
        if bool(done.all()):
            break
        step = token[:, None]
    tokens: list[list[int]] = torch.stack(chosen, dim=1).tolist()
    return tokens


def _until_stop(tokens: Sequence[int], stops: frozenset[int]) -> tuple[int, ...]:
    for place, token in enumerate(tokens):
        if token in stops:
            return tuple(tokens[:place])
    return tuple(tokens)
