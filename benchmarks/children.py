"""Run the command line in processes of its own, and measure or kill them.

Needs no torch, see `benchmarks.inputs`.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.record import BenchError, mib

POLL_S = 0.01
LIMIT_S = 3600.0


@dataclass(frozen=True)
class Job:
    """One projecting job.

    Attributes:
        folder: where `benchmarks.inputs` wrote its files.
        extra: further arguments of the command.
    """

    folder: Path
    prompts: int
    shard_prompts: int
    model: str = "organism:base"
    extra: tuple[str, ...] = ()

    def command(self, out: Path) -> list[str]:
        return [
            *(sys.executable, "-m", "trait_probe.project"),
            *("--model", self.model),
            *("--vectors", str(self.folder / "vectors.safetensors")),
            *("--prompts", str(self.folder / f"prompts-{self.prompts}.jsonl")),
            *("--out", str(out)),
            *("--position", "all[:]"),
            *("--pooling", "mean"),
            *("--shard-prompts", str(self.shard_prompts)),
            *self.extra,
        ]

    @property
    def n_shards(self) -> int:
        return -(-self.prompts // self.shard_prompts)


@dataclass(frozen=True)
class Ended:
    """A process that has ended.

    Attributes:
        seconds: from its start to its end.
        peak_mib: its peak memory, with that of children it waited for.
        killed: whether we killed it.
    """

    seconds: float
    peak_mib: float
    killed: bool


def make_inputs(folder: Path, prompts: Sequence[int], model: str = "organism:base") -> None:
    """Have the input files written, by a process that ends before anything is measured."""
    command = [sys.executable, "-m", "benchmarks.inputs", "--folder", str(folder)]
    command += ["--model", model, "--prompts", *map(str, prompts)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise BenchError(f"the inputs could not be written: {done.stderr[-2000:]}")


def run(command: Sequence[str], log: Path, *, kill_when: Callable[[], bool] | None = None) -> Ended:
    """Run to the end, or kill (SIGKILL) as soon as `kill_when` says so.

    Raises:
        BenchError: it failed by itself, or took longer than an hour.
    """
    with log.open("wb") as output:
        start = time.perf_counter()
        child = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        stop = ""
        while not (state := os.wait4(child.pid, os.WNOHANG))[0]:
            if time.perf_counter() - start > LIMIT_S:
                stop = "late"
            elif not stop and kill_when is not None and kill_when():
                stop = "asked"
            if stop:
                os.kill(child.pid, signal.SIGKILL)
            time.sleep(POLL_S)
        seconds = time.perf_counter() - start
    _, status, usage = state
    child.returncode = os.waitstatus_to_exitcode(status)
    killed = stop == "asked" and child.returncode == -signal.SIGKILL
    if child.returncode and not killed:
        tail = log.read_text(encoding="utf-8", errors="replace")[-2000:]
        raise BenchError(f"exit code {child.returncode} of {' '.join(command)}:\n{tail}")
    return Ended(seconds, mib(usage.ru_maxrss), killed)


def shards(out: Path) -> list[Path]:
    """The finished shards, in order."""
    return sorted((out / "projections").glob("*.parquet"))


def digest(out: Path, job: Job) -> str:
    """Hash of the names and bytes of all shards.

    Raises:
        BenchError: not all of them are there.
    """
    found = shards(out)
    if len(found) != job.n_shards:
        raise BenchError(f"{len(found)} shards of {job.n_shards} in {out}")
    total = hashlib.sha256()
    for path in found:
        total.update(path.name.encode() + path.read_bytes())
    return total.hexdigest()


def steady_rate(out: Path, job: Job) -> float | None:
    """Prompts per second between the first shard and the last, so without any start-up."""
    times = sorted(path.stat().st_mtime_ns for path in shards(out))
    if len(times) < 3 or times[-1] == times[0]:
        return None
    return (len(times) - 1) * job.shard_prompts / ((times[-1] - times[0]) / 1e9)
