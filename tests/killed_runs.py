"""Kill a run at many moments and resume it; run as a script, because it forks.

`python tests/killed_runs.py MODEL VECTORS PROMPTS ROOT POINTS` prints one JSON object: per kill
point whether the run died there, how many shards it had, and whether the resumed run's files are
the bytes of an undisturbed run's.

The model is loaded once, in this process; each run is a fork of it. Half of the points are counted
system calls that write (the process kills itself just before or after the n-th), so that no step of
an atomic write is left out; the other half are moments, at which the parent kills.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import trait_probe as tp

CALLS = ("fsync", "replace", "open", "unlink")
Run = Callable[[Path], None]


def forked(run: Run, out: Path, prepare: Callable[[], None], delay: float | None = None) -> int:
    """Run in a fork; kill it after `delay` seconds; its wait status."""
    child = os.fork()
    if child == 0:
        try:
            prepare()
            run(out)
            os._exit(0)
        finally:
            os._exit(1)
    if delay is not None:
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def kill_at_call(number: int, *, after: bool) -> Callable[[], None]:
    """Make the fork kill itself at the n-th writing system call."""

    def prepare() -> None:
        count = 0

        def counted(original: Any) -> Any:
            def call(*arguments: Any, **options: Any) -> Any:
                nonlocal count
                count += 1
                if count == number and not after:
                    os.kill(os.getpid(), signal.SIGKILL)
                result = original(*arguments, **options)
                if count == number and after:
                    os.kill(os.getpid(), signal.SIGKILL)
                return result

            return call

        for name in CALLS:
            setattr(os, name, counted(getattr(os, name)))

    return prepare


def count_calls(run: Run, out: Path) -> int:
    """Writing system calls of a whole run."""
    counts = out.with_suffix(".count")

    def prepare() -> None:
        for name in CALLS:
            original = getattr(os, name)

            def call(*arguments: Any, original: Any = original, **options: Any) -> Any:
                with open(counts, "a") as file:
                    file.write("x")
                return original(*arguments, **options)

            setattr(os, name, call)

    assert forked(run, out, prepare) == 0
    return len(counts.read_text())


def results(out: Path) -> dict[str, bytes]:
    """Every file but the lock and the manifest, which holds times."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name not in (".lock", "manifest.json")
    }


def main() -> None:
    model_folder, vectors_file, prompts, root, points = sys.argv[1:6]
    torch.set_num_threads(1)
    model = tp.load_model(model_folder)
    vectors = tp.VectorSet.load(vectors_file, model=model)

    def run(out: Path) -> None:
        tp.project_to(
            out,
            model,
            prompts,
            vectors,
            position=["all[:]", "prompt[-1]"],
            batch_tokens=64,
            shard_prompts=8,
        )

    def nothing() -> None:
        return None

    base = Path(root)
    assert forked(run, base / "warm", nothing) == 0
    began = time.monotonic()
    assert forked(run, base / "whole", nothing) == 0
    seconds = time.monotonic() - began
    expected = results(base / "whole")
    calls = count_calls(run, base / "counted")
    assert results(base / "counted") == expected
    rng = random.Random(0)
    found = []
    for point in range(int(points)):
        out = base / "killed"
        shutil.rmtree(out, ignore_errors=True)
        if point % 2:
            delay = rng.uniform(0.02, seconds)
            status = forked(run, out, nothing, delay)
        else:
            number = rng.randint(1, calls)
            status = forked(run, out, kill_at_call(number, after=rng.random() < 0.5))
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        shards = len(list((out / "projections").glob("*.parquet")))
        resumed = forked(run, out, nothing) == 0
        same = resumed and results(out) == expected
        found.append({"killed": killed, "shards": shards, "same": same})
    print(
        json.dumps({"shards": len(list((base / "whole/projections").iterdir())), "points": found})
    )


if __name__ == "__main__":
    main()
