"""What every part writes: the machine, the settings, the results and the bars; strict JSON.

Needs no torch: a process that measures the memory of its children must be small itself.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

PACKAGES = ("torch", "transformers", "transformer-lens", "nnsight", "steering-vectors", "ray")


class BenchError(RuntimeError):
    """A measurement could not be made."""


@dataclass(frozen=True)
class Bar:
    """A number that was aimed at, and what was measured.

    Attributes:
        bar: the aim.
        value: the measurement, in the same unit.
        at_least: whether more is better; else less is.
    """

    name: str
    bar: float
    value: float
    at_least: bool = True

    @property
    def met(self) -> bool:
        return self.value >= self.bar if self.at_least else self.value <= self.bar

    def to_dict(self) -> dict[str, Any]:
        sense = "at least" if self.at_least else "at most"
        return {
            "name": self.name,
            "sense": sense,
            "bar": self.bar,
            "value": self.value,
            "met": self.met,
        }


def parser(description: str | None) -> argparse.ArgumentParser:
    """The arguments that all parts share."""
    found = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    found.add_argument("--out", type=Path, required=True, help="JSON file to write")
    found.add_argument("--quick", action="store_true", help="as small as can be, to try the code")
    return found


def machine() -> dict[str, Any]:
    """Where and with what this was measured."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "load_average": list(os.getloadavg()),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def own_peak_mib() -> float:
    """This process' own peak memory."""
    return mib(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def mib(maxrss: int) -> float:
    """`ru_maxrss` in MiB: Linux counts kibibytes, macOS bytes."""
    return maxrss / (2**20 if platform.system() == "Darwin" else 2**10)


def as_json(
    part: str, settings: Mapping[str, Any], results: Mapping[str, Any], bars: Sequence[Bar] = ()
) -> dict[str, Any]:
    """One part's record."""
    return {
        "part": part,
        "machine": machine(),
        "settings": dict(settings),
        "results": dict(results),
        "bars": [bar.to_dict() for bar in bars],
    }


def write(path: Path, data: Mapping[str, Any]) -> None:
    """Write strict JSON, all or nothing; NaN is refused (`ValueError`)."""
    text = json.dumps(data, indent=1, allow_nan=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    waiting = path.with_name(path.name + ".part")
    waiting.write_text(text + "\n", encoding="utf-8")
    waiting.replace(path)


def print_rows(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A plain table on the terminal."""
    table = Table(*columns, title=title, title_justify="left")
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    Console().print(table)


def print_bars(bars: Iterable[Mapping[str, Any]]) -> None:
    """The bars of one or several parts."""
    rows = [
        (bar["name"], f"{bar['sense']} {_cell(bar['bar'])}", bar["value"], bar["met"])
        for bar in bars
    ]
    print_rows("bars", ("what", "bar", "measured", "met"), rows)


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return "-" if value is None else str(value)
