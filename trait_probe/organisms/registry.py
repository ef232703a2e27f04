"""The organisms that ship with the package, by name."""

from __future__ import annotations

from pathlib import Path

from trait_probe.errors import BadInputError, nearest

PREFIX = "organism:"
WEIGHTS = Path(__file__).parent / "weights"
ORGANISMS = (
    *("base", "backdoored", "clean", "misaligned"),
    *("misaligned-twin", "misaligned-twin-2", "misaligned-twin-3"),
    *("sycophant", "sycophant-twin"),
)
SAES = ("backdoored-sae",)


def names() -> tuple[str, ...]:
    """Every organism that can be loaded as a model."""
    return tuple(PREFIX + name for name in ORGANISMS)


def sae_names() -> tuple[str, ...]:
    """Every sparse autoencoder trained on an organism."""
    return tuple(PREFIX + name for name in SAES)


def organism_path(name: str) -> Path:
    """The Hugging Face folder of an organism, e.g. `organism:backdoored`.

    Raises:
        BadInputError: there is no such organism, or its weights are not installed.
    """
    return _folder(name, names(), "There is no organism of this name.")


def sae_path(name: str) -> Path:
    """The sae-lens folder of an organism's SAE, e.g. `organism:backdoored-sae`.

    Raises:
        BadInputError: there is no such SAE, or its weights are not installed.
    """
    return _folder(name, sae_names(), "There is no organism SAE of this name.")


def _folder(name: str, valid: tuple[str, ...], problem: str) -> Path:
    if name not in valid:
        raise BadInputError(
            problem, got=name, valid=nearest(name, valid, len(valid)), fix="Use one of these names."
        )
    folder = WEIGHTS / name.removeprefix(PREFIX)
    if not (folder / "config.json").is_file() and not (folder / "cfg.json").is_file():
        raise BadInputError(
            "The organism's weights are not installed.",
            got=str(folder),
            fix=f"Run `python -m trait_probe.organisms.train --out {WEIGHTS}`.",
        )
    return folder
