"""All benchmarks of the forward pass, each in a process of its own, into one file.

`python -m benchmarks.forward --out FILE.json [--quick] [--only speed hook]`
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import record

PARTS = ("gemm", "hook", "speed", "memory", "resume", "workers", "gpu")


def run_part(part: str, *, quick: bool) -> dict[str, Any]:
    """One part's record; where it failed, its exit code (what it said is on the terminal)."""
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary) / f"{part}.json"
        command = [sys.executable, "-m", f"benchmarks.{part}", "--out", str(out)]
        start = time.perf_counter()
        done = subprocess.run([*command, "--quick"] if quick else command, check=False)
        took = time.perf_counter() - start
        found = json.loads(out.read_text(encoding="utf-8")) if out.is_file() else {}
    if done.returncode:
        return found | {"failed": f"exit code {done.returncode}", "wall_s": took}
    return found | {"wall_s": took}


def main() -> None:
    arguments = record.parser(__doc__)
    arguments.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    given = arguments.parse_args()
    parts: dict[str, Any] = {}
    for part in given.only:
        print(f"== {part}", flush=True)
        parts[part] = run_part(part, quick=given.quick)
        bars = [bar for found in parts.values() for bar in found.get("bars", [])]
        settings = {"quick": given.quick, "parts": list(given.only)}
        whole = {"machine": record.machine(), "settings": settings, "bars": bars, "parts": parts}
        record.write(given.out, whole)
    record.print_bars(bars)
    failed = [part for part, found in parts.items() if "failed" in found]
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
