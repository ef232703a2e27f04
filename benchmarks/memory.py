"""Peak memory of the command line at 1,000, 10,000 and 100,000 prompts.

This process imports no torch: on Linux a child's peak is never below what its parent held when it
started it. `own_peak_mib` shows that this is far below what is measured.

`python -m benchmarks.memory --out FILE.json [--quick]`
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from benchmarks import children, record
from benchmarks.record import Bar

COUNTS = (1_000, 10_000, 100_000)
QUICK_COUNTS = (50, 100, 200)
GROWTH_BAR = 0.10


def measure(counts: tuple[int, ...], shard_prompts: int, work: Path) -> dict[str, Any]:
    """One process per count."""
    children.make_inputs(work / "inputs", counts)
    runs = {}
    for count in counts:
        job = children.Job(work / "inputs", count, shard_prompts)
        ended = children.run(job.command(work / str(count)), work / f"{count}.log")
        runs[str(count)] = {
            "peak_mib": ended.peak_mib,
            "seconds": ended.seconds,
            "shards": len(children.shards(work / str(count))),
        }
    smallest, largest = (runs[str(count)]["peak_mib"] for count in (counts[0], counts[-1]))
    return {
        "runs": runs,
        "growth": largest / smallest - 1,
        "own_peak_mib": record.own_peak_mib(),
    }


def main() -> None:
    arguments = record.parser(__doc__)
    arguments.add_argument("--shard-prompts", type=int, default=2048)
    given = arguments.parse_args()
    counts, shard_prompts = COUNTS, given.shard_prompts
    if given.quick:
        counts, shard_prompts = QUICK_COUNTS, 50
    with tempfile.TemporaryDirectory() as temporary:
        results = measure(counts, shard_prompts, Path(temporary))
    name = f"growth of peak memory from {counts[0]:,} to {counts[-1]:,} prompts"
    bar = Bar(name, GROWTH_BAR, results["growth"], at_least=False)
    settings = {"quick": given.quick, "model": "organism:base", "shard_prompts": shard_prompts}
    data = record.as_json("memory", settings, results, [bar])
    record.write(given.out, data)
    rows = [(count, run["peak_mib"], run["seconds"]) for count, run in results["runs"].items()]
    record.print_rows("memory", ("prompts", "peak MiB", "seconds"), rows)
    record.print_bars(data["bars"])


if __name__ == "__main__":
    main()
