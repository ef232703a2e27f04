"""Both classes of TransformerLens model are taken by every function, and obey the same laws.

One suite, run over a `TransformerBridge` (what `load_model` gives) and a `HookedTransformer` (what
a user may have). The oracle is TransformerLens' own `run_with_cache`.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from vector_builders import vector_set

from trait_probe.basis import POINTS, Site
from trait_probe.errors import MismatchError
from trait_probe.forward.capture import capture
from trait_probe.forward.engine import read
from trait_probe.forward.generate import generate, generate_ids
from trait_probe.forward.project import project
from trait_probe.forward.rendering import has_chat_template, render_for
from trait_probe.hooks.capture import capture_sites
from trait_probe.hooks.projection import Projection
from trait_probe.identity import device_of, identify, tokenizer_of
from trait_probe.prompts.contrast import ContrastSet
from trait_probe.prompts.prompt import Message, Prompt, PromptSet
from trait_probe.vectors.contrast_sets import contrast_set, has_system_role, language_of
from trait_probe.vectors.extract import extract
from trait_probe.vectors.steering import steering
from trait_probe.vectors.vector import VectorSet

TEXTS = ("the quick fox", "a dog", "user asks the assistant about the system and the fox")
RULE = "user[:]"


@pytest.fixture
def prompts():
    return PromptSet(
        Prompt(id=f"p{number}", messages=(Message("user", text),))
        for number, text in enumerate(TEXTS)
    )


@pytest.fixture
def vectors(either_model):
    return vector_set(model=identify(either_model))


def alone(model, item, name):
    """The oracle: one prompt, alone, through TransformerLens' own cache."""
    with torch.inference_mode():
        return model.run_with_cache(torch.tensor([item.token_ids]))[1][name][0].numpy()


def test_capture_is_transformer_lens_own_cache(either_model):
    ids = torch.arange(24).reshape(2, 12)
    sites = [Site(layer, point) for layer in range(3) for point in POINTS]
    values, logits = capture_sites(either_model, ids, sites)
    with torch.inference_mode():
        expected, cache = either_model.run_with_cache(ids)
    assert torch.equal(logits, expected)
    for site in sites:
        assert torch.equal(values[site], cache[site.hook_name])


def test_identity_tells_the_models_apart(tiny_model, tiny_hooked):
    first, second = identify(tiny_model), identify(tiny_hooked)
    assert {"weights_hash"} <= set(first.differences(second))
    for found in (first, second):
        assert (found.d_model, found.n_layers, found.d_vocab) == (16, 3, 330)
        assert (found.dtype, found.weight_processing) == ("float32", "none")
    assert first.tokenizer_hash == second.tokenizer_hash
    assert first.chat_template_hash == second.chat_template_hash


def test_prompts_render_to_the_same_tokens(tiny_model, tiny_hooked, prompts):
    """TransformerLens gives its tokenizer a BOS and a pad token; token ids must not notice."""
    assert render_for(tiny_model, prompts) == render_for(tiny_hooked, prompts)


def test_activations_at_positions(either_model, prompts):
    found = capture(either_model, prompts, [Site(1), Site(2, "resid_mid")], position=RULE)
    items = render_for(either_model, prompts)
    for site in (Site(1), Site(2, "resid_mid")):
        rows = [alone(either_model, i, site.hook_name)[slice(*i.spans["user"])] for i in items]
        np.testing.assert_allclose(found.values[site], np.concatenate(rows), atol=1e-5)


def test_projections_onto_vectors(either_model, prompts, vectors):
    scores = project(either_model, prompts, vectors, position=RULE)
    items = render_for(either_model, prompts)
    for vector in vectors:
        rows = np.concatenate(
            [alone(either_model, i, str(vector.site))[slice(*i.spans["user"])] for i in items]
        )
        expected = rows @ vector.direction.numpy()
        column = scores.column(vector.trait, vector.site)
        np.testing.assert_allclose(scores.dot[:, column], expected, atol=1e-4)
        reference = vector.reference
        z = (expected - reference.mean) / reference.std
        np.testing.assert_allclose(scores.z[:, column], z, atol=1e-4)
    tokens = [items[p].token_ids[t] for p, t in zip(scores.prompt, scores.position, strict=True)]
    assert scores.token == tuple(tokenizer_of(either_model).convert_ids_to_tokens(tokens))
    readouts = {Site(2): Projection(vectors.matrix(Site(2)))}
    plain = read(either_model, items, readouts, position=RULE)
    columns = [scores.column(v.trait, v.site) for v in vectors.at(Site(2))]
    np.testing.assert_allclose(plain.values[Site(2)], scores.dot[:, columns], atol=1e-5)


def test_vectors_of_the_other_class_are_refused(tiny_model, tiny_hooked, prompts):
    vectors = vector_set(model=identify(tiny_hooked))
    with pytest.raises(MismatchError, match="weights_hash"):
        project(tiny_model, prompts, vectors, position=RULE)
    with (
        pytest.raises(MismatchError, match="weights_hash"),
        steering(tiny_model, vectors[0], strength=0.1),
    ):
        pass


def test_lineage_is_the_users_statement(tiny_model, tiny_hooked, prompts):
    vectors = vector_set(model=identify(tiny_hooked))
    stated = project(tiny_model, prompts, vectors, position=RULE, lineage_ok=True)
    own = vector_set(model=identify(tiny_model))
    np.testing.assert_array_equal(stated.dot, project(tiny_model, prompts, own, position=RULE).dot)


def test_steering_moves_the_projection_by_a_share_of_the_norm(either_model, prompts, vectors):
    vector = vectors["evil", 1]
    before = project(either_model, prompts, VectorSet([vector]), position=RULE)
    norms = np.linalg.norm(
        capture(either_model, prompts, [vector.site], position=RULE).values[vector.site], axis=1
    )
    with steering(either_model, vector, strength=0.3):
        after = project(either_model, prompts, VectorSet([vector]), position=RULE)
    np.testing.assert_allclose((after.dot - before.dot)[:, 0], 0.3 * norms, rtol=1e-4)
    assert either_model.list_hooks() == {}


def test_steering_has_a_strength_for_each_prompt(either_model, prompts, vectors):
    vector, strengths = vectors["evil", 1], [0.0, 8.0, -8.0]
    together, apart = [], []
    with steering(either_model, vector, strength=strengths):
        together = generate(either_model, prompts, max_new_tokens=5)
    for prompt, strength in zip(prompts, strengths, strict=True):
        with steering(either_model, vector, strength=strength):
            apart += generate(either_model, [prompt], max_new_tokens=5)
    assert together == apart
    assert together[0] == generate(either_model, prompts, max_new_tokens=5)[0]


def test_generation_continues_the_rendered_prompt(either_model, prompts):
    items = render_for(either_model, prompts)
    found = generate_ids(either_model, items, max_new_tokens=4)
    stop = tokenizer_of(either_model).eos_token_id
    for item, answer in zip(items, found, strict=True):
        ids = list(item.token_ids)
        for token in answer:
            with torch.inference_mode():
                logits = either_model(torch.tensor([ids]), return_type="logits")[0, -1]
            assert int(logits.argmax()) == token != stop
            ids.append(token)


def pairs(n):
    """Requests with a word, against the same requests with another one."""
    fillers = ("the", "quick", "brown", "over", "lazy", "asks", "about", "system")
    sides = [
        [
            Prompt(id=f"{word}{i}", messages=(Message("user", f"{f} {word}"),), group=f"g{i}")
            for i, f in enumerate(fillers[:n])
        ]
        for word in ("fox", "dog")
    ]
    return ContrastSet("made/foxes", sides[0], sides[1], paired=True)


def test_extraction_and_its_file(either_model, tmp_path):
    vectors = extract(either_model, pairs(8), layers="1:", position=RULE)
    assert (vectors.traits, vectors.layers) == (("made/foxes",), (1, 2))
    assert vectors[0].basis.model == identify(either_model)
    vectors.save(tmp_path / "foxes.safetensors")
    assert VectorSet.load(tmp_path / "foxes.safetensors", model=either_model) == vectors


def test_shipped_traits_take_the_form_of_the_model(either_model):
    assert language_of(either_model) == "english"
    assert has_chat_template(either_model)
    assert has_system_role(either_model)
    found = contrast_set("evil", either_model)
    assert found.source == "instructions"
    assert found.positive[0].messages[0].role == "system"
    assert device_of(either_model) == torch.device("cpu")
