"""All that is found for one trait: the searches, what they came to, the test, the claim."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from trait_probe.evidence.claims import Claim
from trait_probe.evidence.estimate import Estimate, Unscored
from trait_probe.experiments._optimization import arms as at
from trait_probe.experiments._optimization.config import Config
from trait_probe.experiments._optimization.gap import (
    ArmScore,
    TestQuestions,
    arm_score,
    deltas,
    gain_of,
    relative_gain,
    scored_everywhere,
)
from trait_probe.experiments._optimization.geometry import Geometry, geometry_of
from trait_probe.experiments._optimization.searching import (
    Chosen,
    choose,
    finer,
    kept_search,
    settings_of,
    start_of,
)
from trait_probe.experiments._optimization.setting import Setting, swept
from trait_probe.forward.answering import question_of
from trait_probe.identity import identify
from trait_probe.judges.instrument import Agreement, Gold, gold_agreement, repeat_variance
from trait_probe.runs.rundir import Run
from trait_probe.vectors.search import Trajectory
from trait_probe.vectors.strength import Sweep


@dataclass(frozen=True)
class Searches:
    """Every search of one trait.

    Attributes:
        optimized: CMA-ES, by seed.
        random: with the budget of the search of the same seed.
        strengths: the extracted direction at many strengths, on the validation questions.
        chosen: by arm, what the validation questions chose of each seed.
    """

    optimized: tuple[Trajectory, ...]
    random: tuple[Trajectory, ...]
    strengths: Sweep
    chosen: Mapping[str, tuple[Chosen, ...]]


@dataclass(frozen=True)
class Test:
    """The arms on the test questions.

    Attributes:
        instruction: the prompt baseline's words, chosen on the validation questions.
        arms: what was steered with.
        tested: answers and scores, by arm.
        ablated: the same where the model is asked in words and the directions are taken out.
    """

    instruction: str
    arms: Mapping[str, at.Arm]
    tested: Mapping[str, at.Tested]
    ablated: Mapping[str, at.Tested]


@dataclass(frozen=True)
class JudgeFound:
    """The judge of the trait as an instrument; None for what was not asked for."""

    agreement: Agreement | None
    repeats: Mapping[str, object] | None


@dataclass(frozen=True)
class TraitFound:
    """One trait's outcome; scores, deltas and ablation by arm."""

    setting: Setting
    searches: Searches
    test: Test
    questions: TestQuestions
    scores: Mapping[str, ArmScore]
    ablation: Mapping[str, ArmScore]
    deltas: Mapping[str, Estimate | Unscored]
    relative: Estimate | Unscored
    geometry: Geometry
    judge: JudgeFound
    claim: Claim


@dataclass(frozen=True)
class Found:
    """What a run found, by trait."""

    config: Config
    model_id: str
    traits: Mapping[str, TraitFound]

    @property
    def claims(self) -> tuple[Claim, ...]:
        """One per trait."""
        return tuple(found.claim for found in self.traits.values())


def find_trait(
    run: Run, config: Config, setting: Setting, gold: Sequence[Gold] = (), *, looks: int
) -> TraitFound:
    """Search, choose, test, compare; and how far the judge of the trait can be trusted."""
    searches = search_all(run, config, setting)
    test = test_all(run, config, setting, searches)
    panel = setting.panels.test
    ids = [prompt.id for prompt in panel.questions]
    questions = scored_everywhere(test.tested, ids, panel.groups)
    return TraitFound(
        setting=setting,
        searches=searches,
        test=test,
        questions=questions,
        scores={name: arm_score(name, one, questions) for name, one in test.tested.items()},
        ablation={name: arm_score(name, one, questions) for name, one in test.ablated.items()},
        deltas=deltas(test.tested, questions),
        relative=relative_gain(test.tested, questions),
        judge=judged_judge(run, config, setting, test, gold),
        geometry=geometry_of(
            setting.objective.subspace,
            setting.vector.direction,
            test.arms[at.SEARCHED],
        ),
        claim=gain_of(
            setting.name,
            identify(panel.model).id,
            test.tested,
            questions,
            chosen_on(setting),
            looks=looks,
            alpha=config.alpha,
            most_unscored=config.most_unscored,
            most_kl=config.most_kl,
            least_coherence=config.least_coherence,
        ),
    )


def chosen_on(setting: Setting) -> list[str]:
    """Ids of all questions that anything was chosen on."""
    return [p.id for p in (*setting.questions.train, *setting.questions.validation)]


def search_all(run: Run, config: Config, setting: Setting) -> Searches:
    """CMA-ES and, with the same budget, random search for each seed; strengths alone once."""
    objective, settings = setting.objective, settings_of(config)
    start = start_of(objective, setting.vector.direction, setting.best.strength, settings.strengths)
    seeds = range(config.seed, config.seed + config.seeds)
    folder = f"search/{setting.name}"
    optimized = tuple(
        kept_search(run, f"{folder}/cma_es-{n}", "cma_es", objective, start, settings, seed=n)
        for n in seeds
    )
    random = tuple(
        kept_search(
            run,
            f"{folder}/random-{n}",
            "random",
            objective,
            start,
            replace(settings, iterations=len(other.generations)),
            seed=n,
            stop_early=False,
        )
        for n, other in zip(seeds, optimized, strict=True)
    )
    chosen = {
        name: tuple(
            choose(
                run,
                f"validation/{setting.name}/{method}-{n}",
                objective,
                setting.panels.validation,
                trajectory.finalists(config.finalists),
            )
            for n, trajectory in zip(seeds, trajectories, strict=True)
        )
        for name, method, trajectories in (
            (at.SEARCHED, "cma_es", optimized),
            (at.RANDOM, "random", random),
        )
    }
    ladder = sorted({*finer(settings.strengths, 2 * config.popsize), *config.strengths})
    strengths = swept(run, f"{folder}/strengths", setting.panels, ladder, setting.vector)
    return Searches(optimized, random, strengths, chosen)


def test_all(run: Run, config: Config, setting: Setting, searches: Searches) -> Test:
    """Every arm once on the test questions; then the directions taken out."""
    panels, objective, name = setting.panels, setting.objective, setting.name
    own = setting.vector.direction
    searched = at.searched_arm(at.SEARCHED, objective, searches.chosen[at.SEARCHED])
    only = searches.strengths.best(most_kl=config.most_kl, least_coherence=config.least_coherence)
    arms = (
        at.Arm(at.UNSTEERED, own[None], (0.0,)),
        at.Arm(at.EXTRACTED, own[None], (setting.best.strength,)),
        at.Arm(at.STRENGTH, own[None], (only.strength,)),
        searched,
        at.searched_arm(at.RANDOM, objective, searches.chosen[at.RANDOM]),
        *at.parts(searched, own),
        at.random_arm(
            run,
            f"null/{name}",
            objective,
            panels.validation,
            config.strengths,
            config.random_directions,
            config.seed,
        ),
    )
    instructions = [pair.positive for pair in setting.questions.trait.instructions]
    asked = at.asked_in_words(run, f"validation/{name}/prompt", panels.validation, instructions)
    words = instructions[at.best_instruction(asked, config.least_coherence)]
    tested = at.test_arms(run, f"test/{name}/steered", objective, panels.test, arms)
    prompted = at.asked_in_words(run, f"test/{name}/prompt", panels.test, [words])
    kinds = {arm.name: arm for arm in arms}
    taken_out = [kinds[kind] for kind in (at.EXTRACTED, at.SEARCHED, at.NULL)]
    ablated = at.ablated(run, f"test/{name}/ablated", objective, panels.test, words, taken_out)
    return Test(words, kinds, {**tested, at.PROMPT: at.Tested(prompted)}, ablated)


def judged_judge(
    run: Run, config: Config, setting: Setting, test: Test, gold: Sequence[Gold]
) -> JudgeFound:
    """Agreement with people's scores, and scatter over repeats on the extracted test answers."""
    panel = setting.panels.test
    agreement = gold_agreement(panel.trait, gold) if gold else None
    if not config.judge_repeats:
        return JudgeFound(agreement, None)
    texts = test.tested[at.EXTRACTED].found.texts[0]
    items = [(question_of(q), text) for q, text in zip(panel.questions, texts, strict=True)]

    def compute() -> pa.Table:  # a stage, for these calls pass the cache by
        found = repeat_variance(panel.trait, items, config.judge_repeats)
        return pa.table({"repeats": [json.dumps(found.to_json())]})

    table = run.stage(f"test/{setting.name}/repeats", compute)
    return JudgeFound(agreement, json.loads(table["repeats"][0].as_py()))
