"""Step 4: every direction at every place of the cells, each cell in one pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float32, Int

from trait_probe.basis import Site
from trait_probe.experiments._embedding import embedding_direction, mean_embeddings
from trait_probe.experiments._prefill.cells import HEADER_RULE, LAST_RULE
from trait_probe.forward.engine import read_rules
from trait_probe.hooks.capture import raw
from trait_probe.identity import HookedModel
from trait_probe.prompts.contrast import ContrastSet
from trait_probe.prompts.render import Rendered
from trait_probe.runs.rundir import Run
from trait_probe.vectors.bank import MAX_BYTES, Bank, BankScores, make_bank, read_bank
from trait_probe.vectors.topics import topic_direction
from trait_probe.vectors.vector import VectorSet

TOPIC = "topic"
LAST, HEADER = "last prefill token", "header again"
POSITIONS = {LAST: LAST_RULE, HEADER: HEADER_RULE}
"""Where claims are made: a position each, with its rule; the layer is chosen."""


@dataclass(frozen=True)
class Read:
    """Scores at several position rules, `[rule]` each `[prompt layer direction]`."""

    rules: tuple[str, ...]
    scores: tuple[BankScores, ...]

    def trait(self, name: str, rule: int, layer: int) -> Float32[np.ndarray, " prompt"]:
        """One direction at one rule and layer (by number)."""
        return self.scores[rule].trait(name)[:, layer]


def study_bank(
    model: HookedModel,
    vectors: VectorSet,
    prompts: Sequence[Rendered],
    harmful: Bool[np.ndarray, " prompt"],
    *,
    rule: str,
    n_random: int,
    seed: int,
) -> Bank:
    """Traits, the topic direction and random directions of one position.

    Args:
        prompts: those of the selection rows, prefill and header included: topics and the
            covariance of random directions are taken from them, at the very position that is read.
    """
    bank = make_bank(
        model, vectors, {}, prompts, positions=[rule], n_random=n_random, n_shuffled=0, seed=seed
    )
    topic = _topic(model, prompts, harmful, bank.sites, rule)
    return replace(bank, traits={**bank.traits, TOPIC: topic})


def _topic(
    model: HookedModel,
    prompts: Sequence[Rendered],
    harmful: Bool[np.ndarray, " prompt"],
    sites: Sequence[Site],
    rule: str,
) -> Float32[np.ndarray, "layer d_model"]:
    pairs = [item.cluster for item in prompts]
    at_once = max(1, MAX_BYTES // (len(prompts) * int(model.cfg.d_model) * 4))
    found: list[Float32[np.ndarray, " d_model"]] = []
    for start in range(0, len(sites), at_once):
        readouts = dict.fromkeys(sites[start : start + at_once], raw)
        (rows,) = read_rules(
            model, prompts, readouts, positions=[rule], pooling="mean", label="topic"
        )
        found += [topic_direction(rows.values[site], harmful, pairs) for site in readouts]
    return np.stack(found)


def without_random(bank: Bank) -> Bank:
    """The named directions alone, for places that no claim is made for."""
    return replace(bank, random=bank.random[:, :0])


def read_cells(
    run: Run,
    name: str,
    model: HookedModel,
    prompts: Sequence[Rendered],
    bank: Bank,
    rules: Sequence[str],
) -> Read:
    """Every direction at every rule, in one pass; a resumable stage."""

    def whole() -> BankScores:
        found = read_bank(model, prompts, bank, positions=rules, label=f"{name}: projecting")
        return BankScores(bank, np.concatenate([item.values for item in found]))

    # One table: the rules one after the other.
    table = run.stage(f"projections/{name}", lambda: whole().to_table(list(prompts) * len(rules)))
    values = BankScores.from_table(table, bank).values
    parts = np.split(values, len(rules))
    return Read(tuple(rules), tuple(BankScores(bank, part) for part in parts))


def embedding_scores(
    model: HookedModel,
    contrasts: Mapping[str, ContrastSet],
    prompts: Sequence[Rendered],
) -> dict[str, Float32[np.ndarray, " prompt"]]:
    """Each trait's contrast direction at the embedding layer, both averaged over the tokens.

    Args:
        contrasts: by the trait's name.
        prompts: prefill included, header not: tokens up to the place that is read.
    """
    rows = mean_embeddings(model, prompts, "prompt[:]")
    return {name: rows @ embedding_direction(model, found) for name, found in contrasts.items()}


def capture_rows(
    model: HookedModel,
    prompts: Sequence[Rendered],
    site: Site,
    rule: str,
    rows: Int[np.ndarray, " _row"],
) -> Float32[np.ndarray, "_row d_model"]:
    """Activations of some prompts at one place, for the probe of the outcome."""
    (found,) = read_rules(
        model,
        [prompts[i] for i in rows],
        {site: raw},
        positions=[rule],
        pooling="mean",
        label="outcome",
    )
    return np.asarray(found.values[site])
