"""Extraction on small models of every shape: the three ways, the judge, a planted direction."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from trait_probe.basis import Site
from trait_probe.errors import BadInputError, MismatchError
from trait_probe.evidence.estimate import Unscored
from trait_probe.forward import answering
from trait_probe.forward.capture import capture
from trait_probe.forward.generate import generate
from trait_probe.forward.rendering import render_for
from trait_probe.hooks.steering import add, edit
from trait_probe.identity import identify, tokenizer_of
from trait_probe.judges.judge import RuleJudge, Scored
from trait_probe.models import load_model
from trait_probe.prompts.contrast import ContrastSet
from trait_probe.prompts.prompt import Message, Prompt
from trait_probe.vectors import contrast_sets, fit, geometry
from trait_probe.vectors.contrast_sets import contrast_set, has_system_role, language_of
from trait_probe.vectors.extract import (
    contrast_activations,
    extract,
    fit_vectors,
    shuffled_directions,
)
from trait_probe.vectors.reliability import assess
from trait_probe.vectors.vector import VectorSet

WORDS = ("the", "quick", "brown", "over", "lazy", "asks", "about", "system", "user", "answers")
PLANT = torch.randn(16, generator=torch.Generator().manual_seed(5))


def made(source="prompts", *, n=8, chat=True, responses=True, trait="made/up"):
    """Pairs that differ in one word, in the form that `source` has."""

    def prompt(side, place):
        word, name = ("fox", "dog")[side], f"{place}/{side}"
        said = f"{WORDS[place]} {word if source == 'prompts' else 'lazy'}"
        response = f" {word} {WORDS[place]}" if source == "completions" and responses else None
        group = f"g{place}"
        if not chat:
            return Prompt(id=name, text=said, response=response, group=group)
        told = [Message("system", f"be a {word}")] if source == "instructions" else []
        turns = (*told, Message("user", said))
        return Prompt(id=name, messages=turns, response=response, group=group)

    sides = ([prompt(side, place) for place in range(n)] for side in (0, 1))
    return ContrastSet(trait, *sides, paired=True, source=source)


def without(contrast, **changes):
    """The set with its last positive prompt changed."""
    last = replace(contrast.positive[-1], **changes)
    return replace(contrast, positive=(*contrast.positive[:-1], last))


# --------------------------------------------------------------------------- the three ways


def answered_by_hand(model, prompt, n):
    """Greedy decoding without batches, cache or this package's loop, up to the first EOS."""
    (item,) = render_for(model, [prompt])
    ids = list(item.token_ids)
    for _ in range(n):
        with torch.inference_mode():
            token = int(model(torch.tensor([ids]))[0, -1].argmax())
        if token == tokenizer_of(model).eos_token_id:
            break
        ids.append(token)
    return item.with_response(ids[len(item.token_ids) :])


def test_generated_answers_are_read_on_their_tokens(tiny_model):
    contrast, site = made("instructions"), Site(1)
    found = contrast_activations(tiny_model, contrast, layers=[1], max_new_tokens=5)
    assert found.position == "response[:]"
    places = [int(group.removeprefix("g")) for group in found.groups]
    assert len(places) >= 6
    for side, rows in zip((contrast.positive, contrast.negative), found.pairs[site], strict=True):
        whole = [answered_by_hand(tiny_model, side[place], 5) for place in places]
        read = [capture(tiny_model, [w], [site], position="response[:]").values for w in whole]
        np.testing.assert_allclose(rows, [r[site].mean(axis=0) for r in read], atol=1e-5)


@pytest.mark.parametrize(
    ("source", "rule", "pooling"),
    [("completions", "response[:]", "mean"), ("prompts", "prompt[-1]", "mean")],
)
def test_given_texts_are_read_where_their_contrast_lies(any_model, shape, source, rule, pooling):
    contrast = made(source, chat=shape != "gpt2")
    found = contrast_activations(any_model, contrast)
    assert (found.position, found.pooling) == (rule, pooling)
    assert len(found.pairs) == any_model.cfg.n_layers
    for side, prompts in enumerate((contrast.positive, contrast.negative)):
        for place, prompt in enumerate(prompts):
            read = capture(any_model, [prompt], found.pairs, position=rule)
            for site, pairs in found.pairs.items():
                expected = read.values[site].mean(axis=0)
                np.testing.assert_allclose(pairs[side][place], expected, atol=1e-5)


@pytest.mark.parametrize("pooling", ["last", "max"])
def test_tokens_are_pooled_as_asked(tiny_model, pooling):
    contrast, site = made("completions"), Site(1)
    found = contrast_activations(tiny_model, contrast, layers=1, pooling=pooling)
    read = capture(tiny_model, contrast.positive[:1], [site], position="response[:]").values[site]
    expected = read[-1] if pooling == "last" else read.max(axis=0)
    np.testing.assert_allclose(found.pairs[site][0][0], expected, atol=1e-5)


def test_a_rule_that_needs_no_answers_has_none_generated(monkeypatch, tiny_model):
    def refuse(*_, **__):
        raise AssertionError("generated")

    monkeypatch.setattr(answering, "generate_ids", refuse)
    contrast = made("instructions")
    for rule in ("prompt[-1]", "system[:]", "before(user)[-1]"):
        assert contrast_activations(tiny_model, contrast, position=rule).position == rule
    for rule in (None, "response[0]", "all[:]", "after(user)[:]"):
        with pytest.raises(AssertionError, match="generated"):
            contrast_activations(tiny_model, contrast, position=rule)


@pytest.mark.parametrize(
    ("trait", "source"),
    [("safety/evil", "instructions"), ("safety/harm", "prompts"), ("safety/refusal", None)],
)
def test_shipped_traits_come_in_the_form_that_the_model_takes(any_model, shape, trait, source):
    found = contrast_set(trait, any_model)
    roles = {turn.role for prompt in found.positive for turn in prompt.messages}
    if shape == "gpt2":  # no chat template: documents
        assert (found.source, roles) == ("completions", set())
    elif source is not None:
        assert found.source == source
    assert ("system" in roles) == (found.source == "instructions" and shape in ("llama", "qwen2"))
    assert len(render_for(any_model, found.positive, truncate="left")) == len(found.positive)


def test_a_base_model_is_extracted_from_documents(bridges):
    contrast = contrast_set("evil", bridges["gpt2"])
    short = replace(contrast, positive=contrast.positive[:8], negative=contrast.negative[:8])
    vectors = extract(bridges["gpt2"], short, truncate="left")
    assert vectors[0].basis.position == "response[:]"
    assert vectors.layers == (0, 1)


def test_a_system_role_is_there_when_its_words_are(monkeypatch, any_model, shape):
    if shape == "gpt2":
        return
    assert has_system_role(any_model) == (shape != "gemma2")

    dropping = "{% for m in messages %}{% if m['role'] == 'user' %}{{ m['content'] }}{% endif %}"
    monkeypatch.setattr(tokenizer_of(any_model), "chat_template", dropping + "{% endfor %}")
    assert not has_system_role(any_model)


def test_without_installed_organisms_every_model_speaks_english(monkeypatch, tiny_model):
    def absent(name):
        raise BadInputError("The organism's weights are not installed.", got=name)

    monkeypatch.setattr(contrast_sets.registry, "organism_path", absent)
    assert language_of(tiny_model) == "english"


# -------------------------------------------------------------------------------- judging


def test_a_judge_keeps_the_pairs_that_show_the_trait(tiny_model):
    contrast = made("instructions", n=10)
    texts = {
        side: generate(tiny_model, prompts, max_new_tokens=4)
        for side, prompts in (("high", contrast.positive), ("low", contrast.negative))
    }
    shows = set(texts["high"][:7]) - set(texts["low"])
    judge = RuleJudge("is known", lambda question, answer: answer in shows)
    expected = [
        place
        for place, (high, low) in enumerate(zip(texts["high"], texts["low"], strict=True))
        if high in shows and low not in shows
    ]
    assert 0 < len(expected) < 10
    everything = contrast_activations(tiny_model, contrast, max_new_tokens=4)
    kept = contrast_activations(tiny_model, contrast, max_new_tokens=4, judge=judge)
    assert kept.groups == tuple(everything.groups[place] for place in expected)
    for side in (0, 1):
        torch.testing.assert_close(
            kept.pairs[Site(1)][side], everything.pairs[Site(1)][side][expected]
        )


def test_the_threshold_is_fifty_on_both_sides(tiny_model):
    scores = iter([50.0, 49.0, 49.9, 0.0, 100.0, 50.0, 80.0, 20.0] * 2)
    contrast = made("completions")

    def judge(question, answer):
        return Scored(next(scores), "given")

    found = contrast_activations(tiny_model, contrast, judge=judge)
    assert found.groups == ("g0", "g3", "g4", "g7")


def test_pairs_without_a_score_are_dropped(tiny_model):
    contrast = made("completions")
    seen = []

    def judge(question, answer):
        seen.append((question, answer))
        if len(seen) == 2:
            return Unscored("could not tell")
        return Scored(100.0 if " fox" in answer else 0.0, "the word")

    found = contrast_activations(tiny_model, contrast, judge=judge)
    assert found.groups == tuple(f"g{place}" for place in range(1, 8))
    assert seen[0] == ("the lazy", " fox the")


def test_a_judge_that_keeps_nothing_leaves_nothing_to_fit(tiny_model):
    never = RuleJudge("never", lambda question, answer: False)
    with pytest.raises(BadInputError, match="No pair of the contrast set 'made/up' is left"):
        extract(tiny_model, made("completions"), judge=never)


def test_a_judge_without_answers_is_refused(tiny_model):
    always = RuleJudge("always", lambda question, answer: True)
    with pytest.raises(BadInputError, match="A judge scores answers") as caught:
        extract(tiny_model, made("prompts"), judge=always)
    assert "source='instructions'" in str(caught.value)


# ------------------------------------------------------------------- what a vector carries


@pytest.mark.parametrize(
    ("method", "least"),
    [("mean_difference", 0.95), ("pca", 0.95), ("whitened_mean_difference", 0.5)],
)
def test_a_planted_direction_is_found_with_its_sign(tiny_model, method, least):
    """Positives are read under an edit that adds it: whatever the words, that is the contrast."""
    site, contrast = Site(1), made(n=10)
    plain = contrast_activations(tiny_model, contrast, layers=1)
    with edit(tiny_model, {site: add(PLANT, 30.0)}):
        moved = contrast_activations(tiny_model, contrast, layers=1)
    planted = replace(plain, pairs={site: (moved.pairs[site][0], plain.pairs[site][1])})
    (vector,) = fit_vectors(planted, method=method)
    assert float(vector.direction @ geometry.unit(PLANT)) > least
    assert vector.reliability.held_out_auc == 1.0
    assert vector.reliability.split_half_cosine > least / 2


def test_a_direction_planted_in_the_embedding_is_found(tiny_folder):
    """End to end: the word's embedding is moved, and the vector of that word points there."""
    model = load_model(str(tiny_folder))
    fox = tokenizer_of(model)(" fox", add_special_tokens=False)["input_ids"]
    dog = tokenizer_of(model)(" dog", add_special_tokens=False)["input_ids"]
    embedding = model.original_model.get_input_embeddings().weight
    with torch.no_grad():
        same = embedding[dog[-1]].clone()
        embedding[dog], embedding[fox] = same, same + 25 * geometry.unit(PLANT)
    vectors = extract(model, made(n=10), layers="all", position="user[-1]")
    cosine = geometry.cosine(vectors["made/up", 0].direction, geometry.unit(PLANT)[None])
    assert float(cosine) > 0.8
    assert vectors["made/up", 0].norm == pytest.approx(25, rel=0.3)


def test_what_makes_a_vector_is_written_on_it(tiny_model):
    contrast = made(n=8)
    vectors = extract(tiny_model, contrast, layers="0,2", method="pca", held_out=0.25, seed=3)
    assert [vector.site for vector in vectors] == [Site(0), Site(2)]
    for vector in vectors:
        basis = vector.basis
        assert basis.model == identify(tiny_model)
        assert basis.contrast_hash == contrast.hash
        assert (basis.position, basis.pooling, basis.method) == ("prompt[-1]", "mean", "pca")
        assert basis.split == "0.25 of pair groups held out, seed 3"
        assert vector.reliability.n_pairs == 6
        assert vector.reference.n == 12
        assert vector.direction.norm() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("method", ["mean_difference", "whitened_mean_difference", "pca"])
def test_the_vector_is_the_methods_own_on_the_fitted_pairs(tiny_model, method):
    activations = contrast_activations(tiny_model, made(n=10), layers=1)
    (vector,) = fit_vectors(activations, method=method, seed=1)
    names = sorted(set(activations.groups))
    chosen = set(np.random.default_rng(1).permutation(names)[:2].tolist())
    held = torch.tensor([group in chosen for group in activations.groups])
    assert held.sum() == 2
    positive, negative = (side[~held] for side in activations.pairs[Site(1)])
    held_pairs = tuple(side[held] for side in activations.pairs[Site(1)])
    expected = fit.orient(fit.METHODS[method](positive, negative), *held_pairs).direction
    torch.testing.assert_close(vector.direction, geometry.unit(expected).float())
    assert vector.norm == pytest.approx(float(expected.norm()), rel=1e-5)
    along = torch.cat([positive, negative]) @ vector.direction
    assert vector.reference.mean == pytest.approx(float(along.mean()), abs=1e-5)
    assert vector.reference.std == pytest.approx(float(along.std()), rel=1e-4)
    assert vector.reliability == assess(
        positive, negative, *held_pairs, fit.METHODS[method], seed=1
    )


def test_held_out_pairs_that_disagree_turn_the_sign_and_show_in_the_auc(tiny_model):
    site = Site(1)
    activations = contrast_activations(tiny_model, made(n=8), layers=1)
    positive, negative = (side.clone() for side in activations.pairs[site])
    positive += 100 * PLANT
    held = np.random.default_rng(0).permutation(sorted(activations.groups))[:2].tolist()
    rows = [activations.groups.index(group) for group in held]
    positive[rows], negative[rows] = negative[rows], positive[rows].clone()
    (vector,) = fit_vectors(replace(activations, pairs={site: (positive, negative)}))
    assert float(vector.direction @ geometry.unit(PLANT)) < -0.99
    assert vector.reliability.held_out_auc == 0.0  # of the fitted sign: the warning


def test_whole_groups_are_held_out(tiny_model):
    activations = contrast_activations(tiny_model, made(n=10), layers=1)
    grouped = replace(activations, groups=tuple(f"g{place // 2}" for place in range(10)))
    (vector,) = fit_vectors(grouped, held_out=0.4)
    assert vector.reliability.n_pairs == 6  # 3 of 5 groups of 2


def test_the_file_is_bound_to_its_model(tiny_model, tiny_folder, folders, bridges, tmp_path):
    path = tmp_path / "made.safetensors"
    vectors = extract(tiny_model, made())
    vectors.save(path)
    assert VectorSet.load(path, model=tiny_model) == vectors
    again = load_model(str(tiny_folder), check=False)
    assert VectorSet.load(path, model=again) == vectors
    with pytest.raises(MismatchError, match="d_model: vectors 16, model 24"):
        VectorSet.load(path, model=bridges["qwen2"])
    with torch.no_grad():
        tuned = load_model(str(tiny_folder), check=False)
        tuned.original_model.get_input_embeddings().weight[7] += 0.5
    with pytest.raises(MismatchError, match="weights_hash") as caught:
        VectorSet.load(path, model=tuned)
    assert "lineage_ok=True" in str(caught.value)
    assert VectorSet.load(path, model=tuned, lineage_ok=True) == vectors


# ------------------------------------------------------------------------ the shuffled null


@pytest.mark.parametrize("n", [8, 10])
def test_shuffled_directions_hold_nothing_of_what_positives_share(tiny_model, n):
    site = Site(1)
    activations = contrast_activations(tiny_model, made(n=n), layers=1)
    positive, negative = activations.pairs[site]
    planted = replace(activations, pairs={site: (positive + 100 * PLANT, negative)})
    (vector,) = fit_vectors(planted)
    assert float(vector.direction @ geometry.unit(PLANT)) > 0.99
    null = shuffled_directions(planted, site, method="mean_difference", n=50, seed=0)
    plain = shuffled_directions(activations, site, method="mean_difference", n=50, seed=0)
    torch.testing.assert_close(null, plain, atol=1e-3, rtol=0)  # as if it were not there
    torch.testing.assert_close(null.norm(dim=1), torch.ones(50))


def test_shuffled_directions_are_drawn_anew_and_reproducible(tiny_model):
    site = Site(1)
    activations = contrast_activations(tiny_model, made(n=8), layers=1)
    first, again, other = (
        shuffled_directions(activations, site, method="mean_difference", n=20, seed=seed)
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len({tuple(row.tolist()) for row in first}) > 10


# ------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("contrast", "options", "sentence"),
    [
        (replace(made(), paired=False), {}, "needs a paired contrast set"),
        (made(), {"method": "mean_diference"}, "no extraction method of that name"),
        (made(), {"pooling": "none"}, "one row per prompt"),
        (made(), {"layers": "0,9"}, "outside the model, which has 3 layers"),
        (made(), {"held_out": 0.0}, "The held-out share lies between 0 and 1"),
        (made(), {"held_out": 1.0}, "The held-out share lies between 0 and 1"),
        (made(n=2), {}, "Too few pair groups are left"),
        (made(n=4), {}, "Reliability needs at least 4 pairs"),
        (without(made(), response="fox"), {}, "Some prompts of .* have a response, others none"),
        (
            without(made("completions"), response=None),
            {},
            "Some prompts of .* have a response, others none",
        ),
        (made(), {"position": "prompt[40]"}, "selects no token in any prompt"),
        (made("completions"), {"position": "response[40]"}, "selects no token in any prompt"),
    ],
)
def test_what_cannot_be_extracted_is_refused(tiny_model, contrast, options, sentence):
    with pytest.raises(BadInputError, match=sentence):
        extract(tiny_model, contrast, **options)


def test_a_rule_that_skips_some_prompts_is_refused(tiny_model):
    """Else row i of the positives would no longer belong to row i of the negatives."""
    contrast = without(made("completions"), response=" fox over the lazy dog, the fox answers")
    with pytest.raises(BadInputError, match="no token in 7 of 8 prompts of a side") as caught:
        extract(tiny_model, contrast, position="response[5]")
    assert "0/0" in str(caught.value)


def test_a_given_answer_without_tokens_is_refused(tiny_model):
    """Not read at the prompt's end, as a set without answers would be."""
    contrast = without(made("completions"), response="")
    with pytest.raises(BadInputError, match="no token in 1 of 8 prompts of a side"):
        extract(tiny_model, contrast)


def test_empty_answers_drop_their_pairs(monkeypatch, tiny_model):
    answers = [(5, 6)] * 16
    answers[1], answers[8 + 4] = (), ()  # positive 1 and negative 4
    monkeypatch.setattr(answering, "generate_ids", lambda *_, **__: answers)
    found = contrast_activations(tiny_model, made("instructions"))
    assert found.groups == ("g0", "g2", "g3", "g5", "g6", "g7")
    monkeypatch.setattr(answering, "generate_ids", lambda *_, **__: [()] * 16)
    with pytest.raises(BadInputError, match="left answers empty"):
        extract(tiny_model, made("instructions"))
