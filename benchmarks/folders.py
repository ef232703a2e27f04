"""Model folders with random weights, and a tokenizer whose every word is one token."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    LlamaConfig,
    PretrainedConfig,
    PreTrainedTokenizerFast,
)

UNKNOWN, BOS, EOS = "<unk>", "<bos>", "<eos>"
N_WORDS = 30_000
_IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


def word_tokenizer(words: int = N_WORDS) -> PreTrainedTokenizerFast:
    """`w0 w1 ...`, split at spaces, with BOS in front of every text."""
    vocabulary = [UNKNOWN, BOS, EOS, *(f"w{index}" for index in range(words))]
    ids = {word: index for index, word in enumerate(vocabulary)}
    inner = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, ids[BOS])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token=UNKNOWN, bos_token=BOS, eos_token=EOS, pad_token=UNKNOWN
    )


def llama_100m() -> LlamaConfig:
    """12 layers and 110 million parameters."""
    return LlamaConfig(
        vocab_size=32_000,
        hidden_size=768,
        intermediate_size=2048,
        num_hidden_layers=12,
        num_attention_heads=12,
        num_key_value_heads=12,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        **_IDS,
    )


def gemma_2_2b() -> Gemma2Config:
    """The shape of Gemma 2 2B: 26 layers and 2.6 billion parameters."""
    return Gemma2Config(
        vocab_size=256_000,
        hidden_size=2304,
        intermediate_size=9216,
        num_hidden_layers=26,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=256,
        query_pre_attn_scalar=256,
        sliding_window=4096,
        max_position_embeddings=8192,
        **_IDS,
    )


def tiny_gemma_2() -> Gemma2Config:
    """To try the GPU benchmark's code where there is no GPU."""
    return Gemma2Config(
        vocab_size=32_000,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        query_pre_attn_scalar=16,
        sliding_window=4096,
        max_position_embeddings=512,
        **_IDS,
    )


def save_random(
    config: PretrainedConfig,
    folder: Path,
    *,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
) -> Path:
    """Write random weights, drawn on `device`, and the tokenizer into `folder`."""
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    model.save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)
    return folder
