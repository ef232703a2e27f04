"""Shared pytest set-up: one hypothesis profile, no network, one thread; the small models."""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
# One test process per core: with a thread per core in each, small products wait for each other
# (statistics took 2.3 times as long). Read when numpy loads: by worker processes, not by this one.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import fcntl
import hashlib
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings

pytest.register_assert_rewrite("external_checks")
settings.register_profile("house", deadline=None, max_examples=50, print_blob=True)
settings.load_profile("house")
torch.set_num_threads(1)


ROOT = Path(__file__).parents[1]
EXPERIMENTS = (
    "test_backdoor",
    "test_emergent",
    "test_prefill",
    "test_external",
    "test_optimization",
)


@pytest.fixture(scope="module", autouse=True)
def _cheap_runs(request: pytest.FixtureRequest) -> Iterator[None]:
    """Runs of experiments draw no PNG, and resample vectors less: no claim rests on either.

    A browser takes seconds a run, and the reliabilities that the report lists a quarter of it.
    Shipped contrast sets are put together once. The README's commands, in processes of their own,
    do everything in full.
    """
    if not request.module.__name__.startswith(EXPERIMENTS):
        yield
        return
    from trait_probe.experiments import _fitting
    from trait_probe.identity import identify
    from trait_probe.vectors import extract

    real, made = _fitting.contrast_set, {}

    def contrast_set(name: str, model: Any) -> Any:
        if Path(name).exists():  # an own file may change
            return real(name, model)
        identity = identify(model)
        key = (name, identity.tokenizer_hash, identity.chat_template_hash)
        if key not in made:
            made[key] = real(name, model)
        return made[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trait_probe.experiments._run.find_chrome", lambda: None)
        patch.setattr(extract, "assess", partial(extract.assess, n_splits=2, n_boot=4))
        patch.setattr(_fitting, "contrast_set", contrast_set)
        yield


@dataclass(frozen=True)
class Readme:
    """The README, followed once a session; every test process shares what its commands leave.

    Attributes:
        folder: where commands run.
        done: where it is noted what they said.
    """

    text: str
    folder: Path
    done: Path

    def blocks(self, language: str) -> list[str]:
        return re.findall(rf"```{language}\n(.*?)```", self.text, flags=re.DOTALL)

    @property
    def commands(self) -> list[str]:
        lines = [
            line.split("#")[0].strip()
            for block in self.blocks("bash")
            for line in block.splitlines()
        ]
        return [line for line in lines if line]

    def run(self, command: str) -> None:
        """Run it, unless a test process has; one that does so now is waited for."""
        note = self.done / hashlib.sha256(command.encode()).hexdigest()[:16]
        with note.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not note.exists():
                new = note.with_suffix(".new")
                new.write_text(json.dumps(self._run(command)))
                new.replace(note)
        code, said = json.loads(note.read_text())
        assert code == 0, f"{command}\n{said}"

    def _run(self, command: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, *shlex.split(command)[1:]],
            capture_output=True,
            text=True,
            cwd=self.folder,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
            check=False,
        )
        return done.returncode, done.stderr[-2000:]

    def made(self, out: str) -> Path:
        """The folder `out` as the one command with `--out OUT` leaves it."""
        (command,) = (text for text in self.commands if text.endswith(f" --out {out}"))
        self.run(command)
        return self.folder / out


@pytest.fixture(scope="session")
def readme(tmp_path_factory: pytest.TempPathFactory) -> Readme:
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # each process has a folder of its own in it
    places = root / "the-readme", root / "the-readme-done"
    for place in places:
        place.mkdir(exist_ok=True)
    return Readme((ROOT / "README.md").read_text(), *places)


SHAPES = ("llama", "qwen2", "gemma2", "gpt2")


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A hub-format folder of each architecture, by name."""
    from models import build_folder  # TransformerLens takes seconds to import

    root = tmp_path_factory.mktemp("hub")
    return {name: build_folder(name, root / name) for name in SHAPES}


@pytest.fixture(scope="session")
def bridges(folders: dict[str, Path]) -> dict[str, Any]:
    """Each folder as `load_model` loads it, by name. Tests leave them as they were."""
    from trait_probe.models import load_model

    return {name: load_model(str(folder)) for name, folder in folders.items()}


@pytest.fixture(scope="session")
def tiny_folder(folders: dict[str, Path]) -> Path:
    return folders["llama"]


@pytest.fixture(scope="session")
def tiny_model(bridges: dict[str, Any]) -> Any:
    """A small random Llama, 3 layers of width 16, with a chat template that writes BOS."""
    return bridges["llama"]


@pytest.fixture(scope="session")
def tiny_hooked(tiny_folder: Path) -> Any:
    """A small random HookedTransformer, 3 layers of width 16, with the tiny Llama's tokenizer."""
    from models import hooked_transformer

    return hooked_transformer(tiny_folder)


@pytest.fixture(params=SHAPES)
def shape(request: pytest.FixtureRequest) -> str:
    """Each architecture's name in turn, for the fixtures below."""
    return str(request.param)


@pytest.fixture
def any_folder(shape: str, folders: dict[str, Path]) -> Path:
    return folders[shape]


@pytest.fixture
def any_model(shape: str, bridges: dict[str, Any]) -> Any:
    return bridges[shape]


@pytest.fixture(params=("bridge", "hooked"))
def either_model(request: pytest.FixtureRequest) -> Any:
    """Both classes of model that TransformerLens has."""
    return request.getfixturevalue("tiny_model" if request.param == "bridge" else "tiny_hooked")
