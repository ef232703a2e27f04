"""What the readings support: claims of a shift, and the effects that are shown beside them.

Two readings make claims, and the first makes them twice: on all prompts, and on the families in
which behaviour looked the same. The error rate is shared evenly among these three. A model's own
replies make none: its words differ, and any fine-tune that changes style would be found there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from trait_probe.basis import ModelIdentity
from trait_probe.evidence.checks import missing_check
from trait_probe.evidence.claims import Claim
from trait_probe.evidence.estimate import Unscored
from trait_probe.evidence.locks import ReportLock
from trait_probe.evidence.splits import Split, restrict, split_by_group, text_id
from trait_probe.evidence.studies.models import COPY, ModelScores, ShiftRows
from trait_probe.evidence.studies.parts import untestable
from trait_probe.evidence.studies.shift import Models, Shift, shift_claims
from trait_probe.experiments._emergent.behaviour import (
    Behaviour,
    Unchanged,
    behaviour_claim,
    unchanged_families,
)
from trait_probe.experiments._emergent.config import N_STUDIES, Config
from trait_probe.experiments._emergent.readings import PROMPT, REPLAY, RULES, WORDS, Scores
from trait_probe.experiments._emergent.texts import Texts, words_of

UNCHANGED = "unchanged"
TOO_CLOSE = 0.99
"""|cosine| at which an unrelated trait is the claimed one."""


@dataclass(frozen=True)
class Design:
    """What is fixed before anything is computed on the report rows.

    Attributes:
        config: resolved.
        claimed: names of the claimed traits.
        unrelated: by claimed reading's rule, the unrelated traits that count, copies left out.
        groups: per prompt, what it moves with.
        split: by group.
        fitted_on: `text_id`s of what vectors were fitted on.
        unknown: claimed traits whose texts are not known, so that no prompt can be checked.
        names: of base, variant and controls.
        variant: its identity, for the lock.
    """

    config: Config
    claimed: tuple[str, ...]
    unrelated: Mapping[str, tuple[str, ...]]
    groups: tuple[str, ...]
    split: Split
    fitted_on: frozenset[str]
    unknown: frozenset[str]
    names: Models
    variant: ModelIdentity

    @property
    def alpha(self) -> float:
        """Of each of the three studies."""
        return self.config.alpha / N_STUDIES


def groups_of(texts: Texts) -> tuple[str, ...]:
    """Per prompt, the unit that statistics resample."""
    return tuple(item.cluster for item in texts.rendered)


def deal(texts: Texts, seed: int) -> Split:
    """Selection and report prompts."""
    return split_by_group(groups_of(texts), seed=seed)


def distinct_unrelated(scores: Scores, claimed: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """By rule, unrelated traits without copies of each other or of a claimed one."""
    out = {}
    for reading in (PROMPT, REPLAY):
        traits = scores.bank(reading).traits
        kept: list[str] = []
        for name in traits:
            if name in claimed or _is_copy(traits, name, kept, COPY, everywhere=True):
                continue
            if not _is_copy(traits, name, claimed, TOO_CLOSE, everywhere=False):
                kept.append(name)
        out[RULES[reading]] = tuple(kept)
    return out


def _is_copy(
    traits: Mapping[str, Float[np.ndarray, "layer d_model"]],
    name: str,
    others: Sequence[str],
    limit: float,
    *,
    everywhere: bool,
) -> bool:
    for other in others:
        cosines = np.abs((traits[name] * traits[other]).sum(axis=1))
        if (cosines.min() if everywhere else cosines.max()) > limit:
            return True
    return False


@dataclass(frozen=True)
class Supported:
    """The claims and what they were made on.

    Attributes:
        claims: shifts by reading, then behaviour.
        locks: of the studies that opened the report rows.
        unchanged: by trait.
    """

    claims: tuple[Claim, ...]
    locks: tuple[ReportLock, ...]
    unchanged: Mapping[str, Unchanged | Unscored]


def make_claims(design: Design, texts: Texts, scores: Scores, behaviour: Behaviour) -> Supported:
    """Every claim of the run."""
    every = np.arange(len(design.groups))
    claims: list[Claim] = []
    locks: list[ReportLock] = []
    for reading in (PROMPT, REPLAY):
        found, lock = _shift(design, texts, scores, reading, every, design.claimed)
        claims += [replace(claim, id=f"{claim.id}:{reading}") for claim in found]
        locks.append(lock)
    unchanged = {
        trait: unchanged_families(behaviour, trait, design.split, design.groups)
        for trait in design.claimed
    }
    for trait, rows in unchanged.items():
        claims.append(_unchanged_claim(design, texts, scores, trait, rows, locks))
        names = (design.names.base, design.names.variant)
        claims.append(
            behaviour_claim(
                trait,
                rows,
                behaviour,
                design.split,
                design.groups,
                names,
                looks=len(design.claimed),
                seed=design.config.seed,
            )
        )
    return Supported(tuple(claims), tuple(locks), unchanged)


def _unchanged_claim(
    design: Design,
    texts: Texts,
    scores: Scores,
    trait: str,
    rows: Unchanged | Unscored,
    locks: list[ReportLock],
) -> Claim:
    name = f"shift:{trait}:{UNCHANGED}"
    if isinstance(rows, Unscored):
        why = missing_check("unchanged behaviour", rows.reason, "families with judged replies")
        statement = f"{design.names.carries(trait)}, where its replies look the same."
        return untestable("shift", name, statement, why, N_STUDIES * len(design.claimed))
    found, lock = _shift(design, texts, scores, PROMPT, rows.rows, (trait,), f"{UNCHANGED} {trait}")
    locks.append(lock)
    (claim,) = found
    statement = f"{claim.statement.rstrip('.')}, in the families {', '.join(rows.families)}."
    return replace(claim, id=name, statement=statement)


def _shift(
    design: Design,
    texts: Texts,
    scores: Scores,
    reading: str,
    kept: Int[np.ndarray, " _kept"],
    claimed: tuple[str, ...],
    study: str | None = None,
) -> tuple[list[Claim], ReportLock]:
    config, bank = design.config, scores.bank(reading)
    split = restrict(design.split, kept)
    prompts = [texts.prompts[int(i)] for i in kept]
    words = tuple(words_of(prompt) for prompt in prompts)
    data = {
        "prompts": sorted(text_id(text) for text in words),
        "variant": design.variant.without_names(),
        "study": study or reading,
    }
    lock = ReportLock(split, data)
    shuffled = scores.shuffled(reading)
    unrelated = design.unrelated[RULES[reading]]
    made = shift_claims(
        Shift(
            rows=ShiftRows(
                ids=tuple(prompt.id for prompt in prompts),
                groups=tuple(design.groups[int(i)] for i in kept),
                lock=lock,
                fitted_on=design.fitted_on or None,
                texts=words,
            ),
            places=tuple(f"{WORDS[reading]}, layer {site.layer}" for site in bank.sites),
            traits={name: _some(scores.models(reading, name), kept) for name in claimed},
            random=_some(scores.random(reading), kept),
            shuffled=None if shuffled is None else _some(shuffled, kept),
            unrelated={name: _some(scores.models(reading, name), kept) for name in unrelated},
            directions={name: bank.traits[name] for name in (*claimed, *unrelated)},
        ),
        design.names,
        # One study a trait where each has families of its own: Holm cannot see the others.
        alpha=design.alpha if study is None else design.alpha / len(design.claimed),
        n_permutations=config.n_permutations,
        seed=config.seed,
    )
    looks = N_STUDIES * len(design.claimed)  # all of them read the same report prompts
    return [
        _with_known_texts(replace(claim, looks=looks), name, design)
        for claim, name in zip(made, claimed, strict=True)
    ], lock


def _with_known_texts(claim: Claim, trait: str, design: Design) -> Claim:
    """Nobody can say that a prompt is new to a vector whose texts are not known."""
    if trait not in design.unknown:
        return claim
    why = missing_check(
        "prompts that vectors were not fitted on", "the trait's texts are not known", "known texts"
    )
    return replace(claim, checks=(*claim.checks, why))


def _some(models: ModelScores, kept: Int[np.ndarray, " _kept"]) -> ModelScores:
    controls = tuple(np.asarray(one[kept]) for one in models.controls)
    return ModelScores(np.asarray(models.base[kept]), np.asarray(models.variant[kept]), controls)
