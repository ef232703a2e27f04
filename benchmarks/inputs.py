"""Write the files that the command line reads: random vectors of a model, and prompts.

A process of its own, because the one that measures must not grow: a child's peak memory as the
system counts it starts from what its parent held when it was started.

`python -m benchmarks.inputs --folder DIR --prompts 1000 10000 [--model organism:base]`
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import trait_probe as tp
from benchmarks.workload import texts, unit_directions
from trait_probe.basis import ModelIdentity, Site
from trait_probe.identity import identify, tokenizer_of
from trait_probe.vectors.vector import Basis, Reference, Reliability, TraitVector, VectorSet

_REFERENCE = Reference(mean=0.0, std=1.0, n=2, source="none: benchmark")
_RELIABILITY = Reliability(
    split_half_cosine=0.0,
    bootstrap_angle_deg=90.0,
    held_out_auc=0.5,
    n_pairs=1,
    energy_share_top1=1.0,
)


def random_vectors(model: ModelIdentity, site: Site) -> VectorSet:
    """Directions that mean nothing, in a form that the command line takes."""
    basis = Basis(
        model=model,
        site=site,
        position="all[:]",
        pooling="mean",
        method="mean_difference",
        contrast_hash="benchmark",
        split="none",
    )
    return VectorSet(
        TraitVector.normalized(f"benchmark/d{index}", row, basis, _REFERENCE, _RELIABILITY)
        for index, row in enumerate(unit_directions(model.d_model))
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    arguments.add_argument("--folder", type=Path, required=True)
    arguments.add_argument("--prompts", type=int, nargs="+", required=True)
    arguments.add_argument("--model", default="organism:base")
    given = arguments.parse_args()
    model = tp.load_model(given.model, check=False)
    identity = identify(model)
    site = Site(identity.n_layers * 3 // 4 - 1)
    given.folder.mkdir(parents=True, exist_ok=True)
    random_vectors(identity, site).save(given.folder / "vectors.safetensors")
    tokenizer = tokenizer_of(model)
    for count in given.prompts:
        with (given.folder / f"prompts-{count}.jsonl").open("w", encoding="utf-8") as file:
            for index, text in enumerate(texts(tokenizer, count)):
                file.write(json.dumps({"id": f"p{index:08d}", "text": text}) + "\n")


if __name__ == "__main__":
    main()
