"""SAE features through sae-lens: its own encoding, and every way in which an SAE may not fit."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from models import hooked_transformer
from rendered_builders import random_ids, rendered
from safetensors.torch import load_file, save_file

from trait_probe.basis import Site
from trait_probe.errors import BadInputError, MismatchError
from trait_probe.forward.capture import capture
from trait_probe.forward.features import sae_features
from trait_probe.hooks.sae import CENTERING, load_sae
from trait_probe.models import load_model

SITE = Site(1)
ITEMS = [rendered(random_ids(n, n), answer=n // 3, name=f"p{n}") for n in (5, 9, 3)]


def save_sae(folder, *, d_in=16, d_sae=32, normalize="none", kind="standard", **metadata):
    """A small random SAE as sae-lens saves it."""
    import sae_lens
    from sae_lens.saes.sae import SAEMetadata

    classes = {
        "standard": (sae_lens.StandardSAE, sae_lens.StandardSAEConfig),
        "topk": (sae_lens.TopKSAE, sae_lens.TopKSAEConfig),
    }
    sae_class, config_class = classes[kind]
    known = {"hook_name": SITE.hook_name, "model_name": "tiny"} | metadata
    torch.manual_seed(0)
    config = config_class(
        d_in=d_in,
        d_sae=d_sae,
        normalize_activations=normalize,
        metadata=SAEMetadata(**{key: value for key, value in known.items() if value is not None}),
        **({"k": 4} if kind == "topk" else {}),
    )
    # sae-lens warns where the metadata says how the model was loaded; loading is what we test.
    quiet = config.metadata.model_from_pretrained_kwargs
    config.metadata.model_from_pretrained_kwargs = None
    sae = sae_class(config)
    config.metadata.model_from_pretrained_kwargs = quiet
    if hasattr(sae, "b_enc"):
        torch.nn.init.normal_(sae.b_enc, std=0.1)
    torch.nn.init.normal_(sae.b_dec, std=0.1)
    sae.save_model(folder)
    return folder


@pytest.fixture(scope="session")
def sae_folder(tmp_path_factory):
    return save_sae(tmp_path_factory.mktemp("sae") / "plain", neuronpedia_id="tiny/1-res")


# -------------------------------------------------------------------------------- values


@pytest.mark.parametrize("kind", ["standard", "topk"])
def test_features_are_sae_lens_own_encoding(either_model, tmp_path, kind):
    from sae_lens import SAE

    folder = save_sae(tmp_path, kind=kind)
    found = sae_features(either_model, ITEMS, str(folder), position="all[:]")
    rows = capture(either_model, ITEMS, [SITE], position="all[:]").values[SITE]
    with torch.inference_mode():
        expected = SAE.load_from_disk(folder).encode(torch.from_numpy(rows)).numpy()
    assert list(found.values) == [SITE]
    assert found.values[SITE].shape == (17, 32)
    np.testing.assert_allclose(found.values[SITE], expected, atol=1e-5)
    assert found.values[SITE].min() == 0.0 < found.values[SITE].max()
    assert either_model.list_hooks() == {}


def test_features_by_hand(tiny_model, sae_folder):
    """The formula itself, from the file's tensors: relu((x - b_dec) W_enc + b_enc)."""
    found = sae_features(tiny_model, ITEMS, str(sae_folder), position="response[:]")
    x = capture(tiny_model, ITEMS, [SITE], position="response[:]").values[SITE]
    saved = load_file(sae_folder / "sae_weights.safetensors")
    w_enc, b_enc, b_dec = (saved[name].numpy() for name in ("W_enc", "b_enc", "b_dec"))
    expected = np.maximum((x - b_dec) @ w_enc + b_enc, 0)
    np.testing.assert_allclose(found.values[SITE], expected, atol=1e-5)


def test_a_loaded_sae_says_what_it_is(tiny_model, sae_folder):
    features = load_sae(str(sae_folder), tiny_model)
    assert (features.site, features.d_sae, features.name) == (SITE, 32, str(sae_folder))
    assert features.feature_url(7) == "https://www.neuronpedia.org/tiny/1-res/7"
    assert replace(features, neuronpedia_id=None).feature_url(7) is None
    again = sae_features(tiny_model, ITEMS, features, position="prompt[-1]")
    named = sae_features(tiny_model, ITEMS, str(sae_folder), position="prompt[-1]")
    np.testing.assert_array_equal(again.values[SITE], named.values[SITE])


def test_half_precision_activations_are_encoded_in_the_saes_precision(tiny_model, sae_folder):
    features = load_sae(str(sae_folder), tiny_model)
    rows = torch.randn(4, 16).bfloat16()
    assert features(rows).dtype == torch.float32
    torch.testing.assert_close(features(rows), features(rows.float()))


def test_an_sae_at_the_embedding(tiny_model, tmp_path):
    folder = save_sae(tmp_path, hook_name="blocks.0.hook_resid_pre")
    found = sae_features(tiny_model, ITEMS, str(folder), position="prompt[-1]")
    assert list(found.values) == [Site(0, "resid_pre")]


# ----------------------------------------------------------------- an SAE that does not fit


@pytest.mark.parametrize(
    ("options", "error", "sentence", "hint"),
    [
        ({"d_in": 24}, MismatchError, "another width", "d_in 24, model d_model 16"),
        ({"hook_name": "blocks.3.hook_resid_post"}, BadInputError, "outside the model", "0 to 2"),
        (
            {"hook_name": "blocks.1.mlp.hook_out"},
            BadInputError,
            "not a residual-stream site",
            "blocks.LAYER.hook_resid_post",
        ),
        ({"hook_name": "model.layers.1"}, BadInputError, "not a residual-stream", "blocks.LAYER"),
        ({"hook_name": None}, BadInputError, "does not say at which hook", "metadata"),
        (
            {"normalize": "expected_average_only_in"},
            MismatchError,
            "activations in other units",
            "fold_activation_norm_scaling_factor",
        ),
    ],
)
def test_an_sae_that_does_not_fit_is_refused(tiny_model, tmp_path, options, error, sentence, hint):
    folder = save_sae(tmp_path, **options)
    with pytest.raises(error, match=sentence) as caught:
        load_sae(str(folder), tiny_model)
    assert hint in str(caught.value)


@pytest.mark.parametrize("normalize", ["layer_norm", "constant_norm_rescale"])
def test_normalizations_that_need_no_constants_are_taken(tiny_model, tmp_path, normalize):
    folder = save_sae(tmp_path, normalize=normalize)
    features = load_sae(str(folder), tiny_model)
    rows = torch.randn(3, 16)
    torch.testing.assert_close(features(rows), features.sae.encode(rows))


def test_the_weight_processing_has_to_agree(tiny_folder, folders, tmp_path):
    """Only centering moves the residual stream; it does nothing where norms subtract no mean."""
    raw, centering = (
        save_sae(tmp_path / str(flag), model_from_pretrained_kwargs={CENTERING: flag})
        for flag in (False, True)
    )
    plain = load_model(str(folders["gpt2"]), check=False)
    assert load_sae(str(raw), plain).site == SITE
    with pytest.raises(MismatchError, match="another weight processing") as caught:
        load_sae(str(centering), plain)
    assert "center_writing_weights=True), model: none" in str(caught.value)
    assert "enable_compatibility_mode" in str(caught.value)
    plain.enable_compatibility_mode()  # the way out that the error names
    assert load_sae(str(centering), plain).site == SITE
    with pytest.raises(MismatchError, match="another weight processing") as caught:
        load_sae(str(raw), plain)
    assert "trait_probe.load_model" in str(caught.value)
    rms = hooked_transformer(tiny_folder, normalization_type="RMS")
    assert load_sae(str(centering), rms).site == SITE


def test_a_loaded_sae_is_checked_against_the_model_that_it_meets(tiny_model, bridges, sae_folder):
    features = load_sae(str(sae_folder), tiny_model)
    with pytest.raises(MismatchError, match="d_in 16, model d_model 24"):
        sae_features(bridges["qwen2"], ITEMS, features, position="all[:]")


# ------------------------------------------------------------------------- no SAE there


@pytest.mark.parametrize(
    ("name", "sentence", "hint"),
    [
        ("organism:backdored-sae", "no organism SAE of this name", "organism:backdoored-sae"),
        ("./no/such/folder", r"holds no SAE \(no cfg\.json\)", "sae.save_model"),
        ("gemma-scope-2b-pt-res-canonicl/layer_20", "neither a folder", "gemma-scope-2b-pt-res"),
        ("no-such-release", "neither a folder nor RELEASE/ID", "organism:backdoored-sae"),
        (
            "gemma-scope-2b-pt-res-canonical/layer_20/width_16/canonical",
            "The release has no SAE of this id",
            "layer_20/width_16k/canonical",
        ),
    ],
)
def test_an_unknown_sae_is_refused_with_the_nearest_names(tiny_model, name, sentence, hint):
    with pytest.raises(BadInputError, match=sentence) as caught:
        load_sae(name, tiny_model)
    assert hint in str(caught.value)


def test_a_listed_sae_without_network_says_so(tiny_model):
    name = "gpt2-small-res-jb/blocks.1.hook_resid_pre"
    with pytest.raises(BadInputError, match="The hub did not give the SAE") as caught:
        load_sae(name, tiny_model)
    assert name in str(caught.value)
    assert "network" in str(caught.value)


def test_a_folder_of_something_else_is_refused(tiny_model, tiny_folder):
    with pytest.raises(BadInputError, match=r"no cfg\.json"):
        load_sae(str(tiny_folder), tiny_model)


def drop_a_tensor(folder):
    path = folder / "sae_weights.safetensors"
    tensors = load_file(path)
    tensors.pop("W_enc")
    save_file(tensors, path)


def widen_the_config(folder):
    config = json.loads((folder / "cfg.json").read_text())
    (folder / "cfg.json").write_text(json.dumps(config | {"d_sae": 64}))


SPOILT = {
    "no weights": lambda folder: (folder / "sae_weights.safetensors").unlink(),
    "cut weights": lambda folder: (folder / "sae_weights.safetensors").write_bytes(b"12345678"),
    "no JSON": lambda folder: (folder / "cfg.json").write_text("{"),
    "no width": lambda folder: (folder / "cfg.json").write_text('{"architecture": "standard"}'),
    "strange kind": lambda folder: (folder / "cfg.json").write_text('{"architecture": "soup"}'),
    "a tensor less": drop_a_tensor,
    "another size": widen_the_config,
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_a_spoilt_folder_is_refused(tiny_model, tmp_path, spoil):
    folder = save_sae(tmp_path)
    spoil(folder)
    with pytest.raises(BadInputError, match="sae-lens could not load the folder") as caught:
        load_sae(str(folder), tiny_model)
    assert "sae.save_model" in str(caught.value)
