"""Ours against the usual ways, on a random 100M Llama and on an organism.

`python -m benchmarks.speed --out FILE.json [--quick] [--model llama-100m] [--rounds 3]`
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

import trait_probe as tp
from benchmarks import competitors, contest, folders, record
from benchmarks.competitors import Competitor
from benchmarks.record import Bar
from benchmarks.workload import make_task
from trait_probe.basis import Site
from trait_probe.identity import tokenizer_of
from trait_probe.organisms.registry import organism_path

BARS = {"usual loop": 4.0, "sorted loop": 2.0, "one at a time": 2.0}
WITH_BARS = "llama-100m"
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Subject:
    """A model, and where it is read: after 9 of 12 blocks, or 3 of 4.

    Attributes:
        prompts: how many; fewer when quick.
    """

    name: str
    folder: Path
    site: Site
    prompts: int


def subjects(folder: Path) -> dict[str, Subject]:
    """The two models, by name; `folder` is where the random one is."""
    organism = "organism:backdoored"
    return {
        "llama-100m": Subject("llama-100m", folder, Site(8), 96),
        organism: Subject(organism, organism_path(organism), Site(2), 512),
    }


def run_subject(
    subject: Subject, *, rounds: int, prompts: int | None, batch_tokens: int | None
) -> dict[str, Any]:
    """The contest on one model."""
    model = tp.load_model(str(subject.folder), check=False)
    width = int(model.cfg.d_model)
    task = make_task(tokenizer_of(model), prompts or subject.prompts, width, subject.site)
    hf = competitors.load_hugging_face(subject.folder)
    entrants = [
        competitors.ours(model, batch_tokens),
        competitors.usual(hf),
        competitors.length_sorted(hf),
        competitors.one_at_a_time(hf),
        competitors.transformer_lens(model),
    ]
    optional: dict[str, Callable[[], Competitor]] = {
        "nnsight": partial(competitors.nnsight, subject.folder, stop=False),
        "nnsight, stopped": partial(competitors.nnsight, subject.folder, stop=True),
        "steering-vectors": partial(competitors.steering_vectors, hf),
    }
    missing = _add_installed(entrants, optional)
    results = contest.contest(entrants, task, rounds=rounds, tolerance=TOLERANCE)
    results["competitors"] |= missing
    results["attention"] = hf.config._attn_implementation
    results["parameters"] = sum(weight.numel() for weight in hf.parameters())
    return results


def _add_installed(
    entrants: list[Competitor], optional: dict[str, Callable[[], Competitor]]
) -> dict[str, dict[str, str]]:
    missing = {}
    for name, make in optional.items():
        try:
            entrants.append(make())
        except ImportError as error:
            missing[name] = {"failed": f"not installed: {error}"}
    return missing


def bars_of(name: str, results: dict[str, Any]) -> list[Bar]:
    found = []
    for competitor, bar in BARS.items():
        value = contest.ratio_of(results, competitor)
        if value is not None:
            found.append(Bar(f"{name}: times the rate of the {competitor}", bar, value))
    return found


def main() -> None:
    arguments = record.parser(__doc__)
    arguments.add_argument("--model", help="one of the two; default both")
    arguments.add_argument("--prompts", type=int, help="default 96 and 512")
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--batch-tokens", type=int, help="ours; default its own choice")
    given = arguments.parse_args()
    # Everyone gets the same threads: ours would take one for a tiny model.
    os.environ.setdefault("OMP_NUM_THREADS", str(torch.get_num_threads()))
    rounds, prompts = (1, 6) if given.quick else (given.rounds, given.prompts)
    results, bars = {}, []
    with tempfile.TemporaryDirectory() as temporary:
        folder = folders.save_random(folders.llama_100m(), Path(temporary) / "llama-100m")
        found = subjects(folder)
        for subject in [found[given.model]] if given.model else found.values():
            results[subject.name] = run_subject(
                subject, rounds=rounds, prompts=prompts, batch_tokens=given.batch_tokens
            )
            if subject.name == WITH_BARS:
                bars += bars_of(subject.name, results[subject.name])
            rows = contest.rows_of(results[subject.name])
            record.print_rows(subject.name, contest.COLUMNS, rows)
    settings = {"rounds": rounds, "quick": given.quick, "threads": torch.get_num_threads()}
    data = record.as_json("speed", settings, results, bars)
    record.write(given.out, data)
    record.print_bars(data["bars"])


if __name__ == "__main__":
    main()
