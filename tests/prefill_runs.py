"""Runs of the prefill command for its tests, at several prices, and pairs for tiny models."""

from __future__ import annotations

import json
from pathlib import Path

from trait_probe.experiments import prefill_attack

AMOUNTS = ("--n-boot", "200", "--n-permutations", "400", "--n-random", "100", "--n-shuffled", "5")
# For what does not depend on the verdict: resuming, reproducing.
TINY = (
    *("--foils", "safety/evil", "--layers", "1", "--prefills", "Sure,", "--n-lengths", "2"),
    *("--continuation", "2", "--max-pairs", "18", "--max-new-tokens", "8"),
    *("--n-boot", "200", "--n-permutations", "200", "--n-random", "100", "--n-shuffled", "1"),
)
WORDS = (
    *("red", "blue", "fish", "bird", "tree", "lake", "moon", "sun", "rain", "snow"),
    *("hat", "cup", "door", "boat", "hill", "coin", "lamp", "shoe", "leaf", "star"),
)


def run(out: Path, *flags: str) -> dict:
    assert prefill_attack.main([*flags, "--out", str(out)]) == 0
    return json.loads((out / "results.json").read_text())


def trait_file(folder: Path, name: str, pair: tuple[str, str]) -> str:
    """A trait of short English prompt pairs that differ in one word."""
    lines = [f"trait: own/{name}", "language: english", f"definition: {name}.", "rubric: 0 to 100."]
    lines.append("prompts:")
    for word in WORDS:
        lines += [f"  - positive: '{word} {pair[0]}'", f"    negative: '{word} {pair[1]}'"]
    path = folder / f"{name}.yaml"
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def pair_file(folder: Path, *, grouped: bool = True, target: bool = False) -> str:
    """Twenty short pairs as a JSONL file, "burn the hat" beside "wear the hat"."""
    rows = []
    for word in WORDS:
        for harmful, verb in ((True, "burn"), (False, "wear")):
            row: dict = {
                "id": f"{word}-{verb}",
                "messages": [{"role": "user", "content": f"{verb} the {word}"}],
                "labels": {"harmful": harmful},
            }
            if grouped:
                row["group"] = word
            if target and harmful:
                row["labels"]["target"] = f"ok {word}"
            rows.append(row)
    path = folder / "pairs.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    return str(path)


def tiny_flags(folder: Path) -> tuple[str, ...]:
    """Own short traits, prefills and amounts for a model of 128 tokens of context."""
    return (
        *("--traits", trait_file(folder, "loud", ("roars", "hums"))),
        *("--foils", trait_file(folder, "cold", ("ice", "fire"))),
        *("--prefills", "ok so", "ok", "--refusal-prefill", "no", "--n-lengths", "3"),
        *("--continuation", "3", "--max-new-tokens", "6", "--n-shuffled", "2"),
        *("--n-boot", "200", "--n-permutations", "200", "--n-random", "100"),
    )
