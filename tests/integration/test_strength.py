"""Steering strengths on the organism: what is measured, picked, and gained by breaking it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from trait_probe import contrast_set, extract, load_model
from trait_probe.errors import BadInputError
from trait_probe.evidence.estimate import Estimate, Unscored
from trait_probe.experiments.vector_optimization import (
    Config,
    judges_for,
    questions_of,
    traits_of,
)
from trait_probe.judges.judge import Scored
from trait_probe.vectors.objective import Objective, Terms, typical_answers
from trait_probe.vectors.panel import measure, panel
from trait_probe.vectors.search import Bounds, Candidates, Settings, search
from trait_probe.vectors.steered import Steerings
from trait_probe.vectors.strength import sweep
from trait_probe.vectors.subspace import Subspace

CONFIG = Config(traits=("alignment/sycophancy",)).resolved()


@pytest.fixture(scope="module")
def model():
    return load_model("organism:base")


@pytest.fixture(scope="module")
def questions(model):
    (trait,) = traits_of(CONFIG, model)
    return questions_of(CONFIG, model, trait, None)


@pytest.fixture(scope="module")
def asked(model, questions):
    judges = judges_for(CONFIG, questions)
    return panel(
        model,
        questions.validation,
        trait=judges.trait,
        coherence=judges.coherence,
        kept=questions.kept_choice[:6],
    )


@pytest.fixture(scope="module")
def vector(model):
    contrast = contrast_set("sycophancy", model, source="instructions")
    return extract(model, contrast, layers=3, position="prompt[-1]")[0]


@pytest.fixture(scope="module")
def swept(asked, vector):
    return sweep(asked, vector.site, vector.direction, (0.4, 0.8, 1.0, 3.0))


def test_the_planted_trait_grows_with_strength_until_the_model_breaks(swept):
    scores = [step.score.value for step in swept.steps]
    assert [step.strength for step in swept.steps] == [0.0, 0.4, 0.8, 1.0, 3.0]
    assert scores[0] == scores[1] == 0.0
    assert scores[3] == 1.0
    assert scores[4] < 0.2
    assert swept.steps[4].coherence.value < 0.2
    assert [step.kl for step in swept.steps] == sorted(step.kl for step in swept.steps)
    assert swept.steps[0].kl == pytest.approx(0.0, abs=1e-6)


def test_the_norm_ratio_is_that_of_the_steered_activations(swept, vector):
    for step in swept.steps:
        low, high = abs(1.0 - step.strength), 1.0 + step.strength
        assert low - 1e-6 <= step.norm_ratio <= high + 1e-6
    assert swept.steps[0].norm_ratio == pytest.approx(1.0)


def test_strengths_are_picked_for_a_divergence_or_a_coherence(swept):
    steps = {step.strength: step for step in swept.steps}
    assert swept.at_kl(steps[0.8].kl).strength == 0.8
    assert swept.at_kl(steps[0.8].kl * 0.999).strength == 0.4
    assert swept.at_coherence(0.9).strength in (0.8, 1.0)
    assert swept.at_coherence(0.9, most_kl=steps[0.4].kl).strength == 0.4
    assert swept.best(most_kl=10.0, least_coherence=0.8).strength == 1.0
    assert swept.best(most_kl=0.0).strength == 0.0  # nothing within the bound: do not steer
    with pytest.raises(BadInputError, match="not even 0"):
        replace(swept, steps=swept.steps[4:]).at_coherence(0.9)


def test_addition_and_ablation_are_two_questions(asked, vector):
    ablated = sweep(asked, vector.site, vector.direction, (0.5, 1.0), mode="ablate")
    assert [step.strength for step in ablated.steps] == [0.0, 0.5, 1.0]
    assert all(step.score.value == 0.0 for step in ablated.steps)  # there is none to take away
    assert all(step.coherence.value == 1.0 for step in ablated.steps)
    ratios = [step.norm_ratio for step in ablated.steps]
    assert ratios == sorted(ratios, reverse=True)


def test_one_at_a_time_gives_the_same_answers_and_scores(asked, vector):
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(4, len(vector.direction), generator=generator)
    steerings = Steerings(vector.site, vector.direction + 0.05 * noise, (0.5, 0.8, 0.9, 1.2))
    whole = measure(asked, steerings)
    for i in range(4):
        alone = measure(
            asked,
            replace(
                steerings,
                directions=steerings.directions[[i]],
                strengths=steerings.strengths[i : i + 1],
            ),
        )
        assert alone.texts[0] == whole.texts[i]
        assert np.array_equal(alone.score[0], whole.score[i])
        assert alone.kl[0] == pytest.approx(whole.kl[i], abs=1e-4)


# ------------------------------------------------------------------- what a search could cheat with


def always(score):
    return lambda question, answer: Scored(score, "always")


def test_breaking_the_model_gains_nothing(asked, vector):
    """A judge of the trait that loves everything: only coherence stands against it."""
    naive = replace(asked, trait=always(100.0))
    broken = Steerings(vector.site, vector.direction[None], (5.0,))
    found = measure(naive, broken)
    assert found.trait.min() == 1.0
    assert found.mean_score[0] < 0.2
    unguarded = replace(naive, coherence=always(100.0))
    assert measure(unguarded, broken).mean_score[0] == 1.0  # the guard taken away


def test_a_model_that_says_nothing_is_incoherent_and_scored(asked):
    from trait_probe.vectors.panel import judged_answers

    empty = [[() for _ in asked.questions]]
    found = judged_answers(asked, asked.questions, empty, kl=np.zeros(1))
    assert found.scored.all()
    assert found.score.max() == 0.0


def test_answers_without_a_score_are_counted_and_left_out(asked, vector):
    def half(question, answer):
        return Scored(100.0, "yes") if len(question) % 2 else Unscored("the judge refused")

    found = sweep(replace(asked, trait=half), vector.site, vector.direction, (0.3,))
    step = found.steps[0]
    odd = [len(q.messages[-1].content) % 2 for q in asked.questions]
    assert step.n_unscored == odd.count(0)
    assert isinstance(step.score, Estimate)
    assert step.score.value == 1.0
    assert step.score.n == odd.count(1)


def test_no_questions_or_no_kept_prompts_are_refused(model, asked):
    with pytest.raises(BadInputError, match="0 questions"):
        panel(model, [], trait=asked.trait, coherence=asked.coherence, kept=asked.questions)
    with pytest.raises(BadInputError, match="0 kept prompts"):
        panel(model, asked.questions, trait=asked.trait, coherence=asked.coherence, kept=[])


# ----------------------------------------------------------------------------------- the objective


@pytest.fixture(scope="module")
def objective(model, questions, vector):
    from trait_probe.experiments._optimization.arms import under

    judges = judges_for(CONFIG, questions)
    train = panel(
        model,
        questions.train,
        trait=judges.trait,
        coherence=judges.coherence,
        kept=questions.kept_choice[:4],
    )
    instructed = [under(train, pair.positive) for pair in questions.trait.instructions[:2]]
    whole = Subspace(
        basis=torch.eye(128, dtype=torch.float64),
        explained=torch.full((128,), 1 / 128, dtype=torch.float64),
        n=1000,
    )
    contrasts = typical_answers(train, instructed)
    assert len(contrasts) == len(questions.train)
    return Objective(Terms(questions=6), train, vector.site, whole, contrasts, seed=0)


def test_the_graded_term_slopes_where_the_rate_is_flat(objective, vector):
    """At strengths that show nothing of the trait yet, its typical answers become likelier."""
    strengths = np.array([0.1, 0.2, 0.3])
    candidates = Candidates(
        np.repeat(vector.direction[None].numpy(), 3, 0).astype(float), strengths
    )
    found = objective(0, candidates)
    assert found.parts["score"].max() == 0.0
    assert (np.diff(found.parts["graded"]) > 0.0).all()
    against = Candidates(-candidates.coordinates, strengths)
    assert (objective(0, against).parts["graded"] < found.parts["graded"]).all()


def test_generations_see_other_questions_and_the_same_ones_again(objective):
    drawn = [objective.questions(generation) for generation in range(6)]
    assert all(len(set(numbers)) == 6 for numbers in drawn)
    assert len({tuple(numbers) for numbers in drawn}) > 1
    assert drawn == [objective.questions(generation) for generation in range(6)]


def test_going_beyond_the_bounds_costs(objective, vector):
    coordinates = vector.direction[None].numpy().astype(float)
    mild, wild = (
        objective(0, Candidates(coordinates, np.array([s]))).parts["cost"][0] for s in (0.5, 4.0)
    )
    assert mild == 0.0
    assert wild > 1.0


def test_from_a_spoilt_start_the_search_finds_the_way_back_in_the_model(objective, vector):
    """A direction 70 degrees off shows nothing at all; the planted trait is to be found again."""
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(128, generator=generator)
    noise -= (noise @ vector.direction) * vector.direction
    noise /= noise.norm()
    spoilt = 0.34 * vector.direction + 0.94 * noise
    begin = Candidates(spoilt[None].numpy().astype(float), np.array([0.9]))
    settings = Settings(popsize=12, iterations=16, strengths=Bounds(0.1, 1.5))
    found = search("cma_es", objective, begin, settings, seed=0, stop_early=False)
    last = found.generations[-1].evaluated.fitness
    assert found.generations[0].evaluated.parts["score"][-1] == 0.0
    assert last[:12].max() - last[-1] > 0.2
    centre = torch.from_numpy(found.centre.coordinates[0])
    cosine = float(centre @ vector.direction.double() / centre.norm())
    assert cosine > 0.36
