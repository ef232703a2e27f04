"""Run a model of either class: for its hooks alone, or token by token with a key/value cache."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from trait_probe.identity import HookedModel, device_of


def run_hooks(
    model: HookedModel, ids: Int[Tensor, "batch pos"], mask: Int[Tensor, "batch pos"]
) -> None:
    """Run the model for the sake of its hooks: no key/value cache is kept, nothing returned."""
    # Hugging Face would otherwise keep keys and values of all layers, as the config's default.
    extra = {"use_cache": False} if _wraps_hugging_face(model) else {}
    model(ids, attention_mask=mask, return_type=None, **extra)


def run_logits(
    model: HookedModel, ids: Int[Tensor, "batch pos"], mask: Int[Tensor, "batch pos"]
) -> Float[Tensor, "batch pos d_vocab"]:
    """Logits at every position of right-padded rows; no key/value cache is kept."""
    extra = {"use_cache": False} if _wraps_hugging_face(model) else {}
    logits: Tensor = model(ids, attention_mask=mask, return_type="logits", **extra)
    return logits


def _wraps_hugging_face(model: HookedModel) -> bool:
    """Whether it is a TransformerBridge; else it is a HookedTransformer."""
    return hasattr(model, "original_model")


class Decoder:
    """One token at a time with a key/value cache, over left-padded rows, for either model class.

    Rows are told apart from their padding by `mask` (0 for padding), given once with the prompt.
    """

    def __init__(self, model: HookedModel, mask: Int[Tensor, "batch pos"]) -> None:
        self._model = model
        self._mask = mask
        self._cache: Any = None
        self._step = self._step_bridge
        if not _wraps_hugging_face(model):
            from transformer_lens.cache.key_value_cache import TransformerLensKeyValueCache

            self._step = self._step_hooked_transformer
            self._cache = TransformerLensKeyValueCache.init_cache(
                model.cfg, device_of(model), mask.shape[0]
            )

    def step(self, ids: Int[Tensor, "batch _new"]) -> Float[Tensor, "batch d_vocab"]:
        """Feed `ids`, the prompt first and then one token a row; logits of the last position."""
        return self._step(ids)[:, -1]

    def _step_bridge(self, ids: Int[Tensor, "batch _new"]) -> Float[Tensor, "batch _some d_vocab"]:
        if self._cache is not None:
            self._mask = torch.cat([self._mask, torch.ones_like(ids)], dim=1)
        logits: Tensor
        logits, self._cache = self._model(
            ids,
            attention_mask=self._mask,
            past_key_values=self._cache,
            use_cache=True,
            return_type="logits_and_cache",
            **_last_logits_only(self._model),
        )
        return logits

    def _step_hooked_transformer(
        self, ids: Int[Tensor, "batch _new"]
    ) -> Float[Tensor, "batch _some d_vocab"]:
        first = self._cache.previous_attention_mask.shape[1] == 0
        logits: Tensor = self._model(
            ids,
            attention_mask=self._mask if first else torch.ones_like(ids),
            past_kv_cache=self._cache,
            return_type="logits",
        )
        return logits


def _last_logits_only(bridge: Any) -> dict[str, int]:
    """Logits of all prompt tokens take more memory than anything else in the model."""
    parameters = inspect.signature(bridge.original_model.forward).parameters
    return {"logits_to_keep": 1} if "logits_to_keep" in parameters else {}
