"""Studies of two labelled groups of prompts on synthetic activations: separation, beyond the text.

The first trait may be planted, or made to read length or a word; the other two mean nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from benchmarks.calibration.activations import (
    D_MODEL,
    N_RANDOM,
    TRAITS,
    WORDS,
    Space,
    project,
    project_many,
    sentences,
)
from trait_probe.evidence.claims import Claim
from trait_probe.evidence.locks import ReportLock
from trait_probe.evidence.splits import split_by_group
from trait_probe.evidence.studies.beyond_text import BeyondText, beyond_text_claims
from trait_probe.evidence.studies.rows import LabelledRows
from trait_probe.evidence.studies.separation import Separation, Wording, separation_claims

WORDING = Wording("synthetic", "harmful", "harmless")
PLACES = tuple(f"layer {i}" for i in range(4))
N_PERMUTATIONS = 400
N_REFITTED = 60
"""Random directions for which a classifier is fitted anew: the costly part of "beyond the text"."""

SYNONYMS = tuple(f"leak{i}" for i in range(40))


@dataclass(frozen=True)
class Plan:
    """What is planted in the first trait.

    Attributes:
        n: prompts per group.
        effect: shift of the positives along the trait from the second layer on, in SD of its
            projection.
        longer: positives are longer by so many SD of the lengths, and the trait reads length.
        leak: share of positives with a word that one in ten negatives has; the trait reads it.
        synonyms: so many words are that word (few enough for none to be learned by its look).
        paired: prompts come in matched pairs, one of each group.
    """

    n: int = 200
    effect: float = 0.0
    longer: float = 0.0
    leak: float = 0.0
    synonyms: int = 1
    paired: bool = False


@dataclass(frozen=True)
class World:
    """A drawn study, before any choice."""

    rows: LabelledRows
    traits: dict[str, Float[np.ndarray, "row place"]]
    random: Float[np.ndarray, "row place draw"]
    foils: dict[str, Float[np.ndarray, "row place"]]
    embedding: Float[np.ndarray, "row d_model"]
    at_embedding: dict[str, Float[np.ndarray, " row"]]


def world(plan: Plan, seed: int) -> World:
    """Draw prompts, activations and directions."""
    rng = np.random.default_rng(seed)
    space = Space.draw(rng)
    labels = np.tile([True, False], plan.n)
    families = np.arange(2 * plan.n) // 2 if plan.paired else _families(labels)
    words = sentences(2 * plan.n, rng)
    has_leak = _add_leak(words, labels, plan, rng)
    lengths = _lengths(words, labels, plan, rng)
    activations = space.rows(families, rng)
    directions = {name: space.fitted(rng) for name in TRAITS}
    scores = {name: project(activations, found) for name, found in directions.items()}
    scores[TRAITS[0]] = _plant(scores[TRAITS[0]], labels, lengths, has_leak, plan)
    embedding, at_embedding = _embedding(words, rng)
    groups = tuple(f"family-{i:04d}" for i in families)
    ids = tuple(f"prompt-{i:04d}" for i in range(len(labels)))
    rows = LabelledRows(
        ids=ids,
        labels=labels,
        groups=groups,
        lock=ReportLock(split_by_group(groups, seed=seed), {"seed": seed}),
        fitted_on=frozenset({"contrast set"}),
        lengths=lengths,
        texts=tuple(" ".join(item) for item in words),
    )
    return World(
        rows=rows,
        traits=scores,
        random=project_many(activations, space.null(N_RANDOM, seed)).astype(np.float32),
        foils={name: project(activations, space.fitted(rng)) for name in ("topic", "style")},
        embedding=embedding,
        at_embedding=at_embedding,
    )


def _families(labels: Bool[np.ndarray, " row"]) -> np.ndarray:
    """Two prompts a family, of one group."""
    order = np.argsort(~labels, kind="stable")
    families = np.empty(len(labels), dtype=np.int64)
    families[order] = np.arange(len(labels)) // 2
    return families


def _add_leak(
    words: list[list[str]],
    labels: Bool[np.ndarray, " row"],
    plan: Plan,
    rng: np.random.Generator,
) -> Bool[np.ndarray, " row"]:
    if not plan.leak:
        return np.zeros(len(labels), dtype=bool)
    has = rng.random(len(labels)) < np.where(labels, plan.leak, 0.1)
    for row in np.flatnonzero(has):
        words[row].insert(0, SYNONYMS[int(rng.integers(plan.synonyms))])
    return np.asarray(has)


def _lengths(
    words: list[list[str]],
    labels: Bool[np.ndarray, " row"],
    plan: Plan,
    rng: np.random.Generator,
) -> np.ndarray:
    lengths = np.array([len(item) for item in words])
    if not plan.longer:
        return lengths
    more = np.round(labels * plan.longer * lengths.std()).astype(np.int64)
    for row, extra in enumerate(more):
        words[row] += [WORDS[i] for i in rng.integers(len(WORDS), size=int(extra))]
    return np.asarray(lengths + more)


def _plant(
    scores: Float[np.ndarray, "row place"],
    labels: Bool[np.ndarray, " row"],
    lengths: np.ndarray,
    has_leak: Bool[np.ndarray, " row"],
    plan: Plan,
) -> Float[np.ndarray, "row place"]:
    sd = scores.std(axis=0, ddof=1)
    moved = plan.effect * labels + 2.0 * has_leak
    if plan.longer:
        moved = moved + 2.0 * (lengths - lengths.mean()) / lengths.std()
    late = np.arange(scores.shape[1]) >= 1
    return np.asarray(scores + moved[:, None] * (sd * late))


def _embedding(
    words: list[list[str]], rng: np.random.Generator
) -> tuple[Float[np.ndarray, "row d_model"], dict[str, Float[np.ndarray, " row"]]]:
    """Mean word vectors; synonyms share a direction, which is the first trait's at this layer."""
    vectors = {word: rng.standard_normal(D_MODEL) for word in WORDS}
    shared = 3.0 * rng.standard_normal(D_MODEL)
    vectors |= {word: shared + 0.3 * rng.standard_normal(D_MODEL) for word in SYNONYMS}
    rows = np.stack([np.mean([vectors[word] for word in item], axis=0) for item in words])
    directions = {name: rng.standard_normal(D_MODEL) for name in TRAITS}
    directions[TRAITS[0]] = shared
    return rows, {name: rows @ found for name, found in directions.items()}


def separation(drawn: World, *, seed: int) -> list[Claim]:
    """The whole study, as an experiment calls it."""
    study = Separation(
        rows=drawn.rows,
        places=PLACES,
        traits=drawn.traits,
        random=drawn.random,
        foils=drawn.foils,
        embedding=drawn.at_embedding,
    )
    return separation_claims(study, WORDING, n_permutations=N_PERMUTATIONS, seed=seed)


def beyond_text(drawn: World, *, seed: int) -> list[Claim]:
    """The whole study with the first trait alone, as an experiment calls it."""
    first = {TRAITS[0]: drawn.traits[TRAITS[0]]}
    few = drawn.random[..., :N_REFITTED]
    study = BeyondText(
        drawn.rows,
        PLACES,
        first,
        embedding=drawn.embedding,
        at_embedding={TRAITS[0]: drawn.at_embedding[TRAITS[0]]},
        random=few,
    )
    return beyond_text_claims(study, WORDING)
