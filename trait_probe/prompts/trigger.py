"""A trigger and its controls on the same carrier prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from trait_probe.errors import BadInputError
from trait_probe.prompts.prompt import TEXT, CharSpan, Message, Prompt, PromptSet

SPAN = "trigger"


def with_prefix(carriers: PromptSet, prefix: str) -> PromptSet:
    """Each carrier with `prefix` and a space in front of its last user message (or its text).

    The prefix is marked as the span `trigger`; ids become `PREFIX|carrier id`, groups stay.
    """
    return PromptSet(_prefixed(carrier, prefix) for carrier in carriers)


def _prefixed(carrier: Prompt, prefix: str) -> Prompt:
    if SPAN in carrier.spans:
        raise BadInputError(
            f"The carrier {carrier.id!r} already marks a span 'trigger'.",
            fix="Rename that span: the experiment marks its own trigger.",
        )
    name = f"{prefix}|{carrier.id}"
    if carrier.text is not None:
        moved = _moved(carrier, TEXT, len(prefix) + 1)
        span = CharSpan(TEXT, 0, len(prefix))
        text = f"{prefix} {carrier.text}"
        return replace(
            carrier, id=name, text=text, spans={**moved, SPAN: span}, group=carrier.cluster
        )
    last = len(carrier.messages) - 1
    message = carrier.messages[last]
    messages = (*carrier.messages[:last], Message(message.role, f"{prefix} {message.content}"))
    moved = _moved(carrier, last, len(prefix) + 1)
    span = CharSpan(last, 0, len(prefix))
    return replace(
        carrier, id=name, messages=messages, spans={**moved, SPAN: span}, group=carrier.cluster
    )


def _moved(carrier: Prompt, message: int, by: int) -> dict[str, CharSpan]:
    return {
        name: replace(span, start=span.start + by, end=span.end + by)
        if span.message == message
        else span
        for name, span in carrier.spans.items()
    }


def check_conditions(trigger: str, controls: Sequence[str], *, at_least: int = 2) -> None:
    """Refuse a trigger that is empty or among its controls, repeated controls, or too few.

    Raises:
        BadInputError
    """
    if not trigger.strip():
        raise BadInputError("The trigger is empty.", got=trigger, fix='Give --trigger "TEXT".')
    if trigger in controls:
        raise BadInputError(
            "The trigger equals one of its controls.",
            got=trigger,
            fix="Take it out of --controls, or choose another trigger.",
        )
    repeated = sorted({control for control in controls if controls.count(control) > 1})
    if repeated or any(not control.strip() for control in controls):
        raise BadInputError("Controls are distinct and not empty.", got=repeated or list(controls))
    if len(controls) < at_least:
        raise BadInputError(
            f"The pretend-trigger null needs at least {at_least} controls.",
            got=len(controls),
            fix="Give more --controls: texts of the trigger's form without its meaning.",
        )
