"""Batched generation with a key/value cache; token ids are kept, never re-tokenized.

Rows are left-padded with an attention mask, which is exact: a prompt's greedy answer does not
depend on its batch mates (float32).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from trait_probe.errors import BadInputError
from trait_probe.forward.batching import DEFAULT_BATCH_TOKENS, Batch, batches
from trait_probe.forward.progress import Progress
from trait_probe.forward.rendering import render_for
from trait_probe.identity import HookedModel, context_length, device_of, tokenizer_of
from trait_probe.models import Decoder
from trait_probe.prompts.prompt import Prompt
from trait_probe.prompts.render import Rendered, Truncate


def generate_ids(
    model: HookedModel,
    prompts: Sequence[Rendered],
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    seed: int = 0,
    batch_tokens: int = DEFAULT_BATCH_TOKENS,
    label: str = "generating",
) -> list[tuple[int, ...]]:
    """New token ids of each prompt, without the end-of-sequence token, in the prompts' order.

    Args:
        max_new_tokens: most new tokens a prompt; at least 1.
        temperature: 0 is greedy (ties: lowest id); above 0 samples with a generator seeded by
            `seed`, so that the same call gives the same tokens.

    Raises:
        BadInputError: a prompt plus `max_new_tokens` exceeds the context.
    """
    _check(model, prompts, max_new_tokens, temperature)
    stops = _stop_ids(model)
    answers: list[tuple[int, ...]] = [()] * len(prompts)
    generator = torch.Generator(device=device_of(model)).manual_seed(seed)
    budget = max(batch_tokens // 2, 1)  # room for the new tokens in the cache
    with Progress(label, sum(len(prompt.token_ids) for prompt in prompts)) as progress:
        for batch in batches(prompts, batch_tokens=budget, padding="left"):
            new = _generate_batch(model, batch, max_new_tokens, temperature, generator, stops)
            for members, tokens in zip(batch.members, new.tolist(), strict=True):
                for index in members:
                    answers[index] = _until_stop(tokens, stops)
            progress.advance(sum(len(prompts[i].token_ids) for row in batch.members for i in row))
    return answers


def generate(
    model: HookedModel,
    prompts: Iterable[Prompt] | Iterable[Rendered],
    *,
    max_new_tokens: int = 64,
    temperature: float = 0.0,
    seed: int = 0,
    truncate: Truncate | None = None,
    batch_tokens: int = DEFAULT_BATCH_TOKENS,
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
    model: HookedModel, prompts: Sequence[Rendered], max_new_tokens: int, temperature: float
) -> None:
    if max_new_tokens < 1:
        raise BadInputError("Generation makes at least one token.", got=max_new_tokens)
    if temperature < 0:
        raise BadInputError("A temperature is 0 (greedy) or positive.", got=temperature)
    limit = context_length(model)
    long = [p for p in prompts if len(p.token_ids) + max_new_tokens > limit]
    if long:
        raise BadInputError(
            f"{len(long)} of {len(prompts)} prompts leave no room for {max_new_tokens} new tokens "
            f"in the context of {limit}.",
            got=max(len(prompt.token_ids) for prompt in long),
            fix="Lower max_new_tokens, or render the prompts with a smaller max_length and "
            "truncate=.",
        )


def _stop_ids(model: HookedModel) -> frozenset[int]:
    """End-of-sequence ids: the tokenizer's and the generation config's."""
    ids = {tokenizer_of(model).eos_token_id}
    original = getattr(model, "original_model", None)
    configured = getattr(getattr(original, "generation_config", None), "eos_token_id", None)
    ids.update(configured if isinstance(configured, list) else [configured])
    return frozenset(int(token) for token in ids if token is not None)


@torch.inference_mode()
def _generate_batch(
    model: HookedModel,
    batch: Batch,
    max_new_tokens: int,
    temperature: float,
    generator: torch.Generator,
    stops: frozenset[int],
) -> Int[Tensor, "batch new"]:
    device = device_of(model)
    decoder = Decoder(model, batch.mask.to(device))
    stop_ids = torch.tensor(sorted(stops), device=device)
    done: Bool[Tensor, " batch"] = torch.zeros(len(batch.members), dtype=torch.bool, device=device)
    step: Tensor = batch.ids.to(device)
    chosen: list[Tensor] = []
    for _ in range(max_new_tokens):
        token = _choose(decoder.step(step), temperature, generator)
        chosen.append(token)
        done |= torch.isin(token, stop_ids)
        if bool(done.all()):
            break
        step = token[:, None]
    return torch.stack(chosen, dim=1).cpu()


def _choose(
    logits: Float[Tensor, "batch d_vocab"], temperature: float, generator: torch.Generator
) -> Int[Tensor, " batch"]:
    if temperature == 0.0:
        return logits.argmax(dim=-1)
    probabilities = torch.softmax(logits.float() / temperature, dim=-1)
    return torch.multinomial(probabilities, 1, generator=generator)[:, 0]


def _until_stop(tokens: Sequence[int], stops: frozenset[int]) -> tuple[int, ...]:
    for place, token in enumerate(tokens):
        if token in stops:
            return tuple(tokens[:place])
    return tuple(tokens)
