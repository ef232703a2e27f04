"""How likely given tokens are as the next one after each prompt.

Rows are left-padded with an attention mask, as for generation, and the last position's prediction
is looked at; of the vocabulary only the tokens that were asked for are kept.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from trait_probe.errors import BadInputError, RunError
from trait_probe.forward.batching import Batch, batches, run_halving
from trait_probe.forward.budget import BatchBudget, generation_tokens
from trait_probe.forward.progress import Progress
from trait_probe.forward.rendering import check_context
from trait_probe.forward.threads import fitting_threads
from trait_probe.hooks.rows import is_edited, running
from trait_probe.hooks.run import Decoder
from trait_probe.identity import HookedModel, device_of
from trait_probe.prompts.render import Rendered


def next_token_log_probs(
    model: HookedModel,
    prompts: Sequence[Rendered],
    tokens: Sequence[int],
    *,
    batch_tokens: int | None = None,
    label: str = "reading next tokens",
) -> Float[np.ndarray, "prompt token"]:
    """Log-probability (natural, at most 0) of each of `tokens` right after each prompt.

    They are those of the whole vocabulary's softmax: the sum of their exponentials over `tokens`
    says how much of the prediction these hold. A prompt's row does not depend on its batch mates.

    Args:
        tokens: token ids, in the order of the columns.
        batch_tokens: most tokens of a batch, padding included; None chooses.

    Raises:
        BadInputError: no tokens, one outside the vocabulary, or a prompt longer than the context.
        RunError: the model's predictions are not numbers.
    """
    _check(model, prompts, tokens)
    values = np.zeros((len(prompts), len(tokens)))
    wanted = torch.tensor([int(token) for token in tokens], dtype=torch.long)
    budget = BatchBudget(generation_tokens(model) if batch_tokens is None else batch_tokens)

    @torch.inference_mode()
    def run(batch: Batch) -> Float[Tensor, "batch token"]:
        device = device_of(model)
        with running(batch.first_members, len(prompts)):
            logits = Decoder(model, batch.mask.to(device)).step(batch.ids.to(device))
        logs = torch.log_softmax(logits.float(), dim=-1)
        _require_numbers(logs, [prompts[index].prompt_id for index in batch.first_members])
        return logs[:, wanted.to(logs.device)].double().cpu()

    found = batches(prompts, budget, padding="left", merge=not is_edited(model))
    total = sum(len(prompt.token_ids) for prompt in prompts)
    with fitting_threads(model), Progress(label, total) as progress:
        for batch, logs in run_halving(found, budget, run):
            for members, row in zip(batch.members, logs.numpy(), strict=True):
                values[list(members)] = row
            progress.advance(batch.tokens)
    return values


def _check(model: HookedModel, prompts: Sequence[Rendered], tokens: Sequence[int]) -> None:
    size = int(model.cfg.d_vocab)
    outside = [token for token in tokens if not 0 <= token < size]
    if outside or not tokens:
        raise BadInputError(
            f"Next tokens are ids of the model's vocabulary, 0 to {size - 1}.",
            got=outside[:5] or "no tokens",
        )
    check_context(model, prompts)


def _require_numbers(logs: Float[Tensor, "batch d_vocab"], names: Sequence[str]) -> None:
    bad = logs.isnan().any(dim=-1).tolist()
    if any(bad):
        raise RunError(
            "The model's predictions are not all numbers.",
            got=[name for name, broken in zip(names, bad, strict=True) if broken][:5],
            fix="float16 overflows: load the model in bfloat16 or float32; or steer less.",
        )
