"""An adapter's folder: what was asked for, whether it is finished, and how it is finished.

While training, `checkpoints/request.json` says what the checkpoints beside it belong to. At the end
the adapter is copied out of the last checkpoint, `trait_probe.json` is written last of all, and the
checkpoints are deleted.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from trait_probe.basis import ModelIdentity
from trait_probe.errors import BadInputError
from trait_probe.organisms._finetune.settings import FIXED, Settings
from trait_probe.organisms._finetune.training import last_checkpoint
from trait_probe.runs import files

SCHEMA = "trait_probe/finetune/1"
METADATA = "trait_probe.json"
CHECKPOINTS = "checkpoints"
REQUEST = "request.json"
WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"

Role = Literal["variant", "twin"]
State = Literal["new", "begun", "finished"]


@dataclass(frozen=True)
class Request:
    """Everything that decides an adapter's weights on one machine.

    Args:
        role: which of the pair.
        base: the identity of the model that is fine-tuned.
        settings: how.
        data_file: the data's file name, for people.
        data_sha256: of the file's bytes.
        rows: rows of the file.
        tokens_sha256: of the training sequences (a chat template may write today's date).
    """

    role: Role
    base: ModelIdentity
    settings: Settings
    data_file: str
    data_sha256: str
    rows: int
    tokens_sha256: str

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "schema": SCHEMA,
            "role": self.role,
            "base": self.base.to_dict(),
            "settings": self.settings.to_dict(),
            "fixed": FIXED,
            "data": {
                "file": self.data_file,
                "sha256": self.data_sha256,
                "rows": self.rows,
                "tokens_sha256": self.tokens_sha256,
            },
        }


def state_of(folder: Path, request: Request) -> State:
    """Whether the folder's adapter has to be begun, gone on with, or left alone.

    Raises:
        BadInputError: the folder holds something else: another request's adapter or checkpoints,
            other files, or an adapter that was changed after training.
    """
    if (folder / METADATA).is_file():
        stored = files.read_json(folder / METADATA)
        _require_same(folder, stored, request)
        _require_unchanged(folder, stored)
        return "finished"
    checkpoints = folder / CHECKPOINTS
    if last_checkpoint(checkpoints) is not None:
        _require_same(folder, files.read_json(checkpoints / REQUEST), request)
        return "begun"
    _require_no_other(folder)
    return "new"


def begin(folder: Path, request: Request) -> None:
    """Say what the checkpoints to come belong to."""
    files.write_json(folder / CHECKPOINTS / REQUEST, request.to_dict())


def copy_adapter(checkpoint: Path, folder: Path) -> None:
    """Take the adapter out of a checkpoint; equal adapters give equal bytes."""
    config = files.read_json(checkpoint / CONFIG)
    if isinstance(config["target_modules"], list):  # PEFT holds a set, whose order is chance
        config["target_modules"].sort()
    files.write_bytes(folder / WEIGHTS, (checkpoint / WEIGHTS).read_bytes())
    files.write_json(folder / CONFIG, config)


def finish(folder: Path, request: Request, more: Mapping[str, Any]) -> None:
    """Write what was made, which makes the adapter a finished one; then drop the checkpoints."""
    digest = {"adapter_sha256": files.file_sha256(folder / WEIGHTS)}
    files.write_json(folder / METADATA, {**request.to_dict(), **more, **digest})
    clean(folder)


def clean(folder: Path) -> None:
    """Delete what a finished adapter does not need."""
    files.remove_leftovers(folder)
    if (folder / CHECKPOINTS).is_dir():
        shutil.rmtree(folder / CHECKPOINTS)


def _require_no_other(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise BadInputError(
            "The adapter's folder is a file.", got=str(folder), fix="Choose another --out folder."
        )
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    other = [name for name in names if name != CHECKPOINTS]
    if other or (CHECKPOINTS in names and not _ours(folder / CHECKPOINTS)):
        raise BadInputError(
            f"{folder} holds files, and no adapter of this command; nothing was written to it.",
            got=", ".join((other or names)[:5]),
            fix="Choose an empty or a new --out folder.",
        )


def _ours(checkpoints: Path) -> bool:
    return (checkpoints / REQUEST).is_file() or not any(checkpoints.iterdir())


def _require_same(folder: Path, stored: Any, request: Request) -> None:
    try:
        found = list(_differences(stored, request))
    except (KeyError, TypeError, AttributeError) as error:
        raise BadInputError(
            f"{folder} holds an adapter that another version of this package made.",
            fix="Choose another --out folder.",
        ) from error
    if found:
        raise BadInputError(
            f"{folder} holds an adapter that was trained otherwise: {'; '.join(found)}.",
            fix="Choose another --out folder, or repeat the command that made the adapter.",
        )


def _differences(stored: Mapping[str, Any], request: Request) -> list[str]:
    asked = request.to_dict()
    old, new = _compared(stored), _compared(asked)
    lines = [
        f"{key} was {old.get(key)!r}, now {new.get(key)!r}"
        for key in new
        if old.get(key) != new.get(key)
    ]
    base = ModelIdentity.from_dict(stored["base"])
    return [*lines, *(f"the base model has another {f}" for f in base.differences(request.base))]


def _compared(request: Mapping[str, Any]) -> dict[str, Any]:
    """Everything but names: a renamed file with the same bytes is the same data."""
    return {
        "schema": request["schema"],
        "role": request["role"],
        "SHA-256 of the data": request["data"]["sha256"],
        "SHA-256 of the data's tokens": request["data"]["tokens_sha256"],
        **request["settings"],
        **request["fixed"],
    }


def _require_unchanged(folder: Path, stored: Mapping[str, Any]) -> None:
    weights = folder / WEIGHTS
    if not weights.is_file() or files.file_sha256(weights) != stored["adapter_sha256"]:
        raise BadInputError(
            f"{weights} is gone or was changed after training.",
            fix=f"Delete {folder} to train it again, or choose another --out folder.",
        )
