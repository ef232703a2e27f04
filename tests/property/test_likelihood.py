"""Laws of forced answers: their probabilities are the model's, their divergence is one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from rendered_builders import random_ids, rendered

from trait_probe.basis import Site
from trait_probe.errors import BadInputError, MismatchError
from trait_probe.forward.likelihood import answer_log_probs, predictions, token_kl
from trait_probe.hooks.steering import add, edit

ANSWERED = [
    rendered(random_ids(n, seed=n), answer=answer, name=f"p{n}")
    for n, answer in ((9, 3), (5, 4), (12, 1))
]
SITE = Site(0, "resid_post")


def by_hand(model, item):
    with torch.inference_mode():
        logits = model(torch.tensor([item.token_ids]), return_type="logits")[0].float()
    logs = torch.log_softmax(logits, dim=-1)
    start, end = item.spans["response"]
    return [float(logs[t - 1, item.token_ids[t]]) for t in range(start, end)]


def test_they_are_the_models_own_probabilities_one_text_at_a_time(any_model):
    found = answer_log_probs(any_model, ANSWERED)
    for item, logs in zip(ANSWERED, found, strict=True):
        np.testing.assert_allclose(logs, by_hand(any_model, item), atol=2e-5)


@pytest.mark.parametrize("batch_tokens", [1, 20, 4096])
def test_batches_do_not_show(tiny_model, batch_tokens):
    texts = [*ANSWERED, ANSWERED[0]]
    found = answer_log_probs(tiny_model, texts, batch_tokens=batch_tokens)
    whole = answer_log_probs(tiny_model, texts)
    for one, other in zip(found, whole, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_model_does_not_diverge_from_itself_and_a_steered_one_does(either_model):
    reference = predictions(either_model, ANSWERED)
    for kl in token_kl(either_model, ANSWERED, reference):
        assert kl.max() < 1e-6
        assert kl.min() >= 0.0
    axis = torch.ones(int(either_model.cfg.d_model))
    axis[0] = -3.0
    with edit(either_model, {SITE: add(axis, 8.0)}):
        steered = token_kl(either_model, ANSWERED, reference)
        again = predictions(either_model, ANSWERED)
    for kl, before, after in zip(steered, reference.log_probs, again.log_probs, strict=True):
        expected = (before.exp() * (before - after)).sum(dim=-1).numpy()
        np.testing.assert_allclose(kl, expected, atol=1e-4)
        assert kl.max() > 1e-3


def test_texts_may_come_several_times_over_but_no_others(tiny_model):
    reference = predictions(tiny_model, ANSWERED)
    assert len(token_kl(tiny_model, ANSWERED * 3, reference)) == 9
    with pytest.raises(MismatchError, match="reference"):
        token_kl(tiny_model, ANSWERED[::-1], reference)


def test_a_prompt_without_an_answer_is_refused(tiny_model):
    with pytest.raises(BadInputError, match="has a response"):
        answer_log_probs(tiny_model, [rendered(random_ids(4))])
    with pytest.raises(BadInputError, match="has a response"):
        answer_log_probs(tiny_model, [])
