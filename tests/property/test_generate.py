"""Laws of generation: greedy answers are Hugging Face's, sampled ones depend on prompt and seed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rendered_builders import D_VOCAB, prompts, random_ids, rendered
from scipy import stats

from trait_probe.basis import Site
from trait_probe.errors import BadInputError
from trait_probe.forward.generate import (
    _Sampler,
    decode,
    generate,
    generate_ids,
    with_responses,
)
from trait_probe.forward.rendering import check_context, render_for
from trait_probe.hooks.steering import add, edit
from trait_probe.identity import tokenizer_of
from trait_probe.prompts.prompt import Message, Prompt

NEW = 6

model_laws = settings(
    max_examples=5,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # session models, left as found
)
budgets = st.sampled_from([1, 40, 4096])


def hugging_face_greedy(oracle, item, *, stops=None, new=NEW):
    ids = torch.tensor([item.token_ids])
    made = oracle.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=new,
        do_sample=False,
        pad_token_id=0,
        eos_token_id=stops if stops is not None else oracle.config.eos_token_id,
    )[0, ids.shape[1] :].tolist()
    ends = stops if stops is not None else [oracle.config.eos_token_id]
    return tuple(made[: next((k for k, t in enumerate(made) if t in ends), len(made))])


def sampled(model, items, *, seed=0, temperature=1.0, new=NEW, **options):
    return generate_ids(
        model, items, max_new_tokens=new, temperature=temperature, seed=seed, **options
    )


def question(name="q", content="the quick fox?", **options):
    return Prompt(id=name, messages=(Message("user", content),), **options)


# --------------------------------------------------------------------------------- greedy


@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(items=prompts(max_length=24, answers=False), budget=budgets)
def test_greedy_answers_are_hugging_faces(any_model, oracle, items, budget):
    found = generate_ids(any_model, items, max_new_tokens=NEW, batch_tokens=budget)
    assert found == [hugging_face_greedy(oracle, item) for item in items]
    assert any_model.list_hooks() == {}


@model_laws
@given(items=prompts(answers=False), budget=budgets)
def test_a_prompt_is_answered_the_same_among_others_and_alone(either_model, items, budget):
    together = generate_ids(either_model, items, max_new_tokens=NEW, batch_tokens=budget)
    alone = [generate_ids(either_model, [item], max_new_tokens=NEW)[0] for item in items]
    assert together == alone


@model_laws
@given(item=prompts(answers=False).map(lambda items: items[0]), at=st.integers(0, NEW - 1))
def test_generation_goes_on_where_it_stopped(either_model, item, at):
    """With a cache or without: the first tokens and the rest are the whole."""
    (whole,) = generate_ids(either_model, [item], max_new_tokens=NEW)
    (again,) = generate_ids(
        either_model, [rendered([*item.token_ids, *whole[:at]])], max_new_tokens=NEW - at
    )
    assert whole[at:] == again


def test_every_end_of_sequence_token_stops(monkeypatch, tiny_model, oracles):
    items = [rendered(random_ids(7, seed)) for seed in range(4)]
    free = generate_ids(tiny_model, items, max_new_tokens=NEW)
    stops = [free[0][2], free[1][4]]
    config = tiny_model.original_model.generation_config
    monkeypatch.setattr(config, "eos_token_id", stops)
    found = generate_ids(tiny_model, items, max_new_tokens=NEW)
    eos = [*stops, tokenizer_of(tiny_model).eos_token_id]
    assert found == [hugging_face_greedy(oracles["llama"], item, stops=eos) for item in items]
    assert len(found[0]) <= 2
    assert not set(stops) & {token for answer in found for token in answer}


def test_the_tokenizers_end_of_sequence_stops(monkeypatch, tiny_hooked):
    item = rendered(random_ids(7))
    (free,) = generate_ids(tiny_hooked, [item], max_new_tokens=NEW)
    token = free[3]
    monkeypatch.setattr(type(tiny_hooked.tokenizer), "eos_token_id", token, raising=False)
    (found,) = generate_ids(tiny_hooked, [item], max_new_tokens=NEW)
    assert found == free[: free.index(token)]


def test_no_end_of_sequence_token_at_all(monkeypatch, tiny_hooked):
    monkeypatch.setattr(type(tiny_hooked.tokenizer), "eos_token_id", None, raising=False)
    (found,) = generate_ids(tiny_hooked, [rendered(random_ids(7))], max_new_tokens=NEW)
    assert len(found) == NEW


def test_no_more_is_computed_once_all_rows_have_stopped(monkeypatch, tiny_model):
    item = rendered(random_ids(7))
    (free,) = generate_ids(tiny_model, [item], max_new_tokens=NEW)
    monkeypatch.setattr(tiny_model.original_model.generation_config, "eos_token_id", free[1])
    steps, forward = [], type(tiny_model).forward

    def counted(self, ids, *arguments, **options):
        steps.append(tuple(ids.shape))
        return forward(self, ids, *arguments, **options)

    monkeypatch.setattr(type(tiny_model), "forward", counted)
    generate_ids(tiny_model, [item, item], max_new_tokens=NEW)
    assert steps == [(1, 7), (1, 1)]  # equal prompts share a row; the cache holds what was read


# ------------------------------------------------------------------------------- sampling


@model_laws
@given(items=prompts(answers=False), budget=budgets, data=st.data(), seed=st.integers(0, 9))
def test_draws_depend_on_prompt_and_seed_alone(either_model, items, budget, data, seed):
    distinct = list({item.token_ids: item for item in items}.values())
    expected = [sampled(either_model, [item], seed=seed)[0] for item in distinct]
    order = data.draw(st.permutations(range(len(distinct))))
    mixed = sampled(either_model, [distinct[i] for i in order], seed=seed, batch_tokens=budget)
    assert mixed == [expected[i] for i in order]


def test_the_same_prompt_given_often_has_many_answers(either_model):
    """Equal prompts share a row when read; as samples they must not."""
    item = rendered(random_ids(7))
    first = sampled(either_model, [item] * 20)
    assert len(set(first)) > 15
    assert sampled(either_model, [item] * 20) == first
    assert sampled(either_model, [item] * 20, batch_tokens=1) == first
    assert sampled(either_model, [item] * 20, seed=1) != first


def test_samples_follow_the_models_probabilities(either_model):
    """Chi-square against the softmax, computed apart; rare tokens pooled."""
    item, n, temperature = rendered(random_ids(5)), 1500, 0.5
    with torch.inference_mode():
        logits = either_model(torch.tensor([item.token_ids]), return_type="logits")[0, -1]
    expected = n * torch.softmax(logits.double() / temperature, dim=0).numpy()
    answers = sampled(either_model, [item] * n, temperature=temperature, new=1)
    tokens = [answer[0] if answer else 1 for answer in answers]  # an empty answer drew EOS
    counts = np.bincount(tokens, minlength=D_VOCAB)
    common = expected >= 5
    observed = np.append(counts[common], counts[~common].sum())
    wanted = np.append(expected[common], expected[~common].sum())
    assert common.sum() > 5
    assert stats.chisquare(observed, wanted).pvalue > 1e-4


@pytest.mark.parametrize("draw", [0.0, 1e-300, 0.5, 1 - 1e-16])
def test_a_token_without_probability_is_never_drawn(draw):
    """At the very ends of the draw too, where the cumulative probabilities are equal."""
    logits = torch.full((1, 9), -torch.inf)
    logits[0, [3, 5]] = 1.0
    sampler = _Sampler([], 1.0, 0, 1)
    assert int(sampler.choose(logits, torch.tensor([draw], dtype=torch.float64))) in (3, 5)


def test_a_low_temperature_is_greedy(either_model):
    items = [rendered(random_ids(6, seed)) for seed in range(5)]
    greedy = generate_ids(either_model, items, max_new_tokens=NEW)
    assert sampled(either_model, items, temperature=1e-4) == greedy


# -------------------------------------------------------------------- memory and steering


def test_where_memory_runs_out_the_answers_stay(monkeypatch, either_model):
    items = [rendered(random_ids(length, length)) for length in range(3, 12)]
    greedy = generate_ids(either_model, items, max_new_tokens=3)
    draws = sampled(either_model, items, new=3)
    forward = type(either_model).forward

    def small(self, ids, *arguments, **options):
        if ids.shape[0] > 2:
            raise torch.OutOfMemoryError
        return forward(self, ids, *arguments, **options)

    monkeypatch.setattr(type(either_model), "forward", small)
    assert generate_ids(either_model, items, max_new_tokens=3) == greedy
    assert sampled(either_model, items, new=3) == draws


def test_equal_prompts_generate_under_their_own_coefficients(either_model):
    item, direction = rendered(random_ids(6)), torch.randn(16, generator=torch.manual_seed(1))
    strengths = [0.0, 40.0, -40.0]
    alone = []
    for strength in strengths:
        with edit(either_model, {Site(1): add(direction, strength)}):
            alone += generate_ids(either_model, [item], max_new_tokens=4)
    assert len(set(alone)) == 3
    with edit(either_model, {Site(1): add(direction, strengths)}):
        assert generate_ids(either_model, [item] * 3, max_new_tokens=4) == alone


def test_steering_acts_on_new_tokens_as_on_a_whole_sequence(tiny_model):
    """With a cache each step sees one token: edits there must equal one pass over everything."""
    item, direction = rendered(random_ids(6)), torch.randn(16, generator=torch.manual_seed(1))
    with edit(tiny_model, {Site(1): add(direction, 7.0)}):
        (answer,) = generate_ids(tiny_model, [item], max_new_tokens=NEW)
        ids = list(item.token_ids)
        for token in answer:
            with torch.inference_mode():
                assert int(tiny_model(torch.tensor([ids]))[0, -1].argmax()) == token
            ids.append(token)


# --------------------------------------------------------------------- prompts and texts


def test_answers_are_texts_in_the_prompts_order(tiny_model):
    items = [question("long", "the quick brown fox jumps over the lazy dog"), question("short")]
    texts = generate(tiny_model, items, max_new_tokens=NEW)
    ids = generate_ids(tiny_model, render_for(tiny_model, items), max_new_tokens=NEW)
    tokenizer = tokenizer_of(tiny_model)
    assert texts == [tokenizer.decode(answer, skip_special_tokens=True) for answer in ids]
    assert decode(tiny_model, [(0, 1)]) == [""]  # special tokens are no text


def test_responses_are_appended_as_they_were_generated(tiny_model):
    items = render_for(tiny_model, [question()])
    answers = generate_ids(tiny_model, items, max_new_tokens=NEW)
    (whole,) = with_responses(items, answers)
    start, end = whole.spans["response"]
    assert whole.token_ids[start:end] == answers[0]
    assert whole.token_ids[:start] == items[0].token_ids


def test_no_prompts_have_no_answers(tiny_model):
    assert generate(tiny_model, []) == []


def test_prompts_that_leave_no_room_are_refused_with_their_number(either_model):
    items = [rendered(random_ids(length), name=f"n{length}") for length in (10, 124, 125, 128)]
    assert len(generate_ids(either_model, items[:2], max_new_tokens=4)) == 2
    with pytest.raises(BadInputError, match="2 of 4 prompts leave no room for 4 new") as caught:
        generate_ids(either_model, items, max_new_tokens=4)
    assert "'n128' with 128" in str(caught.value)
    assert "['n125', 'n128']" in str(caught.value)
    with pytest.raises(BadInputError, match="1 of 1 prompts are longer than the context of 128"):
        check_context(either_model, [rendered(random_ids(129))])


def test_long_prompts_are_cut_when_that_is_asked_for(tiny_model):
    long = question("long", "fox dog " * 100)
    with pytest.raises(BadInputError, match="1 of 2 prompts are longer than the context of 122"):
        generate(tiny_model, [question(), long], max_new_tokens=NEW)
    rendered_long = render_for(tiny_model, [long], truncate="left", reserve=NEW)
    assert len(rendered_long[0].token_ids) == 128 - NEW
    assert len(generate(tiny_model, [long], max_new_tokens=NEW, truncate="left")) == 1


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"max_new_tokens": 0}, "Generation makes at least one token"),
        ({"max_new_tokens": 128}, "128 new tokens leave no room for a prompt"),
        ({"temperature": -1.0}, "A temperature is 0"),
        ({"temperature": float("inf")}, "A temperature is 0"),
        ({"temperature": float("nan")}, "A temperature is 0"),
        ({"seed": -1}, "A seed is 0 or positive"),
        ({"batch_tokens": 0}, "A batch holds at least one token"),
    ],
)
def test_bad_options_are_refused(either_model, options, sentence):
    with pytest.raises(BadInputError, match=sentence):
        generate(either_model, [question()], **options)


def test_a_prompt_that_is_answered_already_is_refused(tiny_model):
    with pytest.raises(BadInputError, match="1 of 2 prompts already have a response") as caught:
        generate(tiny_model, [question("a"), question("b", response="yes")], max_new_tokens=2)
    assert "prefill" in str(caught.value)


def test_what_is_no_prompt_is_refused(tiny_model):
    unchecked = getattr(render_for, "__wrapped__", render_for)  # users have no type checks
    for wrong in (["the fox"], [question(), rendered([1, 2])], [{"id": "a", "text": "b"}]):
        with pytest.raises(BadInputError, match="Prompts are all Prompt objects") as caught:
            unchecked(tiny_model, wrong)
        assert "PromptSet.from_dicts" in str(caught.value)
