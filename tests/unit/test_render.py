"""Rendering: where the spans lie, what truncation cuts, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from helpers_tokenizer import TEMPLATES, build_tokenizer
from tokenizers import normalizers

from trait_probe.errors import BadInputError
from trait_probe.prompts import _chat
from trait_probe.prompts.prompt import CharSpan, Prompt
from trait_probe.prompts.render import Rendered, Tokenizer, render, render_all


def chat(*contents: str, **fields: Any) -> Prompt:
    roles = {1: ["user"], 2: ["system", "user"], 4: ["system", "user", "assistant", "user"]}
    turns = zip(roles[len(contents)], contents, strict=True)
    messages = [{"role": role, "content": content} for role, content in turns]
    return Prompt.from_dict({"id": "a", "messages": messages, **fields})


def words(tokenizer: Any, rendered: Rendered) -> dict[str, str]:
    spans = rendered.spans.items()
    return {name: tokenizer.decode(rendered.token_ids[a:b]) for name, (a, b) in spans}


def test_spans_of_a_conversation() -> None:
    tokenizer = build_tokenizer("chatml")
    spans = {"t": "trigger", "part": "rigg"}
    prompt = chat("be kind", "say trigger x", prefill="Sure", response="it is", spans=spans)
    rendered = render(tokenizer, prompt, max_length=None)
    head = "<|im_start|>system\nbe kind<|im_end|>\n<|im_start|>user\nsay trigger x<|im_end|>\n"
    head += "<|im_start|>assistant\nSure"
    assert words(tokenizer, rendered) == {
        "system": "be kind",
        "user": "say trigger x",
        "t": " trigger",  # one token, its space included
        "part": " trigg",  # a token that it shares only some characters with
        "prefill": "Sure",
        "response": "it is",
        "prompt": head,
        "all": head + "it is",
    }
    assert (rendered.prompt_id, rendered.cluster) == ("a", "a")


def test_absent_spans_are_absent_and_the_response_is_empty_at_the_end() -> None:
    rendered = render(build_tokenizer("chatml"), chat("hi"), max_length=None)
    n = len(rendered.token_ids)
    assert set(rendered.spans) == {"user", "prompt", "response", "all"}
    assert rendered.spans["response"] == (n, n)
    assert rendered.spans["all"] == rendered.spans["prompt"] == (0, n)


@pytest.mark.parametrize("template", sorted(set(TEMPLATES) - {"no_system"}))
def test_repeated_contents_are_told_apart(template: str) -> None:
    """Every message says what the template says too: a search would find the wrong place."""
    tokenizer = build_tokenizer(template)
    rendered = render(tokenizer, chat("user", "user", "user", "user"), max_length=None)
    text = tokenizer.decode(rendered.token_ids)
    (s, _), (u, end) = rendered.spans["system"], rendered.spans["user"]
    assert words(tokenizer, rendered)["user"].strip(" ") == "user"
    assert s < u
    # The last user message is the one after which no other content comes.
    assert (
        text.count("user", 0, len(tokenizer.decode(rendered.token_ids[:u])))
        == text.count("user") - 1
    )
    assert "user" not in tokenizer.decode(rendered.token_ids[end:])


def test_searching_the_content_would_go_wrong() -> None:
    """The meta-test of the one above: the first occurrence is the template's own."""
    tokenizer = build_tokenizer("chatml")
    text, places = _chat.place_spans(tokenizer, chat("user"), thinking=False)
    assert text.index("user") != places["user"][0]
    assert text[slice(*places["user"])] == "user"


def test_marked_spans_follow_a_content_that_the_template_strips() -> None:
    tokenizer = build_tokenizer("bos_strip")
    prompt = chat("\n  say red fish \n", spans={"t": "red", "edge": [0, 6]})
    spoken = words(tokenizer, render(tokenizer, prompt, max_length=None))
    assert spoken["t"] == "red"
    assert spoken["edge"] == "say"
    assert spoken["user"].strip() == "say red fish"


def test_a_marked_span_that_the_template_strips_is_refused() -> None:
    with pytest.raises(
        BadInputError, match="Prompt 'a': The chat template strips away the span 't'"
    ):
        render(build_tokenizer("bos_strip"), chat("  x", spans={"t": [0, 2]}), max_length=None)


def test_a_span_may_lie_in_any_message() -> None:
    tokenizer = build_tokenizer("folded")
    marked = {"message": 1, "start": 4, "end": 7}
    prompt = chat("be kind", "say red", "red", "no red", spans={"t": marked})
    rendered = render(tokenizer, prompt, max_length=None)
    start, end = rendered.spans["t"]
    assert tokenizer.decode(rendered.token_ids[:start]).endswith("say ")
    assert tokenizer.decode(rendered.token_ids[start:end]) == "red"


def test_bos_comes_once() -> None:
    for template in TEMPLATES:
        tokenizer = build_tokenizer(template)
        ids = render(tokenizer, chat("hi"), max_length=None).token_ids
        wanted = 1 if "bos_token" in TEMPLATES[template] else 0
        assert ids.count(tokenizer.bos_token_id) == wanted
        assert (ids[0] == tokenizer.bos_token_id) == bool(wanted)


def test_texts_are_encoded_as_the_tokenizer_does() -> None:
    for bos in (True, False):
        tokenizer = build_tokenizer(text_bos=bos)
        rendered = render(tokenizer, Prompt(id="a", text="the fox"), max_length=None)
        assert list(rendered.token_ids) == tokenizer("the fox")["input_ids"]
        assert rendered.spans["prompt"] == (0, len(rendered.token_ids))
        assert set(rendered.spans) == {"prompt", "response", "all"}


def test_a_text_written_with_bos_gets_no_second_one() -> None:
    tokenizer = build_tokenizer()
    written = render(tokenizer, Prompt(id="a", text="<bos>the fox"), max_length=None)
    assert (
        written.token_ids
        == render(tokenizer, Prompt(id="a", text="the fox"), max_length=None).token_ids
    )


def test_a_text_may_be_empty_before_a_response() -> None:
    rendered = render(build_tokenizer(), Prompt(id="a", text="", response="fox"), max_length=None)
    assert rendered.spans["prompt"] == (0, 1)
    assert rendered.spans["response"][0] == 1


def test_a_character_of_several_tokens_is_marked_with_all_of_them() -> None:
    tokenizer = build_tokenizer(text_bos=False)
    prompt = Prompt(id="a", text="é😀é", spans={"face": CharSpan(-1, 1, 2)})
    assert words(tokenizer, render(tokenizer, prompt, max_length=None))["face"] == "😀"


def test_thinking_reaches_the_template() -> None:
    tokenizer = build_tokenizer("thinking")
    off = render(tokenizer, chat("hi"), max_length=None)
    on = render(tokenizer, chat("hi"), max_length=None, thinking=True)
    assert (
        tokenizer.decode(off.token_ids)
        == tokenizer.decode(on.token_ids) + "<think>\n\n</think>\n\n"
    )


def test_the_history_may_be_rewritten_as_long_as_it_is_not_marked() -> None:
    tokenizer = build_tokenizer("thinking")
    contents = ("be kind", "hi", "<think>hm</think>red", "red")
    assert words(tokenizer, render(tokenizer, chat(*contents), max_length=None))["user"] == "red"
    marked = chat(*contents, spans={"t": {"message": 2, "start": 17, "end": 20}})
    with pytest.raises(BadInputError, match=r"drops, repeats or rewrites message 2 \(assistant\)"):
        render(tokenizer, marked, max_length=None)


@pytest.mark.parametrize(
    "template",
    [
        "{{ messages[-1]['content'] | upper }}",
        "{{ messages[-1]['content'] }}{{ messages[-1]['content'] }}",
        "nothing of it",
        "{{ messages[-1]['content'] | length }}{{ messages[-1]['content'] }}",
    ],
)
def test_templates_that_rewrite_the_content_are_refused(template: str) -> None:
    with pytest.raises(
        BadInputError, match="Prompt 'a': The chat template drops, repeats or rewrites"
    ):
        render(build_tokenizer(template), chat("hi there"), max_length=None)


def test_a_template_that_ignores_the_system_message_is_refused() -> None:
    with pytest.raises(BadInputError, match=r"rewrites message 0 \(system\)"):
        render(build_tokenizer("{{ messages[-1]['content'] }}"), chat("be", "hi"), max_length=None)


def test_the_templates_own_refusal_is_passed_on() -> None:
    with pytest.raises(BadInputError, match="refuses the conversation: System role not supported"):
        render(build_tokenizer("no_system"), chat("be kind", "hi"), max_length=None)


def test_a_conversation_needs_a_chat_template() -> None:
    with pytest.raises(BadInputError, match="tokenizer has no chat template"):
        render(build_tokenizer(), chat("hi"), max_length=None)


def test_a_tokenizer_that_ends_texts_is_refused() -> None:
    with pytest.raises(BadInputError, match="ends every text with a special token"):
        render(build_tokenizer(text_eos=True), Prompt(id="a", text="hi"), max_length=None)


def test_a_prompt_without_any_token_is_refused() -> None:
    tokenizer = build_tokenizer(text_bos=False)
    tokenizer.backend_tokenizer.normalizer = normalizers.Strip()
    with pytest.raises(BadInputError, match="makes no token"):
        render(tokenizer, Prompt(id="a", text="  "), max_length=None)
    spaced = Prompt(id="a", text="  hi", spans={"t": CharSpan(-1, 0, 1)})
    with pytest.raises(BadInputError, match="The span 't' has no token of its own"):
        render(tokenizer, spaced, max_length=None)


def test_the_tokenizer_is_left_as_it_was() -> None:
    tokenizer = build_tokenizer("chatml")
    assert isinstance(tokenizer, Tokenizer)
    before = (tokenizer.backend_tokenizer.to_str(), tokenizer.padding_side, tokenizer.chat_template)
    render_all(tokenizer, [chat("hi")], max_length=9, truncate="left")
    assert before == (
        tokenizer.backend_tokenizer.to_str(),
        tokenizer.padding_side,
        tokenizer.chat_template,
    )


# --- responses -------------------------------------------------------------------------------


def test_generated_ids_are_appended_as_they_are() -> None:
    tokenizer = build_tokenizer("chatml")
    rendered = render(tokenizer, chat("hi", prefill="Sure"), max_length=None)
    n = len(rendered.token_ids)
    ids = [5, 4, 5]
    longer = rendered.with_response(ids)
    assert longer.token_ids == (*rendered.token_ids, 5, 4, 5)
    assert longer.spans["response"] == (n, n + 3)
    assert longer.spans["all"] == (0, n + 3)
    assert {k: v for k, v in longer.spans.items() if k not in ("response", "all")} == {
        k: v for k, v in rendered.spans.items() if k not in ("response", "all")
    }
    assert rendered.with_response([]) == rendered


def test_a_given_response_is_not_written_over() -> None:
    rendered = render(build_tokenizer("chatml"), chat("hi", response="ok"), max_length=None)
    with pytest.raises(BadInputError, match="already has a response"):
        rendered.with_response([1])


# --- length ----------------------------------------------------------------------------------


def sized(name: str, length: int, **fields: Any) -> Prompt:
    """BOS and `length` - 1 digits, one token each."""
    return Prompt.from_dict({"id": name, "text": "1" * (length - 1), **fields})


def test_too_long_prompts_are_counted_in_one_error() -> None:
    prompts = [sized("a", 8), sized("b", 9), sized("c", 12), sized("d", 3)]
    with pytest.raises(BadInputError) as caught:
        render_all(build_tokenizer(), prompts, max_length=8)
    assert caught.value.problem == (
        "2 of 4 prompts are longer than the context of 8 tokens; longest: 'c' with 12."
    )
    assert caught.value.got == ["b", "c"]
    assert "truncate='left'" in (caught.value.fix or "")


def test_a_prompt_that_just_fits_is_left_whole() -> None:
    for truncate in (None, "left", "right"):
        rendered = render(build_tokenizer(), sized("a", 8), max_length=8, truncate=truncate)
        assert len(rendered.token_ids) == 8


def test_left_keeps_the_first_token_and_the_newest() -> None:
    tokenizer = build_tokenizer()
    prompt = Prompt.from_dict({"id": "a", "text": "0123456789", "spans": {"m": "56", "n": "12345"}})
    full = render(tokenizer, prompt, max_length=None)
    cut = render(tokenizer, prompt, max_length=8, truncate="left")
    assert cut.token_ids == full.token_ids[:1] + full.token_ids[-7:]
    spoken = words(tokenizer, cut)
    assert (spoken["m"], spoken["n"]) == ("56", "345")
    assert cut.spans["prompt"] == cut.spans["all"] == (0, 8)
    assert cut.spans["response"] == (8, 8)


def test_right_cuts_the_end() -> None:
    tokenizer = build_tokenizer()
    prompt = Prompt.from_dict({"id": "a", "text": "0123456789", "spans": {"m": "56"}})
    full = render(tokenizer, prompt, max_length=None)
    cut = render(tokenizer, prompt, max_length=7, truncate="right")
    assert cut.token_ids == full.token_ids[:7]
    assert words(tokenizer, cut)["m"] == "5"
    assert cut.spans["response"] == (7, 7)


@pytest.mark.parametrize(("truncate", "words"), [("left", "12"), ("right", "89")])
def test_a_marked_span_wholly_cut_away_is_refused(truncate: Any, words: str) -> None:
    prompt = Prompt.from_dict({"id": "a", "text": "0123456789", "spans": {"m": words}})
    with pytest.raises(BadInputError, match="leaves nothing of its spans: m"):
        render(build_tokenizer(), prompt, max_length=5, truncate=truncate)


def test_a_given_response_wholly_cut_away_is_refused() -> None:
    with pytest.raises(BadInputError, match="leaves nothing of its spans: response"):
        render(build_tokenizer(), sized("a", 6, response="12"), max_length=6, truncate="right")


def test_a_system_message_wholly_cut_away_is_absent() -> None:
    tokenizer = build_tokenizer("chatml")
    prompt = chat("be kind", "say red fish")
    full = render(tokenizer, prompt, max_length=None)
    length = len(full.token_ids) - full.spans["system"][1] + 1
    cut = render(tokenizer, prompt, max_length=length, truncate="left")
    assert "system" not in cut.spans
    assert words(tokenizer, cut)["user"] == "say red fish"


def test_a_context_holds_something() -> None:
    with pytest.raises(BadInputError, match="at least one token"):
        render(build_tokenizer(), sized("a", 3), max_length=0)
