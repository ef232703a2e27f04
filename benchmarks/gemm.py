"""How much of the machine's own matrix-product rate our engine reaches on real tokens.

Only work that real tokens need counts (`benchmarks.flops.needed`). The machine's rate is that of
the best of a few shapes (the median product of each), measured right before and right after each
of our runs, in the same process with the same threads. `cores_used` well below the
threads means that other programs had the machine: such a run says nothing.

`python -m benchmarks.gemm --out FILE.json [--quick] [--rounds 3]`
"""

from __future__ import annotations

import tempfile
import time
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import torch

import trait_probe as tp
from benchmarks import competitors, flops, folders, record
from benchmarks.batches import engine_batches, padding_share
from benchmarks.record import Bar
from benchmarks.timing import Summary
from benchmarks.workload import make_task
from trait_probe.basis import Site
from trait_probe.identity import tokenizer_of

SITE = Site(8)
SHARE_BAR = 0.8
SQUARES = ((1024, 1024, 1024), (2048, 2048, 2048), (4096, 4096, 4096))
ROWS = (512, 2048)


def measure(
    folder: Path, *, prompts: int, rounds: int, batch_tokens: int | None, shapes: list[flops.Shape]
) -> dict[str, Any]:
    """Rates of the machine and of ours, in turns."""
    model: Any = tp.load_model(str(folder), check=False)
    task = make_task(tokenizer_of(model), prompts, int(model.cfg.d_model), SITE)
    engine = competitors.ours(model, batch_tokens)
    batches = engine_batches(model, task, batch_tokens)  # the warm-up as well
    work = flops.needed(model.original_model.config, SITE.needs_layers, task.lengths)
    products = [flops.product_rates(shapes, dtype=torch.float32)]
    seconds, cores = [], []
    for _ in range(rounds):
        start, busy = time.perf_counter(), time.process_time()
        engine.run(task)
        seconds.append(time.perf_counter() - start)
        cores.append((time.process_time() - busy) / seconds[-1])
        products.append(flops.product_rates(shapes, dtype=torch.float32))
    # One shape for all: the best of nine noisy rates at each moment would be more than any has.
    shape = max(products[0], key=lambda name: median(rates[name] for rates in products))
    best = [rates[shape] for rates in products]
    around = [(before + after) / 2 for before, after in pairwise(best)]
    shares = [work / took / rate for took, rate in zip(seconds, around, strict=True)]
    return {
        "task": task.describe(),
        "batches": len(batches),
        "padding_share": padding_share(batches),
        "gflop_needed": work / 1e9,
        "seconds": seconds,
        "cores_used": cores,
        "tokens_per_s": Summary.of([task.tokens / took for took in seconds]).to_dict(),
        "gflop_per_s": Summary.of([work / took / 1e9 for took in seconds]).to_dict(),
        "machine_shape": shape,
        "machine_gflop_per_s": Summary.of([rate / 1e9 for rate in best]).to_dict(),
        "products_gflop_per_s": {
            name: Summary.of([rates[name] / 1e9 for rates in products]).to_dict()
            for name in products[0]
        },
        "share": Summary.of(shares).to_dict(),
    }


def main() -> None:
    arguments = record.parser(__doc__)
    arguments.add_argument("--prompts", type=int, default=400)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--batch-tokens", type=int, help="ours; default its own choice")
    given = arguments.parse_args()
    prompts, rounds = (6, 1) if given.quick else (given.prompts, given.rounds)
    config = folders.llama_100m()
    shapes = [*SQUARES, *(shape for rows in ROWS for shape in flops.model_shapes(config, rows))]
    with tempfile.TemporaryDirectory() as temporary:
        results = measure(
            folders.save_random(config, Path(temporary) / "llama-100m"),
            prompts=prompts,
            rounds=rounds,
            batch_tokens=given.batch_tokens,
            shapes=shapes[1:2] if given.quick else shapes,
        )
    share = results["share"]["median"]
    bar = Bar("llama-100m: share of the machine's float32 product rate", SHARE_BAR, share)
    settings = {"rounds": rounds, "quick": given.quick, "threads": torch.get_num_threads()}
    data = record.as_json("gemm", settings, results, [bar])
    record.write(given.out, data)
    keys = ("tokens_per_s", "gflop_per_s", "machine_gflop_per_s", "share")
    rows = [(key, *results[key].values()) for key in keys]
    record.print_rows("gemm", ("what", "median", "min", "max"), rows)
    record.print_bars(data["bars"])


if __name__ == "__main__":
    main()
