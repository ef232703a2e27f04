"""The answers of a contrast set: given, written by the model, or none; and which a judge keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trait_probe.errors import BadInputError
from trait_probe.forward.generate import decode, generate_ids, with_responses
from trait_probe.forward.rendering import render_for
from trait_probe.identity import HookedModel
from trait_probe.judges.judge import Judge, Scored
from trait_probe.prompts.contrast import ContrastSet
from trait_probe.prompts.positions import PositionRule
from trait_probe.prompts.prompt import Prompt
from trait_probe.prompts.render import Rendered, Truncate

JUDGE_THRESHOLD = 50.0


@dataclass(frozen=True)
class AnsweredPairs:
    """Rendered pairs, answers included.

    Attributes:
        prompts: positive and negative of each pair, as they were put, for the judge.
        positive: the first of each pair, rendered.
        negative: the second of each pair.
    """

    prompts: tuple[tuple[Prompt, Prompt], ...]
    positive: list[Rendered]
    negative: list[Rendered]

    @property
    def has_answers(self) -> bool:
        """Whether there are answers to read; then every prompt was given or has written one."""
        return any(_response_length(item) > 0 for item in (*self.positive, *self.negative))

    def keep(self, chosen: Sequence[bool]) -> AnsweredPairs:
        """The chosen pairs, in order."""

        def kept(items: Sequence[Rendered]) -> list[Rendered]:
            return [item for item, keep in zip(items, chosen, strict=True) if keep]

        prompts = tuple(p for p, keep in zip(self.prompts, chosen, strict=True) if keep)
        return AnsweredPairs(prompts, kept(self.positive), kept(self.negative))


def reads_answers(position: str | None) -> bool:
    """Whether the rule (None: the default) looks at tokens that the model has to write first."""
    if position is None:
        return True
    rule = PositionRule.parse(position)
    return rule.span in ("response", "all") or rule.side == "after"


def _response_length(item: Rendered) -> int:
    start, end = item.spans["response"]
    return end - start


def answer_pairs(
    model: HookedModel,
    contrast: ContrastSet,
    generate: bool,
    max_new_tokens: int,
    truncate: Truncate | None,
    batch_tokens: int | None,
) -> AnsweredPairs:
    """Render both sides, and let the model answer (greedily) a set of unanswered instructions.

    Pairs of which an answer came out empty are left out.

    Args:
        generate: False where answers will not be read, so that none need be written.

    Raises:
        BadInputError: not paired, answered in part, or too long for the context.
    """
    if not contrast.paired:
        raise BadInputError(
            "Extraction needs a paired contrast set: positive i belongs to negative i.",
            got=f"{len(contrast.positive)} positive, {len(contrast.negative)} negative, unpaired",
            fix="Build the set with paired=True and equal groups within a pair.",
        )
    _check_answers(contrast)
    generate &= contrast.source == "instructions" and contrast.positive[0].response is None
    reserve = max_new_tokens if generate else 0
    sides = [
        render_for(model, side, truncate=truncate, reserve=reserve)
        for side in (contrast.positive, contrast.negative)
    ]
    if generate:
        both = [*sides[0], *sides[1]]
        answers = generate_ids(
            model,
            both,
            max_new_tokens=max_new_tokens,
            batch_tokens=batch_tokens,
            label=f"{contrast.trait}: answering",
        )
        both = with_responses(both, answers)
        sides = [both[: len(sides[0])], both[len(sides[0]) :]]
    pairs = tuple(zip(contrast.positive, contrast.negative, strict=True))
    answered = AnsweredPairs(pairs, sides[0], sides[1])
    complete = [
        all(_response_length(item) > 0 for item in pair) for pair in zip(*sides, strict=True)
    ]
    return answered.keep(complete) if generate else answered


def _check_answers(contrast: ContrastSet) -> None:
    """All prompts have a response or none has: else some would be read at another place."""
    prompts = (*contrast.positive, *contrast.negative)
    given = sum(prompt.response is not None for prompt in prompts)
    if given not in (0, len(prompts)):
        raise BadInputError(
            f"Some prompts of the contrast set {contrast.trait!r} have a response, others none.",
            got=f"{given} of {len(prompts)}",
            fix="Give all a response, or none.",
        )


def judged(model: HookedModel, answered: AnsweredPairs, judge: Judge) -> AnsweredPairs:
    """The pairs whose positive answer scores at least 50 and whose negative one scores below.

    Raises:
        BadInputError: there are no answers to score.
    """
    if not answered.has_answers:
        raise BadInputError(
            "A judge scores answers, and these prompts have none.",
            got="prompts without a response",
            fix="Leave the judge out, or choose source='instructions'.",
        )
    keep = []
    for (first, second), positive, negative in zip(
        answered.prompts, answered.positive, answered.negative, strict=True
    ):
        high, low = (
            judge(question_of(prompt), decode(model, [_response_ids(item)])[0])
            for prompt, item in ((first, positive), (second, negative))
        )
        keep.append(
            isinstance(high, Scored)
            and isinstance(low, Scored)
            and high.score >= JUDGE_THRESHOLD > low.score
        )
    return answered.keep(keep)


def question_of(prompt: Prompt) -> str:
    """What a judge is told was asked: the last message, or the text."""
    return prompt.messages[-1].content if prompt.messages else prompt.text or ""


def _response_ids(item: Rendered) -> tuple[int, ...]:
    return item.token_ids[slice(*item.spans["response"])]
