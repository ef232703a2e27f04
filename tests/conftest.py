"""Shared pytest set-up: one hypothesis profile, no network, one thread; the small models."""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
# One test process per core: with a thread per core in each, small products wait for each other
# (statistics took 2.3 times as long). Read when numpy loads: by worker processes, not by this one.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings

pytest.register_assert_rewrite("external_checks")
settings.register_profile("house", deadline=None, max_examples=50, print_blob=True)
settings.load_profile("house")
torch.set_num_threads(1)


@pytest.fixture(scope="module", autouse=True)
def _without_pictures(request: pytest.FixtureRequest) -> Iterator[None]:
    """Runs of experiments draw no PNG but those of the README: a browser for each takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        if request.module.__name__.startswith(
            ("test_backdoor", "test_emergent", "test_prefill", "test_external")
        ):
            patch.setattr("trait_probe.experiments._run.find_chrome", lambda: None)
        yield


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
