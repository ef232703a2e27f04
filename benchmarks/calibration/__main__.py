"""Run the calibration: see the package's docstring."""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import benchmarks.calibration as calibration
from benchmarks import record
from benchmarks.calibration import figures
from benchmarks.calibration.confounded import confounded_studies
from benchmarks.calibration.null_studies import all_null
from benchmarks.calibration.planted import EFFECTS, power_studies
from benchmarks.calibration.rates import ALPHA, Outcome, Rate, open_counts, supported_rate

PARTS = ("null", "power", "confounded")
POWER_BAR = 0.95  # at d = 1, n = 200
AT_BAR = 6  # times as many studies where the bar is


def main(argv: Sequence[str] | None = None) -> int:
    """Run the parts asked for, print tables, write JSON and figures."""
    parser = record.parser(calibration.__doc__)
    parser.add_argument("--studies", type=int, default=400, help="null studies a kind and source")
    parser.add_argument(
        "--repeats", type=int, default=10, help="power studies a point; at d = 1 six times as many"
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--match", default="", help="only studies whose name or kind holds this")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--twins", type=Path, help="folder that keeps the trained twin seeds")
    parser.add_argument("--figures", type=Path, help="folder for the figures")
    args = parser.parse_args(argv)
    if args.quick:
        args.studies, args.repeats = 4, 2
    began = time.monotonic()
    results: dict[str, Any] = {}
    bars: list[record.Bar] = []
    for part in args.only:
        found, held = _RUN[part](args)
        results[part] = found
        bars += held
    results["seconds"] = round(time.monotonic() - began)
    settings = {"studies": args.studies, "repeats": args.repeats, "alpha": ALPHA}
    data = record.as_json("calibration", settings, results, bars)
    record.write(args.out, data)
    record.print_bars(data["bars"])
    if args.figures:
        figures.save(results, args.figures)
    return 0


def _null(args: Any) -> tuple[list[dict[str, Any]], list[record.Bar]]:
    with tempfile.TemporaryDirectory() as scratch:
        studies = all_null(args.twins or Path(scratch))
    rows = []
    for study in _matching(studies, args.match):
        outcomes = _many(
            lambda seed, study=study: Outcome.of(study.run(seed)), range(args.studies), args.workers
        )
        rate = supported_rate(outcomes)
        rows.append(
            {
                "experiment": study.experiment,
                "kind": study.kind,
                "source": study.source,
                "what": study.what,
                **rate.to_json(),
                "open_checks": open_counts(outcomes),
            }
        )
        _say(study.name, rate)
    record.print_rows(
        "null studies: share with anything supported",
        ("experiment", "kind", "source", "what", "rate", "95 % interval"),
        [(r["experiment"], r["kind"], r["source"], r["what"], r["rate"], _ends(r)) for r in rows],
    )
    worst = max(row["low"] for row in rows)
    largest = max(row["rate"] for row in rows)
    return rows, [
        record.Bar("largest null rate", ALPHA, largest, at_least=False),
        record.Bar("largest lower end of a null rate's interval", ALPHA, worst, at_least=False),
    ]


def _power(args: Any) -> tuple[list[dict[str, Any]], list[record.Bar]]:
    rows = []
    for study in _matching(power_studies(), args.match):
        for n in study.sizes:
            for d in EFFECTS:
                outcomes = _many(
                    lambda seed, d=d, n=n, study=study: Outcome.of(study.run(d, n, seed)[:1]),
                    range(args.repeats * (AT_BAR if d == 1.0 else 1)),
                    args.workers,
                )
                rate = supported_rate(outcomes)
                rows.append(
                    {
                        "kind": study.kind,
                        "clean": study.clean,
                        "n_is": study.n_is,
                        "n": n,
                        "d": d,
                        **rate.to_json(),
                    }
                )
                _say(f"{study.kind}, d = {d}, n = {n} {study.n_is}", rate)
    at_one = [row for row in rows if row["d"] == 1.0 and row["n"] == 200]
    record.print_rows(
        "power at d = 1, n = 200",
        ("kind", "n counts", "supported", "95 % interval"),
        [(r["kind"], r["n_is"], r["rate"], _ends(r)) for r in at_one],
    )
    clean = [row["rate"] for row in at_one if row["clean"]]
    name = "lowest power at d = 1, n = 200, where fine-tunes and prefixes are 0.1 SD apart"
    return rows, [record.Bar(name, POWER_BAR, min(clean))] if clean else []


def _matching(studies: Sequence[Any], match: str) -> list[Any]:
    found = [study for study in studies if match in f"{getattr(study, 'name', '')} {study.kind}"]
    if not found:
        kinds = sorted({study.kind for study in studies})
        sys.exit(f"No study's name or kind holds {match!r}; kinds: {', '.join(kinds)}.")
    return found


@contextmanager
def _unwarned() -> Iterator[None]:
    """A study that peeks is warned of; here that is the point, four times a study."""
    logger = logging.getLogger("trait_probe.evidence.locks")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _confounded(args: Any) -> tuple[list[dict[str, Any]], list[record.Bar]]:
    rows = []
    for study in _matching(confounded_studies(), args.match):
        with _unwarned():
            found = _many(study.run, range(args.studies // 2), args.workers)
        outcomes = [outcome for outcome, _ in found]
        caught = Rate(sum(not outcome.supported for outcome in outcomes), len(outcomes))
        refused = sum(outcome.refused is not None for outcome in outcomes)
        rows.append(
            {
                "confound": study.name,
                "kind": study.kind,
                "how": "refused before any verdict" if refused else "verdict",
                **caught.to_json(),
                "refused": refused,
                "wrong_without_guards": Rate(sum(w for _, w in found), len(found)).to_json(),
            }
        )
        _say(study.name, caught)
    record.print_rows(
        "confounded studies",
        ("confound", "kind", "caught", "wrong without the guards"),
        [(r["confound"], r["kind"], r["rate"], r["wrong_without_guards"]["rate"]) for r in rows],
    )
    return rows, [
        record.Bar("lowest share of a confound caught", 1.0, min(r["rate"] for r in rows))
    ]


_RUN = {"null": _null, "power": _power, "confounded": _confounded}
_TASK: Callable[[int], Any] | None = None


def _many(task: Callable[[int], Any], seeds: Sequence[int], workers: int) -> list[Any]:
    """`task` of every seed, in forked processes (pools and closures are inherited)."""
    global _TASK
    _TASK = task
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        return pool.map(_run_one, seeds, chunksize=4)


def _run_one(seed: int) -> Any:
    assert _TASK is not None
    return _TASK(seed)


def _say(name: str, rate: Rate) -> None:
    low, high = rate.interval
    print(f"{name}: {rate.count} of {rate.n} [{low:.3f}, {high:.3f}]", flush=True)


def _ends(row: dict[str, Any]) -> str:
    return f"{row['low']:.3f} to {row['high']:.3f}"


if __name__ == "__main__":
    sys.exit(main())
