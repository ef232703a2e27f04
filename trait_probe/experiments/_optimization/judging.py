"""The two judges of an answer: one for the trait, one for coherence and relevance."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from trait_probe.errors import BadInputError
from trait_probe.experiments._optimization.config import Config
from trait_probe.experiments._optimization.questions import Questions
from trait_probe.experiments._optimization.searching import LADDER
from trait_probe.forward.answering import question_of
from trait_probe.identity import HookedModel
from trait_probe.judges.cache import CachedJudge
from trait_probe.judges.claude import ClaudeJudge
from trait_probe.judges.cost import Cost
from trait_probe.judges.judge import Judge
from trait_probe.judges.local import LocalJudge
from trait_probe.judges.rubric import COHERENCE, trait_rubric
from trait_probe.models import load_model
from trait_probe.organisms.coherence import OrganismCoherence
from trait_probe.organisms.prompt_sets import OrganismJudge, judges_trait, request_of

LOCAL = "local:"


@dataclass(frozen=True)
class Judges:
    """Both score from 0 to 100."""

    trait: Judge
    coherence: Judge

    def identities(self) -> dict[str, object]:
        """What each is, for the manifest; of a plain function its name."""
        return {
            name: getattr(judge, "identity", getattr(judge, "__name__", type(judge).__name__))
            for name, judge in vars(self).items()
        }

    def unknown(self) -> list[str]:
        """Which have no identity, by which they could be known again."""
        return [
            name
            for name, judge in vars(self).items()
            if not isinstance(getattr(judge, "identity", None), Mapping)
        ]

    def cost_time(self) -> bool:
        """Whether both can be known again, and are more than the organisms' rules."""
        kinds = [getattr(judge, "identity", {}).get("kind") for judge in vars(self).values()]
        return not self.unknown() and any(kind != "rule" for kind in kinds)

    def kept_in(self, path: Path) -> Judges:
        """The same, asked only for what the file does not hold yet."""
        return Judges(CachedJudge(self.trait, path), CachedJudge(self.coherence, path))

    def spent(self, before: Mapping[str, Mapping[str, object]]) -> dict[str, object]:
        """What each has cost, of those that count, added to what was noted `before`."""
        return {
            name: _sum(cost.to_json(), before.get(name, {}))
            for name, judge in vars(self).items()
            if isinstance(cost := getattr(judge, "spent", None), Cost)
        }


def _sum(new: Mapping[str, object], before: Mapping[str, object]) -> dict[str, object]:
    return {
        name: value + old
        if isinstance(value, int | float) and isinstance(old := before.get(name), int | float)
        else value
        for name, value in new.items()
    }


MakeJudges = Callable[[Questions], Judges]
"""The judges of one trait's questions."""


def judges_for(config: Config, questions: Questions) -> Judges:
    """The judges that the configuration names.

    Raises:
        BadInputError: no such judge, one that cannot judge these questions, or no key for it.
    """
    rubric = trait_rubric(questions.trait)
    if config.judge == "rule":
        return rule_judges(questions)
    if config.judge == "claude":
        trait, coherence = (
            ClaudeJudge(
                one,
                model=config.judge_model,
                requests_per_minute=config.judge_requests_per_minute,
                batches_from=config.judge_batches_from,
            )
            for one in (rubric, COHERENCE)
        )
        return Judges(trait, coherence)
    if config.judge.startswith(LOCAL):
        model = _local(config.judge.removeprefix(LOCAL), config.dtype)
        return Judges(LocalJudge(model, rubric), LocalJudge(model, COHERENCE))
    raise BadInputError(
        "There is no such judge.", got=config.judge, valid=("rule", "claude", "local:MODEL")
    )


@cache
def _local(name: str, dtype: str) -> HookedModel:
    """Loaded once for both judges of every trait, and apart from the model that is steered."""
    model: HookedModel = load_model(name, dtype=dtype)
    return model


def rule_judges(questions: Questions) -> Judges:
    """The exact rules of the organisms' language.

    Raises:
        BadInputError: questions that are not built-in requests, or a trait that no rule knows.
    """
    asked = (*questions.train, *questions.validation, *questions.test)
    if not judges_trait(questions.trait.name) or any(request_of(p) is None for p in asked):
        raise BadInputError(
            "The rules judge the organisms' traits on their built-in questions alone.",
            got=questions.trait.name,
            fix="Choose --judge claude or --judge local:MODEL, or hand in judges from Python.",
        )
    return Judges(OrganismJudge(questions.trait.name, asked), OrganismCoherence(asked))


def planned_answers(config: Config, questions: Questions, n_layers: int) -> int:
    """Most answers that a run can put to each judge; equal ones are judged once, so often fewer."""
    train, validation, test = (
        len(own) for own in (questions.train, questions.validation, questions.test)
    )
    asked = min(config.questions_per_generation, train)
    instructions = len(questions.trait.instructions)
    steps = len(config.strengths) + 1
    ladder = n_layers * steps + 2 * config.popsize + steps
    searches = 2 * config.seeds
    rungs = (config.finalists + 2) * len(LADDER) + 1
    choice = searches * rungs + instructions + ladder
    arms = 4 + 4 * config.seeds + config.random_directions
    ablated = 1 + config.seeds + config.random_directions
    return (
        searches * config.iterations * (config.popsize + 2) * asked
        + (instructions + 1) * train
        + choice * validation
        + (arms + ablated + config.judge_repeats) * test
    )


def say_cost_before(
    config: Config, questions: Sequence[Questions], judges: Sequence[Judges], n_layers: int
) -> None:
    """Where calls are paid for, say on standard error how many there can be."""
    for asked, both in zip(questions, judges, strict=True):
        counting = [judge for judge in vars(both).values() if isinstance(judge, ClaudeJudge)]
        if not counting:
            continue
        n = planned_answers(config, asked, n_layers)
        sample = [(question_of(prompt), "word " * config.longest) for prompt in asked.test]
        costs = [judge.estimate(sample) for judge in counting]
        read = sum(cost.input_tokens for cost in costs) * n // len(sample)
        written = sum(cost.output_tokens for cost in costs) * n // len(sample)
        print(
            f"{asked.trait.name}: up to {n:,} answers to be judged, {n * len(counting):,} calls to "
            f"{config.judge_model}, some {read:,} input and {written:,} output tokens. Equal "
            "answers are judged once, and a search that stops early asks for less; replies that "
            "have to be asked for again come on top.",
            file=sys.stderr,
        )
