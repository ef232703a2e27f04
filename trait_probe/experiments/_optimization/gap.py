"""How far the extracted vector is from the optimized one: the claim, and what stands beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Float64

from trait_probe.evidence.checks import Check, Status, missing_check
from trait_probe.evidence.claims import Claim
from trait_probe.evidence.estimate import Estimate, Unscored
from trait_probe.evidence.means import clustered_mean
from trait_probe.evidence.ratios import gain_ratio
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
    Tested,
)

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
        ids: of the test questions that have a score in every compared arm.
        groups: their groups.
        kept: which of all test questions these are.
        unscored: by compared arm, answers without a score, and all of them.
        reasons: why.
    """

    ids: tuple[str, ...]
    groups: tuple[str, ...]
    kept: Bool[np.ndarray, " question"]
    unscored: Mapping[str, tuple[int, int]]
    reasons: tuple[str, ...]

    @property
    def left_out(self) -> float:
        """Share of the test questions."""
        return 1.0 - int(self.kept.sum()) / len(self.kept)

    def lacking(self, most: float) -> str | None:
        """What exceeds the share `most`, in words: one arm's missing scores, or the questions left
        out for them. What a judge leaves out is no random sample."""
        worst = max(self.unscored, key=lambda name: self.unscored[name][0] / self.unscored[name][1])
        missing, every = self.unscored[worst]
        why = f" ({'; '.join(self.reasons)})" if self.reasons else ""
        if missing > most * every:
            return f"{missing} of {every} answers of the arm {worst!r} have no score{why}"
        if self.left_out > most:
            n = len(self.kept)
            return f"{n - len(self.ids)} of {n} questions lack a score in some arm{why}"
        return None


def scored_everywhere(
    tested: Mapping[str, Tested], ids: Sequence[str], groups: Sequence[str]
) -> TestQuestions:
    """Questions with a score in every row of every compared arm.

    A missing score is left out in all arms alike: it is nobody's 0.
    """
    compared = {name: tested[name].found for name in (SEARCHED, *_ARMS.values(), UNSTEERED)}
    kept = np.asarray(np.concatenate([one.scored for one in compared.values()]).all(axis=0))
    reasons = sorted({reason for one in compared.values() for reason in one.reasons})
    return TestQuestions(
        ids=tuple(name for name, ok in zip(ids, kept.tolist(), strict=True) if ok),
        groups=tuple(name for name, ok in zip(groups, kept.tolist(), strict=True) if ok),
        kept=kept,
        unscored={
            name: (int((~one.scored).sum()), one.scored.size) for name, one in compared.items()
        },
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
    least_coherence: float,
) -> Claim:
    """The claim that the optimized vector steers better than every arm that costs less."""
    name = f"gain:{trait}"
    statement = (
        f"A direction searched for by CMA-ES steers {model} towards {trait} better than the "
        "extracted vector, than random search and strength alone, and than asking in words, on "
        "test questions, with strengths chosen within the same bounds."
    )
    lacking = questions.lacking(most_unscored)
    if lacking is not None:
        required = f"at most {100 * most_unscored:g} % without a score, in each arm"
        why = missing_check("judged answers", lacking, required)
        return untestable("gain", name, statement, why, looks)
    n_groups = len(set(questions.groups))
    if n_groups < 2:
        why = missing_check("test questions", f"{n_groups} group of them", "two groups or more")
        return untestable("gain", name, statement, why, looks)
    study = gain.Gain(
        searched=tested[SEARCHED].scores[:, questions.kept],
        arms={key: tested[arm].scores[:, questions.kept] for key, arm in _ARMS.items()},
        test=questions.ids,
        chosen_on=tuple(chosen_on),
        groups=questions.groups,
        null=_scored_draws(tested[NULL], questions),
    )
    claim = gain.gain_claim(
        study, statement=statement, unit=UNIT, looks=looks, alpha=alpha, id=name
    )
    extra = (matched_divergence(tested, most_kl), matched_coherence(tested, least_coherence))
    return replace(claim, checks=(*claim.checks, *extra))


def _scored_draws(
    null: Tested, questions: TestQuestions
) -> Float[np.ndarray, "draw question"] | None:
    """Random directions with a score for every question; None without any."""
    whole = null.found.scored[:, questions.kept].all(axis=1)
    return null.scores[:, questions.kept][whole] if whole.any() else None


def matched_divergence(tested: Mapping[str, Tested], most_kl: float) -> Check:
    """Whether the optimized vector holds the bound on kept test answers as the extracted one does.

    Both were chosen within the bound on other prompts; a gain that is paid for with divergence
    there is none. Compared are the largest over seeds and the extracted vector's.
    """
    own, optimized = (float(tested[arm].found.kl.max()) for arm in (EXTRACTED, SEARCHED))
    limit = SLACK * max(most_kl, own)
    required = (
        f"at most {SLACK:g} times the bound ({most_kl:g}) or the extracted vector's, whichever is "
        "larger"
    )
    status: Status = "passed" if optimized <= limit else "failed"
    observed = f"{optimized:.3g} nats (largest over seeds); extracted {own:.3g}"
    return Check("matched divergence", status, observed, required)


def matched_coherence(tested: Mapping[str, Tested], least: float) -> Check:
    """The same for the share of incoherent test answers, all seeds together."""
    own, optimized = (
        1.0 - float(over_rows(tested[arm].found.coherent_share[:, None])[0])
        for arm in (EXTRACTED, SEARCHED)
    )
    limit = SLACK * max(1.0 - least, own)
    required = (
        f"at most {SLACK:g} times the bound ({100 * (1.0 - least):.3g} %) or the extracted "
        "vector's, whichever is larger"
    )
    status: Status = "passed" if optimized <= limit + 1e-9 else "failed"
    observed = f"{100 * optimized:.3g} % incoherent (all seeds); extracted {100 * own:.3g} %"
    return Check("matched coherence", status, observed, required)


@dataclass(frozen=True)
class ArmScore:
    """An arm on the test questions.

    Attributes:
        score: mean over questions of the means over its rows.
        coherent: share of coherent answers, likewise.
        kl: 95th percentile of the token KL on kept test answers, its largest over rows; Unscored
            where nothing is steered.
        cut: share of answers that were still going on at the limit of new tokens.
        n_rows: seeds or draws.
    """

    score: Estimate | Unscored
    coherent: Estimate | Unscored
    kl: float | Unscored
    cut: float
    n_rows: int

    def to_json(self) -> dict[str, object]:
        return {
            "score": self.score,
            "coherent": self.coherent,
            "kl_p95": self.kl,
            "cut_off": self.cut,
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
        cut=int(one.found.cut.sum()) / one.found.cut.size,
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


def relative_gain(tested: Mapping[str, Tested], questions: TestQuestions) -> Estimate | Unscored:
    """The optimized vector's gain over the extracted one, as a share of what that one adds.

    0.2 is the plan's +20 %. Unscored where the extracted vector adds nothing to divide by.
    """
    if len(set(questions.groups)) < 2:
        return Unscored("fewer than two groups of questions have scored answers")
    searched, extracted, plain = (
        tested[name].scores[:, questions.kept] for name in (SEARCHED, EXTRACTED, UNSTEERED)
    )
    return gain_ratio(
        searched,
        extracted[0],
        plain[0],
        questions.groups,
        unit="share of the extracted vector's effect",
    )
