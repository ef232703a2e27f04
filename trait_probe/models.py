"""Load a language model as a TransformerLens model with named residual-stream sites.

`load_model` takes a Hugging Face hub id, a local folder or an organism's name, and returns a
`TransformerBridge` over the raw Hugging Face weights. A `HookedTransformer` that the user already
has is accepted by every function of this package as well: both satisfy `HookedModel`.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
from safetensors import SafetensorError
from transformer_lens.model_bridge import TransformerBridge

from trait_probe.errors import BadInputError, first_line, nearest
from trait_probe.hooks.selfcheck import self_check
from trait_probe.identity import Provenance, register
from trait_probe.organisms import registry

DTYPES: Mapping[str, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
QUANTIZATIONS = ("bitsandbytes-8bit", "bitsandbytes-4bit")
Quantization = Literal["bitsandbytes-8bit", "bitsandbytes-4bit"]
HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


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
        revision: hub commit, tag or branch; folders and organisms have none.
        dtype: `float32`, `bfloat16` or `float16`, for weights and activations.
        device: `cpu`, `cuda`, `cuda:1`, `mps`; default CUDA where there is one, else CPU.
        device_map: accelerate's placement for models larger than one device (`auto`).
        adapter: hub id or folder of a PEFT adapter, merged into the weights at load.
        quantization: `bitsandbytes-8bit` or `bitsandbytes-4bit`; needs a CUDA device.
        thinking: the chat template's thinking mode, where it has one; part of the identity.
        check: run the self-check (five forward passes over eight tokens).

    Raises:
        BadInputError: unknown model, dtype or quantization; folder without a model or with a part
            of one; hub refused; an architecture that TransformerLens does not have.
        MismatchError: the self-check failed.
    """
    if dtype not in DTYPES:
        raise BadInputError("The dtype is unknown.", got=dtype, valid=nearest(dtype, DTYPES))
    if device is not None and device_map is not None:
        raise BadInputError(
            "A model is placed by device or by device_map, not by both.",
            got=(device, device_map),
            fix="Give one of the two.",
        )
    source = _source(name, revision)
    placement = _placement(device, device_map, quantization)
    hf_model, tokenizer = _load_hugging_face(
        source, revision=revision, dtype=DTYPES[dtype], quantization=quantization, **placement
    )
    if adapter is not None:
        hf_model = _merge_adapter(hf_model, adapter)
    commit = getattr(hf_model.config, "_commit_hash", None) or revision
    model = _bridge(source, hf_model, revision=revision, dtype=DTYPES[dtype])
    register(model, Provenance(name, commit, adapter, quantization, thinking, tokenizer))
    if check:
        self_check(model)
    return model


def _source(name: str, revision: str | None) -> str:
    """A folder's path or a hub id, after checking that it can be one."""
    organism = name.startswith(registry.PREFIX)
    path = registry.organism_path(name) if organism else Path(name).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise BadInputError(
                "The folder holds no Hugging Face model (no config.json).",
                got=name,
                fix="Point to the folder that save_pretrained wrote.",
            )
        if revision is not None:
            raise BadInputError(
                "Only models on the hub have revisions.",
                got=f"{name} at {revision}",
                fix="Leave the revision out, or give OWNER/NAME instead of a folder.",
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
        model, found = transformers.AutoModelForCausalLM.from_pretrained(
            source,
            revision=revision,
            dtype=dtype,
            device_map=device_map,
            attn_implementation="eager",  # hooks on scores and patterns need it; see the bridge
            output_loading_info=True,
            **extra,
        )
    except torch.OutOfMemoryError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        raise BadInputError(
            f"Hugging Face could not load the model: {first_line(error)}",
            got=source,
            valid=nearest(source, registry.names()),
            fix="Check the spelling, the revision, your access to the hub, or the folder's files.",
        ) from error
    _check_whole(source, found["missing_keys"])
    return model.eval(), tokenizer


def _check_whole(source: str, missing: Iterable[str]) -> None:
    """Hugging Face fills what a checkpoint lacks with random weights, and only logs it."""
    names = sorted(missing)
    if names:
        raise BadInputError(
            f"The checkpoint lacks {len(names)} of the model's weights, such as {names[0]}.",
            got=source,
            fix="Download or save it again; a checkpoint without a language-model head cannot be "
            "used.",
        )


def _merge_adapter(hf_model: Any, adapter: str) -> Any:
    from peft import PeftModel  # only adapters need it, and it takes a second to import

    try:
        with warnings.catch_warnings():
            # PEFT only warns about weights that it did not find, and goes on without them.
            warnings.filterwarnings("error", message=".*[Mm]issing adapter keys")
            merged = PeftModel.from_pretrained(hf_model, adapter).merge_and_unload()
    except torch.OutOfMemoryError:
        raise
    except (OSError, ValueError, RuntimeError, AttributeError, UserWarning) as error:
        raise BadInputError(
            f"PEFT could not load the adapter: {first_line(error)}",
            got=adapter,
            fix="Give a hub id or folder with adapter_config.json, made for this base model, of a "
            "kind that can be merged (LoRA and alike).",
        ) from error
    return merged.eval()


def _bridge(
    source: str, hf_model: Any, *, revision: str | None, dtype: torch.dtype
) -> TransformerBridge:
    # TransformerLens sets pad and BOS on the tokenizer it holds: let it load one of its own.
    try:
        bridge = TransformerBridge.boot_transformers(
            source, hf_model=hf_model, revision=revision, dtype=dtype
        )
    except (ValueError, NotImplementedError) as error:
        raise BadInputError(
            f"TransformerLens could not take the model: {first_line(error)}",
            got=f"{source} ({type(hf_model).__name__})",
            fix="Choose a decoder-only language model, placed on GPUs or the CPU alone.",
        ) from error
    return bridge.eval()
