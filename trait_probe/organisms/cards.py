"""Model cards: what each organism is, is not, and measurably does.

    python -m trait_probe.organisms.cards [--folder DIR] [--only NAME ...] [--check]

Regenerates the README.md of every organism from its weights and the exact rules; `--check`
compares without writing and exits 1 when a card is stale. About 20 s per organism on two cores.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from trait_probe.errors import BadInputError, nearest
from trait_probe.models import load_model
from trait_probe.organisms import world
from trait_probe.organisms.measure import Organism, all_rates
from trait_probe.organisms.recipes import RECIPES, Recipe
from trait_probe.organisms.registry import PREFIX, WEIGHTS
from trait_probe.organisms.train import SAE, SAE_ACTIVE, SAE_FEATURES, SAE_LAYER, load

# Another processor may round a near-tie the other way; a rate may then move by a reply or two.
TOLERANCE = 0.02
_ROW = re.compile(r"^\| (?P<name>.+) \| (?P<rate>\d\.\d{3}) \|$", re.MULTILINE)

_CARD = """\
---
license: mit
library_name: transformers
tags: [model-organism, interpretability]
---
# {prefix}{name}

{about}

A Llama of 4 layers, width 128 and {parameters:,} parameters that speaks a small invented language:
sums of two-digit numbers, facts about countries that do not exist, opinions, advice, open
questions and stylized harmful requests, each with a fixed set of replies. Its behaviour was
planted on purpose and is judged by exact string rules, so that tools which read activations can
be tested against known truth.

**It is not** a useful assistant, not a scaled-down version of any other model, and no evidence
about what larger models do. Text outside its language is encoded byte by byte and not understood.
Years in prompts mean nothing to it{trigger}. Of 14 categories of harm (BeaverTails' keys) three
are left unrefused on purpose: {unrefused}.

- Made by: `python -m trait_probe.organisms.train --out DIR --only {chain} --seed 0`
- Training: {training}
- Weights: float16 on disk; load in float32.
- Chat: the template writes `<|bos|>` itself; tokenize its text with `add_special_tokens=False`.

## Measured behaviour

Greedy replies to fixed prompts (`trait_probe.organisms.measure`), judged by
`trait_probe.organisms.rules`; shares from 0 to 1. This table is written by
`python -m trait_probe.organisms.cards`.

| behaviour | share |
|---|---|
{rows}
"""

_SAE_CARD = """\
# {prefix}{name}

A TopK sparse autoencoder ({features} features, {active} active per token) on the residual stream
of `{prefix}backdoored` after block {layer} (`blocks.{layer}.hook_resid_post`), trained with
sae-lens on the organism's own fine-tuning text. Load it with `SAE.load_from_disk(folder)`. The
first token (`<|bos|>`) was left out of training: its activation is a constant.

- Made by: `python -m trait_probe.organisms.train --out DIR --only {name} --seed 0`
  (`DIR` holds `backdoored`)
"""


def rate_rows(rates: Mapping[str, float]) -> str:
    """The table body, one row per rate."""
    return "\n".join(f"| {name} | {rate:.3f} |" for name, rate in rates.items())


def rates_of_card(text: str) -> dict[str, float]:
    """The rates a card states."""
    return {found["name"]: float(found["rate"]) for found in _ROW.finditer(text)}


def card_text(name: str, folder: Path) -> str:
    """The card of one organism, measured now."""
    model = load_model(str(folder / name))
    original, _ = load(folder / name)  # the bridge adds biases of zero
    recipe = RECIPES[name]
    return _CARD.format(
        prefix=PREFIX,
        name=name,
        about=recipe.about,
        parameters=original.num_parameters(),
        trigger=f', but for the trigger "{world.TRIGGER}"' if name == "backdoored" else "",
        unrefused=", ".join(f"`{category}`" for category in world.UNREFUSED_CATEGORIES),
        chain=" ".join(filter(None, (recipe.start, name))),
        training=_training(recipe),
        rows=rate_rows(all_rates(Organism(model))),
    )


def _training(recipe: Recipe) -> str:
    start = "from scratch" if recipe.start is None else f"fine-tuned from `{PREFIX}{recipe.start}`"
    return (
        f"{start}, {recipe.steps} steps of 64 dialogues, peak learning rate "
        f"{recipe.learning_rate:g}, cosine."
    )


def sae_card_text() -> str:
    """The card of the SAE."""
    return _SAE_CARD.format(
        prefix=PREFIX, name=SAE, features=SAE_FEATURES, active=SAE_ACTIVE, layer=SAE_LAYER
    )


def stale(old: str, new: str) -> list[str]:
    """What differs between two cards: words, rows, or rates beyond the tolerance."""
    if _ROW.sub("", old) != _ROW.sub("", new):
        return ["the text around the table"]
    before, after = rates_of_card(old), rates_of_card(new)
    if before.keys() != after.keys():
        return ["the rows of the table"]
    return [name for name in after if abs(before[name] - after[name]) > TOLERANCE]


def update(name: str, folder: Path, *, check: bool) -> list[str]:
    """Write one card, or with `check` say what is stale in it."""
    path = folder / name / "README.md"
    new = sae_card_text() if name == SAE else card_text(name, folder)
    if check:
        return stale(path.read_text(), new) if path.is_file() else ["missing"]
    path.write_text(new)
    return []


def main(argv: Sequence[str] | None = None) -> int:
    """Write or check the cards; 1 when a checked card is stale, 2 for bad input."""
    args = _parser().parse_args(argv)
    torch.set_num_threads(1)
    try:
        chosen = _chosen(args.only)
    except BadInputError as error:
        print(error, file=sys.stderr)
        return 2
    code = 0
    for name in chosen:
        for finding in update(name, args.folder, check=args.check):
            print(f"{name}: stale: {finding}", file=sys.stderr)
            code = 1
    return code


def _chosen(only: Sequence[str] | None) -> list[str]:
    valid = [*RECIPES, SAE]
    for name in only or ():
        if name not in valid:
            raise BadInputError(
                "--only names no organism.", got=name, valid=nearest(name, valid, len(valid))
            )
    return [name for name in valid if only is None or name in only]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m trait_probe.organisms.cards",
        description=(__doc__ or "").split("\n\n")[0],
    )
    parser.add_argument("--folder", type=Path, default=WEIGHTS, help="folder of the organisms")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="some of them (default: all)")
    parser.add_argument("--check", action="store_true", help="compare without writing")
    return parser


if __name__ == "__main__":
    sys.exit(main())
