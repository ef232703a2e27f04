"""Prompt files of trait-interp: JSON, a list of prompts or an object that holds one.

The shapes of github.com/ewernn/trait-interp, `datasets/inference`: `[{"prompt": ..., "id": ...}]`
(or `text`), and `{"name": ..., "description": ..., "prompts": [{"id": ..., "text": ..., ...}]}`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from trait_probe.errors import BadInputError
from trait_probe.prompts import _record
from trait_probe.prompts.prompt import Prompt, PromptSet
from trait_probe.prompts.sources._table import AnyPath, collect, read_text, user_prompt

_READ = ("id", "prompt", "text", "system_prompt")
_SHAPES = ('[{"id": "a", "prompt": "..."}]', '{"prompts": [{"id": "a", "text": "..."}]}')


def read(path: AnyPath) -> PromptSet:
    """The prompts as the user's messages, `system_prompt` (if any) before them as the system's.

    Ids are those of the file, as text. Fields of any other name that hold a string, a number, true,
    false or null become labels; fields that hold lists or objects are left out.

    Raises:
        BadInputError: no such file, malformed JSON, neither shape, an entry without id or text, or
            an id given twice; names the entry, from 1.
    """
    entries = _entries(_parse(read_text(path, ".json"), str(path)), str(path))
    placed = (_prompt(f"{path}, entry {n}", entry) for n, entry in enumerate(entries, start=1))
    return collect(str(path), placed)


def _parse(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        raise BadInputError(
            f"{name}, line {line} is not valid JSON: {error}.", fix="Correct the file there."
        ) from error


def _entries(value: Any, name: str) -> list[Any]:
    entries = value.get("prompts") if isinstance(value, Mapping) else value
    if not isinstance(entries, list):
        raise BadInputError(
            f"{name} is not a file of prompts: it holds neither a list nor a list `prompts`.",
            got=", ".join(value) if isinstance(value, Mapping) else value,
            valid=_SHAPES,
        )
    return entries


def _prompt(where: str, entry: Any) -> tuple[str, Prompt]:
    if not isinstance(entry, Mapping):
        raise BadInputError(
            f"{where} is not an object.", got=entry, fix='Write {"id": "a", "prompt": "..."}.'
        )
    labels = {key: value for key, value in entry.items() if key not in _READ and _scalar(value)}
    try:
        system = _record.read_text(entry, "system_prompt") or None
        return user_prompt(where, _id(entry), _text(entry), labels, system=system)
    except BadInputError as error:
        already = error.problem.startswith(where)
        raise error if already else _record.located(where, error) from error


def _scalar(value: object) -> bool:
    return value is None or isinstance(value, str | int | float)


def _id(entry: Mapping[str, Any]) -> str:
    value = entry.get("id")
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise BadInputError(
            "the id must be a string or a whole number.", got=value, fix='Add "id".'
        )
    return str(value)


def _text(entry: Mapping[str, Any]) -> str:
    texts = [entry[key] for key in ("prompt", "text") if key in entry]
    if len(texts) != 1 or not isinstance(texts[0], str):
        raise BadInputError(
            "an entry has either `prompt` or `text`, a string.",
            got=", ".join(entry),
            valid=("prompt", "text"),
        )
    return texts[0]
