"""load_model on hub-format folders: the values, the self-check, and what is refused.

The oracle is Hugging Face itself: the same folder, loaded apart from the package.
"""

from __future__ import annotations

import shutil

import pytest
import torch
import transformers
from models import build_folder, hugging_face
from safetensors.torch import load_file, save_file
from transformer_lens.hook_points import HookPoint

from trait_probe.basis import POINTS, Site
from trait_probe.errors import BadInputError, MismatchError
from trait_probe.hooks.capture import capture_sites
from trait_probe.hooks.selfcheck import self_check
from trait_probe.identity import identify, tokenizer_of
from trait_probe.models import load_model

NORM_BEFORE_MLP = {
    "llama": "model.layers.{}.post_attention_layernorm",
    "qwen2": "model.layers.{}.post_attention_layernorm",
    "gemma2": "model.layers.{}.pre_feedforward_layernorm",
    "gpt2": "transformer.h.{}.ln_2",
}
BLOCK = {"gpt2": "transformer.h.{}"}


def token_ids(model, *, rows=2, length=20, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, model.cfg.d_vocab, (rows, length), generator=generator)


@torch.inference_mode()
def seen(module, ids, run, *, output):
    """The first input of a module (or its output) while `run(ids)` runs."""
    kept = []

    def hook(_, arguments, result):
        value = result if output else arguments[0]
        kept.append(value[0] if isinstance(value, tuple) else value)

    handle = module.register_forward_hook(hook)
    run(ids)
    handle.remove()
    return kept[0]


def changed_weights(folder, target, change):
    """A copy of a folder whose tensors went through `change(dict)`."""
    shutil.copytree(folder, target)
    tensors = load_file(target / "model.safetensors")
    change(tensors)
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    return target


# ----------------------------------------------------------------------------- values


@torch.inference_mode()
def test_sites_are_hugging_faces_hidden_states(any_folder, any_model):
    ids = token_ids(any_model)
    n_layers = any_model.cfg.n_layers
    sites = [Site(layer, point) for layer in range(n_layers) for point in POINTS]
    values, logits = capture_sites(any_model, ids, sites)
    oracle = hugging_face(any_folder)(ids, output_hidden_states=True)
    torch.testing.assert_close(logits, oracle.logits, atol=1e-5, rtol=0)
    for layer in range(n_layers):
        below = oracle.hidden_states[layer]
        torch.testing.assert_close(values[Site(layer, "resid_pre")], below, atol=1e-5, rtol=0)
        if layer < n_layers - 1:
            above = oracle.hidden_states[layer + 1]
            torch.testing.assert_close(values[Site(layer)], above, atol=1e-5, rtol=0)


def test_the_last_layer_and_the_middles_are_hugging_faces(shape, any_folder, any_model):
    ids = token_ids(any_model)
    oracle, last = hugging_face(any_folder), any_model.cfg.n_layers - 1
    sites = [Site(last), *(Site(layer, "resid_mid") for layer in range(last + 1))]
    values, _ = capture_sites(any_model, ids, sites)
    block = oracle.get_submodule(BLOCK.get(shape, "model.layers.{}").format(last))
    torch.testing.assert_close(
        values[Site(last)], seen(block, ids, oracle, output=True), atol=1e-5, rtol=0
    )
    for layer in range(last + 1):
        norm = oracle.get_submodule(NORM_BEFORE_MLP[shape].format(layer))
        expected = seen(norm, ids, oracle, output=False)
        torch.testing.assert_close(values[Site(layer, "resid_mid")], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_weights_come_in_the_asked_precision(tiny_folder, dtype):
    model = load_model(str(tiny_folder), dtype=dtype)
    kinds = {parameter.dtype for _, parameter in model.named_parameters()}
    assert kinds == {getattr(torch, dtype)}
    assert identify(model).dtype == dtype


def test_a_device_map_gives_the_same_model(tiny_folder, tiny_model):
    mapped = load_model(str(tiny_folder), device_map={"": "cpu"})
    ids = token_ids(mapped)
    assert torch.equal(mapped(ids), tiny_model(ids))
    assert identify(mapped) == identify(tiny_model)


def test_the_tokenizer_is_hugging_faces_untouched(any_folder, any_model):
    plain = transformers.AutoTokenizer.from_pretrained(any_folder)
    mine = tokenizer_of(any_model)
    assert mine is not any_model.tokenizer  # TransformerLens gives that one pad and BOS
    assert (mine.pad_token, mine.padding_side) == (plain.pad_token, plain.padding_side)
    text = "the user asks <eos> about the fox"
    assert mine(text)["input_ids"] == plain(text)["input_ids"]
    assert mine.chat_template == plain.chat_template


# ------------------------------------------------------------------------- self-check


def patched_hooks(monkeypatch, model, changes):
    """Other hook points behind some names, on this model's class, for one test."""
    table = {**model.hook_dict, **changes}
    monkeypatch.setattr(type(model), "hook_dict", property(lambda _: table))


class ReadOnlyPoint:
    """Shows the activation and forgets what the hook returns."""

    def __init__(self, point):
        self._point = point
        self.name = point.name

    @property
    def fwd_hooks(self):
        return self._point.fwd_hooks

    def add_hook(self, function, **options):
        def deaf(activation, hook):
            function(activation, hook=hook)

        self._point.add_hook(deaf, **options)


def test_every_shape_passes_the_self_check(any_model):
    self_check(any_model)
    assert any_model.list_hooks() == {}


def test_a_hooked_transformer_passes_the_self_check(tiny_hooked):
    self_check(tiny_hooked)
    assert tiny_hooked.list_hooks() == {}


def test_a_hook_that_never_fires_is_red(monkeypatch, any_model):
    name = Site(1).hook_name
    patched_hooks(monkeypatch, any_model, {name: HookPoint()})
    with pytest.raises(MismatchError, match="hook points do not fire") as caught:
        self_check(any_model)
    assert name in str(caught.value)


def test_a_hook_of_another_layer_is_red(monkeypatch, tiny_model):
    other = tiny_model.hook_dict[Site(0).hook_name]
    patched_hooks(monkeypatch, tiny_model, {Site(1).hook_name: other})
    with pytest.raises(MismatchError, match=r"blocks\.1\.hook_resid_post differs .*states\[2\]"):
        self_check(tiny_model)


def test_another_layer_in_place_of_the_last_is_red(monkeypatch, any_model):
    last = any_model.cfg.n_layers - 1
    other = any_model.hook_dict[Site(last - 1).hook_name]
    patched_hooks(monkeypatch, any_model, {Site(last).hook_name: other})
    with pytest.raises(MismatchError, match=rf"blocks\.{last}\..* not the last layer's"):
        self_check(any_model)


@pytest.mark.parametrize("layer", [0, 2])
def test_a_hook_that_cannot_write_is_red(monkeypatch, tiny_model, layer):
    name = Site(layer).hook_name
    patched_hooks(monkeypatch, tiny_model, {name: ReadOnlyPoint(tiny_model.hook_dict[name])})
    with pytest.raises(MismatchError, match="Self-check") as caught:
        self_check(tiny_model)
    assert name in str(caught.value)


def test_numbers_that_are_not_finite_are_red(tiny_folder, tmp_path):
    def spoil(tensors):
        tensors["model.layers.1.mlp.up_proj.weight"][0, 0] = float("nan")

    folder = changed_weights(tiny_folder, tmp_path / "spoilt", spoil)
    with pytest.raises(MismatchError, match="by nan") as caught:
        load_model(str(folder))
    assert "bfloat16" in str(caught.value)
    assert identify(load_model(str(folder), check=False)).n_layers == 3


# ------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("name", "sentence", "hint"),
    [
        ("organism:backdored", "There is no organism of this name", "organism:backdoored"),
        ("./no/such/folder", "neither a folder, nor a hub id", "organism:base"),
        ("one/two/three", "neither a folder, nor a hub id", "OWNER/NAME"),
        ("organism", "Hugging Face could not load the model", "organism:base"),
        ("nobody/no-such-model", "Hugging Face could not load the model", "organism:"),
    ],
)
def test_an_unknown_model_is_refused_with_the_nearest_names(name, sentence, hint):
    with pytest.raises(BadInputError, match=sentence) as caught:
        load_model(name)
    assert hint in str(caught.value)
    assert name in str(caught.value)


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(BadInputError, match=r"no config\.json") as caught:
        load_model(str(tmp_path))
    assert "save_pretrained" in str(caught.value)


def test_a_folder_without_weights_is_refused(tiny_folder, tmp_path):
    folder = shutil.copytree(tiny_folder, tmp_path / "copy")
    (folder / "model.safetensors").unlink()
    with pytest.raises(BadInputError, match="could not load the model"):
        load_model(str(folder))


def test_weights_that_were_cut_off_are_refused(tiny_folder, tmp_path):
    folder = shutil.copytree(tiny_folder, tmp_path / "copy")
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadInputError, match="could not load the model"):
        load_model(str(folder))


def test_a_checkpoint_that_lacks_weights_is_refused(tiny_folder, tmp_path):
    """Hugging Face would fill the gap with random numbers, and log it."""
    folder = changed_weights(
        tiny_folder, tmp_path / "copy", lambda tensors: tensors.pop("lm_head.weight")
    )
    with pytest.raises(BadInputError, match=r"lacks 1 of the model's weights.*lm_head\.weight"):
        load_model(str(folder))


def test_weights_of_another_shape_are_refused(tiny_folder, tmp_path):
    def widen(tensors):
        tensors["lm_head.weight"] = torch.zeros(330, 17)

    folder = changed_weights(tiny_folder, tmp_path / "copy", widen)
    with pytest.raises(BadInputError, match="could not load the model"):
        load_model(str(folder))


def test_an_architecture_that_transformer_lens_lacks_is_refused(tiny_folder, tmp_path):
    config = transformers.CTRLConfig(vocab_size=330, n_embd=8, n_layer=1, n_head=2, dff=8)
    transformers.CTRLLMHeadModel(config).save_pretrained(tmp_path)
    transformers.AutoTokenizer.from_pretrained(tiny_folder).save_pretrained(tmp_path)
    with pytest.raises(BadInputError, match="TransformerLens could not take the model") as caught:
        load_model(str(tmp_path))
    assert "CTRL" in str(caught.value)


@pytest.mark.parametrize(
    ("options", "sentence", "hint"),
    [
        ({"dtype": "bf16"}, "The dtype is unknown", "bfloat16"),
        ({"revision": "main"}, "Only models on the hub have revisions", "Leave the revision out"),
        ({"device": "cuda:99"}, "The device is not available", "cpu"),
        ({"device": "abacus"}, "The device is not available", "cpu"),
        ({"device": "cpu", "device_map": "auto"}, "by device or by device_map", "Give one"),
    ],
)
def test_bad_options_are_refused(tiny_folder, options, sentence, hint):
    with pytest.raises(BadInputError, match=sentence) as caught:
        load_model(str(tiny_folder), **options)
    assert hint in str(caught.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("quantization", ["bitsandbytes-8bit", "bitsandbytes-4bit"])
def test_quantization_needs_a_gpu(tiny_folder, quantization):
    with pytest.raises(BadInputError, match="needs a CUDA device, and there is none") as caught:
        load_model(str(tiny_folder), quantization=quantization)
    assert "Leave quantization out" in str(caught.value)


# -------------------------------------------------------------------------------- adapters


def save_adapter(base_folder, target, *, seed=0, modules=("q_proj", "v_proj")):
    """A LoRA whose B is not zero, so that it changes something; and PEFT's own merged logits."""
    import peft

    torch.manual_seed(seed)
    config = peft.LoraConfig(r=2, target_modules=list(modules), init_lora_weights=False)
    wrapped = peft.get_peft_model(hugging_face(base_folder), config)
    wrapped.save_pretrained(target)
    return target, wrapped.merge_and_unload().eval()


def test_an_adapter_is_merged_as_peft_merges_it(tiny_folder, tiny_model, tmp_path):
    adapter, oracle = save_adapter(tiny_folder, tmp_path / "lora")
    model = load_model(str(tiny_folder), adapter=str(adapter))
    ids = token_ids(model)
    with torch.inference_mode():
        torch.testing.assert_close(model(ids), oracle(ids).logits, atol=1e-5, rtol=0)
        assert (model(ids) - tiny_model(ids)).abs().max() > 0.01
    assert identify(model).adapter == str(adapter)
    assert list(identify(tiny_model).differences(identify(model))) == ["weights_hash"]


def test_an_adapter_for_another_base_is_refused(tiny_folder, folders, tmp_path):
    adapter, _ = save_adapter(folders["qwen2"], tmp_path / "lora")
    with pytest.raises(BadInputError, match="PEFT could not load the adapter") as caught:
        load_model(str(tiny_folder), adapter=str(adapter))
    assert "made for this base model" in str(caught.value)


def test_an_adapter_of_which_weights_are_missing_is_refused(tiny_folder, tmp_path):
    adapter, _ = save_adapter(tiny_folder, tmp_path / "lora")
    file = adapter / "adapter_model.safetensors"
    save_file(dict(list(load_file(file).items())[:-1]), file)
    with pytest.raises(BadInputError, match=r"(?i)missing adapter keys"):
        load_model(str(tiny_folder), adapter=str(adapter))


def test_a_folder_without_an_adapter_is_refused(tiny_folder, tmp_path):
    with pytest.raises(BadInputError, match=r"adapter_config\.json"):
        load_model(str(tiny_folder), adapter=str(tmp_path))


# -------------------------------------------------------------------------------- identity


def test_two_loads_are_one_model_wherever_the_folder_is(any_folder, any_model, tmp_path):
    moved = shutil.copytree(any_folder, tmp_path / "elsewhere")
    first, second = identify(any_model), identify(load_model(str(moved), check=False))
    assert list(first.differences(second)) == []
    assert first.weights_hash == second.weights_hash
    assert first.id != second.id


def test_one_changed_weight_is_another_model(tiny_folder, tiny_model, tmp_path):
    def nudge(tensors):
        tensors["model.norm.weight"][3] += 1e-3

    folder = changed_weights(tiny_folder, tmp_path / "nudged", nudge)
    other = identify(load_model(str(folder), check=False))
    mine = identify(tiny_model)
    assert list(mine.differences(other)) == ["weights_hash"]
    assert list(mine.differences(other, lineage_ok=True)) == []


def test_the_identity_says_what_was_loaded(tiny_folder, tiny_model):
    found = identify(tiny_model)
    assert (found.d_model, found.n_layers, found.d_vocab) == (16, 3, 330)
    assert (found.id, found.revision, found.adapter) == (str(tiny_folder), None, None)
    assert (found.weight_processing, found.dtype) == ("none", "float32")
    assert found.thinking is False


def test_thinking_is_part_of_the_identity(folders):
    off, on = (
        identify(load_model(str(folders["qwen2"]), thinking=flag, check=False))
        for flag in (False, True)
    )
    assert list(off.differences(on)) == ["thinking"]


def test_another_chat_template_is_another_model(tiny_folder, tiny_model, tmp_path):
    folder = shutil.copytree(tiny_folder, tmp_path / "copy")
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text() + "\n")
    other = identify(load_model(str(folder), check=False))
    assert list(identify(tiny_model).differences(other)) == ["chat_template_hash"]


def test_centered_weights_are_told_by_their_values(folders):
    """Which options TransformerLens was given is kept nowhere; only centering moves the stream."""
    gpt2 = load_model(str(folders["gpt2"]), check=False)
    gpt2.enable_compatibility_mode(no_processing=True)
    assert identify(gpt2).weight_processing == "none"
    centered = load_model(str(folders["gpt2"]), check=False)
    centered.enable_compatibility_mode()
    assert identify(centered).weight_processing == "centered"
    ids = token_ids(gpt2)
    value = capture_sites(centered, ids, [Site(0)])[0][Site(0)]
    assert value.mean(dim=-1).abs().max() < 1e-5
    llama = load_model(str(folders["llama"]), check=False)
    llama.enable_compatibility_mode()  # RMS norms subtract no mean: nothing is centered
    assert identify(llama).weight_processing == "none"


def test_a_seed_makes_the_folder(tmp_path):
    """The builder itself: equal seeds, equal models; other seeds, others."""
    hashes = [
        identify(load_model(str(build_folder("gpt2", tmp_path / name, seed=seed)))).weights_hash
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    assert hashes[0] == hashes[1] != hashes[2]
