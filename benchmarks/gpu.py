"""A model of Gemma 2 2B's shape on one GPU: ours against the usual and the sorted loop.

Random weights in bfloat16, projections at layer 13, so 14 of 26 blocks; and the share of the
GPU's own bfloat16 matrix-product rate that real tokens reach. Every stage is written to the file
as soon as it is there. Without a GPU it says so and ends well.

`python -m benchmarks.gpu --out FILE.json [--quick] [--prompts 4096] [--seconds 240]`
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

import trait_probe as tp
from benchmarks import competitors, contest, flops, folders, record
from benchmarks.record import Bar
from benchmarks.timing import Summary
from benchmarks.workload import Task, make_task
from trait_probe.basis import Site
from trait_probe.identity import tokenizer_of

TOLERANCE = 0.5
"""Of the projections' root mean square; another layer's or token's would be off by several."""
BARS = {"usual loop": 4.0, "sorted loop": 2.0}
WARM_UP = 64
SWEEP = (4096, 16_384, 65_536)
SQUARE = 8192


def measure(given: argparse.Namespace, results: dict[str, Any]) -> list[Bar]:
    """Fill `results` stage by stage, and write each."""
    device, cuda = given.device, given.device.startswith("cuda")
    config = folders.gemma_2_2b() if cuda else folders.tiny_gemma_2()
    site = Site(13 if cuda else 3)
    results["device"] = torch.cuda.get_device_name(device) if cuda else device
    square = SQUARE if cuda else 256
    shapes = [(square, square, square), *flops.model_shapes(config, square)]
    products = {"before": _products(shapes, device)}
    results["products_flop_per_s"] = products
    with tempfile.TemporaryDirectory(dir=given.scratch) as temporary:
        folder = Path(temporary) / "gemma"
        folders.save_random(config, folder, dtype=torch.bfloat16, device=device)
        model = tp.load_model(str(folder), dtype="bfloat16", device=device, check=False)
        hf = competitors.load_hugging_face(folder, dtype=torch.bfloat16, device=device)
    results["attention"] = hf.config._attn_implementation
    save(given, results)
    task = make_task(tokenizer_of(model), given.prompts, config.hidden_size, site)
    entrants = [
        competitors.ours(model, given.batch_tokens),
        competitors.usual(hf),
        competitors.length_sorted(hf),
    ]
    results["contest"] = contest.contest(
        entrants,
        task,
        rounds=given.rounds,
        tolerance=TOLERANCE,
        warm_up=WARM_UP,
        until=time.monotonic() + given.seconds,
    )
    save(given, results)
    products["after"] = _products(shapes, device)
    work = flops.needed(config, site.needs_layers, task.lengths)
    results["share_of_peak"] = _shares(results["contest"], work, products)
    save(given, results)
    results["batch_tokens"] = _sweep(model, task, work)
    return _bars(results)


def _products(shapes: list[flops.Shape], device: str) -> dict[str, float]:
    return flops.product_rates(shapes, device=device, dtype=torch.bfloat16)


def _shares(
    found: dict[str, Any], work: float, products: dict[str, dict[str, float]]
) -> dict[str, Any]:
    """Per way, the rate on what real tokens need of the deepest block read, over the peak."""
    peak = max(rate for rates in products.values() for rate in rates.values())
    return {
        name: Summary.of([work / took / peak for took in entry["seconds"]]).to_dict()
        for name, entry in found["competitors"].items()
        if "seconds" in entry
    }


def _sweep(model: Any, task: Task, work: float) -> dict[str, Any]:
    """Ours once with each of a few batch sizes, for whoever wants to choose one."""
    found = {}
    for size in SWEEP:
        one = competitors.ours(model, size)
        one.run(task.first(WARM_UP))
        start = time.perf_counter()
        one.run(task)
        took = time.perf_counter() - start
        found[str(size)] = {"tokens_per_s": task.tokens / took, "flop_per_s": work / took}
    return found


def _bars(results: dict[str, Any]) -> list[Bar]:
    values = {name: contest.ratio_of(results["contest"], name) for name in BARS}
    return [
        Bar(f"{results['device']}: times the rate of the {name}", BARS[name], value)
        for name, value in values.items()
        if value is not None
    ]


def save(given: argparse.Namespace, results: dict[str, Any], bars: tuple[Bar, ...] = ()) -> None:
    names = ("quick", "device", "prompts", "rounds", "seconds", "batch_tokens")
    settings = {name: getattr(given, name) for name in names}
    record.write(given.out, record.as_json("gpu", settings, results, bars))


def main() -> None:
    arguments = record.parser(__doc__)
    arguments.add_argument("--device", default="cuda", help="cpu: a tiny model, to try the code")
    arguments.add_argument("--prompts", type=int, default=4096)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--seconds", type=float, default=240, help="no round starts after that")
    arguments.add_argument("--batch-tokens", type=int, help="ours; default its own choice")
    arguments.add_argument("--scratch", help="folder for 5 GB of weights; default the system's")
    given = arguments.parse_args()
    if given.quick:
        given.prompts, given.rounds = 64, 2
    if given.device.startswith("cuda") and not torch.cuda.is_available():
        record.write(given.out, {"part": "gpu", "skipped": "no CUDA device"})
        print("skipped: no CUDA device")
        return
    results: dict[str, Any] = {}
    bars = measure(given, results)
    save(given, results, tuple(bars))
    record.print_rows("gpu", contest.COLUMNS, contest.rows_of(results["contest"]))
    shares = [(name, *share.values()) for name, share in results["share_of_peak"].items()]
    record.print_rows("share of peak", ("way", "median", "min", "max"), shares)
    record.print_bars(bar.to_dict() for bar in bars)


if __name__ == "__main__":
    main()
