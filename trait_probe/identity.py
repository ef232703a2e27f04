"""What a model is to this package: its protocol, its `ModelIdentity`, its tokenizer as loaded.

Nothing here names a TransformerLens class: vector files can be checked without
importing TransformerLens.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Shaped

from trait_probe.basis import ModelIdentity
from trait_probe.errors import BadInputError

FULL_HASH_ELEMENTS = 1 << 20
SAMPLE_STRIDE = 4099  # prime, so that the sample visits every row and column of a large matrix


@runtime_checkable
class HookedModel(Protocol):
    """What every function here asks of a model; TransformerLens' two classes both have it."""

    cfg: Any
    tokenizer: Any

    @property
    def hook_dict(self) -> dict[str, Any]: ...

    def named_parameters(self) -> Iterable[tuple[str, torch.nn.Parameter]]: ...

    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...


@dataclass(frozen=True)
class Provenance:
    """What only the loader knows about a model."""

    id: str
    revision: str | None
    adapter: str | None
    quantization: str | None
    thinking: bool
    tokenizer: Any


_provenance: WeakKeyDictionary[Any, Provenance] = WeakKeyDictionary()
_identities: WeakKeyDictionary[Any, ModelIdentity] = WeakKeyDictionary()


def register(model: HookedModel, provenance: Provenance) -> None:
    """Remember how `model` was loaded, for as long as it lives."""
    _provenance[model] = provenance
    _identities.pop(model, None)


def tokenizer_of(model: HookedModel) -> Any:
    """The model's tokenizer as Hugging Face loads it.

    TransformerLens adds a BOS setting and a pad token to the tokenizer it holds; token ids here
    are those of plain Hugging Face whenever `load_model` made the model.
    """
    known = _provenance.get(model)
    tokenizer = known.tokenizer if known is not None else model.tokenizer
    if tokenizer is None:
        raise BadInputError(
            "The model has no tokenizer.",
            fix="Set model.tokenizer, or load the model with trait_probe.load_model.",
        )
    return tokenizer


def identify(model: HookedModel) -> ModelIdentity:
    """The model's identity; computed once, kept while the model lives.

    The weights are hashed in full up to a million elements a tensor, and on an even sample of
    larger ones. A model changed in place after this call keeps its old identity: load it anew.
    """
    if model not in _identities:
        _identities[model] = _compute(model)
    return _identities[model]


def _compute(model: HookedModel) -> ModelIdentity:
    known = _provenance.get(model)
    cfg = model.cfg
    tokenizer = tokenizer_of(model)
    template = getattr(tokenizer, "chat_template", None)
    return ModelIdentity(
        id=known.id if known else str(getattr(cfg, "model_name", "in-memory")),
        revision=known.revision if known else None,
        weights_hash=weights_hash(model.named_parameters()),
        d_model=int(cfg.d_model),
        n_layers=int(cfg.n_layers),
        d_vocab=int(cfg.d_vocab),
        dtype=str(next(iter(model.named_parameters()))[1].dtype).removeprefix("torch."),
        weight_processing=weight_processing(model),
        adapter=known.adapter if known else None,
        quantization=known.quantization if known else None,
        tokenizer_hash=tokenizer_hash(tokenizer),
        chat_template_hash=None if template is None else _digest(str(template).encode()),
        thinking=known.thinking if known else False,
    )


def weight_processing(model: HookedModel) -> str:
    """`none` for raw weights, `folded` where TransformerLens folded norms into the weights."""
    if getattr(model, "compatibility_mode", False):
        return "folded"
    is_bridge = hasattr(model, "original_model")
    folded = str(getattr(model.cfg, "normalization_type", "")).endswith("Pre") and not is_bridge
    return "folded" if folded else "none"


def weights_hash(parameters: Iterable[tuple[str, torch.nn.Parameter]]) -> str:
    """SHA-256 (first 32 hex digits) over names, shapes and values of all parameters."""
    digest = hashlib.sha256()
    for name, parameter in sorted(parameters, key=lambda item: item[0]):
        digest.update(f"{name}{tuple(parameter.shape)}{parameter.dtype}".encode())
        digest.update(_bytes(_sample(parameter.detach())))
    return digest.hexdigest()[:32]


def _sample(tensor: Shaped[torch.Tensor, "..."]) -> Shaped[torch.Tensor, " n"]:
    flat = tensor.reshape(-1)
    return flat if flat.numel() <= FULL_HASH_ELEMENTS else flat[::SAMPLE_STRIDE]


def _bytes(tensor: Shaped[torch.Tensor, " n"]) -> bytes:
    return tensor.contiguous().cpu().view(torch.uint8).numpy().tobytes()


def tokenizer_hash(tokenizer: Any) -> str:
    """SHA-256 (first 32 hex digits) of what the tokenizer does to text, without run-time state."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return _digest(json.dumps(sorted(tokenizer.get_vocab().items())).encode())
    spec = json.loads(backend.to_str())
    for state in ("truncation", "padding", "post_processor", "version"):
        # Truncation and padding are call-time settings; the post-processor is what adding BOS
        # switches on and off, and says nothing about a direction in the residual stream.
        spec.pop(state, None)
    return _digest(json.dumps(spec, sort_keys=True).encode())


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


def device_of(model: HookedModel) -> torch.device:
    """Where token ids must be put: the device of the embedding."""
    return next(iter(model.named_parameters()))[1].device


def context_length(model: HookedModel) -> int:
    """Most tokens of one sequence."""
    return int(model.cfg.n_ctx)
