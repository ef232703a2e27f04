"""A panel: what steerings are measured on, and what the judges say about the steered answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from trait_probe.errors import BadInputError
from trait_probe.evidence.estimate import Unscored
from trait_probe.forward.answering import question_of
from trait_probe.forward.generate import decode, generate_ids, with_responses
from trait_probe.forward.likelihood import Predictions, predictions
from trait_probe.forward.rendering import render_for
from trait_probe.identity import HookedModel
from trait_probe.judges.judge import Judge, Scored
from trait_probe.judges.many import judge_all
from trait_probe.prompts.prompt import Prompt
from trait_probe.prompts.render import Rendered
from trait_probe.vectors.steered import Steerings, steered_answers, steered_kl

COHERENT_FROM = 50.0
"""A judge's score of coherence from which an answer's trait counts."""


@dataclass(frozen=True)
class Panel:
    """What steerings are measured on: questions, judges, and answers that are to stay likely.

    Attributes:
        questions: asked of the steered model; their groups are clusters.
        rendered: the same, as token ids.
        trait: scores how far an answer shows the trait.
        coherence: scores whether an answer is fluent and speaks to the question.
        kept: other prompts with the unsteered model's greedy answers.
        reference: its predictions there.
        max_new_tokens: longest answer.
    """

    model: HookedModel
    questions: tuple[Prompt, ...]
    rendered: tuple[Rendered, ...]
    trait: Judge
    coherence: Judge
    kept: tuple[Rendered, ...]
    reference: Predictions
    max_new_tokens: int

    @property
    def groups(self) -> list[str]:
        """The cluster of each question."""
        return [item.cluster for item in self.rendered]


def panel(
    model: HookedModel,
    questions: Sequence[Prompt],
    *,
    trait: Judge,
    coherence: Judge,
    kept: Sequence[Prompt],
    max_new_tokens: int = 32,
) -> Panel:
    """Render the questions, and have the unsteered model answer the `kept` prompts.

    Raises:
        BadInputError: no questions, none of the kept prompts gets an answer, or prompts that do
            not fit the context.
    """
    if not questions or not kept:
        raise BadInputError(
            "Steering is measured on questions, and on other prompts whose answers are kept.",
            got=f"{len(questions)} questions, {len(kept)} kept prompts",
            fix="Give one or more of each.",
        )
    rendered = render_for(model, list(questions), reserve=max_new_tokens)
    answered = answered_by(
        model, render_for(model, list(kept), reserve=max_new_tokens), max_new_tokens
    )
    return Panel(
        model=model,
        questions=tuple(questions),
        rendered=tuple(rendered),
        trait=trait,
        coherence=coherence,
        kept=tuple(answered),
        reference=predictions(model, answered),
        max_new_tokens=max_new_tokens,
    )


def answered_by(
    model: HookedModel, prompts: Sequence[Rendered], max_new_tokens: int
) -> list[Rendered]:
    """The prompts with the model's greedy answers; those left without a token are left out.

    Raises:
        BadInputError: none is left.
    """
    ids = generate_ids(model, prompts, max_new_tokens=max_new_tokens, label="answering")
    found = [
        one
        for one in with_responses(prompts, ids)
        if one.spans["response"][1] > one.spans["response"][0]
    ]
    if not found:
        raise BadInputError("The model answers none of the prompts.", got=f"{len(prompts)} prompts")
    return found


@dataclass(frozen=True)
class Measured:
    """Answers of steered models, judged.

    Attributes:
        trait: 0 to 1, 0 where there is no score.
        coherence: likewise.
        scored: whether an answer has a score (an incoherent one has: 0).
        cut: whether an answer was still going on at the limit of new tokens.
        texts: the answers, `[steering][question]`.
        kl: 95th percentile of the token KL (nats) on the kept answers.
        tokens: new tokens that were generated, and given ones that were read.
        reasons: why answers have no score, each reason once.
    """

    trait: Float64[np.ndarray, "steering question"]
    coherence: Float64[np.ndarray, "steering question"]
    scored: Bool[np.ndarray, "steering question"]
    cut: Bool[np.ndarray, "steering question"]
    texts: tuple[tuple[str, ...], ...]
    kl: Float64[np.ndarray, " steering"]
    tokens: int
    reasons: tuple[str, ...]

    @property
    def coherent(self) -> Bool[np.ndarray, "steering question"]:
        """Which answers count as coherent; False without a score."""
        return self.coherence >= COHERENT_FROM / 100.0

    @property
    def score(self) -> Float64[np.ndarray, "steering question"]:
        """The trait's score where the answer is coherent, else 0: a broken model gains nothing."""
        return np.where(self.coherent, self.trait, 0.0)

    @property
    def mean_score(self) -> Float64[np.ndarray, " steering"]:
        """Over questions, an answer without a score counting 0: to choose by, not to report."""
        return np.asarray(np.where(self.scored, self.score, 0.0).mean(axis=1))

    @property
    def coherent_share(self) -> Float64[np.ndarray, " steering"]:
        """Over questions, an answer without a score counting as incoherent: to choose by."""
        return np.asarray(self.coherent.mean(axis=1))


def measure(panel: Panel, steerings: Steerings, which: Sequence[int] | None = None) -> Measured:
    """Steer, answer, judge; everything in one batched call each.

    Args:
        which: numbers of the questions to ask; None: all.
    """
    numbers = range(len(panel.questions)) if which is None else which
    asked = [panel.rendered[i] for i in numbers]
    ids = steered_answers(panel.model, steerings, asked, max_new_tokens=panel.max_new_tokens)
    kl = steered_kl(panel.model, steerings, panel.kept, panel.reference)
    read = len(steerings) * sum(len(item.token_ids) for item in panel.kept)
    return judged_answers(panel, [panel.questions[i] for i in numbers], ids, kl=kl, read=read)


def judged_answers(
    panel: Panel,
    questions: Sequence[Prompt],
    ids: Sequence[Sequence[tuple[int, ...]]],
    *,
    kl: Float64[np.ndarray, " steering"],
    read: int = 0,
) -> Measured:
    """Scores of given answers, as token ids `[steering][question]`.

    Args:
        read: given tokens that were read besides.
    """
    texts = tuple(tuple(decode(panel.model, row)) for row in ids)
    pairs = [
        (question_of(q), text) for row in texts for q, text in zip(questions, row, strict=True)
    ]
    shape = (len(texts), len(questions))
    traits = judge_all(panel.trait, pairs)
    coherences = judge_all(panel.coherence, pairs)
    scored = []
    for trait, coherence in zip(traits, coherences, strict=True):
        broken = isinstance(coherence, Scored) and coherence.score < COHERENT_FROM
        scored.append(broken or (isinstance(trait, Scored) and isinstance(coherence, Scored)))
    reasons = {
        " ".join(one.reason.split())
        for pair, known in zip(zip(traits, coherences, strict=True), scored, strict=True)
        for one in pair
        if not known and isinstance(one, Unscored)
    }
    lengths = np.array([len(answer) for row in ids for answer in row]).reshape(shape)
    return Measured(
        trait=_values(traits).reshape(shape),
        coherence=_values(coherences).reshape(shape),
        scored=np.array(scored).reshape(shape),
        cut=lengths >= panel.max_new_tokens,
        texts=texts,
        kl=kl,
        tokens=int(lengths.sum()) + read,
        reasons=tuple(sorted(reasons)),
    )


def _values(scores: Sequence[Scored | Unscored]) -> Float64[np.ndarray, " item"]:
    return np.array([one.score / 100.0 if isinstance(one, Scored) else 0.0 for one in scores])
