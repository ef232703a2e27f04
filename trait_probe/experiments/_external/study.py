"""Step 6: the claims of each level, and the same with labels that mean nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32

from trait_probe.evidence.claims import Claim
from trait_probe.evidence.estimate import Estimate
from trait_probe.evidence.locks import ReportLock
from trait_probe.evidence.significance import relabelings
from trait_probe.evidence.splits import text_id
from trait_probe.evidence.studies.beyond_text import BeyondText, beyond_text_claims
from trait_probe.evidence.studies.rows import LabelledRows, best_place
from trait_probe.evidence.studies.separation import Separation, Wording, separation_claims
from trait_probe.experiments._embedding import embedding_direction, mean_embeddings
from trait_probe.experiments._external.design import Design, Scored
from trait_probe.experiments._external.levels import RESPONSE, WHAT
from trait_probe.forward.rendering import render_for
from trait_probe.identity import identify

Kind = Literal["separation", "beyond the text"]
KINDS: tuple[Kind, ...] = ("separation", "beyond the text")


@dataclass(frozen=True)
class Shuffled:
    """What a study says of one trait with one draw of labels that mean nothing."""

    trait: str
    kind: Kind
    verdict: str
    value: float | None


@dataclass(frozen=True)
class Studied:
    """One level's claims.

    Attributes:
        claims: by trait and kind.
        layers: by trait, the layer (by number) that the selection rows chose.
        lock: of the level's split.
        shuffled: the same with labels that mean nothing.
    """

    claims: Mapping[tuple[str, Kind], Claim]
    layers: Mapping[str, int]
    lock: ReportLock
    shuffled: tuple[Shuffled, ...]


@dataclass(frozen=True)
class Words:
    """What the embedding layer tells of each row: activations, and scores by trait."""

    rows: Float32[np.ndarray, "row d_model"]
    scores: Mapping[str, Float32[np.ndarray, " row"]]


def study(design: Design, found: Scored, words: Words) -> Studied:
    """Claims for the labels as they are, and what shuffled labels give."""
    lock = _lock(design, found)
    labels = found.level.harmful
    rows = _rows(design, found, labels, lock)
    claimed = design.directions[found.level.name].claimed
    layers = {name: int(best_place(found.z[name], rows)) for name in claimed}
    claims = _claims(design, found, rows, words)
    shuffled: list[Shuffled] = []
    n = design.config.n_shuffled
    if n:
        drawn = relabelings(labels, found.level.groups, n=n, seed=design.config.seed)
        for draw, meaningless in enumerate(drawn):
            own = ReportLock(found.split, {"shuffled": draw, "of": lock.id})
            again = _claims(design, found, _rows(design, found, meaningless, own), words)
            shuffled += [_told(trait, kind, claim) for (trait, kind), claim in again.items()]
    return Studied(claims, layers, lock, tuple(shuffled))


def words_of(design: Design, found: Scored) -> Words:
    """Every row at the embedding layer, averaged over all tokens up to the place that is read."""
    directions = design.directions[found.level.name]
    prompts = render_for(design.model, found.level.prompts, truncate=design.config.truncate)
    rule = "all[:]" if found.level.name == RESPONSE else "prompt[:]"
    rows = mean_embeddings(design.model, prompts, rule)
    known = {n: directions.contrasts[n] for n in directions.claimed if n in directions.contrasts}
    scores = {n: rows @ embedding_direction(design.model, one) for n, one in known.items()}
    return Words(rows, scores)


def _lock(design: Design, found: Scored) -> ReportLock:
    data = {
        "texts": sorted(map(text_id, found.level.texts)),
        "level": found.level.name,
        "model": identify(design.model).without_names(),
    }
    return ReportLock(found.split, data)


def _rows(
    design: Design, found: Scored, labels: Bool[np.ndarray, " row"], lock: ReportLock
) -> LabelledRows:
    level, directions = found.level, design.directions[found.level.name]
    fitted = frozenset(map(text_id, directions.texts))
    hashes = frozenset(vector.basis.contrast_hash for vector in directions.vectors)
    return LabelledRows(
        ids=level.ids,
        labels=labels,
        groups=level.groups,
        lock=lock,
        fitted_on=fitted | hashes,
        lengths=found.lengths,
        texts=level.texts,
    )


def _claims(
    design: Design, found: Scored, rows: LabelledRows, words: Words
) -> dict[tuple[str, Kind], Claim]:
    """The error rate is split over levels and kinds."""
    config, level = design.config, found.level.name
    directions = design.directions[level]
    positive, negative, where = WHAT[level]
    wording = Wording(design.model_id, positive, f"{negative} of {design.data_id} ({where})")
    parts = len(design.levels) * len(KINDS)
    alpha = config.alpha / parts
    places = tuple(f"layer {site.layer}" for site in found.scores.bank.sites)
    traits = {name: found.z[name] for name in directions.claimed}
    separation = Separation(
        rows=rows,
        places=places,
        traits=traits,
        random=found.scores.random,
        foils={name: found.z[name] for name in directions.foils} or None,
        embedding=dict(words.scores),
    )
    beyond = BeyondText(
        rows=rows,
        places=places,
        traits=traits,
        embedding=words.rows,
        at_embedding=dict(words.scores),
        random=found.scores.random,
    )
    by_kind: dict[Kind, list[Claim]] = {
        "separation": separation_claims(
            separation,
            wording,
            alpha=alpha,
            n_permutations=config.n_permutations,
            seed=config.seed,
        ),
        "beyond the text": beyond_text_claims(beyond, wording, alpha=alpha),
    }
    return {
        (trait, kind): replace(claim, id=f"{claim.id}, {level}", looks=claim.looks * parts)
        for kind, claims in by_kind.items()
        for trait, claim in zip(directions.claimed, claims, strict=True)
    }


def _told(trait: str, kind: Kind, claim: Claim) -> Shuffled:
    value = claim.effect.value if isinstance(claim.effect, Estimate) else None
    return Shuffled(trait, kind, claim.verdict, value)
