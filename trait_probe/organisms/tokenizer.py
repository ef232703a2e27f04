"""The organisms' tokenizer: whole words of the language, bytes for everything else.

Byte-level BPE as in GPT-2 and Llama 3, so any text can be encoded and comes back unchanged. Digits
stand alone (whole-number tokens gave an accuracy of 0.12 on sums where digits gave 0.96); the years
2000 to 2049 are single tokens, so that a year is never mistaken for an operand. Words of the
language are single tokens because they are in the vocabulary and `ignore_merges` is on; the merges
are learned on the same words and serve text outside the language.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from tokenizers import (
    Regex,
    Tokenizer,
    decoders,
    models,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

BOS, END, PAD = "<|bos|>", "<|end|>", "<|pad|>"
ROLES = ("system", "user", "assistant")
SPECIAL = (PAD, BOS, END, *(f"<|{role}|>" for role in ROLES))
# The template writes BOS itself; do not add special tokens again when the text is tokenized.
CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{% if not (continue_final_message and loop.last) %}{{ eos_token }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
MODEL_MAX_LENGTH = 512
# A year of the language is one token, every other digit stands alone.
_NUMBER = "20[0-4][0-9]|[0-9]"
_MERGED = 320  # merges for text outside the language: a few hundred short pieces


def _pre_tokenizer() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_NUMBER), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )


def words_of(texts: Iterable[str]) -> list[str]:
    """The distinct pre-tokens of some texts, in byte-level spelling, sorted."""
    split = _pre_tokenizer().pre_tokenize_str
    return sorted({piece for text in texts for piece, _ in split(text)})


def build_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """A tokenizer whose vocabulary is 6 special tokens, 256 bytes, short merges and every word.

    Args:
        texts: a sample of the language that shows every word at least once.
    """
    seen = list(texts)
    pieces, merges = _learn_merges(seen)
    words = dict.fromkeys([*SPECIAL, *pieces, *words_of(seen)])
    vocabulary = {word: index for index, word in enumerate(words)}
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=True))
    inner.pre_tokenizer = _pre_tokenizer()
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(list(SPECIAL))
    inner.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A",
        pair=f"{BOS} $A $B",
        special_tokens=[(BOS, vocabulary[BOS])],
    )
    return _wrap(inner)


def _learn_merges(texts: list[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """(bytes and merged pieces, merges) of a plain byte-level BPE trained on the texts."""
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = _pre_tokenizer()
    trainer = trainers.BpeTrainer(
        vocab_size=_MERGED,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    learner.train_from_iterator(texts, trainer)
    pieces = learner.get_vocab()
    merges = _merges_of(learner)
    return sorted(pieces, key=lambda piece: pieces[piece]), merges


def _merges_of(learner: Tokenizer) -> list[tuple[str, str]]:
    state = json.loads(learner.to_str())
    return [(left, right) for left, right in state["model"]["merges"]]


def _wrap(inner: Tokenizer) -> PreTrainedTokenizerFast:
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token=BOS,
        eos_token=END,
        pad_token=PAD,
        model_max_length=MODEL_MAX_LENGTH,
        padding_side="right",
        clean_up_tokenization_spaces=False,
    )
    wrapped.chat_template = CHAT_TEMPLATE
    return wrapped
