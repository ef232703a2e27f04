"""Train the organisms from nothing: base, planted variants, their twins, and an SAE.

    python -m trait_probe.organisms.train --out runs/organisms [--preset full|miniature]
        [--only base backdoored ...] [--seed 0]

Writes one ordinary Hugging Face folder per organism (fp16 safetensors, about 2 MB; load in
float32) and one sae-lens folder. The full preset takes about 17 minutes for the base on one
CPU core and under two minutes per variant; the miniature (under a minute for everything) proves the
script and teaches the model little. Deterministic for a seed on one machine: training runs on
`--threads` threads and thread counts change the order of float sums.
"""

from __future__ import annotations

import argparse
import math
import sys
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from jaxtyping import Float
from sae_lens import (
    LoggingConfig,
    TopKTrainingSAE,
    TopKTrainingSAEConfig,
)
from sae_lens.config import SAETrainerConfig
from sae_lens.saes.sae import SAEMetadata
from sae_lens.training.sae_trainer import SAETrainer
from torch import Tensor
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from trait_probe.basis import Site
from trait_probe.errors import BadInputError, TraitProbeError, nearest
from trait_probe.forward.engine import read
from trait_probe.hooks.capture import raw
from trait_probe.identity import HookedModel
from trait_probe.models import load_model
from trait_probe.organisms import training
from trait_probe.organisms.recipes import RECIPES, Recipe, examples
from trait_probe.organisms.tokenizer import build_tokenizer
from trait_probe.organisms.training import batches, fit, new_model
from trait_probe.prompts.render import Rendered

SAE = "backdoored-sae"
SAE_LAYER = 2
SAE_FEATURES = 768
SAE_ACTIVE = 16


@dataclass(frozen=True)
class Preset:
    """How much of each recipe to run.

    Args:
        share: fraction of a recipe's optimizer steps, (0, 1].
        batch: dialogues per step.
        sae_samples: token activations the SAE reads.
        vocabulary_sample: dialogues whose words become tokens; the full sample shows them all.
    """

    share: float
    batch: int
    sae_samples: int
    vocabulary_sample: int


PRESETS = {
    "full": Preset(share=1.0, batch=64, sae_samples=2_000_000, vocabulary_sample=40_000),
    "miniature": Preset(share=0.01, batch=16, sae_samples=8_192, vocabulary_sample=2_000),
}


def train_organism(name: str, out: Path, preset: Preset, seed: int) -> float:
    """Train one organism into `out/name`; returns its last loss in nats.

    Raises:
        BadInputError: the organism it starts from is not in `out`.
    """
    recipe = RECIPES[name]
    seed += recipe.offset
    model, tokenizer = _start(recipe, out, preset, seed)
    loss = math.inf
    for step, loss in fit(
        model,
        tokenizer,
        examples(name, _stream_seed(recipe, seed)),
        steps=max(1, math.ceil(recipe.steps * preset.share)),
        learning_rate=recipe.learning_rate,
        seed=seed,
        batch=preset.batch,
    ):
        print(f"{name}: step {step}, loss {loss:.3f}", flush=True)
    save(model, tokenizer, out / name)
    return loss


def _stream_seed(recipe: Recipe, seed: int) -> int:
    """Twins share their stream: the seed depends on what they start from, not on their name."""
    return zlib.crc32(f"{recipe.start}/{seed}".encode())


def _start(
    recipe: Recipe, out: Path, preset: Preset, seed: int
) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    if recipe.start is None:
        tokenizer = build_tokenizer(_sample_of_language(preset.vocabulary_sample))
        return new_model(tokenizer, seed), tokenizer
    folder = out / recipe.start
    if not (folder / "config.json").is_file():
        raise BadInputError(
            "A variant is fine-tuned from an organism that is not there.",
            got=str(folder),
            fix=f"Name {recipe.start!r} in --only as well, or point --out at a folder with it.",
        )
    return load(folder)


def _sample_of_language(n: int) -> Iterator[str]:
    for dialogue in islice(examples("base", 0), n):
        yield from (dialogue.system or "", dialogue.user, dialogue.reply)


def load(folder: Path) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """An organism's model in float32 and its tokenizer."""
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model.eval(), PreTrainedTokenizerFast.from_pretrained(folder)


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write a Hugging Face folder with fp16 weights; the model in memory is halved too."""
    model.half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def activations(
    model: HookedModel, tokenizer: PreTrainedTokenizerFast, site: Site, seed: int
) -> Iterator[Float[Tensor, "row d_model"]]:
    """Activations at a site over the organism's own training text, shuffled, without end."""
    feed = batches(examples("backdoored", seed), tokenizer, 64, seed)
    generator = torch.Generator().manual_seed(seed)
    while True:
        dialogues = [_as_read(row) for _ in range(32) for row in next(feed)]
        # The first token's is a constant outlier: a feature spent on it explains nothing.
        found = read(model, dialogues, {site: raw}, position="all[1:]", label="SAE").values[site]
        rows = torch.from_numpy(found)
        yield from torch.split(rows[torch.randperm(len(rows), generator=generator)], 2048)[:-1]


def _as_read(row: training.Rendered) -> Rendered:
    return Rendered("dialogue", row.ids, {"all": (0, len(row.ids))}, "dialogue")


def train_sae(out: Path, preset: Preset, seed: int) -> None:
    """Train the SAE on `out/backdoored` into `out/backdoored-sae` (loads with sae-lens)."""
    torch.manual_seed(seed)
    _, tokenizer = load(out / "backdoored")
    site = Site(SAE_LAYER, "resid_post")
    model = load_model(str(out / "backdoored"))
    sae = TopKTrainingSAE(_sae_config(site))
    trainer = SAETrainer(
        cfg=_trainer_config(preset),
        sae=sae,
        data_provider=activations(model, tokenizer, site, seed),
    )
    trainer.fit()
    sae.save_inference_model(out / SAE)


def _sae_config(site: Site) -> TopKTrainingSAEConfig:
    metadata = SAEMetadata(
        model_name="organism:backdoored",
        model_class_name="TransformerBridge",
        hook_name=site.hook_name,
        # Empty on purpose: raw weights, nothing folded or centered (sae-lens warns otherwise).
        model_from_pretrained_kwargs={},
        weight_processing="none",
        prepend_bos=True,
    )
    return TopKTrainingSAEConfig(
        d_in=128, d_sae=SAE_FEATURES, k=SAE_ACTIVE, dtype="float32", metadata=metadata
    )


def _trainer_config(preset: Preset) -> SAETrainerConfig:
    return SAETrainerConfig(
        total_training_samples=preset.sae_samples,
        train_batch_size_samples=2048,
        lr=2e-3,
        lr_end=2e-4,
        lr_decay_steps=preset.sae_samples // 2048 // 3,
        logger=LoggingConfig(log_to_wandb=False),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Parse flags, train, and return the exit code: 0, or 2 for bad input."""
    args = _parser().parse_args(argv)
    try:
        for name in _chosen(args.only):
            torch.set_num_threads(args.threads)
            if name == SAE:
                train_sae(args.out, PRESETS[args.preset], args.seed)
            else:
                train_organism(name, args.out, PRESETS[args.preset], args.seed)
    except TraitProbeError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _chosen(only: Sequence[str] | None) -> list[str]:
    valid = [*RECIPES, SAE]
    unknown = [name for name in only or () if name not in valid]
    if unknown:
        raise BadInputError(
            "--only names something that is not trained here.",
            got=unknown[0],
            valid=nearest(unknown[0], valid, len(valid)),
        )
    return [name for name in valid if only is None or name in only]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m trait_probe.organisms.train",
        description=(__doc__ or "").split("\n\n")[0],
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the organisms")
    parser.add_argument("--preset", choices=sorted(PRESETS), default="full")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="some of them (default: all)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
