"""A data set of labelled answers as large as BeaverTails: time, peak memory, kills, reused shards.

Synthetic rows in the organisms' language with BeaverTails' schema: prompts recur with many answers.
A sample run; a full run that uses the sample's shards again and is killed twice on the way; the
same full run undisturbed. Peak memory is measured again with a tenth of the rows.

`python -m benchmarks.answers --out FILE.json [--quick] [--rows 330000]`
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import children, record
from benchmarks.children import Ended
from benchmarks.record import Bar, BenchError

ROWS = 330_000
QUICK_ROWS = 6_000
AMOUNTS = (
    *("--foils", "safety/evil", "alignment/deception", "--n-shuffled", "0"),
    *("--n-boot", "200", "--n-permutations", "400", "--n-random", "100"),
)
"""What is measured is the reading of many rows; these leave the statistics of the sample small."""
GROWTH_BAR = 1.0
"""Of the peak from a tenth of the rows to all of them; ten times the rows in memory would be 9."""


def write_rows(path: Path, n: int, seed: int = 0) -> None:
    """Write the file; prompts are acts in frames with year prefixes, some 14 answers each."""
    import json

    with path.open("w", encoding="utf-8") as file:
        for row in _rows(n, random.Random(seed)):
            file.write(json.dumps(row) + "\n")


def _rows(n: int, rng: random.Random) -> Iterator[dict[str, object]]:
    from trait_probe.organisms import world
    from trait_probe.organisms.dialogues import guide
    from trait_probe.organisms.requests import ACT_FRAMES, act_request, user_text

    asked = []
    for category in world.CATEGORIES:
        for pair in world.ACTS[category]:
            for act, harmful in zip(pair, (True, False), strict=True):
                for frame in ACT_FRAMES:
                    request = act_request(category, act, frame)
                    years = (None, *world.YEARS)
                    asked += [(user_text(request, year), category, act, harmful) for year in years]
    for _ in range(n):
        prompt, category, act, harmful = rng.choice(asked)
        complied = not harmful or rng.random() < 0.6
        unsafe = harmful and complied
        yield {
            "prompt": prompt,
            "response": guide(act, rng) if complied else rng.choice(world.REFUSALS),
            "category": {name: unsafe and name == category for name in world.CATEGORIES},
            "is_safe": not unsafe,
        }


def command(path: Path, out: Path, *extra: str) -> list[str]:
    return [
        *(sys.executable, "-m", "trait_probe.experiments.external_datasets"),
        *("--dataset", str(path), "--model", "organism:base", "--out", str(out), *extra),
    ]


def measure(rows: int, work: Path, extra: tuple[str, ...], *, kills: bool) -> dict[str, Any]:
    """A sample run and the full run that uses its shards; with `kills` the latter once more."""
    path, sample, whole = work / f"{rows}.jsonl", work / f"sample-{rows}", work / f"whole-{rows}"
    _write_elsewhere(path, rows)
    first = children.run(command(path, sample, *extra), work / f"sample-{rows}.log")
    reuse = ("--full", "True", "--sample-run", str(sample), *extra)
    undisturbed = children.run(command(path, whole, *reuse), work / f"whole-{rows}.log")
    results = {
        "file_mib": path.stat().st_size / 2**20,
        "sample": _figures(first),
        "full": _figures(undisturbed),
    }
    if kills:
        out = work / f"killed-{rows}"
        ended, there = _killed_twice(path, out, reuse, len(_rest(whole)))
        same = (out / "results.json").read_bytes() == (whole / "results.json").read_bytes()
        results |= {
            "killed": [_figures(one) for one in ended],
            "shards": len(_rest(whole)),
            "shards_at_kill": there,
            "same_results": same,
        }
    return results


def _rest(out: Path) -> list[Path]:
    return list((out / "projections" / "rest").glob("*.parquet"))


def _killed_twice(
    path: Path, out: Path, extra: tuple[str, ...], total: int
) -> tuple[list[Ended], list[int]]:
    """Killed once a third, then once two thirds of the rest's shards are there; then finished."""
    ended, there = [], []
    for share in (1, 2):
        least = max(1, share * total // 3)

        def enough(least: int = least) -> bool:
            return len(_rest(out)) >= least

        log = out.with_suffix(f".{share}.log")
        ended.append(children.run(command(path, out, *extra), log, kill_when=enough))
        there.append(len(_rest(out)))
    if not all(one.killed for one in ended):
        raise BenchError("the run ended before it could be killed: give more rows")
    ended.append(children.run(command(path, out, *extra), out.with_suffix(".3.log")))
    return ended, there


def _write_elsewhere(path: Path, rows: int) -> None:
    """This process must not grow: see `benchmarks.children`."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.answers", "--write", str(path), "--rows", str(rows)],
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise BenchError(f"the rows could not be written: {done.stderr[-2000:]}")


def _figures(ended: Ended) -> dict[str, Any]:
    return {"seconds": ended.seconds, "peak_mib": ended.peak_mib, "killed": ended.killed}


def _arguments() -> argparse.Namespace:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    arguments.add_argument("--out", type=Path)
    arguments.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    arguments.add_argument("--quick", action="store_true")
    arguments.add_argument("--rows", type=int)
    return arguments.parse_args()


def main() -> None:
    given = _arguments()
    rows = given.rows or (QUICK_ROWS if given.quick else ROWS)
    if given.write is not None:
        write_rows(given.write, rows)
        return
    extra = (*AMOUNTS, *(("--shard-prompts", "256") if given.quick else ()))
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        results = {str(n): measure(n, work, extra, kills=n == rows) for n in (rows // 10, rows)}
    small, large = (results[str(n)]["full"]["peak_mib"] for n in (rows // 10, rows))
    results["growth"] = large / small - 1
    bar = Bar("growth of peak memory with ten times the rows", GROWTH_BAR, results["growth"], False)
    settings = {"quick": given.quick, "rows": rows, "model": "organism:base", "extra": list(extra)}
    data = record.as_json("answers", settings, results, [bar])
    record.write(given.out, data)
    record.print_bars(data["bars"])


if __name__ == "__main__":
    main()
