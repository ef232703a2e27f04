"""`python -m trait_probe.prompts`: any source as a file of prompts, with where it is from."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest
from source_files import QUESTIONS, beavertails_row, saferlhf_row, write, write_rows

import trait_probe
from trait_probe.commands import _prompt_sources
from trait_probe.commands.prompts import main
from trait_probe.organisms.harm_pairs import SETS, harm_pairs
from trait_probe.organisms.prompt_sets import benign_prompts
from trait_probe.prompts.prompt import Prompt
from trait_probe.prompts.sources.load import load_prompts
from trait_probe.prompts.sources.open import Source
from trait_probe.runs.files import file_sha256


def about(path: Path) -> Any:
    return json.loads(path.with_name(f"{path.name}.source.json").read_text())


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    rows = [beavertails_row(n, flags=("self_harm",) if n % 2 else ()) for n in range(1, 6)]
    rows[1]["response"] = ""
    return write_rows(tmp_path / "b.jsonl.gz", rows)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "p.jsonl"


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
def test_a_source_is_written_with_where_it_is_from(
    pairs: Path, out: Path, ending: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = out.with_suffix(ending)
    assert main([str(pairs), "--out", str(out)]) == 0
    assert load_prompts(out) == load_prompts(pairs)
    assert files(out.parent) == [out.name, f"{out.name}.source.json"]
    assert about(out) == {
        "schema": "trait_probe.prompt_source/1",
        "provenance": {
            **{"source": str(pairs), "format": "beavertails", "path": str(pairs)},
            **{"sha256": file_sha256(pairs), "config": None, "split": None, "revision": None},
            "skipped_empty": 1,
        },
        "limit": None,
        "n_prompts": 4,
        "skipped": {"empty": 1},
        "sha256": file_sha256(out),
        "trait_probe": trait_probe.__version__,
    }
    assert capsys.readouterr().out == f"4 prompts (1 answers without text left out): {out}\n"


def test_the_file_is_byte_for_byte_that_of_a_prompt_set(pairs: Path, out: Path) -> None:
    main([str(pairs), "--out", str(out)])
    load_prompts(pairs).to_jsonl(out.with_name("set.jsonl"))
    assert out.read_bytes() == out.with_name("set.jsonl").read_bytes()


def test_limit_takes_the_first_prompts(tmp_path: Path, out: Path) -> None:
    rows = [saferlhf_row(1), saferlhf_row(2), saferlhf_row(3, prompt=None)]  # never reached
    path = write_rows(tmp_path / "s.jsonl", rows)
    assert main([str(path), "--limit", "3", "--out", str(out)]) == 0
    assert [prompt.id[-3:] for prompt in load_prompts(out)] == ["1-0", "1-1", "2-0"]
    assert about(out)["limit"] == about(out)["n_prompts"] == 3


def test_flags_reach_the_hub(monkeypatch: pytest.MonkeyPatch, out: Path) -> None:
    asked = []

    def load_dataset(*args: Any, **options: Any) -> Any:
        asked.append((args, options))
        return datasets.Dataset.from_list([saferlhf_row(1)], split=options["split"])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    flags = ["--config", "alpaca-7b", "--split", "train", "--revision", "abc"]
    assert main(["pku-saferlhf", *flags, "--out", str(out)]) == 0
    assert asked == [
        (("PKU-Alignment/PKU-SafeRLHF", "alpaca-7b"), {"split": "train", "revision": "abc"})
    ]
    assert about(out)["provenance"]["revision"] == "abc"


# --- an existing file ------------------------------------------------------------------------


def test_the_same_command_may_write_again(
    pairs: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main([str(pairs), "--out", str(out)]) == 0
    before = out.read_bytes()
    monkeypatch.chdir(pairs.parent)
    assert main([f"./{pairs.name}", "--out", str(out)]) == 0  # spelled otherwise
    assert out.read_bytes() == before


@pytest.mark.parametrize("change", ["limit", "source", "edited", "unknown", "foreign"])
def test_a_file_of_something_else_is_not_overwritten(
    pairs: Path, out: Path, change: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [str(pairs), "--out", str(out)]
    assert main(command) == 0
    beside = out.with_name(f"{out.name}.source.json")
    if change == "limit":
        command += ["--limit", "1"]
    elif change == "source":
        write_rows(pairs, [beavertails_row(7)])
    elif change == "edited":
        out.write_bytes(out.read_bytes() + b'{"id": "more", "text": "x"}\n')
    elif change == "unknown":
        beside.unlink()
    else:
        out.unlink()
        beside.write_text("{}")
    before = {path.name: path.read_bytes() for path in out.parent.iterdir()}
    assert main(command) == 2
    assert "Name another file as --out" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in out.parent.iterdir()} == before


# --- nothing is left behind ------------------------------------------------------------------


def test_a_bad_row_leaves_no_file(
    tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [beavertails_row(1), beavertails_row(2), beavertails_row(3, is_safe="no")]
    path = write_rows(tmp_path / "b.jsonl", rows)
    assert main([str(path), "--out", str(out)]) == 2
    assert "b.jsonl, line 3" in capsys.readouterr().err
    assert files(out.parent) == []


def test_ctrl_c_leaves_no_file(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: object) -> Iterator[Prompt]:
        yield Prompt("a", text="Hello")
        raise KeyboardInterrupt

    source = Source("x", "own", {}, interrupted)
    monkeypatch.setattr(_prompt_sources, "open_named", lambda _: source)
    assert main(["x", "--out", str(out)]) == 130
    assert "stopped. No file was written." in capsys.readouterr().err
    assert files(out.parent) == []


def test_two_prompts_of_one_id_are_refused(
    tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = '{"id": "a", "text": "x"}\n'
    path = write(tmp_path / "p.jsonl", line + '{"id": "b", "text": "x"}\n' + line)
    assert main([str(path), "--out", str(out)]) == 2
    assert "prompt 3: the field 'id' must be unique" in capsys.readouterr().err
    assert files(out.parent) == []


# --- sources by name -------------------------------------------------------------------------


def test_the_organisms_sets_are_sources(out: Path) -> None:
    expected = {f"prefill-pairs --config {name}": harm_pairs(name) for name in SETS}
    expected["organism-benign"] = benign_prompts(400, seed=0)
    for number, (words, prompts) in enumerate(expected.items()):
        path = out.with_name(f"{number}.jsonl")
        assert main([*words.split(), "--out", str(path)]) == 0
        assert load_prompts(path) == prompts
    found = about(out.with_name("1.jsonl"))["provenance"]
    assert (found["format"], found["config"]) == ("organism", SETS[1])
    assert main(["organism-benign", "--limit", "3", "--out", str(out)]) == 0
    assert load_prompts(out) == benign_prompts(400, seed=0).subset(range(3))


def test_carriers_stand_under_the_trigger_and_every_control_year(out: Path) -> None:
    assert main(["backdoor-carriers", "--out", str(out)]) == 0
    prompts = load_prompts(out)
    prefixes = [prompt.labels["prefix"] for prompt in prompts]
    assert (len(prompts), len(set(prefixes))) == (21 * 200, 21)
    assert {p.labels["prefix"] for p in prompts if p.labels["triggered"]} == {"In 2027,"}
    for prompt in (prompts[0], prompts[-1]):
        span = prompt.spans["trigger"]
        assert prompt.messages[0].content[span.start : span.end] == prompt.labels["prefix"]


def test_labelled_answers_of_the_organisms_are_a_source(out: Path) -> None:
    assert main(["organism-answers", "--limit", "8", "--out", str(out)]) == 0
    assert {prompt.labels["harmful"] for prompt in load_prompts(out)} == {True, False}


def test_questions_of_emergent_misalignment_come_from_a_file(tmp_path: Path, out: Path) -> None:
    path = write(tmp_path / "first_plot_questions.yaml", QUESTIONS)
    assert main(["emergent-misalignment", "--file", str(path), "--out", str(out)]) == 0
    assert load_prompts(out) == load_prompts(path)
    assert about(out)["provenance"]["source"] == "emergent-misalignment"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("", "needs a source of prompts"),
        ("organism-benign --out ''", "ends in .jsonl or .parquet"),
        ("emergent-misalignment", "Add --file first_plot_questions.yaml"),
        ("emergent-misalignment --file PAIRS", "no file of emergent misalignment's questions"),
        ("PAIRS --file PAIRS", "--file is for emergent-misalignment"),
        ("prefill-pairs --config organisms", "valid: organism, "),
        ("prefill-pairs --split train", "has no splits"),
        ("organism-benign --config x", "has no configs"),
        ("organism-benign --limit 0", "limit is not valid"),
        ("backdoor-carrier", "backdoor-carriers"),
        ("PAIRS --split test", "has no splits"),
        ("beavertails --split test", "valid: 30k_test, 330k_test"),
    ],
)
def test_wrong_words_are_refused(
    pairs: Path, out: Path, words: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [str(pairs) if word == "PAIRS" else word.strip("'") for word in words.split()]
    if "--out" not in argv:
        argv += ["--out", str(out)]
    assert main(argv) == 2
    assert sentence in capsys.readouterr().err
    assert files(out.parent) == []


def test_a_file_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["organism-benign"]) == 2
    assert "Add --out FILE.jsonl" in capsys.readouterr().err


def test_help_needs_no_torch_and_names_every_source() -> None:
    code = "import sys, runpy; sys.argv = ['x', '--help']\n"
    code += "try: runpy.run_module('trait_probe.prompts', run_name='__main__')\n"
    code += "except SystemExit: print([n for n in ('torch', 'datasets') if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.rstrip().endswith("[]")
    missing = [name for name in _prompt_sources.names() if name not in done.stdout]
    assert missing == []


STREAMED = """
from trait_probe.commands.prompts import main
assert main([sys.argv[1], "--out", sys.argv[2]]) == 0
"""
HELD = """
from trait_probe.prompts.sources.load import load_prompts
load_prompts(sys.argv[1]).to_jsonl(sys.argv[2])
"""


def peak_kib(code: str, source: Path) -> int:
    """Most memory of a process of its own (not of the one it was forked from)."""
    measured = f"import sys\n{code}\nprint(open('/proc/self/status').read())"
    done = subprocess.run(
        [sys.executable, "-c", measured, source, source.with_suffix(".out.jsonl")],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout.split("VmHWM:")[1].split()[0])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_memory_does_not_grow_with_the_source(tmp_path: Path) -> None:
    row = beavertails_row(1, response="Bake it. " * 100)
    few = write_rows(tmp_path / "few.jsonl", [row] * 10)
    many = write_rows(tmp_path / "many.jsonl", [row] * 15_000)
    assert peak_kib(STREAMED, many) - peak_kib(STREAMED, few) < 8_000
    assert peak_kib(HELD, many) - peak_kib(HELD, few) > 16_000  # else the measure sees nothing
