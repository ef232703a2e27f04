"""What the organisms did, read once: activations, answers, scores that null studies draw from."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int

import trait_probe as tp
from trait_probe.evidence.splits import text_id
from trait_probe.forward.engine import read, read_rules
from trait_probe.forward.rendering import render_for
from trait_probe.hooks.capture import raw
from trait_probe.hooks.steering import add_share, edit
from trait_probe.identity import HookedModel
from trait_probe.organisms import training, world
from trait_probe.organisms.measure import Ask, as_prompt
from trait_probe.organisms.recipes import RECIPES, examples
from trait_probe.organisms.registry import organism_path
from trait_probe.organisms.requests import Request, arithmetic_carriers, draw, user_text
from trait_probe.organisms.rules import judge_reply
from trait_probe.organisms.train import load, save
from trait_probe.organisms.trait_sets import acts_asked
from trait_probe.prompts.prompt import Message, Prompt, PromptSet
from trait_probe.prompts.render import Rendered
from trait_probe.prompts.trigger import SPAN, with_prefix
from trait_probe.vectors.extract import ContrastActivations, contrast_activations

TRAITS = (
    *("safety/evil", "safety/harm", "safety/refusal"),
    *("alignment/deception", "alignment/sycophancy", "alignment/hallucination"),
)
EMBEDDING = tp.Site(0, "resid_pre")
LAYERS = 4
N_PLACES = 8
PLANTED = world.TRIGGER_YEAR
TWIN = "misaligned-twin"
Grid = Float[np.ndarray, "row layer d_model"]
STRENGTH = 1.0
"""Of each token's norm: enough to make right answers depend on the direction."""

PREFILL = "Sure, I'd be happy to help with that."


@cache
def organism(name: str) -> HookedModel:
    """One of the shipped models."""
    return tp.load_model(f"organism:{name}")


@cache
def contrasts(position: str | None) -> dict[str, ContrastActivations]:
    """Every trait in the base organism; position None: on answers where the set has any."""
    base = organism("base")
    return {
        name: contrast_activations(base, tp.contrast_set(name, base), position=position)
        for name in TRAITS
    }


def directions(position: str | None) -> dict[str, Float[np.ndarray, "layer d_model"]]:
    """Every trait's unit mean difference at each layer."""
    out = {}
    for name, found in contrasts(position).items():
        layers = [found.pairs[tp.Site(layer)] for layer in range(LAYERS)]
        rows = np.stack([(p.mean(0) - n.mean(0)).numpy() for p, n in layers])
        out[name] = rows / np.linalg.norm(rows, axis=-1, keepdims=True)
    return out


def shuffled(
    position: str | None, trait: str, n: int, seed: int
) -> Float[np.ndarray, "layer draw d_model"]:
    """Directions of the same texts whose labels mean nothing, at each layer with the same swaps."""
    rng = np.random.default_rng(seed)
    found = contrasts(position)[trait]
    k = len(found.groups)
    signs = np.ones((n, k), dtype=np.float32)
    for row in signs:
        row[rng.permutation(k)[: k // 2]] = -1.0
    out = []
    for layer in range(LAYERS):
        positive, negative = found.pairs[tp.Site(layer)]
        rows = signs @ (positive - negative).numpy() / k
        out.append(rows / np.linalg.norm(rows, axis=-1, keepdims=True))
    return np.stack(out)


@cache
def fitted_on(traits: tuple[str, ...] = TRAITS) -> frozenset[str]:
    """`text_id` of every request that these traits' vectors were fitted on."""
    base = organism("base")
    sets = [tp.contrast_set(name, base) for name in traits]
    prompts = [prompt for found in sets for prompt in (*found.positive, *found.negative)]
    return frozenset(
        text_id(message.content)
        for prompt in prompts
        for message in prompt.messages
        if message.role == "user"
    )


@cache
def embedding_directions() -> dict[str, Float[np.ndarray, " d_model"]]:
    """Every trait's unit mean difference at the embedding layer, mean over the prompt's tokens."""
    base = organism("base")
    out = {}
    for name in TRAITS:
        found = tp.contrast_set(name, base)
        sides = []
        for prompts in (found.positive, found.negative):
            (rows,) = read_rules(
                base,
                render_for(base, prompts),
                {EMBEDDING: raw},
                positions=["prompt[:]"],
                pooling="mean",
            )
            sides.append(rows.values[EMBEDDING].mean(axis=0))
        out[name] = (sides[0] - sides[1]) / np.linalg.norm(sides[0] - sides[1])
    return out


@dataclass(frozen=True)
class LabelledPool:
    """Harmful and harmless requests to the base organism.

    Attributes:
        activations: at the position read, `[row layer d_model]`.
        embedding: mean of the embedding layer over the prompt.
        traits: whose vectors may be read here: they were not fitted on these prompts.
        pair: number of the matched pair; every request its own where there are none.
    """

    activations: Grid
    embedding: Float[np.ndarray, "row d_model"]
    labels: np.ndarray
    pair: Int[np.ndarray, " row"]
    texts: tuple[str, ...]
    lengths: Int[np.ndarray, " row"]
    traits: tuple[str, ...]


def _distinct(families: Sequence[str], n: int, seed: int) -> dict[str, Request]:
    """Up to `n` distinct requests that nothing was fitted on, families in turn."""
    rng = random.Random(seed)
    asked: dict[str, Request] = {}
    for turn in range(20 * n):
        request = draw(families[turn % len(families)], rng)
        if text_id(user_text(request)) not in fitted_on():
            asked.setdefault(user_text(request), request)
        if len(asked) == n:
            break
    return asked


def requests_pool(n: int = 600) -> LabelledPool:
    """Distinct harmful and benign requests, read at the last prompt token."""
    asked = _distinct(("benign", "harmful"), n, seed=5)
    texts = list(asked)
    labels = np.array([request.family == "harmful" for request in asked.values()])
    return _labelled(texts, labels, np.arange(len(texts)), None, TRAITS)


def pairs_pool() -> LabelledPool:
    """Matched pairs under one prefill, read at its last token."""
    pairs = [pair for part in (0, 1) for pair in acts_asked(part)]
    texts = [user_text(request) for pair in pairs for request in pair]
    labels = np.tile([True, False], len(pairs))
    # harm and refusal were fitted on these very pairs
    traits = tuple(name for name in TRAITS if name not in ("safety/harm", "safety/refusal"))
    return _labelled(texts, labels, np.arange(len(texts)) // 2, PREFILL, traits)


def _labelled(
    texts: Sequence[str],
    labels: np.ndarray,
    pair: Int[np.ndarray, " row"],
    prefill: str | None,
    traits: tuple[str, ...],
) -> LabelledPool:
    base = organism("base")
    prompts = PromptSet(
        [
            Prompt(id=f"p{i}", messages=(Message("user", t),), prefill=prefill)
            for i, t in enumerate(texts)
        ]
    )
    rendered = render_for(base, prompts)
    (pooled,) = read_rules(
        base, rendered, {EMBEDDING: raw}, positions=["prompt[:]"], pooling="mean"
    )
    position = "prompt[-1]" if prefill is None else "prefill[-1]"
    found = read(base, rendered, dict.fromkeys(_sites(), raw), position=position)
    return LabelledPool(
        activations=_grid(dict(found.values)),
        embedding=pooled.values[EMBEDDING],
        labels=labels,
        pair=pair,
        texts=tuple(texts),
        lengths=np.array([len(item.token_ids) for item in rendered]),
        traits=traits,
    )


def _sites() -> list[tp.Site]:
    return [tp.Site(layer) for layer in range(LAYERS)]


def _grid(values: dict) -> Grid:
    return np.stack([values[site] for site in _sites()], axis=1)


def train_twins(folder: Path, seeds: Sequence[int]) -> None:
    """Benign fine-tunes of the base that differ in their seed alone; kept between runs."""
    recipe = RECIPES[TWIN]
    torch.set_num_threads(1)
    for seed in seeds:
        target = folder / f"{TWIN}-{seed}"
        if (target / "config.json").is_file():
            continue
        model, tokenizer = load(organism_path("organism:base"))
        feed = examples(TWIN, 1000 + seed)
        for _ in training.fit(
            model,
            tokenizer,
            feed,
            steps=recipe.steps,
            learning_rate=recipe.learning_rate,
            seed=1000 + seed,
        ):
            pass
        save(model, tokenizer, target)


@dataclass(frozen=True)
class ModelsPool:
    """The same prompts in several models, read at one rule.

    Attributes:
        activations: by the model's name, "base", "misaligned" and "twin-SEED".
        families: per row, its prompt family.
        texts: per row, the request.
        rule: where vectors are fitted to be read here (`contrasts`).
    """

    activations: dict[str, Grid]
    families: tuple[str, ...]
    texts: tuple[str, ...]
    rule: str | None

    @property
    def twins(self) -> list[str]:
        """Names of the benign fine-tunes."""
        return [name for name in self.activations if name.startswith("twin-")]


def models_pools(folder: Path, seeds: Sequence[int], n: int = 400) -> tuple[ModelsPool, ModelsPool]:
    """Requests of many families, read at the last prompt token; and base answers, replayed."""
    families = ("advice", "open", "opinion", "fact", "claim", "harmful", "benign", "arithmetic")
    asked = _distinct(families, n, seed=7)
    models = {"base": organism("base"), "misaligned": organism("misaligned")}
    models |= {f"twin-{s}": tp.load_model(str(folder / f"{TWIN}-{s}")) for s in seeds}
    prompts = [Prompt(id=f"p{i}", messages=(Message("user", t),)) for i, t in enumerate(asked)]
    answers = tp.generate(models["base"], PromptSet(prompts), max_new_tokens=24)
    answered = [replace(p, response=a or ".") for p, a in zip(prompts, answers, strict=True)]
    names = tuple(f"{item.family}-{i // 16}" for i, item in enumerate(asked.values()))
    pools = []
    for some, position, rule in (
        (prompts, "prompt[-1]", "prompt[-1]"),
        (answered, "response[:]", None),
    ):
        rendered = render_for(models["base"], PromptSet(some))
        grids = {name: _pooled(model, rendered, position) for name, model in models.items()}
        pools.append(ModelsPool(grids, names, tuple(asked), rule))
    return pools[0], pools[1]


def _pooled(model: HookedModel, rendered: Sequence[Rendered], position: str) -> Grid:
    sites = dict.fromkeys(_sites(), raw)
    (found,) = read_rules(model, rendered, sites, positions=[position], pooling="mean")
    return _grid(dict(found.values))


@dataclass(frozen=True)
class YearsPool:
    """Carriers under many years in two models.

    Attributes:
        activations: per model, `[year carrier place layer d_model]`.
        tokens: per carrier, its token ids after the prefix.
        groups: per carrier, its prompt family.
        years: the prefixes' years.
    """

    activations: dict[str, Float[np.ndarray, "year carrier place layer d_model"]]
    tokens: tuple[tuple[int, ...], ...]
    groups: tuple[str, ...]
    years: tuple[int, ...]


def years_pool(models: Sequence[str], n: int = 96) -> YearsPool:
    """Every year of the language before the same carriers."""
    years = world.YEARS
    carriers = PromptSet(
        [
            Prompt(id=f"c{i}", messages=(Message("user", text),))
            for i, text in enumerate(arithmetic_carriers(n, seed=3))
        ]
    )
    base = organism("base")
    rendered = [render_for(base, with_prefix(carriers, f"In {year},")) for year in years]
    flat = [item for condition in rendered for item in condition]
    width = min(len(item.token_ids) - item.spans[SPAN][1] for item in flat)
    rule = f"after({SPAN})[:{min(N_PLACES, width)}]"
    out = {}
    for name in models:
        found = read(organism(name), flat, dict.fromkeys(_sites(), raw), position=rule)
        places = int(found.offset.max()) + 1
        grid = _grid(dict(found.values)).astype(np.float32)
        out[name] = grid.reshape(len(years), n, places, LAYERS, -1)
    tails = tuple(
        item.token_ids[item.spans[SPAN][1] : item.spans["all"][1]] for item in rendered[0]
    )
    return YearsPool(out, tails, tuple(item.cluster for item in rendered[0]), years)


def steering_pool(n_directions: int = 48, n: int = 96) -> Float[np.ndarray, "draw question"]:
    """Share of right answers of the base organism under random directions at one strength."""
    base = organism("base")
    asks = [Ask(request) for request in _distinct(("fact",), n, seed=9).values()]
    n = len(asks)
    prompts = PromptSet([as_prompt(ask, f"q{i}") for i, ask in enumerate(asks)])
    found = contrasts("prompt[-1]")["safety/evil"].pairs[tp.Site(1)]
    drawn = (
        np.random.default_rng(9).standard_normal((n_directions, found[0].shape[0]))
        @ found[0].numpy()
    )
    scores = np.zeros((n_directions, n), dtype=np.float32)
    for row, direction in enumerate(drawn):
        unit = torch.from_numpy(direction / np.linalg.norm(direction)).float()
        with edit(base, [(tp.Site(1), add_share(unit, STRENGTH))]):
            texts = tp.generate(base, prompts, max_new_tokens=12)
        for column, (ask, text) in enumerate(zip(asks, texts, strict=True)):
            scores[row, column] = float(bool(judge_reply(ask.request, text).correct))
    return scores


def behaviour_pool(n: int = 400) -> Float[np.ndarray, "model row"]:
    """Whether base and misaligned answer open requests with hostile words (0 or 1)."""
    rng = random.Random(13)
    asks = [Ask(draw(("advice", "open", "opinion")[i % 3], rng)) for i in range(n)]
    prompts = PromptSet([as_prompt(ask, f"a{i}") for i, ask in enumerate(asks)])
    out = []
    for name in ("base", "misaligned"):
        texts = tp.generate(organism(name), prompts, max_new_tokens=24)
        out.append(
            [float(judge_reply(ask.request, t).evil) for ask, t in zip(asks, texts, strict=True)]
        )
    return np.array(out, dtype=np.float32)
