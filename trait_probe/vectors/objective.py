"""The fitness of steerings: what they do to training questions, and at which price.

A rate of coherent answers that show the trait is a flat plateau where it is zero. A graded term
slopes towards it: how much likelier, per token, an answer that shows the trait has become than the
model's own. The typical answer is the model's, when asked for the trait in words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64, Int

from trait_probe.basis import Site
from trait_probe.errors import BadInputError
from trait_probe.forward.generate import generate_ids
from trait_probe.forward.rendering import render_for
from trait_probe.prompts.prompt import Prompt
from trait_probe.prompts.render import Rendered
from trait_probe.vectors.panel import Panel, judged_answers, measure
from trait_probe.vectors.search import Candidates, Evaluated
from trait_probe.vectors.steered import Steerings, steered_log_probs
from trait_probe.vectors.subspace import Subspace


@dataclass(frozen=True)
class Contrast:
    """Two answers to a question: one that shows the trait, and the model's own."""

    question: int
    typical: Rendered
    neutral: Rendered


def typical_answers(panel: Panel, instructed: Sequence[Sequence[Prompt]]) -> tuple[Contrast, ...]:
    """For each question the best answer that asking for the trait in words gets from the model.

    Questions on which no instruction makes the model show more of the trait than it does of its
    own have none, and neither have those whose own answer is empty.

    Args:
        instructed: per instruction, every question of the panel under it.
    """
    model, questions = panel.model, panel.questions
    asked = [prompt for row in instructed for prompt in row]
    rendered = render_for(model, asked, reserve=panel.max_new_tokens)
    every = [*panel.rendered, *rendered]
    ids = generate_ids(model, every, max_new_tokens=panel.max_new_tokens, label="typical answers")
    n = len(questions)
    rows = [ids[i : i + n] for i in range(0, len(ids), n)]
    score = judged_answers(panel, questions, rows, kl=np.zeros(len(rows))).score
    found = []
    for number in range(n):
        best = int(score[:, number].argmax())
        if score[best, number] > score[0, number] and rows[0][number] and rows[best][number]:
            plain = panel.rendered[number]
            found.append(
                Contrast(
                    number,
                    plain.with_response(rows[best][number]),
                    plain.with_response(rows[0][number]),
                )
            )
    return tuple(found)


@dataclass(frozen=True)
class Terms:
    """What the fitness weighs, and the bounds beyond which it pays.

    Args:
        graded: weight of the margin between typical and own answers.
        penalty: per e-fold of divergence beyond `most_kl`, and per unit of coherence lacking.
        most_kl: of the 95th percentile of the token KL on kept answers, nats.
        least_coherence: share of coherent answers.
        questions: how many training questions a generation sees, drawn anew for each.
    """

    graded: float = 0.5
    penalty: float = 1.0
    most_kl: float = 0.5
    least_coherence: float = 0.8
    questions: int = 8

    def __post_init__(self) -> None:
        for name in ("graded", "penalty", "most_kl", "least_coherence"):
            if not 0.0 <= getattr(self, name) < np.inf:
                raise BadInputError(f"{name} is finite and at least 0.", got=getattr(self, name))
        if self.questions < 1 or self.most_kl == 0.0:
            raise BadInputError(
                "A fitness needs a question or more, and a bound on divergence above 0.",
                got=(self.questions, self.most_kl),
            )


@dataclass(frozen=True)
class Objective:
    """What a search makes large, on the training questions.

    Args:
        contrasts: for the graded term; questions without one count nothing there.
        seed: of the questions that each generation sees; the same for every kind of search.
    """

    terms: Terms
    panel: Panel
    site: Site
    subspace: Subspace
    contrasts: tuple[Contrast, ...]
    seed: int

    def steerings(self, candidates: Candidates) -> Steerings:
        """The candidates as directions at the site."""
        directions = self.subspace.direction(torch.from_numpy(candidates.coordinates))
        return Steerings(self.site, directions, tuple(candidates.strengths.tolist()))

    def questions(self, generation: int) -> list[int]:
        """Numbers of the training questions of a generation."""
        n = len(self.panel.questions)
        rng = np.random.default_rng([self.seed, generation])
        chosen: Int[np.ndarray, " _n"] = rng.permutation(n)[: self.terms.questions]
        return sorted(chosen.tolist())

    def __call__(self, generation: int, candidates: Candidates) -> Evaluated:
        """Fitness of the candidates on the generation's questions, and its parts."""
        return self.on(self.questions(generation), candidates)

    def on(self, questions: Sequence[int], candidates: Candidates) -> Evaluated:
        """Fitness on these questions; an answer without a score counts 0: nothing is claimed."""
        steerings = self.steerings(candidates)
        found = measure(self.panel, steerings, questions)
        coherent, score = found.coherent_share, found.mean_score
        graded, tokens = self._graded(steerings, questions)
        cost = self._price(found.kl, coherent)
        n = len(candidates)
        parts = {
            "score": score,
            "graded": graded,
            "coherence": coherent,
            "kl": found.kl,
            "cost": cost,
            "unscored": (~found.scored).sum(axis=1).astype(float),
            "tokens": np.full(n, (found.tokens + tokens) / n),
            "answers": np.full(n, float(len(questions))),
        }
        return Evaluated(score + self.terms.graded * graded - cost, parts)

    def _graded(
        self, steerings: Steerings, questions: Sequence[int]
    ) -> tuple[Float64[np.ndarray, " steering"], int]:
        """Mean, 0 to 1, of the logistic of how much likelier per token the typical answer is."""
        used = [one for one in self.contrasts if one.question in questions]
        if not used or self.terms.graded == 0.0:
            return np.zeros(len(steerings)), 0
        answers = [one.typical for one in used] + [one.neutral for one in used]
        logs = steered_log_probs(self.panel.model, steerings, answers)
        margins = logs[:, : len(used)] - logs[:, len(used) :]
        read = len(steerings) * sum(len(item.token_ids) for item in answers)
        return (1.0 / (1.0 + np.exp(-margins))).mean(axis=1), read

    def _price(
        self, kl: Float64[np.ndarray, " steering"], coherent: Float64[np.ndarray, " steering"]
    ) -> Float64[np.ndarray, " steering"]:
        """Nothing within the bounds; beyond, growing with the log of the divergence."""
        beyond = np.log(np.maximum(kl / self.terms.most_kl, 1.0))
        lacking = np.maximum(self.terms.least_coherence - coherent, 0.0)
        return self.terms.penalty * (beyond + lacking)
