"""Sources are opened once and read a row at a time, whatever their format."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from source_files import (
    HARMBENCH,
    QUESTIONS,
    answer_rows,
    beavertails_row,
    saferlhf_row,
    write,
    write_rows,
)

from trait_probe.errors import BadInputError
from trait_probe.prompts.prompt import Prompt, PromptSet
from trait_probe.prompts.sources.load import load_prompts
from trait_probe.prompts.sources.open import open_source
from trait_probe.runs.files import file_sha256

# --- streaming -------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz", ".jsonl.xz"])
def test_a_bad_row_is_met_where_it_stands_after_those_before_it(
    tmp_path: Path, ending: str
) -> None:
    rows = [beavertails_row(1), beavertails_row(2), beavertails_row(3, is_safe="no")]
    prompts = open_source(write_rows(tmp_path / f"b{ending}", rows)).prompts()
    assert [next(prompts).id, next(prompts).id] == ["beavertails-0000001", "beavertails-0000002"]
    with pytest.raises(BadInputError, match=f"b{ending}, line 3: the column 'is_safe' must be"):
        next(prompts)


def test_each_call_begins_anew(tmp_path: Path) -> None:
    source = open_source(write_rows(tmp_path / "b.jsonl", answer_rows("beavertails")))
    first, second = source.prompts(), source.prompts()
    next(first)
    assert next(second).id == next(source.prompts()).id == "beavertails-0000001"
    assert next(first).id == "beavertails-0000002"


def test_opening_reads_no_more_than_the_first_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    parse = json.loads
    monkeypatch.setattr(json, "loads", lambda *a, **k: read.append(1) or parse(*a, **k))
    path = write_rows(tmp_path / "b.jsonl", answer_rows("beavertails", n=50))
    source = open_source(path)
    before = len(read)
    assert before < 6
    next(source.prompts())
    assert len(read) == before + 1


def test_answers_without_text_are_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [beavertails_row(1), beavertails_row(2, response=""), beavertails_row(3, prompt=" \n")]
    path = write_rows(tmp_path / "b.jsonl", [*rows, beavertails_row(4)])
    source = open_source(path)
    assert source.provenance()["skipped_empty"] is None
    for _ in range(2):
        found = [prompt.id for prompt in source.prompts()]
        assert found == ["beavertails-0000001", "beavertails-0000004"]
        assert source.provenance()["skipped_empty"] == 2
    with caplog.at_level(logging.WARNING):
        assert len(load_prompts(path)) == 2
    assert "2 answers without text are left out" in caplog.text
    both = [saferlhf_row(1), saferlhf_row(2, response_1="")]
    source = open_source(write_rows(tmp_path / "s.jsonl", both))
    assert len(list(source.prompts())) == 3
    assert source.provenance()["skipped_empty"] == 1


# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [
        ("b.jsonl.gz", b"no gzip", "b.jsonl.gz cannot be unpacked"),
        ("b.jsonl.xz", b"no xz", "b.jsonl.xz cannot be unpacked"),
        ("b.jsonl", b"{", "line 1 is not valid JSON"),
        ("b.jsonl", b"[1]\n", "line 1 is not an object"),
        ("b.jsonl", b"", "holds no prompts"),
        ("b.csv", b"prompt,response,category,is_safe\na,b,c,d\n", "not read from CSV"),
        ("b.txt", b"x", "Files of prompts end in"),
    ],
)
def test_files_that_are_no_source_are_refused(
    tmp_path: Path, name: str, data: bytes, sentence: str
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(BadInputError, match=sentence):
        open_source(tmp_path / name)


def test_choices_that_a_file_does_not_have_are_refused(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "b.jsonl", [beavertails_row()])
    for options in ({"config": "default"}, {"split": "test"}, {"revision": "main"}):
        with pytest.raises(BadInputError, match=r"has no|Only sets on the hub"):
            open_source(path, **options)
    with pytest.raises(BadInputError, match="no file, folder or public set") as caught:
        open_source("beavertail")
    assert caught.value.valid[0] == "beavertails"


# --- the other formats -----------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz", ".parquet"])
def test_own_files_are_streamed(tmp_path: Path, ending: str) -> None:
    prompts = PromptSet([Prompt("a", text="Hello"), Prompt("b", text="Bye", labels={"x": 1})])
    rows = [prompt.to_dict() for prompt in prompts]
    path = tmp_path / f"own{ending}"
    if ending == ".parquet":
        prompts.to_parquet(path)
    else:
        write_rows(path, rows)
    source = open_source(path)
    assert (source.format, PromptSet(source.prompts())) == ("trait_probe", prompts)
    assert load_prompts(path) == prompts
    with pytest.raises(BadInputError, match="has no splits"):
        open_source(path, split="train")


def test_a_bad_row_of_an_own_file_is_met_where_it_stands(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", '{"id": "a", "text": "x"}\n{"id": "b"}\n')
    prompts = open_source(path).prompts()
    assert next(prompts).id == "a"
    with pytest.raises(BadInputError, match=r"p.jsonl, line 2"):
        next(prompts)


@pytest.mark.parametrize(
    ("name", "text", "config", "format"),
    [
        ("h.csv", HARMBENCH, "contextual", "harmbench"),
        ("a.csv", "goal,target\nSteal the moon,Sure\n", None, "advbench"),
        ("q.yaml", QUESTIONS, None, "emergent-misalignment"),
        ("p.json", '[{"id": "x", "prompt": "Hi"}]', None, "trait-interp"),
    ],
)
def test_small_formats_are_what_load_prompts_gives(
    tmp_path: Path, name: str, text: str, config: str | None, format: str
) -> None:
    path = write(tmp_path / name, text)
    source = open_source(path, config=config)
    assert PromptSet(source.prompts()) == load_prompts(path, config=config)
    found = source.provenance()
    assert (found["format"], found["config"]) == (format, config)
    assert found["sha256"] == file_sha256(path)
