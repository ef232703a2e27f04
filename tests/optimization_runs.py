"""A small search on the organism, for tests of the experiment around it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from trait_probe.experiments import vector_optimization
from trait_probe.experiments.vector_optimization import Config
from trait_probe.prompts.traits.schema import find_trait


def small_trait() -> str:
    """Sycophancy with two of its pairs of instructions, which everything is written under."""
    source = find_trait("sycophancy", "organism").source
    content = yaml.safe_load(source.read_text())
    content |= {"trait": "own/sycophancy", "instructions": content["instructions"][:2]}
    path = Path(tempfile.mkdtemp()) / "sycophancy.yaml"
    path.write_text(yaml.safe_dump(content))
    return str(path)


SMALL: dict[str, Any] = {
    "traits": (small_trait(),),
    "layers": "3",
    "strengths": (0.2, 0.6, 0.8, 1.2),
    "components": 20,
    "popsize": 4,
    "iterations": 3,
    "seeds": 3,
    "questions_per_generation": 4,
    "finalists": 1,
    "random_directions": 4,
    "n_kept": 8,
}


def small(**changes: Any) -> Config:
    return Config(**{**SMALL, **changes})


def run(config: Config, out: Path, *, console: Console | None = None, **what: Any) -> Any:
    """A run, quietly."""
    return vector_optimization.run(config, out, console=console or Console(quiet=True), **what)


if __name__ == "__main__":  # a run to be killed, made as cheap as conftest makes runs
    import sys
    from functools import partial
    from unittest import mock

    from trait_probe.vectors import extract

    with (
        mock.patch.object(extract, "assess", partial(extract.assess, n_splits=2, n_boot=4)),
        mock.patch("trait_probe.experiments._run.find_chrome", return_value=None),
    ):
        sys.exit(vector_optimization.main(["--config", sys.argv[1], "--out", sys.argv[2]]))
