"""What a row of a labelled data set says about harm."""

from __future__ import annotations

from dataclasses import dataclass

from trait_probe.errors import BadInputError
from trait_probe.prompts.prompt import Prompt
from trait_probe.prompts.sources.beavertails import JOIN

HARMFUL, CATEGORIES, CATEGORY, SEVERITY = "harmful", "categories", "category", "severity"
NO_SEVERITY, MOST_SEVERE = -1, 100


@dataclass(frozen=True)
class Labels:
    """The labels of one row.

    Attributes:
        harmful: the label that is predicted.
        flagged: categories that are flagged.
        about: the category that the row names itself, harmful or not.
        severity: -1 where there is none.
    """

    harmful: bool
    flagged: tuple[str, ...]
    about: tuple[str, ...]
    severity: int


def read_labels(prompt: Prompt) -> Labels:
    """`harmful`, `categories` (joined as `beavertails` does) or `category`, and `severity`.

    Raises:
        BadInputError: `harmful` is not there or not true or false, or another label is malformed.
    """
    labels = prompt.labels
    harmful = labels.get(HARMFUL)
    if not isinstance(harmful, bool):
        raise BadInputError(
            f"The label `{HARMFUL}` of the prompt {prompt.id!r} must be true or false.",
            got=harmful if HARMFUL in labels else "no such label",
            fix="Label every prompt.",
        )
    several = _text(prompt, CATEGORIES)
    own = () if several is not None else _some(_text(prompt, CATEGORY))
    flagged = own if several is None else tuple(filter(None, several.split(JOIN)))
    level = _severity(prompt)
    return Labels(harmful, flagged if harmful or several is not None else (), own, level)


def _severity(prompt: Prompt) -> int:
    found = prompt.labels.get(SEVERITY)
    if found is None:
        return NO_SEVERITY
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found <= MOST_SEVERE:
        raise BadInputError(
            f"The label `{SEVERITY}` of the prompt {prompt.id!r} must be a whole number from 0 to "
            f"{MOST_SEVERE}.",
            got=found,
            fix="Number the levels; leave the label out where there is none.",
        )
    return found


def _text(prompt: Prompt, name: str) -> str | None:
    found = prompt.labels.get(name)
    if found is None or isinstance(found, str):
        return found
    raise BadInputError(f"The label `{name}` of the prompt {prompt.id!r} must be text.", got=found)


def _some(text: str | None) -> tuple[str, ...]:
    return (text,) if text else ()
