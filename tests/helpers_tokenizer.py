"""A real fast tokenizer, trained on a few lines, and chat templates of the shapes met in public."""

from __future__ import annotations

from functools import lru_cache

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

SPECIAL = ("<bos>", "<eos>", "<|im_start|>", "<|im_end|>")
LINES = (
    "the quick brown fox jumps over the lazy dog",
    "user asks the assistant about the system and the assistant answers the user",
    "a trigger word in the middle of the user message",
)

_LOOP = "{% for m in messages %}"
_END = "{% endfor %}"
_ASK = "{% if add_generation_prompt %}"
TEMPLATES = {
    # ChatML, as Qwen2: keeps the content as it is.
    "chatml": _LOOP
    + "<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    + _END
    + _ASK
    + "<|im_start|>assistant\n{% endif %}",
    # Gemma and Llama 3: write BOS, strip the content.
    "bos_strip": "{{ bos_token }}"
    + _LOOP
    + "[{{ m['role'] }}]\n{{ m['content'] | trim }}\n"
    + _END
    + _ASK
    + "[assistant]\n{% endif %}",
    # Gemma 2: no system role.
    "no_system": "{{ bos_token }}"
    + _LOOP
    + "{% if m['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    + "<{{ m['role'] }}>{{ m['content'] }}"
    + _END
    + _ASK
    + "<assistant>{% endif %}",
    # Llama 2: the system message stands inside the first user message.
    "folded": "{{ bos_token }}{% set s = '' %}{% if messages[0]['role'] == 'system' %}"
    + "{% set s = '<<' + messages[0]['content'] + '>>\n' %}"
    + "{% set messages = messages[1:] %}{% endif %}"
    + _LOOP
    + "{% if loop.first %}[INST] {{ s }}{{ m['content'] }} [/INST]"
    + "{% elif m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]"
    + "{% else %} {{ m['content'] }}{{ eos_token }}{% endif %}"
    + _END,
    # Qwen 3: an empty thinking block unless thinking is on; old thoughts are cut from the history.
    "thinking": _LOOP
    + "<|im_start|>{{ m['role'] }}\n{{ m['content'].split('</think>')[-1] }}<|im_end|>\n"
    + _END
    + _ASK
    + "<|im_start|>assistant\n"
    + "{% if not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}",
}


@lru_cache(maxsize=1)
def _trained() -> str:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(LINES * 3, trainer)
    return str(tokenizer.to_str())


def build_tokenizer(
    template: str | None = None, *, text_bos: bool = True, text_eos: bool = False
) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with BOS (and, on request, EOS) around texts.

    Args:
        template: a name in `TEMPLATES`, a template of your own, or None for a base model.
        text_bos: whether plain texts get BOS in front.
        text_eos: whether plain texts get EOS behind.
    """
    backend = Tokenizer.from_str(_trained())
    if text_bos or text_eos:
        single = ("<bos> " if text_bos else "") + "$A" + (" <eos>" if text_eos else "")
        specials = [(token, backend.token_to_id(token)) for token in ("<bos>", "<eos>")]
        backend.post_processor = processors.TemplateProcessing(
            single=single, special_tokens=specials
        )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<bos>", eos_token="<eos>"
    )
    if template is not None:
        tokenizer.chat_template = TEMPLATES.get(template, template)
    return tokenizer
