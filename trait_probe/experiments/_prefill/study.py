"""Step 5: the claims that activations tell harmful from benign prompts behind one prefill.

One claim a trait and position: the last prefill token, and the header put in again. Each position
is a study of its own, since null directions choose their layer as the trait does: given both
positions at once they all took the one where any direction separates. The layer is chosen on the
selection pairs; the report pairs are opened once a position. The same studies with harm labels
shuffled within pairs show what the procedure says where nothing is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from trait_probe.evidence.claims import Claim
from trait_probe.evidence.estimate import Estimate
from trait_probe.evidence.locks import ReportLock
from trait_probe.evidence.splits import text_id
from trait_probe.evidence.studies.rows import LabelledRows, best_place
from trait_probe.evidence.studies.separation import Separation, Wording, separation_claims
from trait_probe.experiments._prefill.design import Design
from trait_probe.experiments._prefill.reading import HEADER, POSITIONS, TOPIC, Read
from trait_probe.identity import identify
from trait_probe.vectors.bank import BankScores

Embedding = Mapping[str, Float[np.ndarray, " prompt"]]


@dataclass(frozen=True)
class Shuffled:
    """What a study says of one trait with one draw of labels that mean nothing."""

    trait: str
    position: str
    verdict: str
    auroc: float | None


@dataclass(frozen=True)
class Studied:
    """What was claimed at every position.

    Attributes:
        claims: by trait and position.
        layers: number of the layer at which each trait is read, by trait and position.
        locks: one a position, opened for these layers.
        shuffled: the same with labels that mean nothing.
    """

    claims: Mapping[tuple[str, str], Claim]
    layers: Mapping[tuple[str, str], int]
    locks: tuple[ReportLock, ...]
    shuffled: tuple[Shuffled, ...]


def study(design: Design, read: Read, embedding: Embedding) -> Studied:
    """Claims for the labels as they are, and what shuffled labels give.

    Args:
        read: at the rules of `POSITIONS`, in their order.
    """
    claims: dict[tuple[str, str], Claim] = {}
    layers: dict[tuple[str, str], int] = {}
    locks, shuffled = [], []
    for number, position in enumerate(POSITIONS):
        here = read.scores[number]
        lock = study_lock(design, position)
        separation = separation_of(design, here, embedding, design.pairs.harmful, lock, position)
        for trait, scores in separation.traits.items():
            layers[trait, position] = int(best_place(scores, separation.rows))
        for trait, claim in zip(design.claimed, _claims(design, separation, position), strict=True):
            claims[trait, position] = claim
        locks.append(lock)
        for draw in range(design.config.n_shuffled):
            shuffled += _shuffled(design, here, embedding, position, draw)
    return Studied(claims, layers, tuple(locks), tuple(shuffled))


def study_lock(design: Design, position: str) -> ReportLock:
    """The pairs' split, locked; what asks one model about one prefill at one position."""
    data = {
        "prompts": sorted(map(text_id, design.pairs.texts)),
        "prefill": design.main.prefill,
        "position": position,
        "model": identify(design.model).without_names(),
    }
    return ReportLock(design.split, data)


def separation_of(
    design: Design,
    read: BankScores,
    embedding: Embedding,
    labels: Bool[np.ndarray, " prompt"],
    lock: ReportLock,
    position: str,
) -> Separation:
    """The study of one position: all its layers, with everything the claim is held to."""
    pairs = design.pairs
    rows = LabelledRows(
        ids=tuple(prompt.id for prompt in pairs.prompts),
        labels=labels,
        groups=pairs.names,
        lock=lock,
        fitted_on=design.fitted_on,
        lengths=np.array([len(item.token_ids) for item in design.main.rendered]),
        texts=pairs.texts,
        blocks=pairs.blocks,
    )
    return Separation(
        rows=rows,
        places=tuple(f"layer {site.layer}" for site in read.bank.sites),
        traits={name: read.trait(name) for name in design.claimed},
        random=read.random,
        foils={name: read.trait(name) for name in (*design.foils, TOPIC)},
        embedding={name: embedding[name] for name in design.claimed},
        tokens=_tokens(design, position, len(read.bank.sites)),
    )


def _tokens(design: Design, position: str, layers: int) -> Int[np.ndarray, "prompt layer"] | None:
    """The token that is read; None where prefills differ, and with them what stands before it."""
    if not design.main.shared:
        return None
    header = design.header.ids[-1]
    last = [header if position == HEADER else item.token_ids[-1] for item in design.main.rendered]
    return np.repeat(np.array(last)[:, None], layers, axis=1)


def _claims(design: Design, separation: Separation, position: str) -> list[Claim]:
    """The error rate is split over the positions."""
    config, where = design.config, f"behind the prefill {design.main.prefill!r}, {position}"
    found = separation_claims(
        separation,
        Wording(design.model_id, "harmful", f"benign prompts ({where})"),
        alpha=config.alpha / len(POSITIONS),
        n_permutations=config.n_permutations,
        seed=config.seed,
    )
    # The other position is read on the same report pairs.
    return [
        replace(claim, id=f"{claim.id}, {position}", looks=claim.looks * len(POSITIONS))
        for claim in found
    ]


def _shuffled(
    design: Design, read: BankScores, embedding: Embedding, position: str, draw: int
) -> list[Shuffled]:
    """One draw; its lock is its own, so that it is no look at the real labels."""
    labels = shuffled_labels(design, draw)
    lock = ReportLock(design.split, {"shuffled": draw, "of": study_lock(design, position).id})
    separation = separation_of(design, read, embedding, labels, lock, position)
    claims = _claims(design, separation, position)
    return [
        Shuffled(trait, position, claim.verdict, _value(claim))
        for trait, claim in zip(design.claimed, claims, strict=True)
    ]


def _value(claim: Claim) -> float | None:
    return claim.effect.value if isinstance(claim.effect, Estimate) else None


def shuffled_labels(design: Design, draw: int) -> Bool[np.ndarray, " prompt"]:
    """Harm labels, the sides of each pair swapped with probability one half."""
    names = sorted(set(design.pairs.names))
    coins = np.random.default_rng([design.config.seed, draw]).random(len(names)) < 0.5
    swapped = dict(zip(names, coins.tolist(), strict=True))
    return np.array(
        [
            bool(label) ^ swapped[name]
            for name, label in zip(design.pairs.names, design.pairs.harmful, strict=True)
        ]
    )
