"""Ray with one and with two workers against the local engine, on the same prompts.

Whole runs, with Ray's start-up, and the steady rate between the first shard and the last.

`python -m benchmarks.workers --out FILE.json [--quick] [--rounds 2]`
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks import children, record
from benchmarks.children import Job
from benchmarks.timing import Summary, interleave, ratios

ENGINES = {
    "local": (),
    "ray, 1 worker": ("--engine", "ray", "--workers", "1"),
    "ray, 2 workers": ("--engine", "ray", "--workers", "2"),
}


class Outputs:
    """One new folder per run, its digest and its steady rate."""

    def __init__(self, work: Path) -> None:
        self._work = work
        self.digests: set[str] = set()
        self.rates: dict[str, list[float]] = {name: [] for name in ENGINES}
        self._runs = 0

    def run(self, job: Job, name: str) -> None:
        self._runs += 1
        out = self._work / f"run-{self._runs}"
        whole = replace(job, extra=ENGINES[name])
        children.run(whole.command(out), out.with_suffix(".log"))
        self.digests.add(children.digest(out, job))
        rate = children.steady_rate(out, job)
        if rate is not None:
            self.rates[name].append(rate)


def measure(job: Job, rounds: int, work: Path) -> dict[str, Any]:
    """The three engines in turns."""
    children.make_inputs(job.folder, [job.prompts])
    outputs = Outputs(work)
    runs = {name: partial(outputs.run, job, name) for name in ENGINES}
    seconds = interleave(runs, rounds)
    return {
        "engines": {
            name: {
                "seconds": took,
                "local_is_faster_by": ratios(took, seconds["local"]).to_dict(),
                "prompts_per_s_steady": (
                    Summary.of(outputs.rates[name]).to_dict() if outputs.rates[name] else None
                ),
            }
            for name, took in seconds.items()
        },
        "bytes_identical": len(outputs.digests) == 1,
    }


def main() -> None:
    arguments = record.parser(__doc__)
    arguments.add_argument("--prompts", type=int, default=6_000)
    arguments.add_argument("--shard-prompts", type=int, default=500)
    arguments.add_argument("--rounds", type=int, default=2)
    given = arguments.parse_args()
    prompts, shard_prompts, rounds = given.prompts, given.shard_prompts, given.rounds
    if given.quick:
        prompts, shard_prompts, rounds = 400, 50, 1
    settings = {
        "quick": given.quick,
        "model": "organism:base",
        "prompts": prompts,
        "shard_prompts": shard_prompts,
        "rounds": rounds,
    }
    if find_spec("ray") is None:
        record.write(given.out, record.as_json("workers", settings, {"skipped": "no ray"}))
        print("skipped: Ray is not installed")
        return
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        results = measure(Job(work / "inputs", prompts, shard_prompts), rounds, work)
    record.write(given.out, record.as_json("workers", settings, results))
    rows = [_row(name, entry) for name, entry in results["engines"].items()]
    columns = ("engine", "seconds", "local is faster by", "prompts/s, steady")
    record.print_rows("workers", columns, rows)
    print("bytes identical:", "yes" if results["bytes_identical"] else "no")


def _row(name: str, entry: dict[str, Any]) -> tuple[object, ...]:
    steady = entry["prompts_per_s_steady"]
    return (
        name,
        Summary.of(entry["seconds"]).median,
        entry["local_is_faster_by"]["median"],
        None if steady is None else steady["median"],
    )


if __name__ == "__main__":
    main()
