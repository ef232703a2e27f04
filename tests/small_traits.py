"""Small trait files and prompts in plain words, short enough for the context of tiny models."""

from __future__ import annotations

import json
from pathlib import Path

_WORDS = (
    "red",
    "blue",
    "fish",
    "bird",
    "tree",
    "lake",
    "moon",
    "sun",
    "rain",
    "snow",
    "hat",
    "cup",
)


def trait_file(folder: Path, name: str, pair: tuple[str, str]) -> Path:
    """A trait of prompt pairs that differ in one word; `name` becomes `own/NAME`."""
    lines = [f"trait: own/{name}", "language: english", f"definition: {name}.", "rubric: 0 to 100."]
    lines.append("prompts:")
    for word in _WORDS:
        lines += [f"  - positive: '{word} {pair[0]}'", f"    negative: '{word} {pair[1]}'"]
    path = folder / f"{name}.yaml"
    path.write_text("\n".join(lines) + "\n")
    return path


def trait_files(folder: Path) -> dict[str, Path]:
    """Six unrelated traits by name."""
    pairs = {
        "loud": ("roars", "hums"),
        "sour": ("lemon", "sugar"),
        "fast": ("hare", "snail"),
        "cold": ("ice", "fire"),
        "tall": ("tower", "cellar"),
        "old": ("ruin", "bud"),
    }
    return {name: trait_file(folder, name, pair) for name, pair in pairs.items()}


def prompt_file(folder: Path, n: int = 48, *, system: str | None = None) -> Path:
    """Chat prompts as JSONL, two of a group."""
    path = folder / "prompts.jsonl"
    rows = []
    for i in range(n):
        first, second = _WORDS[i % 12], _WORDS[(i * 5 + i // 12) % 12]
        messages = [{"role": "user", "content": f"what of the {first} and the {second} {i} ?"}]
        if system is not None:
            messages.insert(0, {"role": "system", "content": system})
        rows.append({"id": f"p{i}", "messages": messages, "group": f"g{i // 2}"})
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    return path
