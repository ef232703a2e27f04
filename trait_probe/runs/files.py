"""Files that are either the old ones or the new ones, never half of each; and strict JSON.

A reader (or the same command after a kill) must never meet a truncated file. So every write goes to
a temporary file in the same folder, is flushed to the disk, and replaces the target in one step.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from trait_probe.errors import BadInputError, RunError

TEMPORARY_SUFFIX = ".trait_probe-tmp"

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_NO_RIGHT = (errno.EACCES, errno.EPERM, errno.EROFS)
# Some network file systems refuse to flush a folder; the rename itself is still atomic there.
_FOLDER_FLUSH_UNSUPPORTED = (errno.EINVAL, errno.ENOTSUP)


def as_run_error(error: OSError, path: Path) -> RunError:
    """The house error for an operating-system error met while writing `path`."""
    if error.errno in _NO_SPACE:
        problem = f"No space left to write {path}; the finished files are kept."
        fix = (
            "Free space, or choose another --out on a larger disk; then run the same command again."
        )
    elif error.errno in _NO_RIGHT:
        problem = f"{path} cannot be written."
        fix = "Choose an --out folder that you may write to."
    else:
        problem = f"Writing {path} failed; the finished files are kept."
        fix = "Repair the cause and run the same command again."
    return RunError(problem, got=error.strerror or str(error), fix=fix)


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a binary handle whose content becomes `path` when the block ends without an exception.

    Missing parent folders are made. If the block raises (Ctrl-C included), `path` is untouched and
    the temporary file is gone.

    Raises:
        RunError: the disk is full, or the place cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not tempfile: its files are private (0600); results should follow the user's umask.
        with open(temporary, "xb") as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, path)
        _flush_folder(path.parent)
    except OSError as error:
        raise as_run_error(error, path) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically (see `atomic_file`)."""
    with atomic_file(path) as handle:
        handle.write(data)


def write_json(path: Path, obj: object) -> None:
    """Write `obj` as strict JSON, atomically; equal objects give equal bytes.

    Keys keep their order. Tuples become lists; nothing else is converted.

    Raises:
        BadInputError: a NaN, an infinity, a key that is no string, or a value JSON cannot hold;
            the message names where in `obj` it sits. Nothing is written.
        RunError: the disk is full, or the place cannot be written.
    """
    write_bytes(path, json_bytes(obj))


def json_bytes(obj: object) -> bytes:
    """The exact bytes that `write_json` writes: UTF-8, two-space indent, a newline at the end."""
    _require_json(obj, "$")
    text = json.dumps(obj, allow_nan=False, ensure_ascii=False, indent=2)
    return _encode(text + "\n")


def canonical_sha256(obj: object) -> str:
    """SHA-256 (hex) of the JSON value `obj`, whatever the order of its keys."""
    _require_json(obj, "$")
    text = json.dumps(obj, allow_nan=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 (hex) of the bytes of a file."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def read_json(path: Path) -> Any:
    """Read strict JSON.

    Raises:
        BadInputError: the file is absent, truncated, not UTF-8, or holds NaN or Infinity.
    """
    try:
        return json.loads(path.read_bytes().decode(), parse_constant=_refuse_constant)
    except FileNotFoundError as error:
        raise BadInputError(f"{path} does not exist.", fix="Check the path.") from error
    except OSError as error:
        raise BadInputError(
            f"{path} cannot be read.", got=error.strerror, fix="Check the path and its permissions."
        ) from error
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError are both ValueErrors
        raise BadInputError(
            f"{path} is not valid JSON; it may be truncated or edited by hand.",
            got=str(error),
            fix="Restore the file, or delete its folder and run again.",
        ) from error


def remove_leftovers(folder: Path) -> None:
    """Delete temporary files that a killed writer left under `folder`."""
    for leftover in folder.rglob(f".*{TEMPORARY_SUFFIX}"):
        leftover.unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    """Make the rename itself survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _FOLDER_FLUSH_UNSUPPORTED:
            raise
    finally:
        os.close(descriptor)


def _refuse_constant(literal: str) -> None:
    raise ValueError(f"{literal} is not JSON")


def _encode(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise BadInputError(
            "A text to be written as JSON holds a lone surrogate, which is not valid Unicode.",
            got=text[error.start : error.start + 1],
            fix="Decode the text with errors='replace' where it is read.",
        ) from error


def _require_json(obj: object, where: str) -> None:
    if obj is None or isinstance(obj, (bool, int, str)):
        return
    if isinstance(obj, float):
        _require_finite(obj, where)
    elif isinstance(obj, (list, tuple)):
        for index, value in enumerate(obj):
            _require_json(value, f"{where}[{index}]")
    elif isinstance(obj, dict):
        _require_json_items(obj, where)
    else:
        raise BadInputError(
            f"{where} cannot be written as JSON: {type(obj).__name__} is no JSON type.",
            got=obj,
            valid=("None", "bool", "int", "float", "str", "list", "tuple", "dict"),
            fix="Convert it where it is made (float(x), str(path), array.tolist()).",
        )


def _require_json_items(items: Mapping[Any, object], where: str) -> None:
    for key, value in items.items():
        if not isinstance(key, str):
            raise BadInputError(
                f"{where} has a key that is no string; JSON would change it silently.",
                got=key,
                fix="Use str(key).",
            )
        _require_json(value, f"{where}.{key}")


def _require_finite(value: float, where: str) -> None:
    if not math.isfinite(value):
        raise BadInputError(
            f"{where} is {value}; results hold finite numbers only.",
            got=value,
            fix='Write {"unscored": "the reason"} for a number that could not be computed.',
        )
