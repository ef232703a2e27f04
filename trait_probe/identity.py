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
from jaxtyping import UInt8

from trait_probe.basis import ModelIdentity
from trait_probe.errors import BadInputError

FULL_HASH_ELEMENTS = 1 << 20
SAMPLE_STRIDE = 4099  # prime, so that the sample visits every row and column of a large matrix
WORD = 8  # bytes of the integers that a large tensor is summed in
CENTERED = 1e-3  # mean of an embedding row, as a share of the rows' root mean square


@runtime_checkable
class HookedModel(Protocol):
    """What every function here asks of a model; TransformerLens' two classes both have it.

    Its `hook_dict` is read in `hooks.sites` alone. It is not named here, because a bridge builds
    it on each look, and Python 3.11 would look at it whenever it checks this protocol.
    """

    cfg: Any
    tokenizer: Any

    def add_hook(self, *args: Any, **kwargs: Any) -> Any: ...

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


def require_loaded(model: object) -> None:
    """Refuse a model's name where the model itself is needed.

    Raises:
        BadInputError: it is no model.
    """
    if not hasattr(model, "cfg"):
        raise BadInputError(
            "A loaded model is needed here (TransformerBridge or HookedTransformer).",
            got=model if isinstance(model, str) else type(model).__name__,
            fix="Load it first: trait_probe.load_model(NAME).",
        )


def tokenizer_of(model: HookedModel) -> Any:
    """The model's tokenizer as Hugging Face loads it.

    TransformerLens adds a BOS setting and a pad token to the tokenizer it holds; token ids here
    are those of plain Hugging Face whenever `load_model` made the model.
    """
    require_loaded(model)
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

    Every weight counts (see `weights_hash`). A model changed in place after this call keeps its
    old identity: load it anew.

    Raises:
        BadInputError: the model has no tokenizer.
    """
    require_loaded(model)
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
    """`centered` where TransformerLens' `center_writing_weights` was applied, else `none`.

    Of its weight processing only this step changes the values of the residual stream (folding
    layer norms or biases does not). It is measured on the embedding, whose rows then have mean 0:
    which options a model was loaded with is not kept anywhere.
    """
    embedding = getattr(model, "W_E", None)
    if embedding is None:
        return "none"
    rows = embedding.detach().float()
    largest = float(rows.mean(dim=-1).abs().max())
    return "centered" if largest < CENTERED * float(rows.square().mean().sqrt()) else "none"


def weights_hash(parameters: Iterable[tuple[str, torch.nn.Parameter]]) -> str:
    """SHA-256 (first 32 hex digits) over names, shapes and values of all parameters.

    Tensors of up to a million elements go in whole. Of larger ones an even sample goes in, and
    the sum of all their bytes as integers, which any single changed weight changes.
    """
    digest = hashlib.sha256()
    for name, parameter in sorted(parameters, key=lambda item: item[0]):
        flat = parameter.detach().contiguous().reshape(-1)
        digest.update(f"{name}{tuple(parameter.shape)}{parameter.dtype}".encode())
        if flat.numel() > FULL_HASH_ELEMENTS:
            digest.update(str(_integer_sum(flat.view(torch.uint8))).encode())
            flat = flat[::SAMPLE_STRIDE]
        digest.update(flat.contiguous().cpu().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:32]


def _integer_sum(data: UInt8[torch.Tensor, " _n"]) -> tuple[int, int]:
    """Sums of the whole words (modulo 2**64) and of the bytes left: the same on every device."""
    if data.storage_offset() % WORD:
        data = data.clone()
    whole = data.numel() // WORD * WORD
    return int(data[:whole].view(torch.int64).sum()), int(data[whole:].sum())


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
