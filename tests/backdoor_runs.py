"""Runs of the backdoor command for its tests, at several prices."""

from __future__ import annotations

import json
from pathlib import Path

from trait_probe.experiments import backdoor

AMOUNTS = ("--n-boot", "400", "--n-permutations", "400", "--n-random", "200")
SMALL = ("--n-carriers", "128", *AMOUNTS)
# For what does not depend on the verdict: resuming, reproducing, refusing.
TINY = (
    *("--n-carriers", "64", "--traits", "safety/evil", *AMOUNTS, "--controls"),
    *("In 2011,", "In 2015,", "In 2019,", "In 2023,", "In 2033,", "In 2037,"),
)


def run(out: Path, *flags: str) -> dict:
    assert backdoor.main([*flags, "--out", str(out)]) == 0
    return json.loads((out / "results.json").read_text())
