"""How likely given answers are, token by token, and how far a change moves the model's predictions.

Every answer is forced: the model reads it and its prediction of each token is looked at. Rows are
right-padded with an attention mask; logits are kept at the answers' positions alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from trait_probe.errors import BadInputError, MismatchError, RunError
from trait_probe.forward.batching import Batch, batches, run_halving
from trait_probe.forward.budget import BatchBudget, automatic_tokens
from trait_probe.forward.rendering import check_context
from trait_probe.forward.threads import fitting_threads
from trait_probe.hooks.lean import lean_norms
from trait_probe.hooks.rows import is_edited, running
from trait_probe.hooks.run import run_logits
from trait_probe.identity import HookedModel, device_of
from trait_probe.prompts.render import Rendered

LOGITS = 2**27
"""Most logits of a batch (0.5 GiB in float32); large vocabularies make batches smaller."""

LogProbs = Float[Tensor, "_token d_vocab"]
Value = TypeVar("Value")


@dataclass(frozen=True)
class Predictions:
    """What a model predicts at each token of given answers, as the reference of `token_kl`.

    Memory: 4 bytes for each token of the answers and each word of the vocabulary.

    Attributes:
        texts: the token ids that were read, per answer.
        log_probs: per answer, on the CPU.
    """

    texts: tuple[tuple[int, ...], ...]
    log_probs: tuple[LogProbs, ...]


def answer_log_probs(
    model: HookedModel, answered: Sequence[Rendered], *, batch_tokens: int | None = None
) -> list[Float[np.ndarray, " _token"]]:
    """Log-probability (natural, at most 0) of each token of each prompt's `response`.

    Raises:
        BadInputError: a prompt without a response, or longer than the context.
    """
    return _over_answers(model, answered, _chosen, batch_tokens)


def predictions(
    model: HookedModel, answered: Sequence[Rendered], *, batch_tokens: int | None = None
) -> Predictions:
    """Log-probabilities of the whole vocabulary at each token of each prompt's `response`."""
    found = _over_answers(model, answered, lambda _, __, logs: logs.float().cpu(), batch_tokens)
    return Predictions(tuple(item.token_ids for item in answered), tuple(found))


def token_kl(
    model: HookedModel,
    answered: Sequence[Rendered],
    reference: Predictions,
    *,
    batch_tokens: int | None = None,
) -> list[Float[np.ndarray, " _token"]]:
    """Kullback-Leibler divergence (nats, at least 0) of the model's prediction from the reference's
    at each token of each answer: `KL(reference || model)`.

    Args:
        answered: the reference's texts, once or several times over (once per steering).

    Raises:
        MismatchError: other texts than the reference's.
    """
    n = len(reference.texts)
    if not n or any(item.token_ids != reference.texts[i % n] for i, item in enumerate(answered)):
        raise MismatchError(
            "Predictions are compared on the texts that the reference was made on.",
            got=f"{len(answered)} texts",
            valid=(f"the {n} of the reference, in their order",),
        )

    def divergence(index: int, _: Rendered, logs: LogProbs) -> Float[np.ndarray, " _token"]:
        before = reference.log_probs[index % n].to(logs)
        share = before.exp()
        # What the reference rules out counts nothing; rounding may leave a sum a little below 0.
        terms = torch.where(share > 0, share * (before - logs), 0.0)
        kl = terms.sum(dim=-1).clamp(min=0)
        return np.asarray(kl.double().cpu().numpy())

    return _over_answers(model, answered, divergence, batch_tokens)


def _chosen(_: int, item: Rendered, logs: LogProbs) -> Float[np.ndarray, " _token"]:
    start, end = item.spans["response"]
    tokens = torch.tensor(item.token_ids[start:end], device=logs.device)
    return np.asarray(logs.gather(1, tokens[:, None])[:, 0].double().cpu().numpy())


def _over_answers(
    model: HookedModel,
    answered: Sequence[Rendered],
    look: Callable[[int, Rendered, LogProbs], Value],
    batch_tokens: int | None,
) -> list[Value]:
    """What `look` (index, prompt, log-probabilities at its answer) gives for each prompt."""
    _check(model, answered)
    values: dict[int, Value] = {}
    most = max(LOGITS // int(model.cfg.d_vocab), 1)
    budget = BatchBudget(
        min(automatic_tokens(model), most) if batch_tokens is None else batch_tokens
    )

    @torch.inference_mode()
    def run(batch: Batch) -> list[LogProbs]:
        device = device_of(model)
        with running(batch.first_members, len(answered)):
            logits = run_logits(model, batch.ids.to(device), batch.mask.to(device))
        return [
            _at_answer(logits[row], answered[members[0]])
            for row, members in enumerate(batch.members)
        ]

    found = batches(answered, budget, merge=not is_edited(model))
    with fitting_threads(model), lean_norms(model):
        for batch, per_row in run_halving(found, budget, run):
            for members, logs in zip(batch.members, per_row, strict=True):
                for index in members:
                    values[index] = look(index, answered[index], logs)
    return [values[index] for index in range(len(answered))]


def _at_answer(logits: Float[Tensor, "pos d_vocab"], item: Rendered) -> LogProbs:
    """The predictions of the answer's tokens: each is made one position earlier.

    Raises:
        RunError: they are not finite.
    """
    start, end = item.spans["response"]
    logs = torch.log_softmax(logits[start - 1 : end - 1].float(), dim=-1)
    if bool(logs.isnan().any()):
        raise RunError(
            "The model's predictions are not all numbers.",
            got=item.prompt_id,
            fix="float16 overflows: load the model in bfloat16 or float32; or steer less.",
        )
    return logs


def _check(model: HookedModel, answered: Sequence[Rendered]) -> None:
    empty = [item.prompt_id for item in answered if _is_empty(item)]
    if empty or not answered:
        raise BadInputError(
            "Likelihoods are those of answers: every prompt has a response.",
            got=empty[:5] or "no prompts",
            fix="Append one with `Rendered.with_response`.",
        )
    check_context(model, answered)


def _is_empty(item: Rendered) -> bool:
    start, end = item.spans["response"]
    return end <= start or start == 0
