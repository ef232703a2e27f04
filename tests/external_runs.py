"""Runs of the external data sets command for its tests, at several prices."""

from __future__ import annotations

import json
import random
from pathlib import Path

from trait_probe.experiments import external_datasets
from trait_probe.organisms.answers import answer_rows

# For what does not depend on the verdict: resuming, reproducing, sources.
TINY = (
    *("--foils", "safety/evil", "--layers", "1", "--n-failures", "2", "--n-shuffled", "0"),
    *("--n-boot", "200", "--n-permutations", "200", "--n-random", "100"),
)


def run(out: Path, *flags: str) -> dict:
    assert external_datasets.main([*flags, "--out", str(out)]) == 0
    return json.loads((out / "results.json").read_text())


def beavertails_file(folder: Path, n: int | None = None) -> Path:
    """The organisms' answers as a file of the public schema; some of them, in another order."""
    rows = list(answer_rows())
    if n is not None:
        rows = random.Random(0).sample(rows, n)
    path = folder / "beavertails.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
