"""Every command and every snippet of the README runs as it stands."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[str]:
    lines = [line.split("#")[0].strip() for block in blocks("bash") for line in block.splitlines()]
    return [line for line in lines if line]


def test_the_first_commands_are_the_two_a_stranger_needs():
    assert commands()[:2] == ["make demo", "make test"]
    position = README.index("make test")
    assert position < 600


@pytest.mark.parametrize("target", ["demo", "test"])
def test_make_knows_the_targets(target):
    done = subprocess.run(
        ["make", "--dry-run", target, "VENV=/nonexistent"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    wanted = {"demo": "-m trait_probe.experiments.backdoor", "test": "-m pytest"}
    assert wanted[target] in done.stdout
    assert "--constraint constraints.txt" in done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where the README is followed: snippets first, since commands use the files they write."""
    return tmp_path_factory.mktemp("readme")


@pytest.fixture(scope="module")
def names(folder) -> dict[str, object]:
    """What the snippets define."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        found: dict[str, object] = {}
        for block in blocks("python"):
            exec(compile(block, "README.md", "exec"), found)
        return found


@pytest.mark.slow
def test_the_python_snippets_run(folder, names):
    assert (folder / "evil.safetensors").is_file()
    assert names["text"]
    assert tuple(names["covariance"].shape) == (128, 128)


@pytest.mark.slow
def test_the_commands_run(folder, names):
    """In the README's order and one folder: a later command may use an earlier one's files."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    run = [command for command in commands() if command.startswith("python -m ")]
    assert len(run) >= 8
    for command in run:
        words = shlex.split(command)
        done = subprocess.run(
            [sys.executable, *words[1:]],
            capture_output=True,
            text=True,
            cwd=folder,
            env=environment,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stderr[-2000:]}"
    first, again = (folder / "runs" / name / "results.json" for name in ("mine", "again"))
    assert first.read_bytes() == again.read_bytes()


def test_no_placeholder_is_left():
    assert not re.findall(r"[A-Z]+_[A-Z_]*HERE", README)
