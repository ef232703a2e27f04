"""What makes two models one: hashes of weights and tokenizer, and the weight processing."""

from __future__ import annotations

import pytest
import torch
from helpers_tokenizer import build_tokenizer
from hypothesis import given
from hypothesis import strategies as st
from models import hooked_transformer

from trait_probe.basis import POINTS, Site
from trait_probe.errors import BadInputError
from trait_probe.identity import (
    FULL_HASH_ELEMENTS,
    HookedModel,
    context_length,
    identify,
    require_loaded,
    tokenizer_hash,
    tokenizer_of,
    weight_processing,
    weights_hash,
)

LARGE = FULL_HASH_ELEMENTS + 5
"""Elements of a tensor that is hashed by its sample and its sum; not a whole number of words."""


def hashed(tensor, name="w"):
    return weights_hash([(name, torch.nn.Parameter(tensor, requires_grad=False))])


def large(dtype):
    return torch.arange(LARGE).remainder(251).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.uint8])
@pytest.mark.parametrize("place", [1, LARGE // 2, LARGE - 1])
def test_every_weight_of_a_large_tensor_counts(dtype, place):
    before, after = large(dtype), large(dtype)
    after[place] += 1
    assert hashed(before) == hashed(large(dtype))
    assert hashed(before) != hashed(after)


@pytest.mark.parametrize("size", [7, LARGE])
def test_the_hash_sees_values_and_not_how_they_lie_in_memory(size):
    values = torch.randn(2, size)
    assert hashed(values) == hashed(values.T.contiguous().T)
    shifted = torch.cat([torch.zeros(1), values.reshape(-1)])[1:].reshape(2, size)
    assert hashed(values) == hashed(shifted)


def test_names_shapes_and_precisions_count():
    values = torch.arange(6.0)
    others = [hashed(values, "v"), hashed(values.reshape(2, 3)), hashed(values.bfloat16())]
    assert len({hashed(values), *others}) == 4


def test_the_order_of_the_parameters_does_not_count():
    pairs = [(name, torch.nn.Parameter(torch.full((2,), i * 1.0))) for i, name in enumerate("ab")]
    assert weights_hash(pairs) == weights_hash(reversed(pairs))


def test_settings_of_a_call_are_no_part_of_the_tokenizer():
    plain, other = build_tokenizer("chatml"), build_tokenizer("chatml", text_bos=False)
    other.padding_side, other.pad_token = "left", other.eos_token
    other(["a", "the quick fox"], padding=True, truncation=True, max_length=4)
    assert tokenizer_hash(plain) == tokenizer_hash(other)


def test_another_vocabulary_is_another_tokenizer():
    other = build_tokenizer("chatml")
    other.add_tokens(["<trigger>"])
    assert tokenizer_hash(build_tokenizer("chatml")) != tokenizer_hash(other)


@pytest.mark.parametrize(
    ("norm", "options", "expected"),
    [
        ("LN", {"fold_ln": True, "center_writing_weights": False}, "none"),
        ("LN", {"fold_ln": False, "center_writing_weights": True}, "centered"),
        ("LN", {"fold_ln": True, "center_writing_weights": True}, "centered"),
        ("RMS", {"fold_ln": True, "center_writing_weights": True}, "none"),
    ],
)
def test_the_processing_says_what_happened_to_the_residual_stream(
    tiny_folder, norm, options, expected
):
    model = hooked_transformer(tiny_folder, normalization_type=norm)
    ids, name = torch.arange(12)[None], "blocks.1.hook_resid_post"
    before = model.run_with_cache(ids)[1][name]
    model.load_and_process_state_dict(model.state_dict(), **options)
    moved = (model.run_with_cache(ids)[1][name] - before).abs().max() > 1e-3
    assert weight_processing(model) == expected
    assert moved == (expected == "centered")  # the oracle: did the values really change?


def test_both_classes_are_models(either_model):
    assert isinstance(either_model, HookedModel)
    assert context_length(either_model) == 128
    assert identify(either_model) is identify(either_model)  # computed once
    assert not isinstance(torch.nn.Linear(1, 1), HookedModel)


def test_a_model_without_tokenizer_says_how_to_get_one(tiny_folder):
    model = hooked_transformer(tiny_folder)
    model.tokenizer = None
    with pytest.raises(BadInputError, match="The model has no tokenizer") as caught:
        tokenizer_of(model)
    assert "trait_probe.load_model" in str(caught.value)


@given(places=st.lists(st.tuples(st.integers(0, 3), st.sampled_from(POINTS)), min_size=2))
def test_sites_sort_from_the_embedding_upwards(places):
    """By depth, not by the alphabet, in which the end of a block would come before its start."""
    found = sorted(Site(layer, point) for layer, point in places)
    depths = [3 * site.layer + POINTS.index(site.point) for site in found]
    assert depths == sorted(depths)
    assert Site(1, "resid_pre") < Site(1, "resid_mid") < Site(1) <= Site(1) < Site(2, "resid_pre")


@given(layer=st.integers(0, 99), point=st.sampled_from(POINTS))
def test_a_site_is_read_back_from_its_name(layer, point):
    site = Site(layer, point)
    assert Site.parse(site.hook_name) == site
    assert site.needs_layers == (layer if point == "resid_pre" else layer + 1)


@pytest.mark.parametrize("name", ["blocks.1.hook_mlp_out", "blocks.-1.hook_resid_post", "", "1"])
def test_other_hook_names_are_no_sites(name):
    with pytest.raises(BadInputError, match="not a residual-stream site") as caught:
        Site.parse(name)
    assert "blocks.LAYER.hook_resid_post" in str(caught.value)


def test_the_name_of_a_model_is_not_a_model():
    with pytest.raises(BadInputError, match=r"organism:base(.|\n)*load_model"):
        require_loaded("organism:base")
