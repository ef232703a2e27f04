"""A tiny model's vectors and a file of prompts, for runs of shards."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from vector_builders import vector_set

from trait_probe.identity import identify
from trait_probe.vectors.vector import VectorSet

TEXT = "red blue fish house walks over the quiet green river and sings a song of two"
WORDS = TEXT.split()


def rows(n: int, *, seed: int = 0, repeats: int = 0) -> list[dict[str, Any]]:
    """Prompts of 1 to 24 words in their JSON form; the last `repeats` say what the first say."""
    rng = random.Random(seed)
    made = [
        {
            "id": f"p{number}",
            "text": " ".join(rng.choices(WORDS, k=rng.randint(1, 24))) + f" {number}",
            "labels": {"odd": bool(number % 2)},
        }
        for number in range(n - repeats)
    ]
    again = [{**made[number], "id": f"again{number}"} for number in range(repeats)]
    return made + again


def write_jsonl(path: Path, items: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
    return path


def vectors_for(model: Any) -> VectorSet:
    """Two traits at layers 1 and 2 of the model."""
    return vector_set(model=identify(model))
