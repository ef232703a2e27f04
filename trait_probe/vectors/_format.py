"""The vector file on disk: one safetensors file whose header carries a strict JSON description.

Knows bytes, JSON and plain dataclasses, not what a trait vector is.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn, TypeVar, get_type_hints

import safetensors
import safetensors.torch
from torch import Tensor

from trait_probe.errors import BadInputError, RunError, nearest

SCHEMA = "trait_probe.vectors/1"
_KEY = "trait_probe"
T = TypeVar("T")


def write(path: Path, tensors: Mapping[str, Tensor], vectors: list[dict[str, Any]]) -> None:
    """Write tensors and their description atomically: a reader sees the old file or the new one.

    Missing parent folders are made.

    Raises:
        BadInputError: the path is a folder.
        RunError: the disk is full, or the place cannot be written.
    """
    if path.is_dir():
        raise BadInputError(
            "Vectors are saved to a file, but a folder has that name.",
            got=str(path),
            fix=f"Name a file in it, e.g. {path / 'vectors.safetensors'}.",
        )
    header = json.dumps({"schema": SCHEMA, "vectors": vectors}, allow_nan=False)
    # Copies: safetensors refuses views that share memory, such as rows of one matrix.
    owned = {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}
    data = safetensors.torch.save(owned, metadata={_KEY: header})
    try:
        _replace(path, data)
    except OSError as error:
        raise RunError(
            f"The vectors could not be written to {path}; nothing was replaced.",
            got=error.strerror or str(error),
            fix="Choose another place, or free space, and save again.",
        ) from error


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        # Not tempfile: its files are private (0600); results should follow the user's umask.
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read(path: Path) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """The tensors of a vector file and the description of each, both checked for presence only.

    Raises:
        BadInputError: there is no such file, it is truncated or not safetensors, or its header
            is not one of this package's.
    """
    if not path.is_file():
        siblings = [file.name for file in path.parent.glob("*.safetensors")]
        raise BadInputError(
            "There is no vector file of that name.",
            got=str(path),
            valid=nearest(path.name, siblings),
        )
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            # Cloned: the tensors are views of the mapped file, which may be replaced under us.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except safetensors.SafetensorError as error:
        raise BadInputError(
            f"The file is not a complete safetensors file ({error}).",
            got=str(path),
            fix="Copy or save it again: it may have been cut off.",
        ) from error
    return tensors, _entries(path, metadata)


def _entries(path: Path, metadata: Mapping[str, str]) -> list[dict[str, Any]]:
    if _KEY not in metadata:
        raise BadInputError(
            "The safetensors file holds no trait_probe vectors: its header has no description.",
            got=str(path),
            fix="Save vectors with VectorSet.save; bare tensors lack the basis they live in.",
        )
    try:
        header = json.loads(metadata[_KEY], parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise BadInputError(f"The file's header is not JSON ({error}).", got=str(path)) from error
    schema = header.get("schema") if isinstance(header, dict) else None
    if schema != SCHEMA:
        raise BadInputError(
            "The vector file has another schema.",
            got=schema,
            valid=[SCHEMA],
            fix="Read it with the version of trait_probe that wrote it.",
        )
    entries = header.get("vectors")
    if not isinstance(entries, list) or not entries:
        raise BadInputError("The vector file's header lists no vectors.", got=str(path))
    return entries


def _refuse_constant(name: str) -> NoReturn:
    raise BadInputError("A number in the file's header is not finite.", got=name)


def require_keys(data: object, expected: tuple[str, ...], where: str) -> dict[str, Any]:
    """`data` as a dict with exactly the expected keys; anything else raises `BadInputError`."""
    if not isinstance(data, dict):
        raise BadInputError(f"The vector file's {where} is not an object.", got=data)
    missing = [name for name in expected if name not in data]
    unknown = [name for name in data if name not in expected]
    if missing or unknown:
        raise BadInputError(
            f"The vector file's {where} does not have the fields of {SCHEMA}: "
            f"missing {missing}, unknown {unknown}.",
            got=sorted(data),
            valid=expected,
            fix="Save the vectors again with this version of trait_probe.",
        )
    return data


def build(cls: type[T], data: object, where: str) -> T:
    """A flat dataclass from its JSON object; names and types of all fields must agree."""
    names = tuple(field.name for field in fields(cls))  # type: ignore[arg-type]  # a dataclass
    values = require_keys(data, names, where)
    for name, hint in get_type_hints(cls).items():
        require_type(values[name], hint, f"{where}.{name}")
    return cls(**values)


def require_type(value: object, hint: Any, where: str) -> None:
    """Refuse a JSON value of another type; `true` is not a number."""
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise BadInputError(
            f"The vector file's {where} has the wrong type.",
            got=value,
            valid=[getattr(hint, "__name__", str(hint))],
        )
