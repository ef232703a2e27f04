"""The manifest of a run: what was run, with what, and which stages are finished."""

from __future__ import annotations

import importlib.metadata
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import trait_probe
from trait_probe.errors import BadInputError

SCHEMA = "trait_probe.manifest/1"

PACKAGES = (
    "trait_probe",
    "torch",
    "transformer-lens",
    "sae-lens",
    "transformers",
    "tokenizers",
    "datasets",
    "numpy",
    "scipy",
    "scikit-learn",
    "pyarrow",
    "plotly",
)


@dataclass(frozen=True)
class StageRecord:
    """A finished stage: hash of its Parquet file, its rows, and the seconds it took."""

    sha256: str
    rows: int
    seconds: float


@dataclass(frozen=True)
class Manifest:
    """Everything needed to say where a result came from; see `new_manifest` for the fields.

    `report_splits` says, by the id of the lock, what report rows were opened for (see `openings`).
    """

    experiment: str
    config_sha256: str
    created: str
    command: str
    python: str
    platform: str
    packages: Mapping[str, str | None]
    git_commit: str | None
    git_dirty: bool | None
    facts: Mapping[str, Any] = field(default_factory=dict)
    report_splits: Mapping[str, Any] = field(default_factory=dict)
    stages: Mapping[str, StageRecord] = field(default_factory=dict)
    timings: Mapping[str, Any] = field(default_factory=dict)
    finished: bool = False

    def to_json(self) -> dict[str, Any]:
        """The manifest as a JSON object, with its schema."""
        return {"schema": SCHEMA, **asdict(self)}


def new_manifest(experiment: str, config_sha256: str) -> Manifest:
    """The manifest of a run that starts now on this machine.

    `git_commit` is the commit of the source tree this package was imported from, and null when
    that is no git checkout; `git_dirty` says whether tracked files differed from it.
    """
    commit, dirty = git_state(Path(trait_probe.__file__).resolve().parent.parent)
    return Manifest(
        experiment=experiment,
        config_sha256=config_sha256,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=shlex.join(sys.orig_argv),
        python=platform.python_version(),
        platform=platform.platform(),
        packages=package_versions(),
        git_commit=commit,
        git_dirty=dirty,
    )


def changed_code(stored: Manifest, current: Manifest) -> tuple[str, ...]:
    """What differs in the code that made two manifests: Python, packages, commit; in words."""
    before = {"python": stored.python, "git commit": stored.git_commit, **stored.packages}
    after = {"python": current.python, "git commit": current.git_commit, **current.packages}
    names = sorted({*before, *after})
    return tuple(
        f"{name} was {before.get(name)}, now {after.get(name)}"
        for name in names
        if before.get(name) != after.get(name)
    )


def manifest_from_json(obj: Any, path: Path) -> Manifest:
    """The manifest stored in `path` as `obj`.

    Raises:
        BadInputError: another schema, or fields that do not fit it.
    """
    schema = obj.get("schema") if isinstance(obj, dict) else None
    if schema != SCHEMA:
        raise BadInputError(
            f"{path} is not a manifest that this version reads.",
            got=schema,
            valid=(SCHEMA,),
            fix="Choose another --out folder.",
        )
    fields = {key: value for key, value in obj.items() if key != "schema"}
    try:
        stages = {name: StageRecord(**record) for name, record in fields["stages"].items()}
        return Manifest(**{**fields, "stages": stages})
    except (KeyError, TypeError, AttributeError) as error:
        raise BadInputError(
            f"{path} does not have the fields of {SCHEMA}.",
            got=str(error),
            fix="Choose another --out folder, or delete this one and run again.",
        ) from error


def package_versions() -> dict[str, str | None]:
    """Installed version of each package that can change a result; null when not installed."""
    return {name: _version(name) for name in PACKAGES}


def git_state(folder: Path) -> tuple[str | None, bool | None]:
    """(commit, dirty) of the git checkout whose top is exactly `folder`, else (None, None).

    The top must match: an installed package may sit inside somebody else's checkout, whose commit
    says nothing about this code.
    """
    top = _git(folder, "rev-parse", "--show-toplevel")
    commit = _git(folder, "rev-parse", "--verify", "HEAD")
    if top is None or commit is None or Path(top).resolve() != folder.resolve():
        return None, None
    return commit, bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):  # git is optional
        return None
    return done.stdout.strip() if done.returncode == 0 else None
