"""Step 1: the same carriers under the trigger and each control, rendered and laid out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from trait_probe.errors import BadInputError
from trait_probe.evidence.splits import Split, split_by_group
from trait_probe.evidence.triggers.design import Places, Reading, readings
from trait_probe.forward.rendering import render_for
from trait_probe.identity import HookedModel, identify, tokenizer_of
from trait_probe.prompts.prompt import PromptSet
from trait_probe.prompts.render import Rendered, Truncate, render_all
from trait_probe.prompts.trigger import SPAN, check_conditions, with_prefix


@dataclass(frozen=True)
class Conditions:
    """Every carrier under every condition; condition 0 is the trigger.

    Attributes:
        names: the trigger, then the controls.
        carriers: the prompts without any prefix.
        rendered: per condition, the carriers in their order.
        places: which texts lead up to each token after the trigger.
        split: carriers for choosing and for reporting.
    """

    names: tuple[str, ...]
    carriers: PromptSet
    rendered: tuple[tuple[Rendered, ...], ...]
    places: Places
    split: Split

    @property
    def all_rendered(self) -> list[Rendered]:
        """All conditions one after the other."""
        return [item for condition in self.rendered for item in condition]

    @property
    def prefix_lengths(self) -> tuple[tuple[int, ...], ...]:
        """`[condition][carrier]` tokens of the prefix, the trigger's first."""
        return tuple(tuple(_prefix_length(item) for item in found) for found in self.rendered)

    @property
    def rule(self) -> str:
        """The position rule that reads every place."""
        return f"after({SPAN})[:{self.places.valid.shape[1]}]"

    def rule_at(self, place: int) -> str:
        """The position rule that reads one place."""
        return f"after({SPAN})[{place}]"

    def tokens_after(self, carrier: int) -> tuple[int, ...]:
        """Token ids of a carrier after the trigger (the same in every condition)."""
        return _after(self.rendered[0][carrier])

    def readings(self, usable: Bool[np.ndarray, " carrier"]) -> tuple[Reading, ...]:
        """What can be read at each place, over the usable carriers."""
        return readings(self.places, self.split, usable)

    def rows(
        self,
        prompt: Int[np.ndarray, " row"],
        offset: Int[np.ndarray, " row"],
        *,
        n_carriers: int,
    ) -> Int[np.ndarray, "condition carrier place"]:
        """Row of each (condition, carrier, place) in what was read by `rule`; -1 for no token."""
        n_places = self.places.valid.shape[1]
        rows = np.full((len(self.names), n_carriers, n_places), -1)
        condition, carrier = np.divmod(prompt, n_carriers)
        rows[condition, carrier, offset] = np.arange(len(prompt))
        return rows

    def some(self, carriers: Int[np.ndarray, " _n"]) -> list[Rendered]:
        """The chosen carriers under every condition, condition by condition."""
        return [condition[carrier] for condition in self.rendered for carrier in carriers]


def lay_out(
    model: HookedModel,
    carriers: PromptSet,
    trigger: str,
    controls: Sequence[str],
    *,
    n_places: int,
    new_tokens: int,
    seed: int,
    truncate: Truncate | None = None,
) -> Conditions:
    """Render every condition and check that only the prefix differs.

    Raises:
        BadInputError: trigger among the controls, too few controls or carriers, carriers that are
            answered already, prompts that do not fit the context or whose prefix would be cut, or
            a tokenizer that joins the prefix with the carrier's words.
    """
    check_conditions(trigger, controls)
    _check_unanswered(carriers)
    names = (trigger, *controls)
    prefixed = [with_prefix(carriers, name) for name in names]
    rendered = tuple(
        tuple(render_for(model, prompts, truncate=truncate, reserve=new_tokens))
        for prompts in prefixed
    )
    if truncate is not None:
        _check_whole_prefix(model, prefixed, rendered)
    _check_same_tail(rendered, names)
    tails = [_after(item) for item in rendered[0]]
    groups = [item.cluster for item in rendered[0]]
    return Conditions(
        names=names,
        carriers=carriers,
        rendered=rendered,
        places=Places.of(tails, groups, n_places=n_places),
        split=split_by_group(groups, seed=seed),
    )


def _after(item: Rendered) -> tuple[int, ...]:
    return item.token_ids[item.spans[SPAN][1] : item.spans["all"][1]]


def _prefix_length(item: Rendered) -> int:
    start, end = item.spans[SPAN]
    return end - start


def _check_unanswered(carriers: PromptSet) -> None:
    answered = [prompt.id for prompt in carriers if prompt.response is not None]
    if answered:
        raise BadInputError(
            f"{len(answered)} of {len(carriers)} carriers already have a response; the models' own "
            "answers are compared.",
            got=answered[:5],
            fix="Leave 'response' (and a last assistant message) out of the carriers.",
        )


def _check_whole_prefix(
    model: HookedModel, prefixed: Sequence[PromptSet], rendered: Sequence[Sequence[Rendered]]
) -> None:
    """A prefix of which something was cut is another prefix, or the same in every condition."""
    tokenizer, thinking = tokenizer_of(model), identify(model).thinking
    for prompts, condition in zip(prefixed, rendered, strict=True):
        whole = render_all(tokenizer, prompts, max_length=None, thinking=thinking)
        for before, after in zip(whole, condition, strict=True):
            if _prefix_length(before) != _prefix_length(after):
                raise BadInputError(
                    f"Cutting the carrier {after.prompt_id!r} to the context cuts into its prefix.",
                    got=f"{_prefix_length(after)} of {_prefix_length(before)} tokens left",
                    fix="Cut the other side (truncate), or shorten or leave out this carrier.",
                )


def _check_same_tail(rendered: Sequence[Sequence[Rendered]], names: Sequence[str]) -> None:
    for name, condition in zip(names[1:], rendered[1:], strict=True):
        for with_trigger, with_control in zip(rendered[0], condition, strict=True):
            if _after(with_trigger) != _after(with_control):
                raise BadInputError(
                    f"After {names[0]!r} and {name!r} the same carrier has different tokens, so "
                    "that more than the prefix differs.",
                    got=with_control.prompt_id,
                    fix="End trigger and controls alike, with a comma or a full stop.",
                )


def token_labels(tokens_by_carrier: Sequence[Sequence[str]], n_places: int) -> tuple[str, ...]:
    """What stands at each place: the token where all carriers share it, else how many differ."""
    labels = []
    for place in range(n_places):
        found = {tokens[place] for tokens in tokens_by_carrier if len(tokens) > place}
        labels.append(found.pop() if len(found) == 1 else f"({len(found)} different)")
    return tuple(labels)


def answers_by_condition(
    answers: Sequence[tuple[int, ...]], n_conditions: int
) -> tuple[tuple[tuple[int, ...], ...], ...]:
    """Flat answers (condition by condition) as `[condition][carrier]`."""
    n = len(answers) // n_conditions
    return tuple(tuple(answers[start : start + n]) for start in range(0, len(answers), n))


def identical_outputs(
    answers: Sequence[Sequence[tuple[int, ...]]],
) -> Bool[np.ndarray, " carrier"]:
    """Carriers whose greedy answer has the same token ids under every condition."""
    return np.array([len({*given}) == 1 for given in zip(*answers, strict=True)])
