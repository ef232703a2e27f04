"""The public trait folders (`positive.*`, `negative.*`, `definition.txt`, `steering.json`).

The shape is that of github.com/ewernn/trait-interp. A folder becomes the same located mapping as a
YAML file, so that `schema` checks both with the same rules:

- `positive.txt`, `negative.txt`: `completions` with an empty opening, paired by line;
- `positive.jsonl`, `negative.jsonl` whose rows share the prompt: `instructions` x `questions`;
- the same files whose rows differ in the prompt: `prompts`;
- `definition.txt`: `rubric`, and its first paragraph is the `definition`;
- `steering.json`, if there: `evaluation_questions`;
- the last two parts of the folder's path: the trait's name; the language is `english`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from trait_probe.errors import BadInputError
from trait_probe.prompts.traits.located import Located, read_json, read_text

_SHAPES = ("trait.yaml", "positive.txt + negative.txt", "positive.jsonl + negative.jsonl")


@dataclass(frozen=True)
class _Row:
    """One line of a JSON Lines file."""

    prompt: Located
    system: Located | None


def read_folder(folder: Path) -> Located:
    """A public trait folder as the mapping that a trait's YAML file would give.

    Raises:
        BadInputError: a file is missing, the two sides differ in number, or the rows mix a contrast
            of system prompts with a contrast of prompts.
    """
    lines = _both_sides(folder, ".txt")
    rows = _both_sides(folder, ".jsonl")
    if not lines and not rows:
        raise BadInputError(
            f"{folder}: no contrasting texts in this folder",
            got=", ".join(sorted(entry.name for entry in folder.iterdir())) or "an empty folder",
            valid=_SHAPES,
            fix="add the files of one of these shapes",
        )
    entries = _header(folder) | _evaluation(folder)
    if lines:
        entries["completions"] = _list(
            folder, "completions", [_completion(*pair) for pair in lines]
        )
    if rows:
        entries |= _rows(folder, rows)
    return Located(folder, None, "", entries)


def _both_sides(folder: Path, suffix: str) -> list[tuple[Located, Located]]:
    paths = [folder / f"{side}{suffix}" for side in ("positive", "negative")]
    present = [path for path in paths if path.is_file()]
    if len(present) == 1:
        (missing,) = set(paths) - set(present)
        raise BadInputError(
            f"{folder}: {missing.name} is missing",
            got=present[0].name,
            fix=f"add {missing.name}, matched line by line",
        )
    if not present:
        return []
    positive, negative = (_lines(path) for path in paths)
    if len(positive) != len(negative):
        raise BadInputError(
            f"{folder}: the two sides must be paired line by line",
            got=f"{len(positive)} in {paths[0].name}, {len(negative)} in {paths[1].name}",
            fix="match every positive line with a negative one",
        )
    return list(zip(positive, negative, strict=True))


def _lines(path: Path) -> list[Located]:
    texts = read_text(path).split("\n")
    return [Located(path, number, "", text) for number, text in enumerate(texts, 1) if text.strip()]


def _header(folder: Path) -> dict[str, Located]:
    path = folder / "definition.txt"
    if not path.is_file():
        raise BadInputError(
            f"{folder}: definition.txt is missing", fix="add it: what the trait is, and its rubric"
        )
    rubric = read_text(path).strip()
    texts = {
        "trait": "/".join(
            re.sub(r"[^\w-]", "_", part, flags=re.ASCII) for part in folder.parts[-2:]
        ),
        "language": "english",
        "definition": rubric.split("\n\n")[0],
        "rubric": rubric,
    }
    return {field: Located(path, 1, field, text) for field, text in texts.items()}


def _evaluation(folder: Path) -> dict[str, Located]:
    path = folder / "steering.json"
    if not path.is_file():
        return {}
    entries = read_json(read_text(path), path, "", None).record(("questions",), None)
    return {"evaluation_questions": entries["questions"]}


def _list(folder: Path, field: str, items: list[Located]) -> Located:
    return Located(folder, None, field, items)


def _completion(positive: Located, negative: Located) -> Located:
    opening = Located(positive.source, positive.line, "prompt", "")
    entries = {"prompt": opening, "positive": positive, "negative": negative}
    return Located(positive.source, positive.line, "", entries)


def _pair(positive: Located, negative: Located) -> Located:
    entries = {"positive": positive, "negative": negative}
    return Located(positive.source, positive.line, "", entries)


def _rows(folder: Path, lines: list[tuple[Located, Located]]) -> dict[str, Located]:
    rows = [(_row(positive), _row(negative)) for positive, negative in lines]
    same_prompt = [_same(positive.prompt, negative.prompt) for positive, negative in rows]
    if all(same_prompt):
        return _crossed(folder, rows)
    for (positive, negative), same in zip(rows, same_prompt, strict=True):
        if same or positive.system or negative.system:
            raise positive.prompt.error(
                "all rows of a folder contrast either the system prompt (and have the same prompt "
                "on both sides) or the prompt (and have no system prompt)",
                fix="make a folder of each kind",
            )
    pairs = [_pair(positive.prompt, negative.prompt) for positive, negative in rows]
    return {"prompts": _list(folder, "prompts", pairs)}


def _row(line: Located) -> _Row:
    row = read_json(str(line.value), line.source, "", line.line).record(("prompt",), None)
    return _Row(row["prompt"], row.get("system_prompt"))


def _same(positive: Located, negative: Located) -> bool:
    return positive.text() == negative.text()


def _crossed(folder: Path, rows: list[tuple[_Row, _Row]]) -> dict[str, Located]:
    """Rows that ask every question under every instruction pair, as those two lists."""
    instructions: dict[tuple[str, str], Located] = {}
    questions: dict[str, Located] = {}
    cells = set()
    for positive, negative in rows:
        pair = _pair(_system(positive), _system(negative))
        key, question = (_system(positive).text(), _system(negative).text()), positive.prompt.text()
        instructions.setdefault(key, pair)
        questions.setdefault(question, positive.prompt)
        cells.add((key, question))
    if not len(rows) == len(cells) == len(instructions) * len(questions):
        raise BadInputError(
            f"{folder}: every question must be asked once under every pair of system prompts",
            got=f"{len(rows)} rows, {len(instructions)} pairs, {len(questions)} questions",
            fix="complete the rows, or write a trait.yaml",
        )
    return {
        "instructions": _list(folder, "instructions", list(instructions.values())),
        "questions": _list(folder, "questions", list(questions.values())),
    }


def _system(row: _Row) -> Located:
    if row.system is None:
        raise row.prompt.error(
            "both sides have this prompt and there is no `system_prompt` to contrast",
            got=row.prompt.text(),
            fix="add `system_prompt` to both rows, or make the prompts differ",
        )
    return row.system
