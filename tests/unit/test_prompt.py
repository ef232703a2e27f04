"""Prompts, prompt sets and their files: what is read, and what every refusal says."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trait_probe.errors import BadInputError
from trait_probe.prompts import _files
from trait_probe.prompts.prompt import CharSpan, Message, Prompt, PromptSet

USER = {"role": "user", "content": "blue fish, red fish"}
SYSTEM = {"role": "system", "content": "be kind"}
ASSISTANT = {"role": "assistant", "content": "fine"}


def chat(**fields: Any) -> dict[str, Any]:
    return {"id": "a", "messages": [USER], **fields}


def text(**fields: Any) -> dict[str, Any]:
    return {"id": "a", "text": "blue fish, red fish", **fields}


def test_every_field_is_read() -> None:
    prompt = Prompt.from_dict(
        chat(
            messages=[SYSTEM, USER],
            prefill="Sure",
            response=" yes",
            spans={"trigger": "red", "first": [0, 4], "rule": {"message": 0, "start": 3, "end": 7}},
            labels={"harmful": True, "score": 0.5, "note": None},
            group="g",
        )
    )
    assert prompt.messages == (Message("system", "be kind"), Message("user", USER["content"]))
    assert (prompt.prefill, prompt.response, prompt.cluster) == ("Sure", " yes", "g")
    assert prompt.spans == {
        "trigger": CharSpan(1, 11, 14),
        "first": CharSpan(1, 0, 4),
        "rule": CharSpan(0, 3, 7),
    }
    assert prompt.labels == {"harmful": True, "score": 0.5, "note": None}


def test_a_text_prompt_marks_its_text() -> None:
    prompt = Prompt.from_dict(text(spans={"trigger": "red"}))
    assert prompt.spans == {"trigger": CharSpan(-1, 11, 14)}
    assert prompt.cluster == "a"


def test_a_last_assistant_message_becomes_the_response() -> None:
    prompt = Prompt.from_dict(chat(messages=[USER, ASSISTANT], spans={"trigger": "red"}))
    assert prompt.response == "fine"
    assert prompt.messages == (Message("user", USER["content"]),)
    assert prompt.spans["trigger"].message == 0


def test_null_fields_are_absent_fields() -> None:
    nulls = {"messages": None, "prefill": None, "spans": None, "labels": None, "group": None}
    assert Prompt.from_dict(text(**nulls)) == Prompt.from_dict(text())


def test_prompts_do_not_change_with_what_they_were_made_of() -> None:
    labels: dict[str, Any] = {"a": 1}
    prompt = Prompt(id="a", text="x", labels=labels)
    labels["a"] = 2
    assert prompt.labels == {"a": 1}


def test_prompts_travel_between_processes() -> None:
    prompts = PromptSet([Prompt.from_dict(chat(spans={"t": "red"}, labels={"a": 1}))])
    assert pickle.loads(pickle.dumps(prompts)) == prompts


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"text": "x"}, "has no 'id'"),
        (text(id=""), "id that is not empty"),
        (text(id=3), "'id' must be a string"),
        ({"id": "a"}, "either 'messages' or 'text'"),
        (chat(text="x"), "either 'messages' or 'text'"),
        (text(text=["x"]), "'text' must be a string"),
        (text(text=""), "'text' is empty"),
        (text(text="\ud83d"), "half of a surrogate pair"),
        (text(txt="x"), "unknown field 'txt'"),
        (text(group=1), "'group' must be a string"),
        (chat(messages=[]), "list of messages"),
        (chat(messages="hi"), "list of messages"),
        (chat(messages=["hi"]), "Message 0 of the field 'messages' must be an object"),
        (chat(messages=[{**USER, "name": "x"}]), "unknown field 'name'"),
        (chat(messages=[{"role": "usr", "content": "x"}]), "unknown role"),
        (chat(messages=[{"role": "user"}]), "string as 'content'"),
        (chat(messages=[{"role": "user", "content": " "}]), r"Message 0 \(user\) is empty"),
        (chat(messages=[USER, SYSTEM]), "can only come first"),
        (chat(messages=[SYSTEM]), "last message must be the user's"),
        (chat(messages=[ASSISTANT]), "either 'messages' or 'text'"),
        (chat(messages=[USER, ASSISTANT], prefill="x"), "ends with an assistant message, beside"),
        (chat(messages=[USER, ASSISTANT], response="x"), "ends with an assistant message, beside"),
        (text(spans={"t": "green"}), "must be a substring"),
        (text(spans={"t": ""}), "must be a substring"),
        (text(spans={"t": "fish"}), "occurs more than once"),
        (text(text="aaa", spans={"t": "aa"}), "occurs more than once"),
        (text(spans={"t": [3]}), r"a substring, \[start, end\] or an object"),
        (text(spans={"t": [0, 1.5]}), r"a substring, \[start, end\] or an object"),
        (text(spans={"t": [0, True]}), r"a substring, \[start, end\] or an object"),
        (text(spans={"t": {"start": 1}}), r"a substring, \[start, end\] or an object"),
        (text(spans={"t": {"begin": 1}}), "unknown field 'begin'"),
        (text(spans={"t": [3, 3]}), "nonempty range inside 19 characters"),
        (text(spans={"t": [3, 20]}), "nonempty range inside 19 characters"),
        (text(spans={"t": [-3, 2]}), "nonempty range inside 19 characters"),
        (chat(spans={"t": {"message": 1, "start": 0, "end": 1}}), "message that is not there"),
        (chat(spans={"t": {"message": -1, "start": 0, "end": 1}}), "message that is not there"),
        (text(spans={"t": {"message": 0, "start": 0, "end": 1}}), "message that is not there"),
        (text(spans={"response": "red"}), "cannot be named 'response'"),
        (text(spans={"my span": "red"}), "cannot be named 'my span'"),
        (text(spans=["red"]), "'spans' must be an object"),
        (text(labels={"a": float("nan")}), "label 'a' must be a string, a finite number"),
        (text(labels=[1]), "'labels' must be an object"),
    ],
)
def test_a_malformed_prompt_is_refused_with_its_field(row: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInputError, match=sentence):
        Prompt.from_dict(row)


def test_labels_that_are_no_scalars_are_refused() -> None:
    with pytest.raises(BadInputError, match="label 'tags' must be a string"):
        Prompt.from_dict(text(labels={"tags": ["a"]}))


def test_the_nearest_field_is_named() -> None:
    with pytest.raises(BadInputError) as caught:
        Prompt.from_dict(chat(lables={}))
    assert caught.value.valid[0] == "labels"


def test_a_given_response_may_follow_an_empty_text() -> None:
    assert Prompt.from_dict(text(text="", response="fish")).text == ""


def test_a_refused_python_prompt_names_its_id() -> None:
    with pytest.raises(BadInputError, match="Prompt 'a': A marked span cannot be"):
        Prompt(id="a", text="x", spans={"all": CharSpan(-1, 0, 1)})


# --- sets ------------------------------------------------------------------------------------


def numbered(*names: str) -> PromptSet:
    return PromptSet(Prompt(id=name, text=f"text {name}") for name in names)


def test_a_set_is_a_sequence() -> None:
    prompts = numbered("a", "b", "c")
    assert [prompt.id for prompt in prompts] == ["a", "b", "c"]
    assert (len(prompts), prompts[-1].id, prompts[0] in prompts) == (3, "c", True)
    assert prompts[1:] == numbered("b", "c")
    assert prompts.subset([2, 0]) == numbered("c", "a")
    assert prompts.filter(lambda prompt: prompt.id > "a") == prompts[1:]
    assert prompts[:1] + prompts[1:] == prompts


def test_the_hash_follows_content_and_order() -> None:
    prompts = numbered("a", "b")
    assert prompts.hash == numbered("a", "b").hash
    assert len({prompts.hash, numbered("b", "a").hash, numbered("a").hash}) == 3
    changed = PromptSet([replace(prompts[0], labels={"x": 1}), prompts[1]])
    assert changed.hash != prompts.hash
    assert hash(numbered("a")) == hash(numbered("a"))


def test_the_hash_is_the_same_in_every_version() -> None:
    """Vector files and manifests carry it: a new value makes them all strangers."""
    prompt = Prompt.from_dict(chat(spans={"t": "red"}, labels={"b": 1, "a": "é"}, group="g"))
    canonical = (
        '[{"group":"g","id":"a","labels":{"a":"é","b":1},"messages":[{"content":'
        '"blue fish, red fish","role":"user"}],"spans":{"t":{"end":14,"message":0,"start":11}}}]'
    )
    assert _files.canonical_json([prompt.to_dict()]) == canonical
    assert PromptSet([prompt]).hash == (
        "e83f823486b570dbc4041470f110b8ecaecb41835d61f7d4d7eeb72c95748ecf"
    )


def test_ids_are_unique() -> None:
    with pytest.raises(BadInputError, match="position 1: the field 'id' must be unique, and posit"):
        numbered("a", "a")
    with pytest.raises(BadInputError, match="must be unique"):
        numbered("a", "b") + numbered("b")
    with pytest.raises(BadInputError, match="must be unique"):
        numbered("a", "b").subset([0, -2])


def test_an_index_out_of_range_is_refused() -> None:
    with pytest.raises(BadInputError, match="The set has 2 prompts"):
        numbered("a", "b").subset([2])


# --- files -----------------------------------------------------------------------------------


def write(path: Path, *lines: str) -> Path:
    path.write_bytes("\n".join(lines).encode("utf-8"))
    return path


GOOD = '{"id": "a", "text": "x"}'


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ([GOOD, '{"id": "b"'], "line 2 is not valid JSON"),
        ([GOOD, "", '{"text": "x"}'], "line 3: The prompt has no 'id'"),
        ([GOOD, '{"id": "b"}'], "line 2: The prompt 'b' must have either 'messages' or 'text'"),
        ([GOOD, GOOD], "line 2: the field 'id' must be unique, and .*line 1 already"),
        ([GOOD, '{"id": "b", "txt": "x"}'], "line 2: The prompt has the unknown field 'txt'"),
        ([GOOD, '"just a text"'], "line 2 is not an object with fields"),
        (["just a text"], "line 1 is not valid JSON"),
        (['{"id": "a", "text": "x", "labels": {"a": NaN}}'], "NaN is not a JSON number"),
        (['{"id": "a", "id": "b", "text": "x"}'], "the field 'id' occurs twice"),
        ([GOOD, '{"id": "b", "text": "x", "labels": {"a": []}}'], "line 2: .*label 'a'"),
        ([""], "holds no prompts"),
        (["", " "], "holds no prompts"),
    ],
)
def test_a_malformed_jsonl_names_file_line_and_field(
    tmp_path: Path, lines: list[str], sentence: str
) -> None:
    path = write(tmp_path / "prompts.jsonl", *lines)
    with pytest.raises(BadInputError, match=sentence) as caught:
        PromptSet.from_jsonl(path)
    assert str(path) in caught.value.problem


def test_bare_strings_are_refused_with_the_way_to_write_them(tmp_path: Path) -> None:
    with pytest.raises(BadInputError) as caught:
        PromptSet.from_jsonl(write(tmp_path / "p.jsonl", '"hello"'))
    assert '{"id": "a", "text": "..."}' in (caught.value.fix or "")


def test_latin_1_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes('{"id": "a", "text": "é"}'.encode("latin-1"))
    with pytest.raises(BadInputError, match="line 1 is not UTF-8"):
        PromptSet.from_jsonl(path)


def test_byte_order_marks_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.encode() + b"\r\n\r\n")
    assert PromptSet.from_jsonl(path) == PromptSet([Prompt(id="a", text="x")])


@pytest.mark.parametrize("read", [PromptSet.from_jsonl, PromptSet.from_parquet])
def test_a_missing_file_is_named(tmp_path: Path, read: Any) -> None:
    for path in (tmp_path / "no.file", tmp_path):
        with pytest.raises(BadInputError, match="no such file of prompts"):
            read(path)


def test_a_file_that_is_not_parquet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="is not a Parquet file"):
        PromptSet.from_parquet(write(tmp_path / "p.parquet", GOOD))


def test_a_malformed_row_of_a_table_is_named(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    pq.write_table(pa.table({"id": ["a", "b"], "text": ["x", None]}), path)
    with pytest.raises(BadInputError, match=r"p\.parquet, row 2: The prompt 'b' must have either"):
        PromptSet.from_parquet(path)
    spoilt = [{"id": "a", "text": "x", "labels": "{"}]
    with pytest.raises(BadInputError, match="rows, row 1, field 'labels' is not valid JSON"):
        PromptSet.from_dicts(spoilt)


def test_structs_of_other_peoples_tables_are_read() -> None:
    table = datasets.Dataset.from_list(
        [
            {"id": "a", "messages": [USER], "labels": {"x": 1, "y": None}},
            {"id": "b", "messages": [USER], "labels": {"x": None, "y": 2}},
        ]
    )
    prompts = PromptSet.from_dataset(table)
    assert [prompt.labels for prompt in prompts] == [{"x": 1}, {"y": 2}]
    assert prompts[0].messages == (Message("user", USER["content"]),)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "p.jsonl"
    numbered("a").to_jsonl(path)

    def full_disk(_: int) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(_files.os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        numbered("b", "c").to_jsonl(path)
    assert [file.name for file in tmp_path.iterdir()] == ["p.jsonl"]
    assert PromptSet.from_jsonl(path) == numbered("a")


def test_jsonl_is_plain_to_read(tmp_path: Path) -> None:
    Prompt.from_dict(chat())
    path = tmp_path / "new folder" / "p.jsonl"
    PromptSet([Prompt.from_dict(chat(prefill="Sure é"))]).to_jsonl(path)
    assert json.loads(path.read_text("utf-8")) == chat(prefill="Sure é")
    assert "é" in path.read_text("utf-8")
