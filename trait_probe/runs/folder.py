"""What a folder holds before a run opens it: nothing, this very run, or something else."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trait_probe.errors import BadInputError, RunError
from trait_probe.runs import files
from trait_probe.runs.manifest import Manifest, manifest_from_json

CONFIG = "config.json"
MANIFEST = "manifest.json"
LOCK = ".lock"

_ABSENT = "(absent)"


def find_run(folder: Path, experiment: str, config: Mapping[str, Any]) -> Manifest | None:
    """The manifest of the run in `folder` if it is this experiment with this configuration.

    Returns:
        None when the folder is absent or empty (a lock and leftovers of a killed writer aside).

    Raises:
        BadInputError: the folder holds anything else, or `folder` is a file.
    """
    if not folder.exists():
        return None
    if not folder.is_dir():
        raise BadInputError(
            "The output folder is a file.", got=str(folder), fix="Choose another --out folder."
        )
    if not (folder / MANIFEST).is_file():
        _require_empty(folder)
        return None
    found = manifest_from_json(files.read_json(folder / MANIFEST), folder / MANIFEST)
    _require_experiment(folder, found, experiment)
    _require_config(folder, found, config)
    return found


def require_free_space(folder: Path, min_free_bytes: int) -> None:
    """Refuse to start on a nearly full disk.

    Raises:
        RunError: fewer than `min_free_bytes` bytes are free where `folder` is or will be.
    """
    existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    disk = shutil.disk_usage(existing)
    # A file system without any size (/proc, /sys) is not full; writing to it says what is wrong.
    if disk.total and disk.free < min_free_bytes:
        raise RunError(
            f"No space left to begin a run in {folder}: it needs {min_free_bytes / 1e6:.0f} MB.",
            got=f"{disk.free / 1e6:.0f} MB free",
            fix="Free space, or choose another --out on a larger disk.",
        )


def _require_empty(folder: Path) -> None:
    names = sorted(entry.name for entry in folder.iterdir())
    foreign = [name for name in names if name != LOCK and not name.endswith(files.TEMPORARY_SUFFIX)]
    if foreign:
        raise BadInputError(
            f"{folder} is not empty and holds no run (no {MANIFEST}); nothing was written to it.",
            got=", ".join(foreign[:5]) + (", ..." if len(foreign) > 5 else ""),
            fix="Choose an empty or a new --out folder.",
        )


def _require_experiment(folder: Path, found: Manifest, experiment: str) -> None:
    if found.experiment != experiment:
        raise BadInputError(
            f"{folder} holds a run of another experiment, {found.experiment!r}.",
            got=experiment,
            fix="Choose another --out folder.",
        )


def _require_config(folder: Path, found: Manifest, config: Mapping[str, Any]) -> None:
    if files.canonical_sha256(dict(config)) == found.config_sha256:
        return
    raise BadInputError(
        f"{folder} holds a run of {found.experiment!r} with another configuration: "
        f"{_differences(folder / CONFIG, config)}.",
        fix=f"Choose another --out folder, or give `--config {folder / CONFIG}` to reproduce "
        "the run that is there.",
    )


def _differences(stored_at: Path, config: Mapping[str, Any]) -> str:
    if not stored_at.is_file():
        return f"its {CONFIG} is gone, only its hash is known"
    stored, asked = _flat(files.read_json(stored_at)), _flat(dict(config))
    lines = [
        f"{key} was {stored.get(key, _ABSENT)!r}, now {asked.get(key, _ABSENT)!r}"
        for key in sorted({*stored, *asked})
        if stored.get(key, _ABSENT) != asked.get(key, _ABSENT)
    ]
    return "; ".join(lines) or f"its {CONFIG} was edited after the run"


def _flat(value: Any, key: str = "") -> dict[str, Any]:
    """Nested objects as dotted keys; lists stay whole, and tuples compare as lists."""
    if isinstance(value, dict) and (value or not key):
        nested = (_flat(item, f"{key}.{name}" if key else name) for name, item in value.items())
        return {name: item for part in nested for name, item in part.items()}
    return {key: list(value) if isinstance(value, tuple) else value}
