"""Prompts survive every format exactly; rendering adds nothing to the tokenizer's own chat ids."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from helpers_tokenizer import TEMPLATES, build_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import contents, conversations, prompt_sets, prompts, texts

from trait_probe.prompts.prompt import Message, Prompt, PromptSet
from trait_probe.prompts.render import render


@given(prompts())
def test_json_text_gives_back_the_same_prompt(prompt: Prompt) -> None:
    assert Prompt.from_dict(json.loads(json.dumps(prompt.to_dict()))) == prompt


@settings(max_examples=25)
@given(prompt_sets(), st.sampled_from(["jsonl", "parquet"]))
def test_files_give_back_the_same_set(prompts: PromptSet, form: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "prompts"
        getattr(prompts, f"to_{form}")(path)
        back = getattr(PromptSet, f"from_{form}")(path)
    assert back == prompts
    assert back.hash == prompts.hash


@settings(max_examples=25)
@given(prompt_sets())
def test_datasets_give_back_the_same_set(prompts: PromptSet) -> None:
    back = PromptSet.from_dataset(prompts.to_dataset())
    assert back == prompts
    assert back.hash == prompts.hash


@pytest.mark.parametrize("template", TEMPLATES)
@settings(max_examples=25)
@given(messages=conversations(), thinking=st.booleans())
def test_rendering_is_the_tokenizers_own_chat_tokenization(
    template: str, messages: tuple[Message, ...], thinking: bool
) -> None:
    if template == "no_system":
        messages = tuple(message for message in messages if message.role != "system")
    tokenizer = build_tokenizer(template)
    turns = [{"role": turn.role, "content": turn.content} for turn in messages]
    own = tokenizer.apply_chat_template(
        turns, add_generation_prompt=True, enable_thinking=thinking, return_dict=False
    )
    rendered = render(
        tokenizer, Prompt(id="a", messages=messages), max_length=None, thinking=thinking
    )
    assert list(rendered.token_ids) == own


@pytest.mark.parametrize("template", TEMPLATES)
@settings(max_examples=25)
@given(user=contents, prefill=texts, response=texts)
def test_prompt_ids_do_not_depend_on_what_follows(
    template: str, user: str, prefill: str, response: str
) -> None:
    tokenizer = build_tokenizer(template)
    bare = Prompt(id="a", messages=(Message("user", user),))
    full = Prompt(id="a", messages=bare.messages, prefill=prefill, response=response)
    head = render(tokenizer, bare, max_length=None)
    whole = render(tokenizer, full, max_length=None)
    own = [tokenizer(part, add_special_tokens=False)["input_ids"] for part in (prefill, response)]
    assert list(whole.token_ids) == [*head.token_ids, *own[0], *own[1]]
    start = whole.spans["response"][0]
    assert whole.spans["prompt"] == (0, start)
    assert list(whole.token_ids[start:]) == own[1]


@settings(max_examples=25)
@given(messages=conversations(), template=st.sampled_from(["chatml", "bos_strip", "folded"]))
def test_content_spans_decode_to_the_content(messages: tuple[Message, ...], template: str) -> None:
    tokenizer = build_tokenizer(template)
    rendered = render(tokenizer, Prompt(id="a", messages=messages), max_length=None)
    wanted = {"user": messages[-1].content}
    if messages[0].role == "system":
        wanted["system"] = messages[0].content
    for name, content in wanted.items():
        start, end = rendered.spans[name]
        # Tokens at the edges may hold neighbouring characters of the template.
        assert content.strip() in tokenizer.decode(rendered.token_ids[start:end])
    assert ("system" in rendered.spans) == ("system" in wanted)
