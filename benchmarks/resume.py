"""What it costs to be killed at about half and started again, against an undisturbed run.

`python -m benchmarks.resume --out FILE.json [--quick] [--rounds 2]`
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from benchmarks import children, record
from benchmarks.children import Job
from benchmarks.timing import Summary, ratios


def undisturbed(job: Job, out: Path) -> float:
    return children.run(job.command(out), out.with_suffix(".log")).seconds


def killed_and_resumed(job: Job, out: Path) -> dict[str, Any]:
    """Kill once half of the shards are there; then the same command again, and once more.

    The last has nothing left to do: that is what starting costs.
    """
    half = job.n_shards // 2

    def at_half() -> bool:
        return len(children.shards(out)) >= half

    first = children.run(job.command(out), out.with_suffix(".1.log"), kill_when=at_half)
    kept = len(children.shards(out))
    second = children.run(job.command(out), out.with_suffix(".2.log"))
    third = children.run(job.command(out), out.with_suffix(".3.log"))
    return {
        "killed": first.killed,
        "shards_at_kill": kept,
        "killed_s": first.seconds,
        "resumed_s": second.seconds,
        "total_s": first.seconds + second.seconds,
        "nothing_left_s": third.seconds,
    }


def measure(job: Job, rounds: int, work: Path) -> dict[str, Any]:
    """Both in turns; every run writes a folder of its own."""
    children.make_inputs(job.folder, [job.prompts])
    whole, halves, digests = [], [], set()
    for turn in range(rounds):
        outs = work / f"whole-{turn}", work / f"killed-{turn}"
        whole.append(undisturbed(job, outs[0]))
        halves.append(killed_and_resumed(job, outs[1]))
        digests |= {children.digest(out, job) for out in outs}
    total = [half["total_s"] for half in halves]
    extra = [half - one for half, one in zip(total, whole, strict=True)]
    return {
        "undisturbed_s": whole,
        "killed": halves,
        "ratio": ratios(total, whole).to_dict(),
        "extra_s": Summary.of(extra).to_dict(),
        "bytes_identical": len(digests) == 1,
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
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        results = measure(Job(work / "inputs", prompts, shard_prompts), rounds, work)
    settings = {
        "quick": given.quick,
        "model": "organism:base",
        "prompts": prompts,
        "shard_prompts": shard_prompts,
        "rounds": rounds,
    }
    record.write(given.out, record.as_json("resume", settings, results))
    keys = ("ratio", "extra_s")
    rows = [(key, *results[key].values()) for key in keys]
    record.print_rows("kill and resume", ("what", "median", "min", "max"), rows)
    print("bytes identical:", "yes" if results["bytes_identical"] else "no")


if __name__ == "__main__":
    main()
