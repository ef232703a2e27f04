"""How far the extracted vector is from the optimized one: the claim, and what stands beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64

from trait_probe.evidence.checks import Check, Status, missing_check
from trait_probe.evidence.claims import Claim
from trait_probe.evidence.distribution import upper_tail
from trait_probe.evidence.estimate import Estimate, Unscored
from trait_probe.evidence.means import clustered_mean
from trait_probe.evidence.ratios import ratio_of_means
from trait_probe.evidence.studies import gain
from trait_probe.evidence.studies.parts import untestable
from trait_probe.experiments._optimization.arms import (
    EXTRACTED,
    NULL,
    PROMPT,
    RANDOM,
    SEARCHED,
    STRENGTH,
    UNSTEERED,
    Arm,
    Tested,
)
from trait_probe.vectors import geometry
from trait_probe.vectors.subspace import Subspace

N_COMPONENTS_SHOWN = 10
N_BOOT = 2000
UNIT = "trait score of coherent answers"
SLACK = 1.25
"""How far the divergence on test prompts may exceed what the choice on others allowed."""
_ARMS = {
    gain.EXTRACTED: EXTRACTED,
    "equal-budget random search": RANDOM,
    "strength-only search": STRENGTH,
    "prompt baseline": PROMPT,
}


@dataclass(frozen=True)
class TestQuestions:
    """The columns of every arm's scores.

    Attributes:
        ids: of the test questions that have a score in every arm.
        groups: their groups.
        kept: which of all test questions these are.
        unscored: answers without a score in the arms that the claim compares, and all of theirs.
        reasons: why.
    """

    ids: tuple[str, ...]
    groups: tuple[str, ...]
    kept: Bool[np.ndarray, " question"]
    unscored: tuple[int, int]
    reasons: tuple[str, ...]

    @property
    def share_unscored(self) -> float:
        return self.unscored[0] / self.unscored[1]


def scored_everywhere(
    tested: Mapping[str, Tested], ids: Sequence[str], groups: Sequence[str]
) -> TestQuestions:
    """Questions with a score in every row of every compared arm and null.

    A missing score is left out in all arms alike: it is nobody's 0.
    """
    compared = [tested[name] for name in (SEARCHED, *_ARMS.values(), UNSTEERED, NULL)]
    scored = np.concatenate([one.found.scored for one in compared])
    kept = np.asarray(scored.all(axis=0))
    reasons = sorted({reason for one in compared for reason in one.found.reasons})
    return TestQuestions(
        ids=tuple(name for name, ok in zip(ids, kept, strict=True) if ok),
        groups=tuple(name for name, ok in zip(groups, kept, strict=True) if ok),
        kept=kept,
        unscored=(int((~scored).sum()), scored.size),
        reasons=tuple(reasons),
    )


def gain_of(
    trait: str,
    model: str,
    tested: Mapping[str, Tested],
    questions: TestQuestions,
    chosen_on: Sequence[str],
    *,
    looks: int,
    alpha: float,
    most_unscored: float,
    most_kl: float,
) -> Claim:
    """The claim that the optimized vector steers better than every arm that costs less."""
    name = f"gain:{trait}"
    statement = (
        f"A direction searched for by CMA-ES steers {model} towards {trait} better than the "
        "extracted vector, than random search and strength alone, and than asking in words, on "
        "test questions and within the same bounds."
    )
    missing, every = questions.unscored
    if questions.share_unscored > most_unscored or len(set(questions.groups)) < 2:
        why = missing_check(
            "judged answers",
            f"{missing} of {every} answers have no score ({'; '.join(questions.reasons)})",
            f"at most {100 * most_unscored:g} % without a score",
        )
        return untestable("gain", name, statement, why, looks)
    study = gain.Gain(
        searched=tested[SEARCHED].scores[:, questions.kept],
        arms={key: tested[arm].scores[:, questions.kept] for key, arm in _ARMS.items()},
        test=questions.ids,
        chosen_on=tuple(chosen_on),
        groups=questions.groups,
        null=tested[NULL].scores[:, questions.kept],
    )
    claim = gain.gain_claim(
        study, statement=statement, unit=UNIT, looks=looks, alpha=alpha, id=name
    )
    return replace(claim, checks=(*claim.checks, matched_divergence(tested, most_kl)))


def matched_divergence(tested: Mapping[str, Tested], most_kl: float) -> Check:
    """Whether the optimized vector holds the bound on kept test answers as the extracted one does.

    Both were chosen within the bound on other prompts; a gain that is paid for with divergence
    there is none. Compared are the mean over seeds and the extracted vector's.
    """
    own = float(tested[EXTRACTED].found.kl[0])
    optimized = float(over_rows(tested[SEARCHED].found.kl[:, None])[0])
    limit = SLACK * max(most_kl, own)
    required = (
        f"at most {SLACK:g} times the bound ({most_kl:g}) or the extracted vector's, whichever is "
        "larger"
    )
    status: Status = "passed" if optimized <= limit else "failed"
    observed = f"{optimized:.3g} nats (mean over seeds); extracted {own:.3g}"
    return Check("matched divergence", status, observed, required)


@dataclass(frozen=True)
class ArmScore:
    """An arm on the test questions.

    Attributes:
        score: mean over questions of the means over its rows.
        coherent: share of coherent answers, likewise.
        kl: 95th percentile of the token KL on kept test answers, its largest over rows; Unscored
            where nothing is steered.
        n_rows: seeds or draws.
    """

    score: Estimate | Unscored
    coherent: Estimate | Unscored
    kl: float | Unscored
    n_rows: int

    def to_json(self) -> dict[str, object]:
        return {
            "score": self.score,
            "coherent": self.coherent,
            "kl_p95": self.kl,
            "rows": self.n_rows,
        }


def arm_score(name: str, one: Tested, questions: TestQuestions) -> ArmScore:
    """The arm's figures on the questions that are scored in every compared arm."""
    rows = np.asarray(one.found.scored[:, questions.kept].all(axis=0))
    groups = [group for group, ok in zip(questions.groups, rows, strict=True) if ok]

    def averaged(table: Float[np.ndarray, "row question"], unit: str) -> Estimate | Unscored:
        if len(set(groups)) < 2:
            return Unscored("fewer than two groups of questions have scored answers")
        return clustered_mean(over_rows(table[:, questions.kept][:, rows]), groups, unit=unit)

    in_words = name == PROMPT
    return ArmScore(
        score=averaged(one.scores, UNIT),
        coherent=averaged(one.found.coherent.astype(float), "share"),
        kl=Unscored("nothing is steered") if in_words else float(one.found.kl.max()),
        n_rows=len(one.scores),
    )


def over_rows(table: Float[np.ndarray, "row question"]) -> Float64[np.ndarray, " question"]:
    """Per question, the mean of an arm's seeds or draws."""
    return np.asarray(table.sum(axis=0) / len(table))


def deltas(
    tested: Mapping[str, Tested], questions: TestQuestions
) -> dict[str, Estimate | Unscored]:
    """Of the extracted and the optimized vector: test score minus that of the unsteered model."""
    if len(set(questions.groups)) < 2:
        none = Unscored("fewer than two groups of questions have scored answers")
        return {EXTRACTED: none, SEARCHED: none}
    plain = tested[UNSTEERED].scores[:, questions.kept]
    return {
        name: gain.mean_advantage(
            tested[name].scores[:, questions.kept], plain, unit=UNIT, groups=questions.groups
        )
        for name in (EXTRACTED, SEARCHED)
    }


def relative_gain(
    tested: Mapping[str, Tested], questions: TestQuestions, seed: int
) -> Estimate | Unscored:
    """The optimized vector's gain over the extracted one, as a share of what that one adds.

    0.2 is the plan's +20 %. Unscored where the extracted vector adds nothing to divide by.
    """
    if len(set(questions.groups)) < 2:
        return Unscored("fewer than two groups of questions have scored answers")
    searched, extracted, plain = (
        over_rows(tested[name].scores[:, questions.kept])
        for name in (SEARCHED, EXTRACTED, UNSTEERED)
    )
    return ratio_of_means(
        searched - extracted,
        extracted - plain,
        questions.groups,
        n_boot=N_BOOT,
        seed=seed,
        unit="share of the extracted vector's effect",
    )


@dataclass(frozen=True)
class Geometry:
    """Where the optimized directions lie.

    Attributes:
        cosines: with the extracted vector, one per seed; None where the seed came to no steering.
        inside: the same within the subspace: with what of the extracted vector lies there.
        between_seeds: of each pair of seeds.
        random: size of the cosine with the extracted vector that 1 in 20 random directions of the
            subspace exceed.
        start_inside: share of the extracted vector's squared length within the subspace.
        components: of largest mean difference: number, share of variance, the extracted vector's
            coordinate and each seed's (all unit within the subspace).
    """

    cosines: tuple[float | None, ...]
    inside: tuple[float | None, ...]
    between_seeds: tuple[float, ...]
    random: float
    start_inside: float
    components: tuple[Component, ...]

    def to_json(self) -> dict[str, object]:
        return {**vars(self), "components": [vars(one) for one in self.components]}


@dataclass(frozen=True)
class Component:
    """How one principal component differs."""

    number: int
    explained: float
    extracted: float
    optimized: tuple[float, ...]


def geometry_of(
    subspace: Subspace, extracted: Float[torch.Tensor, " d_model"], searched: Arm, null: Arm
) -> Geometry:
    """Cosines and components of the searched directions against the extracted one."""
    axis = geometry.unit(extracted.double())
    at = subspace.coordinates(axis)
    inside = at / at.norm()
    steering = [strength != 0.0 for strength in searched.strengths]
    found = searched.directions.double()
    coordinates = torch.stack([subspace.coordinates(one) for one in found])
    within = coordinates @ inside / coordinates.norm(dim=-1)

    def where_steering(values: Float[torch.Tensor, " seed"]) -> tuple[float | None, ...]:
        return tuple(float(v) if on else None for v, on in zip(values, steering, strict=True))

    used = coordinates[steering]
    pairs = used @ used.T
    upper = torch.triu_indices(len(used), len(used), offset=1)
    return Geometry(
        cosines=where_steering(found @ axis),
        inside=where_steering(within),
        between_seeds=tuple(pairs[upper[0], upper[1]].tolist()),
        random=upper_tail((null.directions.double() @ axis).abs().numpy()),
        start_inside=subspace.share_inside(extracted),
        components=_components(subspace, inside, used),
    )


def _components(
    subspace: Subspace,
    inside: Float[torch.Tensor, " component"],
    used: Float[torch.Tensor, "seed component"],
) -> tuple[Component, ...]:
    if not len(used):
        return ()
    units = used / used.norm(dim=-1, keepdim=True)
    differences = (units - inside).sum(dim=0).abs()
    order = torch.argsort(differences, descending=True, stable=True)[:N_COMPONENTS_SHOWN]
    return tuple(
        Component(
            number=int(i),
            explained=float(subspace.explained[i]),
            extracted=float(inside[i]),
            optimized=tuple(units[:, i].tolist()),
        )
        for i in order
    )
