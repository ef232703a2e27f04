"""Organisms by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from trait_probe.errors import BadInputError
from trait_probe.organisms import registry
from trait_probe.organisms.recipes import RECIPES


def test_names_are_those_that_training_makes() -> None:
    assert registry.names() == tuple(f"organism:{name}" for name in RECIPES)


@pytest.mark.parametrize("name", registry.names())
def test_every_organism_has_an_installed_folder_with_a_card(name: str) -> None:
    folder = registry.organism_path(name)
    for file in ("config.json", "model.safetensors", "tokenizer.json", "README.md"):
        assert (folder / file).is_file(), file


def test_the_sae_is_installed() -> None:
    folder = registry.sae_path("organism:backdoored-sae")
    assert (folder / "sae_weights.safetensors").is_file()


def test_weights_together_stay_small() -> None:
    total = sum(f.stat().st_size for f in registry.WEIGHTS.rglob("*") if f.is_file())
    assert total <= 20e6


def test_a_misspelt_name_gets_the_nearest_first() -> None:
    with pytest.raises(BadInputError, match="no organism of this name") as caught:
        registry.organism_path("organism:backdored")
    assert caught.value.valid[0] == "organism:backdoored"
    assert set(caught.value.valid) == set(registry.names())


def test_a_bare_name_and_an_sae_are_no_model_names() -> None:
    for name in ("base", "organism:backdoored-sae"):
        with pytest.raises(BadInputError):
            registry.organism_path(name)
    with pytest.raises(BadInputError, match="no organism SAE"):
        registry.sae_path("organism:backdoored")


def test_missing_weights_name_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(registry, "WEIGHTS", tmp_path)
    with pytest.raises(BadInputError, match="not installed") as caught:
        registry.organism_path("organism:base")
    assert caught.value.fix is not None
    assert "trait_probe.organisms.train" in caught.value.fix
