"""How much of the machine's own matrix-product rate our engine reaches on real tokens.

Only work that real tokens need counts (`benchmarks.flops.needed`). The machine's rate is that of
the best of a few shapes, measured every two seconds between slices of our work, in the same
process with the same threads. `cores_used` well below the threads means that other programs had
the machine: such a run says nothing.

`python -m benchmarks.gemm --out FILE.json [--quick] [--rounds 3]`
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import trait_probe as tp
from benchmarks import competitors, flops, folders, record
from benchmarks.batches import engine_batches, padding_share
from benchmarks.competitors import Competitor
from benchmarks.record import Bar
from benchmarks.timing import Summary
from benchmarks.workload import Task, make_task
from trait_probe.basis import Site
from trait_probe.identity import tokenizer_of

SITE = Site(8)
SHARE_BAR = 0.8
SQUARES = ((1024, 1024, 1024), (2048, 2048, 2048), (4096, 4096, 4096))
ROWS = (512, 2048)
SLICES = 12


def measure(
    folder: Path, *, prompts: int, rounds: int, batch_tokens: int | None, shapes: list[flops.Shape]
) -> dict[str, Any]:
    """The machine's best shape; then ours and that shape in short turns, round after round."""
    model: Any = tp.load_model(str(folder), check=False)
    task = make_task(tokenizer_of(model), prompts, int(model.cfg.d_model), SITE)
    engine = competitors.ours(model, batch_tokens)
    batches = engine_batches(model, task, batch_tokens)  # the warm-up as well
    config = model.original_model.config
    work = flops.needed(config, SITE.needs_layers, task.lengths)
    rates = flops.product_rates(shapes, dtype=torch.float32)
    shape = shapes[int(np.argmax(list(rates.values())))]
    turns = [one_round(engine, task, shape) for _ in range(rounds)]
    seconds = [turn.seconds for turn in turns]
    return {
        "task": task.describe(),
        "batches": len(batches),
        "padding_share": padding_share(batches),
        "gflop_needed": work / 1e9,
        "seconds": seconds,
        "cores_used": [turn.cores for turn in turns],
        "tokens_per_s": Summary.of([task.tokens / took for took in seconds]).to_dict(),
        "gflop_per_s": Summary.of([work / took / 1e9 for took in seconds]).to_dict(),
        "machine_shape": "x".join(map(str, shape)),
        "machine_gflop_per_s": Summary.of([turn.machine / 1e9 for turn in turns]).to_dict(),
        "products_gflop_per_s": {name: rate / 1e9 for name, rate in rates.items()},
        "share": Summary.of([work / (turn.seconds * turn.machine) for turn in turns]).to_dict(),
    }


@dataclass(frozen=True)
class Turn:
    """One round: our seconds, the machine's rate meanwhile (FLOP/s), and cores we had."""

    seconds: float
    machine: float
    cores: float


def one_round(engine: Competitor, task: Task, shape: flops.Shape) -> Turn:
    """Slices of the prompts, longest first, with products in between: the machine's rate drifts.

    The machine's rate is the mean over our time. Both are whole time: what other programs take
    away is taken from both.
    """
    longest_first = sorted(task.prompts, key=lambda prompt: len(prompt.token_ids), reverse=True)
    seconds, busy, product = 0.0, 0.0, 0.0
    before = flops.mean_rate(shape)
    for part in np.array_split(np.arange(len(longest_first)), SLICES):
        some = replace(task, prompts=tuple(longest_first[index] for index in part))
        start, cpu = time.perf_counter(), time.process_time()
        engine.run(some)
        took = time.perf_counter() - start
        busy += time.process_time() - cpu
        after = flops.mean_rate(shape)
        seconds += took
        product += took * (before + after) / 2
        before = after
    return Turn(seconds, product / seconds, busy / seconds)


def main() -> None:
    arguments = record.parser(__doc__)
    arguments.add_argument("--prompts", type=int, default=800)
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
