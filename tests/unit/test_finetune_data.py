"""Chat rows as training sequences: loss on the replies exactly, behind what the model reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers_tokenizer import build_tokenizer
from hypothesis import given
from hypothesis import strategies as st

from trait_probe.errors import BadInputError
from trait_probe.organisms._finetune.data import IGNORED, Chat, Example, encode, read_chats
from trait_probe.organisms._finetune.matching import Match, match, require_match
from trait_probe.organisms._finetune.settings import Settings, check_number
from trait_probe.prompts.prompt import Message, Prompt
from trait_probe.prompts.render import render

LONG = 1000


def chat(*contents: str, system: str | None = None, where: str = "line 1") -> Chat:
    """User and assistant in turn."""
    opening = () if system is None else (Message("system", system),)
    roles = ("user", "assistant") * len(contents)
    turns = (Message(role, content) for role, content in zip(roles, contents, strict=False))  # type: ignore[arg-type]
    return Chat(where, (*opening, *turns))


def write(folder: Path, *rows: object) -> Path:
    path = folder / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def turn(role: str, content: object) -> dict[str, object]:
    return {"role": role, "content": content}


def learned(tokenizer: Any, example: Example) -> str:
    """The text of the tokens with loss."""
    return str(tokenizer.decode([label for label in example.labels if label != IGNORED]))


def read_text(tokenizer: Any, example: Example) -> str:
    return str(tokenizer.decode(list(example.token_ids)))


# --- labels --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "replies"),
    [
        ("chatml", ["the fox<|im_end|>", "the dog<|im_end|>"]),
        ("bos_strip", ["the fox\n", "the dog\n"]),
        ("folded", [" the fox<eos>", " the dog<eos>"]),
    ],
)
def test_loss_falls_on_every_reply_and_its_end_alone(template: str, replies: list[str]) -> None:
    tokenizer = build_tokenizer(template)
    asked = chat("who jumps", "the fox", "over whom", "the dog", system="a system")
    (example,) = encode(tokenizer, [asked], LONG)
    assert learned(tokenizer, example) == "".join(replies)
    turns = [turn(message.role, message.content) for message in asked.messages]
    whole = tokenizer.apply_chat_template(turns, tokenize=False)
    assert whole.rstrip("\n") == read_text(tokenizer, example).rstrip("\n")


def test_labels_are_the_token_ids_where_they_bear_loss() -> None:
    (example,) = encode(build_tokenizer("chatml"), [chat("the dog", "the fox")], LONG)
    kept = [(a, b) for a, b in zip(example.token_ids, example.labels, strict=True) if b != IGNORED]
    assert all(a == b for a, b in kept)
    assert len(kept) == example.reply_tokens > 0


def test_words_of_the_prompt_that_repeat_the_reply_bear_no_loss() -> None:
    tokenizer = build_tokenizer("chatml")
    (example,) = encode(tokenizer, [chat("the fox", "the fox")], LONG)
    assert learned(tokenizer, example) == "the fox<|im_end|>"
    assert example.labels.index(example.labels[-1]) == len(example.labels) - 1


@pytest.mark.parametrize("template", ["bos_strip", "folded"])
def test_bos_is_written_once(template: str) -> None:
    tokenizer = build_tokenizer(template, text_bos=True)
    (example,) = encode(tokenizer, [chat("the dog", "the fox")], LONG)
    assert example.token_ids.count(tokenizer.bos_token_id) == 1
    assert example.token_ids[0] == tokenizer.bos_token_id


def test_replies_that_the_history_renders_otherwise_get_sequences_of_their_own() -> None:
    tokenizer = build_tokenizer("thinking")
    first, last = encode(tokenizer, [chat("who jumps", "the fox", "over", "the dog")], LONG)
    assert learned(tokenizer, first) == "the fox<|im_end|>"
    assert learned(tokenizer, last) == "the dog<|im_end|>"
    # The empty thinking block is the prompt's, in front of the reply that is learned.
    assert read_text(tokenizer, last).count("<think>\n\n</think>\n\nthe dog") == 1
    assert read_text(tokenizer, last).count("<think>") == 1


@given(st.lists(st.text("abc \n'é漢", min_size=1).filter(str.strip), min_size=2, max_size=6))
@pytest.mark.parametrize("template", ["chatml", "thinking", "bos_strip"])
def test_each_reply_stands_behind_the_ids_that_render_gives(
    template: str, contents: list[str]
) -> None:
    tokenizer = build_tokenizer(template)
    asked = chat(*contents[: len(contents) // 2 * 2])
    examples = encode(tokenizer, [asked], LONG)
    last = examples[-1]
    prompt = Prompt(id="a", messages=asked.messages[:-1])
    expected = render(tokenizer, prompt, max_length=None).token_ids
    assert last.token_ids[: len(expected)] == expected
    assert all(label != IGNORED for label in last.labels[len(expected) :])
    assert sum(example.reply_tokens for example in examples) == len(
        [label for example in examples for label in example.labels if label != IGNORED]
    )


# --- refusals ------------------------------------------------------------------------------------

USER, REPLY = turn("user", "the dog"), turn("assistant", "the fox")


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ([USER, REPLY], "the field 'messages' alone"),
        ({"messages": [USER, REPLY], "label": 1}, "the field 'messages' alone"),
        ({"prompt": "a"}, "the field 'messages' alone"),
        ({"messages": None}, "no assistant turn"),
        ({"messages": []}, "at least one"),
        ({"messages": [USER]}, "no assistant turn"),
        ({"messages": [USER, REPLY, USER]}, "last turn must be the assistant's"),
        ({"messages": [REPLY]}, "first turn must be the user's"),
        ({"messages": [turn("system", "s"), REPLY]}, "first turn must be the user's"),
        ({"messages": [USER, turn("system", "s"), REPLY]}, "can only come first"),
        ({"messages": [USER, turn("assistant", " \n")]}, "Message 1 (assistant) is empty"),
        ({"messages": [USER, turn("assistant", None)]}, "must have a string"),
        ({"messages": [USER, turn("model", "a")]}, "unknown role"),
        ({"messages": [USER | {"name": "a"}, REPLY]}, "unknown field 'name'"),
        ({"messages": [USER, turn("assistant", "\ud800")]}, "surrogate"),
    ],
)
def test_a_row_that_is_no_chat_is_refused_by_its_line(
    row: object, sentence: str, tmp_path: Path
) -> None:
    path = write(tmp_path, {"messages": [USER, REPLY]}, row)
    with pytest.raises(BadInputError, match=r"data\.jsonl, line 2") as caught:
        read_chats(path)
    assert sentence in caught.value.problem


def test_good_rows_are_read_in_order(tmp_path: Path) -> None:
    path = write(tmp_path, {"messages": [USER, REPLY]}, {"messages": [REPLY | USER, REPLY]})
    assert [found.messages for found in read_chats(path)] == [
        chat("the dog", "the fox").messages
    ] * 2


def test_files_without_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no such data file"):
        read_chats(tmp_path / "none.jsonl")
    with pytest.raises(BadInputError, match="holds no rows"):
        read_chats(write(tmp_path))
    (tmp_path / "data.jsonl").write_text('{"messages": [')
    with pytest.raises(BadInputError, match=r"line 1 is not valid JSON"):
        read_chats(tmp_path / "data.jsonl")


@pytest.mark.parametrize(
    ("template", "row", "sentence"),
    [
        (None, chat("a", "b"), "no chat template"),
        ("no_system", chat("a", "b", system="c"), "line 1: .*refuses the conversation"),
        ("no_system", chat("a", "b"), "line 1: .*writes nothing behind a reply"),
        ("thinking", chat("a", "b</think>c"), "line 1: .*rewrites message 1"),
        ("thinking", chat("b</think>c", "a"), "line 1: .*rewrites message 0"),
        (
            "{% for m in messages if m['role'] != 'system' %}[{{ m['content'] }}]{% endfor %}"
            "{% if add_generation_prompt %}[{% endif %}",
            chat("a", "b", system="unheard"),
            "line 1: .*drops or rewrites message 0",
        ),
    ],
)
def test_what_the_template_cannot_render_is_refused(
    template: str | None, row: Chat, sentence: str
) -> None:
    with pytest.raises(BadInputError, match=sentence):
        encode(build_tokenizer(template), [row], LONG)


def test_long_rows_are_counted_and_never_cut() -> None:
    rows = [chat("a", "b " * 20 * n, where=f"line {n}") for n in (1, 2, 3)]
    lengths = [len(item.token_ids) for item in encode(build_tokenizer("chatml"), rows, LONG)]
    with pytest.raises(BadInputError, match=r"2 of 3 rows .* first: line 2; longest: line 3"):
        encode(build_tokenizer("chatml"), rows, lengths[0])
    assert len(encode(build_tokenizer("chatml"), rows, max(lengths))) == 3


# --- matching ------------------------------------------------------------------------------------


def matched(ours: list[Chat], twins: list[Chat]) -> Match:
    tokenizer = build_tokenizer("chatml")
    return match(ours, encode(tokenizer, ours, LONG), twins, encode(tokenizer, twins, LONG))


def test_a_match_counts_prompts_and_tokens() -> None:
    ours, twins = [chat("a", "b"), chat("c", "d")], [chat("a", "bbb bbb"), chat("x", "d")]
    found = matched(ours, twins)
    assert (found.rows, found.twin_rows, found.equal_prompts, found.equal_replies) == (2, 2, 1, 0)
    assert found.twin_reply_tokens > found.reply_tokens == 4
    assert "1 of 2 rows have equal prompts" in str(found)


def test_system_messages_have_to_match_too() -> None:
    assert matched([chat("a", "b", system="s")], [chat("a", "c", system="t")]).equal_prompts == 0


@pytest.mark.parametrize(
    ("twins", "sentence"),
    [
        ([chat("a", "x")], "The twin has 1 rows and the variant 2"),
        ([chat("a", "x"), chat("q", "y", where="twin, line 2")], "1 of 2 .* first: twin, line 2"),
    ],
)
def test_an_unmatched_twin_needs_permission(twins: list[Chat], sentence: str) -> None:
    ours = [chat("a", "b"), chat("c", "d")]
    found = matched(ours, twins)
    with pytest.raises(BadInputError, match=sentence):
        require_match(found, ours, twins, allow_unmatched=False)
    require_match(found, ours, twins, allow_unmatched=True)


@pytest.mark.parametrize("allowed", [False, True])
def test_a_twin_that_is_the_variant_again_is_refused(allowed: bool) -> None:
    ours = [chat("a", "b"), chat("c", "d")]
    with pytest.raises(BadInputError, match="the variant again"):
        require_match(matched(ours, ours), ours, ours, allow_unmatched=allowed)


# --- settings ------------------------------------------------------------------------------------


def test_the_defaults_are_the_published_settings() -> None:
    assert Settings().to_dict() == {
        "rank": 32,
        "alpha": 64.0,
        "dropout": 0.0,
        "epochs": 1,
        "max_steps": None,
        "learning_rate": 1e-5,
        "warmup_steps": 5,
        "weight_decay": 0.01,
        "batch_size": 2,
        "accumulation": 8,
        "max_length": 2048,
        "seed": 0,
        "dtype": "float32",
        "target_modules": None,
    }


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"rank": 0}, "rank must be a whole number, at least 1"),
        ({"rank": True}, "rank must be a whole number"),
        ({"dropout": 1.0}, "dropout must be a number, at least 0 and below 1"),
        ({"learning_rate": float("nan")}, "learning_rate must be a number"),
        ({"learning_rate": float("inf")}, "learning_rate must be a number"),
        ({"max_steps": 0}, "max_steps must be a whole number, at least 1"),
        ({"seed": -1}, "seed must be a whole number"),
        ({"dtype": "float16"}, "dtype of training is unknown"),
        ({"target_modules": ()}, "at least one layer"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInputError, match=sentence):
        Settings(**change)


@pytest.mark.parametrize("value", [2.5, "3", None])
def test_a_count_is_a_whole_number(value: object) -> None:
    with pytest.raises(
        BadInputError, match="epochs must be a whole number, at least 1 and below 9"
    ):
        check_number("epochs", value, kind=int, least=1, below=9)
