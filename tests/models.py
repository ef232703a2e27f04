"""Builders of small random language models as hub-format folders, one for each shape met in public.

Every folder is what `save_pretrained` writes: weights, configuration, generation configuration, a
fast tokenizer, and a chat template (none for the base model). Nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from helpers_tokenizer import build_tokenizer
from transformer_lens import HookedTransformer, HookedTransformerConfig

CONTEXT = 128


@dataclass(frozen=True)
class Shape:
    """One public architecture, made small.

    Attributes:
        config: the Hugging Face configuration, given the tokenizer.
        template: a name in `helpers_tokenizer.TEMPLATES`, or None for a base model.
        text_bos: whether plain texts get BOS in front.
        system_role: whether the chat template takes a system message.
    """

    config: Callable[[Any], Any]
    template: str | None
    text_bos: bool
    system_role: bool


def _ids(tokenizer: Any) -> dict[str, Any]:
    """Vocabulary and special tokens, which each configuration has to repeat."""
    return {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": None,
    }


def _grouped_attention(tokenizer: Any) -> dict[str, Any]:
    """What the Llama and the Qwen2 share: three layers, two query heads to a key head."""
    return {
        "intermediate_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": CONTEXT,
        **_ids(tokenizer),
    }


def _llama(tokenizer: Any) -> Any:
    return transformers.LlamaConfig(
        hidden_size=16, tie_word_embeddings=False, **_grouped_attention(tokenizer)
    )


def _qwen2(tokenizer: Any) -> Any:
    return transformers.Qwen2Config(
        hidden_size=24, tie_word_embeddings=True, **_grouped_attention(tokenizer)
    )


def _gemma2(tokenizer: Any) -> Any:
    # The window is shorter than the prompts: every other layer really slides.
    return transformers.Gemma2Config(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        query_pre_attn_scalar=8,
        sliding_window=8,
        max_position_embeddings=CONTEXT,
        **_ids(tokenizer),
    )


def _gpt2(tokenizer: Any) -> Any:
    return transformers.GPT2Config(
        n_embd=16, n_layer=2, n_head=2, n_positions=CONTEXT, **_ids(tokenizer)
    )


SHAPES: Mapping[str, Shape] = {
    "llama": Shape(_llama, "bos_strip", text_bos=True, system_role=True),
    "qwen2": Shape(_qwen2, "thinking", text_bos=False, system_role=True),
    "gemma2": Shape(_gemma2, "no_system", text_bos=True, system_role=False),
    "gpt2": Shape(_gpt2, None, text_bos=False, system_role=False),
}


def build_folder(name: str, folder: Path, *, seed: int = 0) -> Path:
    """Write the random model `name` (a key of `SHAPES`) to `folder`.

    The weights are larger than at a usual start of training: positions and tokens differ visibly,
    and the greedy answers are not one token over and over.
    """
    shape = SHAPES[name]
    tokenizer = build_tokenizer(shape.template, text_bos=shape.text_bos)
    config = shape.config(tokenizer)
    config.initializer_range = 0.3
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def hugging_face(folder: Path | str) -> Any:
    """The independent oracle: the folder as plain Hugging Face loads it, with eager attention."""
    return transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()


def hooked_transformer(folder: Path | str, *, seed: int = 0, **changes: Any) -> HookedTransformer:
    """A random `HookedTransformer` as users of TransformerLens have them, with a tokenizer.

    Args:
        folder: where its tokenizer is.
        changes: of the configuration, by name.
    """
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    options: dict[str, Any] = {
        "n_layers": 3,
        "d_model": 16,
        "n_ctx": CONTEXT,
        "d_head": 4,
        "n_heads": 4,
        "d_mlp": 32,
        "d_vocab": len(tokenizer),
        "act_fn": "gelu",
        "normalization_type": "LN",
        "initializer_range": 0.3,
        "seed": seed,
        "device": "cpu",
    }
    config = HookedTransformerConfig(**(options | changes))
    return HookedTransformer(config, tokenizer=tokenizer).eval()
