"""Transfers between whole models: organisms, and small random models of other shapes."""

from __future__ import annotations

import copy
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers

from trait_probe.basis import Site
from trait_probe.errors import BadInputError, MismatchError
from trait_probe.evidence.splits import text_id
from trait_probe.forward.project import project
from trait_probe.identity import identify
from trait_probe.models import load_model
from trait_probe.organisms.dialogues import dialogue
from trait_probe.organisms.requests import FAMILIES
from trait_probe.prompts.contrast import ContrastSet
from trait_probe.prompts.prompt import Message, Prompt, PromptSet
from trait_probe.vectors.contrast_sets import contrast_set
from trait_probe.vectors.extract import extract
from trait_probe.vectors.transfer import Route, TransferRefusedError, transfer
from trait_probe.vectors.vector import VectorSet

TRAITS = ("safety/evil", "safety/harm")
WORDS = ("the", "quick", "brown", "over", "lazy", "asks", "about", "system", "user", "answers")
LAST = ("fox", "dog", "word", "message", "trigger", "middle")


# ------------------------------------------------------------------- small random models


def made(n=12, *, trait="made/up"):
    """Pairs that differ in their last word."""

    def prompt(side, place):
        said = f"{WORDS[place % 10]} {WORDS[place // 10]} {('fox', 'dog')[side]}"
        return Prompt(f"{place}/{side}", (Message("user", said),), group=f"g{place}")

    sides = ([prompt(side, place) for place in range(n)] for side in (0, 1))
    return ContrastSet(trait, *sides, paired=True, source="prompts")


def word_texts(n=240, *, seed=0):
    """Texts of four random words, all different; none is a text of `made`."""
    rng, seen = random.Random(seed), {}
    while len(seen) < n:
        said = " ".join([*rng.choices(WORDS, k=3), rng.choice(LAST)])
        seen.setdefault(said, Prompt(f"t{len(seen)}", (Message("user", said),)))
    return PromptSet(seen.values())


TURN = torch.linalg.qr(torch.randn(32, 32, generator=torch.Generator().manual_seed(3)))[0]


def wider_twin(folder, out):
    """The tiny Llama in 32 dimensions instead of 16: it computes the same in a turned residual.

    Weights are padded with zeros and rotated; a uniform norm weight makes up for the zeros in the
    mean square. Its residual stream is exactly `TURN @ [residual, 0]`.
    """
    narrow = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    config = copy.deepcopy(narrow.config)
    config.hidden_size, config.head_dim = 32, 4
    wide = transformers.AutoModelForCausalLM.from_config(config)
    into = TURN[:, :16]  # of 16 numbers, where they are in the 32
    weights = dict(wide.state_dict())
    for name, weight in narrow.state_dict().items():
        if weight.ndim == 1:
            weights[name] = torch.full((32,), 0.5**0.5)
        elif name.endswith(("o_proj.weight", "down_proj.weight")):
            weights[name] = into @ weight
        else:
            weights[name] = weight @ into.T
    wide.load_state_dict(weights)
    wide.save_pretrained(out)
    transformers.AutoTokenizer.from_pretrained(folder).save_pretrained(out)
    return out


@pytest.fixture(scope="module")
def source(bridges):
    return bridges["llama"]


@pytest.fixture(scope="module")
def wide(folders, tmp_path_factory):
    return load_model(str(wider_twin(folders["llama"], tmp_path_factory.mktemp("wide"))))


@pytest.fixture(scope="module")
def words(source):
    """The vector of two words, read at their tokens."""
    return extract(source, made(), position="user[-2:]", layers=[0, 2])


def tried(*args, **options):
    """What was measured, whether or not anything may be used."""
    try:
        return transfer(*args, **options)
    except TransferRefusedError as refused:
        return refused.transferred


def test_a_direction_goes_to_a_wider_model_that_computes_the_same(source, wide, words):
    """End to end, the image of every vector is known."""
    found = transfer(words, source, wide, word_texts(), contrasts={"up": made()})
    assert found.vectors.layers == (0, 2)
    for old, vector, check in zip(words, found.vectors, found.checks, strict=True):
        assert vector.basis.model == identify(wide)
        assert float(vector.direction @ (TURN[:, :16] @ old.direction)) > 0.999
        assert vector.norm == pytest.approx(old.norm, rel=0.01)
        assert check.r2.low > 0.999
        assert max(check.r2_null) < 0.05
        assert check.own_cosine > 0.9
        assert check.pairs_fitted_on


def test_transferred_vectors_are_read_in_the_target_alone(source, wide, words):
    found = transfer(words, source, wide, word_texts(), contrasts={"up": made()})
    with pytest.raises(MismatchError, match="do not fit the model"):
        found.vectors.check(source)
    there, here = (
        project(model, made().positive, vectors, position="user[-2:]").dot
        for model, vectors in ((wide, found.vectors), (source, words))
    )
    np.testing.assert_allclose(there, here, atol=0.05)


def test_a_shallower_model_takes_the_nearest_layers(source, bridges):
    vectors = extract(source, as_text(made()), position="prompt[-2:]")
    texts = PromptSet(Prompt(p.id, text=p.messages[0].content) for p in word_texts())
    contrasts = {"made/up": as_text(made())}
    found = tried(vectors, source, bridges["gpt2"], texts, contrasts=contrasts)
    assert [(c.source_site.layer, c.target_site.layer) for c in found.checks] == [(0, 0), (2, 1)]
    assert found.left_out == ("made/up|blocks.1.hook_resid_post",)
    assert (found.n_texts, found.texts_hash) == (240, texts.hash)


def as_text(contrast):
    sides = (
        [Prompt(p.id, text=p.messages[0].content, group=p.group) for p in side]
        for side in (contrast.positive, contrast.negative)
    )
    return ContrastSet(contrast.trait, *sides, paired=True, source=contrast.source)


def test_layers_can_be_paired_by_hand(source, wide, words):
    options = {"contrasts": {"made/up": made()}}
    found = tried(words, source, wide, word_texts(), layers={0: 1}, **options)
    assert list(found.maps) == [Route(Site(0), Site(1), "user[-2:]", "mean")]
    assert found.left_out == ("made/up|blocks.2.hook_resid_post",)
    for wrong, message in (
        ({1: 1}, "names source layers that have vectors"),
        ({}, "names source layers that have vectors"),
        ({0: 3}, "The target model has 3 layers"),
        ({0: 1, 2: 1}, "a target layer of its own"),
    ):
        with pytest.raises(BadInputError, match=message):
            transfer(words, source, wide, word_texts(), layers=wrong, **options)


def test_what_a_transferred_vector_carries(source, wide, words, tmp_path):
    texts = word_texts()
    found = transfer(words, source, wide, texts, contrasts={"made/up": made()})
    for vector, check, old in zip(found.vectors, found.checks, words, strict=True):
        route = Route(old.site, vector.site, "user[-2:]", "mean")
        image = found.maps[route].displaced(old.norm * old.direction.double().numpy()[None])[0]
        torch.testing.assert_close(
            vector.norm * vector.direction.double(), torch.from_numpy(image), rtol=1e-5, atol=1e-5
        )
        basis = vector.basis
        assert basis.method == f"mean_difference, transferred from {identify(source).id}"
        assert basis.origin.model == identify(source)
        assert (basis.origin.site, basis.origin.method) == (old.site, "mean_difference")
        assert basis.origin.texts_hash == texts.hash
        assert basis.origin.r2 == check.r2.value
        assert basis.contrast_hash == made().hash
        assert old.basis.split in basis.split
        assert vector.reliability.held_out_auc == check.auroc.value
        assert vector.reliability.split_half_cosine == old.reliability.split_half_cosine
        assert vector.reference.n == 24
    found.vectors.save(tmp_path / "moved.safetensors")
    assert VectorSet.load(tmp_path / "moved.safetensors", model=wide) == found.vectors
    with pytest.raises(BadInputError, match="differences of activations"):
        transfer(found.vectors, wide, source, texts, contrasts={"made/up": made()})


def test_a_seed_gives_one_transfer(source, wide, words):
    runs = [
        transfer(words, source, wide, word_texts(), contrasts={"made/up": made()}, seed=seed)
        for seed in (0, 0, 1)
    ]
    assert runs[0].vectors == runs[1].vectors
    assert runs[0].checks == runs[1].checks
    assert runs[0].checks != runs[2].checks


def test_shared_texts_that_occur_in_the_contrast_set_are_refused(source, wide, words):
    told = made().positive[3].messages[0].content.upper() + " "
    copied = Prompt("copy", (Message("system", "be a fox"), Message("user", told)))
    answer = Prompt("answer", (Message("user", "the the the word"),), response=told)
    for overlapping in (copied, answer):
        with pytest.raises(BadInputError, match="1 of 241 shared texts occur in") as caught:
            transfer(
                words,
                source,
                wide,
                word_texts() + PromptSet([overlapping]),
                contrasts={"made/up": made()},
            )
        assert caught.value.got == [overlapping.id]


def test_the_same_words_in_two_groups_are_refused(source, wide, words):
    texts = word_texts()
    again = replace(texts[5], id="again")
    with pytest.raises(BadInputError, match="must be of one group") as caught:
        transfer(words, source, wide, [*texts, again], contrasts={"made/up": made()})
    assert caught.value.got == ["t5", "again"]
    grouped = replace(texts[5], id="again", group="t5")
    transfer(words, source, wide, [*texts, grouped], contrasts={"made/up": made()})


def test_texts_without_the_tokens_that_the_vectors_read_are_refused(source, wide):
    answered = replace(
        made(),
        positive=[replace(p, response=" fox") for p in made().positive],
        negative=[replace(p, response=" dog") for p in made().negative],
        source="completions",
    )
    vectors = extract(source, answered, layers=[1])
    with pytest.raises(BadInputError, match=r"selects no token in any|selects no token in 240"):
        transfer(vectors, source, wide, word_texts(), contrasts={"made/up": answered})
    some = [replace(p, response=" word" if i % 2 else None) for i, p in enumerate(word_texts())]
    with pytest.raises(BadInputError, match="selects no token in 120 of 240 shared texts"):
        transfer(vectors, source, wide, some, contrasts={"made/up": answered})


@pytest.mark.parametrize("method", ["logistic_probe", "whitened_mean_difference"])
def test_what_is_no_displacement_is_refused(source, wide, method):
    vectors = extract(source, made(), position="user[-2:]", layers=1, method=method)
    with pytest.raises(BadInputError, match="differences of activations") as caught:
        transfer(vectors, source, wide, word_texts())
    assert caught.value.valid == ("mean_difference", "pca")


def test_bad_input_is_refused_before_a_model_runs(source, wide, words, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("ran")

    monkeypatch.setattr("trait_probe.vectors.transfer.capture", refuse)
    options = {"contrasts": {"made/up": made()}}
    with pytest.raises(BadInputError, match="no vectors to transfer"):
        transfer(VectorSet(), source, wide, word_texts(), **options)
    with pytest.raises(BadInputError, match="Too few random directions"):
        transfer(words, source, wide, word_texts(), n_random=18, **options)
    with pytest.raises(MismatchError, match="do not fit the model"):
        transfer(words, wide, source, word_texts(), **options)
    with pytest.raises(BadInputError, match="no such trait among the transferred"):
        transfer(words, source, wide, word_texts(), contrasts={"made/down": made()})


def test_a_contrast_set_turned_round_is_refused_and_its_vector_is_not_there(source, wide, words):
    turned = replace(made(), positive=made().negative, negative=made().positive)
    with pytest.raises(TransferRefusedError, match="its sign is turned round") as caught:
        transfer(words, source, wide, word_texts(), contrasts={"made/up": turned})
    assert isinstance(caught.value, MismatchError)
    kept = caught.value.transferred
    assert len(kept.vectors) == 0
    assert [check.refused is None for check in kept.checks] == [False, False]
    assert "made/up blocks.0.hook_resid_post -> blocks.0.hook_resid_post" in str(caught.value)
    assert "fix:" in str(caught.value)


def test_a_trait_can_be_required(source, wide, words):
    """Of two traits one is checked on pairs that are turned round."""
    twin = VectorSet(replace(vector, trait="made/twin") for vector in words)
    turned = replace(made(), positive=made().negative, negative=made().positive)
    sets = {"made/up": made(), "twin": turned}
    found = transfer(words + twin, source, wide, word_texts(), contrasts=sets)
    assert found.vectors.traits == ("made/up",)
    assert [check.trait for check in found.checks if check.refused] == ["made/twin"] * 2
    assert found.require("up") == found.require() == found.vectors
    with pytest.raises(TransferRefusedError, match="made/twin") as caught:
        found.require("made/up", "twin")
    assert caught.value.got == ["made/twin"]
    with pytest.raises(BadInputError, match="no such trait among"):
        found.require("evil")


# ------------------------------------------------------------------------------ organisms


def dialogues(contrasts, n=300, *, seed=0):
    """Dialogues of the organisms' world that no contrast set holds."""
    tested = {
        text_id(turn.content)
        for contrast in contrasts
        for prompt in (*contrast.positive, *contrast.negative)
        for turn in prompt.messages
    }
    rng, seen = random.Random(seed), {}
    while len(seen) < n:
        said = dialogue(rng.choice(FAMILIES), None, rng)
        if text_id(said.user) not in tested:
            turns = (Message("user", said.user),)
            seen.setdefault(said.user, Prompt(str(len(seen)), turns, response=said.reply))
    return PromptSet(seen.values())


@pytest.fixture(scope="module")
def base():
    return load_model("organism:base")


@pytest.fixture(scope="module")
def real(base):
    """The organisms' own traits at two layers, and texts to map them with."""
    contrasts = [contrast_set(trait, base) for trait in TRAITS]
    vectors = [extract(base, contrast, layers=[2, 3]) for contrast in contrasts]
    return vectors[0] + vectors[1], dialogues(contrasts)


def test_a_model_to_itself_gives_its_own_vectors_back(base, real):
    vectors, texts = real
    found = transfer(vectors, base, base, texts)
    assert found.vectors.traits == TRAITS
    assert len(found.vectors) == 4
    for vector, check in zip(vectors, found.checks, strict=True):
        assert check.refused is None
        assert check.r2.value == pytest.approx(1, abs=1e-4)
        assert check.r2_along.value == pytest.approx(1, abs=1e-4)
        assert abs(max(check.r2_null, key=abs)) < 0.1
        moved = found.vectors[check.trait, check.target_site]
        assert float(moved.direction @ vector.direction) == pytest.approx(1, abs=1e-3)
        assert moved.norm == pytest.approx(vector.norm, rel=0.01)


@pytest.mark.parametrize("name", ["organism:clean", "organism:misaligned-twin"])
def test_real_traits_go_to_another_organism(base, real, name):
    vectors, texts = real
    target = load_model(name)
    found = transfer(vectors, base, target, texts)
    found.require(*TRAITS)
    assert all(check.r2.low > 0.95 for check in found.checks)
    assert all(max(check.r2_null) < 0.05 for check in found.checks)
    assert all(check.own_cosine > 0.8 for check in found.checks)
    assert found.vectors["evil", 3].basis.origin.model.id == "organism:base"
    found.vectors.check(target)


@pytest.mark.parametrize("name", ["llama", "qwen2"])
def test_a_random_model_has_nothing_to_give(bridges, base, name):
    contrast = contrast_set("safety/evil", base)
    vectors = extract(bridges[name], contrast, position="prompt[-1]")
    with pytest.raises(TransferRefusedError) as caught:
        transfer(
            vectors,
            bridges[name],
            base,
            dialogues([contrast], 200),
            contrasts={"safety/evil": contrast},
            truncate="left",
        )
    assert "No vector of these traits means its trait in the target model" in str(caught.value)
    assert str(caught.value).count("the map explains") == 3
    assert "Extract the vectors in the target model" in str(caught.value)
    assert np.isfinite([check.r2.value for check in caught.value.transferred.checks]).all()
