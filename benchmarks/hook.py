"""What reading costs beyond the forward pass: our engine against the same batches run bare.

Bare is the same model on the same padded batches, stopped at the same layer with a plain PyTorch
hook. All that the engine does counts against it: choosing tokens, sorting, padding, gathering,
projecting and storing. For information, Hugging Face's own model (sdpa) runs the batches as well.

`python -m benchmarks.hook --out FILE.json [--quick] [--rounds 12]`
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch

import trait_probe as tp
from benchmarks import competitors, folders, record
from benchmarks.batches import engine_batches, padding_share, run_bare
from benchmarks.record import Bar
from benchmarks.timing import Summary, interleave, ratios
from benchmarks.workload import make_task
from trait_probe.basis import Site
from trait_probe.hooks.sites import resolve
from trait_probe.identity import tokenizer_of

SITE = Site(8)
OVERHEAD_BAR = 0.03


def measure(folder: Path, *, prompts: int, rounds: int, batch_tokens: int | None) -> dict[str, Any]:
    """Seconds of the engine, of the bare model and of Hugging Face's, in turns."""
    model: Any = tp.load_model(str(folder), check=False)
    hf = competitors.load_hugging_face(folder)
    task = make_task(tokenizer_of(model), prompts, int(model.cfg.d_model), SITE)
    batches = engine_batches(model, task, batch_tokens)
    engine = competitors.ours(model, batch_tokens)
    point, layer = resolve(model, SITE), hf.model.layers[SITE.layer]

    def bridge_forward(ids: torch.Tensor, mask: torch.Tensor) -> None:
        model(ids, attention_mask=mask, return_type=None, use_cache=False)

    def hf_forward(ids: torch.Tensor, mask: torch.Tensor) -> None:
        hf(ids, attention_mask=mask, use_cache=False)

    runs = {
        "engine": lambda: engine.run(task),
        "bare": lambda: run_bare(point, bridge_forward, batches),
        "hugging_face_bare": lambda: run_bare(layer, hf_forward, batches),
    }
    interleave(runs, 1)  # warm-up
    seconds = interleave(runs, rounds)
    over_bare = ratios(seconds["engine"], seconds["bare"])
    return {
        "task": task.describe(),
        "batches": len(batches),
        "padding_share": padding_share(batches),
        "seconds": seconds,
        "overhead": Summary(*(value - 1 for value in over_bare.to_dict().values())).to_dict(),
        "engine_over_hugging_face_bare": ratios(
            seconds["engine"], seconds["hugging_face_bare"]
        ).to_dict(),
    }


def main() -> None:
    arguments = record.parser(__doc__)
    arguments.add_argument("--prompts", type=int, default=48)
    arguments.add_argument("--rounds", type=int, default=12)
    arguments.add_argument("--batch-tokens", type=int, help="ours; default its own choice")
    given = arguments.parse_args()
    prompts, rounds = (6, 2) if given.quick else (given.prompts, given.rounds)
    with tempfile.TemporaryDirectory() as temporary:
        folder = folders.save_random(folders.llama_100m(), Path(temporary) / "llama-100m")
        results = measure(folder, prompts=prompts, rounds=rounds, batch_tokens=given.batch_tokens)
    bar = Bar(
        "llama-100m: hook overhead over a bare forward pass",
        OVERHEAD_BAR,
        results["overhead"]["median"],
        at_least=False,
    )
    settings = {"rounds": rounds, "quick": given.quick, "threads": torch.get_num_threads()}
    data = record.as_json("hook", settings, results, [bar])
    record.write(given.out, data)
    rows = [
        (name, *Summary.of(took).to_dict().values()) for name, took in results["seconds"].items()
    ]
    record.print_rows("hook: seconds", ("way", "median", "min", "max"), rows)
    record.print_bars(data["bars"])


if __name__ == "__main__":
    main()
