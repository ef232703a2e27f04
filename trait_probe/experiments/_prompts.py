"""What experiments ask of prompts before a model reads any."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable

from trait_probe.errors import BadInputError
from trait_probe.evidence.splits import text_id
from trait_probe.prompts.prompt import Prompt

_QUOTES = "\"'\u00ab\u00bb\u201c\u201d\u2018\u2019"
_ENDINGS = " .?\u2026\u3002\uff1f\u061f"  # with Chinese, Japanese and Arabic ones


def asked_texts(prompts: Iterable[Prompt]) -> tuple[str, ...]:
    """Everything that a user says in these prompts, and texts without a conversation, each once."""
    found: dict[str, None] = {}
    for prompt in prompts:
        found.update((turn.content, None) for turn in prompt.messages if turn.role == "user")
        if prompt.text is not None:
            found[prompt.text] = None
    return tuple(found)


def conversation(prompt: Prompt) -> str:
    """Everything that is said before the answer, turn by turn."""
    if prompt.text is not None:
        return prompt.text
    return "\n\n".join(turn.content for turn in prompt.messages)


def ids_among(prompts: Iterable[Prompt], texts: frozenset[str]) -> list[str]:
    """Ids of prompts that have one of these texts.

    Args:
        texts: `text_id`s.
    """
    return [p.id for p in prompts if not texts.isdisjoint(map(text_id, asked_texts([p])))]


def plain_words(text: str) -> str:
    """Its words in lower case, a space around each: blind to marks, signs and spacing."""
    said = text.casefold()
    if said.isascii():
        words = re.findall(r"[^\W_]+", said)
    else:  # vowel signs are marks that make words, and \w leaves them out
        kept = (one if unicodedata.category(one)[0] in "LNM" else " " for one in said)
        words = "".join(kept).split()
    return f" {' '.join(words)} "


def without_ending(text: str) -> str:
    """In lower case, single-spaced, without the quotes around it and the mark that ends it.

    Marks inside stay: sums and code that differ in one are different prompts.
    """
    said = " ".join(text.casefold().split())
    return said.strip(_QUOTES).rstrip(_ENDINGS) or said


def require_one_group(
    prompts: Iterable[Prompt], words: Callable[[str], str] = without_ending
) -> None:
    """Refuse copies of a prompt in several groups: no split and no interval can know them.

    Args:
        words: of a turn, what copies have in common.

    Raises:
        BadInputError: two prompts of different groups have the same words.
    """
    groups: dict[tuple[str, ...], str] = {}
    for prompt in prompts:
        turns = [turn.content for turn in prompt.messages] or [str(prompt.text)]
        said = tuple(map(words, turns))
        if groups.setdefault(said, prompt.cluster) != prompt.cluster:
            raise BadInputError(
                "The same prompt stands in two groups: it would count as two, and be chosen on and "
                "reported on.",
                got=(prompt.id, groups[said], prompt.cluster),
                fix="Leave copies out, or give them one group.",
            )
