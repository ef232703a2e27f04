"""What a run found, as data: results.json, extraction_gap.json, the costs, the verdict in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from trait_probe.evidence.estimate import Estimate, Unscored, strict_object
from trait_probe.evidence.studies import gain
from trait_probe.experiments._optimization import arms as at
from trait_probe.experiments._optimization.criteria import criteria
from trait_probe.experiments._optimization.find import Found, TraitFound
from trait_probe.experiments._optimization.searching import Chosen
from trait_probe.vectors.search import Trajectory
from trait_probe.vectors.strength import Sweep

ORDER = (
    *(at.UNSTEERED, at.EXTRACTED, at.STRENGTH, at.RANDOM, at.SEARCHED),
    *(at.SHARED, at.REST, at.NULL, at.PROMPT),
)
"""The arms as tables show them."""


@dataclass(frozen=True)
class Cost:
    """What finding an arm's steering took.

    Attributes:
        candidates: steerings that were tried, on the validation questions too.
        answers: each judged for the trait and for coherence; equal ones only once.
        tokens: generated or read.
    """

    candidates: int
    answers: int
    tokens: int

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.candidates + other.candidates,
            self.answers + other.answers,
            self.tokens + other.tokens,
        )


def costs(found: TraitFound) -> dict[str, Cost]:
    """By arm. Every search starts from the extracted vector, whose cost is not counted again."""
    chosen = found.searches.chosen
    return {
        at.EXTRACTED: _sum(_swept(sweep) for sweep in found.setting.sweeps.values()),
        at.STRENGTH: _swept(found.searches.strengths),
        at.SEARCHED: _sum(map(_searched, found.searches.optimized, chosen[at.SEARCHED])),
        at.RANDOM: _sum(map(_searched, found.searches.random, chosen[at.RANDOM])),
    }


def _sum(every: Iterable[Cost]) -> Cost:
    return sum(every, Cost(0, 0, 0))


def _swept(sweep: Sweep) -> Cost:
    return Cost(len(sweep.steps), sweep.n_answers, sweep.n_tokens)


def _searched(trajectory: Trajectory, chosen: Chosen) -> Cost:
    parts = [one.evaluated.parts for one in trajectory.generations]
    return Cost(
        trajectory.n_evaluations + chosen.n_rungs,
        chosen.n_answers + int(sum(part["answers"].sum() for part in parts)),
        chosen.n_tokens + round(sum(part["tokens"].sum() for part in parts)),
    )


def results_json(found: Found) -> dict[str, object]:
    """`results.json`: strict JSON, the same bytes for the same configuration and model."""
    config = found.config
    return strict_object(
        {
            "schema": "trait_probe.vector_optimization/1",
            "model": found.model_id,
            "bounds": {"most_kl": config.most_kl, "least_coherence": config.least_coherence},
            "traits": {name: _trait_json(one) for name, one in found.traits.items()},
            "criteria": criteria(found),
            "verdicts": {claim.id: claim.verdict for claim in found.claims},
        }
    )


def _trait_json(found: TraitFound) -> dict[str, object]:
    setting, test = found.setting, found.test
    return {
        "questions": {name: len(own) for name, own in setting.questions.splits().items()},
        "test_questions_scored": len(found.questions.ids),
        "unscored_answers": {
            "by_arm": {
                name: {"n": n, "of": every} for name, (n, every) in found.questions.unscored.items()
            },
            "reasons": list(found.questions.reasons),
        },
        "site": str(setting.vector.site),
        "strength": setting.best.strength,
        "sweeps": {
            str(sweep.site): [step.to_json() for step in sweep.steps]
            for sweep in setting.sweeps.values()
        },
        "subspace": {
            "components": setting.objective.subspace.n_components,
            "variance_explained": float(setting.objective.subspace.explained.sum()),
            "rows": setting.objective.subspace.n,
            "share_of_extracted_inside": found.geometry.start_inside,
        },
        "judge": {"agreement": found.judge.agreement, "repeats": found.judge.repeats},
        "graded_questions": len(setting.objective.contrasts),
        "prompt": test.instruction,
        "searches": {
            name: [
                _search_json(one, chosen)
                for one, chosen in zip(trajectories, found.searches.chosen[name], strict=True)
            ]
            for name, trajectories in (
                (at.SEARCHED, found.searches.optimized),
                (at.RANDOM, found.searches.random),
            )
        },
        "arms": {name: _arm_json(found, name) for name in ORDER},
        "ablation": {
            name: {key: value for key, value in one.to_json().items() if key != "kl_p95"}
            for name, one in found.ablation.items()
        },
        "gap": gap_of(found),
    }


def _search_json(trajectory: Trajectory, chosen: Chosen) -> dict[str, object]:
    generations = trajectory.generations
    return {
        "stopped": trajectory.stopped,
        "generations": len(generations),
        "candidates": trajectory.n_evaluations,
        "best_fitness": [float(one.evaluated.fitness[one.best]) for one in generations],
        "incumbent_again": [one.again for one in generations],
        "chosen_strength": float(chosen.candidate.strengths[0]),
        "validation_score": chosen.score,
        "within_bounds": chosen.within,
    }


def _arm_json(found: TraitFound, name: str) -> dict[str, object]:
    arm = found.test.arms.get(name)
    strengths = None if arm is None else list(arm.strengths)
    return {**found.scores[name].to_json(), "strengths": strengths}


def gap_of(found: TraitFound) -> dict[str, object]:
    """The plan's figures of one trait."""
    return {
        "verdict": found.claim.verdict,
        "gain_over": dict(found.claim.controls),
        "steering_delta": {name: found.deltas[name] for name in (at.EXTRACTED, at.SEARCHED)},
        "relative_gain": found.relative,
        "per_question": found.claim.shortcuts.get("per question"),
        "geometry": found.geometry,
        "cost": {name: vars(cost) for name, cost in costs(found).items()},
    }


def gap_json(found: Found) -> dict[str, object]:
    """`extraction_gap.json`: cosines, deltas, components and costs, by trait."""
    return strict_object(
        {
            "schema": "trait_probe.extraction_gap/1",
            "model": found.model_id,
            "traits": {
                name: {
                    "layer": one.setting.vector.layer,
                    "site": str(one.setting.vector.site),
                    "scores": {arm: one.scores[arm].score for arm in ORDER},
                    **gap_of(one),
                }
                for name, one in found.traits.items()
            },
            "criteria": criteria(found),
        }
    )


def verdict_line(found: Found) -> str:
    """The answer in one sentence or two."""
    gains = "; ".join(f"{name} {_gain_words(one)}" for name, one in found.traits.items())
    held = [claim.id for claim in found.claims if claim.verdict == "supported"]
    said = f"Optimized minus extracted, test questions: {gains}."
    if held:
        names = "; ".join(held)
        return f"A searched direction steers better than all that costs less ({names}). {said}"
    verdicts = "; ".join(f"{claim.id}: {claim.verdict}" for claim in found.claims)
    return (
        "Nothing supported: no searched direction was shown to steer better than extraction, "
        f"strength, random search and asking in words ({verdicts}). {said}"
    )


def _gain_words(found: TraitFound) -> str:
    effect = found.claim.controls.get(gain.EXTRACTED)
    if isinstance(effect, Estimate):
        return f"{effect.value:+.2f} [{effect.low:.2f}, {effect.high:.2f}]"
    return f"unscored ({effect.reason})" if isinstance(effect, Unscored) else "not testable"


def notes(found: Found) -> Mapping[str, str]:
    """What a reader must know, by trait."""
    config = found.config
    out = {}
    for name, one in found.traits.items():
        counts = one.setting.questions.splits()
        out[name] = (
            f"{len(counts['train'])} questions to search on, {len(counts['validation'])} to choose "
            f"on, {len(counts['test'])} to report ({len(set(one.questions.groups))} groups). "
            f"Extracted vector: {one.setting.vector.site}, strength {one.setting.best.strength:g} "
            f"of a token's norm; {100 * one.geometry.start_inside:.3g} % of it lies within the "
            f"{one.setting.objective.subspace.n_components} components. Bounds while choosing: "
            f"divergence (p95) at most {config.most_kl:g} nats, {100 * config.least_coherence:.0f} "
            "% of answers coherent. Asked in words: "
            f"{one.test.instruction!r}."
        )
    return out
