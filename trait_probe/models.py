"""Load a language model as a TransformerLens model with named residual-stream sites.

`load_model` takes a Hugging Face hub id, a local folder or an organism's name, and returns a
`TransformerBridge` over the raw Hugging Face weights. A `HookedTransformer` that the user already
has is accepted by every function of this package as well: both satisfy `HookedModel`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens import HookedTransformer
from transformer_lens.cache.key_value_cache import TransformerLensKeyValueCache
from transformer_lens.model_bridge import TransformerBridge

from trait_probe.basis import Site
from trait_probe.errors import BadInputError, MismatchError, nearest
from trait_probe.hooks.capture import capture_sites
from trait_probe.hooks.sites import attached
from trait_probe.identity import HookedModel, Provenance, device_of, register
from trait_probe.organisms import registry

DTYPES: Mapping[str, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
QUANTIZATIONS = ("bitsandbytes-8bit", "bitsandbytes-4bit")
Quantization = Literal["bitsandbytes-8bit", "bitsandbytes-4bit"]
HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
SELF_CHECK_TOKENS = 8
SELF_CHECK_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.1, torch.float16: 0.02}


def load_model(
    name: str,
    *,
    revision: str | None = None,
    dtype: str = "float32",
    device: str | None = None,
    device_map: str | Mapping[str, int | str] | None = None,
    adapter: str | None = None,
    quantization: Quantization | None = None,
    thinking: bool = False,
    check: bool = True,
) -> TransformerBridge:
    """Load a causal language model with its hook points.

    Args:
        name: a hub id (`google/gemma-2-2b-it`), a local Hugging Face folder, or `organism:NAME`.
        revision: hub commit, tag or branch.
        dtype: `float32`, `bfloat16` or `float16`, for weights and activations.
        device: `cpu`, `cuda`, `cuda:1`, `mps`; default CUDA where there is one, else CPU.
        device_map: accelerate's placement for models larger than one device (`auto`).
        adapter: hub id or folder of a PEFT adapter, merged into the weights at load.
        quantization: `bitsandbytes-8bit` or `bitsandbytes-4bit`; needs a CUDA device.
        thinking: the chat template's thinking mode, where it has one; part of the identity.
        check: run the self-check (two forward passes over eight tokens).

    Raises:
        BadInputError: unknown model, dtype or quantization; folder without a model; hub refused.
    """
    if dtype not in DTYPES:
        raise BadInputError("The dtype is unknown.", got=dtype, valid=nearest(dtype, DTYPES))
    if device is not None and device_map is not None:
        raise BadInputError(
            "A model is placed by device or by device_map, not by both.",
            got=(device, device_map),
            fix="Give one of the two.",
        )
    source = _source(name)
    placement = _placement(device, device_map, quantization)
    hf_model, tokenizer = _load_hugging_face(
        source, revision=revision, dtype=DTYPES[dtype], quantization=quantization, **placement
    )
    if adapter is not None:
        hf_model = _merge_adapter(hf_model, adapter)
    model = _bridge(source, hf_model, tokenizer, dtype=DTYPES[dtype])
    register(model, Provenance(name, revision, adapter, quantization, thinking, tokenizer))
    if check:
        self_check(model)
    return model


def _source(name: str) -> str:
    """A folder's path or a hub id, after checking that it can be one."""
    if name.startswith("organism:"):
        return str(registry.organism_path(name))
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise BadInputError(
                "The folder holds no Hugging Face model (no config.json).",
                got=name,
                fix="Point to the folder that save_pretrained wrote.",
            )
        return str(path)
    if path.exists() or name.startswith((".", "/", "~")) or not HUB_ID.fullmatch(name):
        raise BadInputError(
            "The model is neither a folder, nor a hub id, nor an organism.",
            got=name,
            valid=nearest(name, registry.names()),
            fix="Give an existing folder, OWNER/NAME on the hub, or one of the organisms.",
        )
    return name


def _placement(
    device: str | None,
    device_map: str | Mapping[str, int | str] | None,
    quantization: str | None,
) -> dict[str, Any]:
    if quantization is not None:
        if quantization not in QUANTIZATIONS:
            raise BadInputError(
                "The quantization is unknown.",
                got=quantization,
                valid=nearest(quantization, QUANTIZATIONS),
            )
        if not torch.cuda.is_available():
            raise BadInputError(
                "bitsandbytes quantization needs a CUDA device, and there is none.",
                got=quantization,
                fix="Leave quantization out, or run where torch.cuda.is_available() is true.",
            )
    if device_map is not None:
        return {"device_map": device_map}
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise BadInputError(
            "The device is not available.", got=device, valid=("cpu", "cuda", "cuda:0", "mps")
        ) from error
    return {"device_map": {"": device}}


def _load_hugging_face(
    source: str,
    *,
    revision: str | None,
    dtype: torch.dtype,
    quantization: str | None,
    device_map: str | Mapping[str, int | str],
) -> tuple[Any, Any]:
    extra: dict[str, Any] = {}
    if quantization is not None:
        in_8bit = quantization == "bitsandbytes-8bit"
        extra["quantization_config"] = transformers.BitsAndBytesConfig(
            load_in_8bit=in_8bit, load_in_4bit=not in_8bit
        )
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(source, revision=revision)
        model = transformers.AutoModelForCausalLM.from_pretrained(
            source,
            revision=revision,
            dtype=dtype,
            device_map=device_map,
            attn_implementation="eager",  # hooks on scores and patterns need it; see the bridge
            **extra,
        )
    except (OSError, ValueError, KeyError) as error:
        raise BadInputError(
            "Hugging Face could not load the model: " + str(error).strip().split("\n")[0],
            got=source,
            valid=nearest(source, registry.names()),
            fix="Check the spelling, the revision, your access to the hub, or the folder's files.",
        ) from error
    return model.eval(), tokenizer


def _merge_adapter(hf_model: Any, adapter: str) -> Any:
    from peft import PeftModel  # only adapters need it, and it takes a second to import

    try:
        wrapped = PeftModel.from_pretrained(hf_model, adapter)
    except (OSError, ValueError, RuntimeError) as error:
        raise BadInputError(
            "PEFT could not load the adapter: " + str(error).strip().split("\n")[0],
            got=adapter,
            fix="Give a hub id or folder with adapter_config.json, made for this base model.",
        ) from error
    return wrapped.merge_and_unload().eval()


def _bridge(source: str, hf_model: Any, tokenizer: Any, *, dtype: torch.dtype) -> TransformerBridge:
    # TransformerLens sets pad and BOS on the tokenizer it is given: hand it one of its own.
    own = transformers.AutoTokenizer.from_pretrained(tokenizer.name_or_path)
    bridge = TransformerBridge.boot_transformers(
        source, hf_model=hf_model, tokenizer=own, dtype=dtype
    )
    return bridge.eval()


def all_layers(model: HookedModel) -> tuple[int, ...]:
    """Every layer, bottom first."""
    return tuple(range(int(model.cfg.n_layers)))


@torch.inference_mode()
def self_check(model: HookedModel) -> None:
    """Refuse a model whose hook points are not what they say.

    Perturbing the first layer's `resid_post` must change the logits; and, where the Hugging Face
    model is at hand, the hook's value must equal `hidden_states[layer + 1]` for every layer but
    the last (whose hidden state Hugging Face gives after the final norm).

    Raises:
        MismatchError: with the site and the largest difference.
    """
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, int(model.cfg.d_vocab), (1, SELF_CHECK_TOKENS), generator=generator)
    ids = ids.to(device_of(model))
    sites = [Site(layer) for layer in all_layers(model)]
    values, logits = capture_sites(model, ids, sites)
    with attached(model, [(sites[0], lambda activation: activation + activation.std())]):
        perturbed = model(ids, return_type="logits")
    if torch.equal(perturbed, logits):
        raise MismatchError(
            "Self-check: perturbing the residual stream does not change the logits.",
            got=sites[0].hook_name,
            fix="This architecture's hook points are not wired; try a newer transformer-lens.",
        )
    _check_hidden_states(model, ids, values)


def _check_hidden_states(
    model: HookedModel,
    ids: Int[Tensor, "batch pos"],
    values: Mapping[Site, Float[Tensor, "batch pos d_model"]],
) -> None:
    original = getattr(model, "original_model", None)
    if original is None or getattr(model, "compatibility_mode", False):
        return
    hidden = original(ids, output_hidden_states=True).hidden_states
    for site, value in values.items():
        if site.layer == int(model.cfg.n_layers) - 1:
            continue
        oracle = hidden[site.layer + 1].to(value.device)
        scale = float(oracle.abs().max())
        difference = float((value - oracle).abs().max())
        if difference > SELF_CHECK_TOLERANCE[value.dtype] * max(scale, 1.0):
            raise MismatchError(
                f"Self-check: {site} differs from Hugging Face's hidden_states"
                f"[{site.layer + 1}] by {difference:.3g} (scale {scale:.3g}).",
                fix="This architecture is not read correctly; report it with the model's id.",
            )


class Decoder:
    """One token at a time with a key/value cache, over left-padded rows, for either model class.

    `step` takes new token ids `[batch pos]` and returns the logits of the last position. Rows are
    told apart from their padding by `mask` (0 for padding), given once with the prompt.
    """

    def __init__(self, model: HookedModel, mask: Int[Tensor, "batch pos"]) -> None:
        self._model = model
        self._mask = mask
        self._cache: Any = None
        if isinstance(model, HookedTransformer):
            self._cache = TransformerLensKeyValueCache.init_cache(
                model.cfg, device_of(model), mask.shape[0]
            )

    def step(self, ids: Int[Tensor, "batch new"]) -> Float[Tensor, "batch d_vocab"]:
        """Feed `ids`, the prompt first and then one token a row; logits of the last position."""
        if isinstance(self._model, HookedTransformer):
            return self._step_hooked_transformer(ids)
        if self._cache is not None:
            self._mask = torch.cat([self._mask, torch.ones_like(ids)], dim=1)
        logits, self._cache = self._model(
            ids,
            attention_mask=self._mask,
            past_key_values=self._cache,
            use_cache=True,
            return_type="logits_and_cache",
        )
        return logits[:, -1]

    def _step_hooked_transformer(
        self, ids: Int[Tensor, "batch new"]
    ) -> Float[Tensor, "batch d_vocab"]:
        first = self._cache.previous_attention_mask.shape[1] == 0
        mask = self._mask if first else torch.ones_like(ids)
        logits = self._model(
            ids, attention_mask=mask, past_kv_cache=self._cache, return_type="logits"
        )
        return logits[:, -1]
