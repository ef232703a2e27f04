"""What experiments ask of prompts before a model reads any."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from trait_probe.errors import BadInputError
from trait_probe.prompts.prompt import Prompt


def asked_texts(prompts: Iterable[Prompt]) -> tuple[str, ...]:
    """Everything that a user says in these prompts, and texts without a conversation, each once."""
    found: dict[str, None] = {}
    for prompt in prompts:
        found.update((turn.content, None) for turn in prompt.messages if turn.role == "user")
        if prompt.text is not None:
            found[prompt.text] = None
    return tuple(found)


def conversation(prompt: Prompt) -> str:
    """Everything that is said before the answer, turn by turn; or the text."""
    return prompt.text or "\n\n".join(turn.content for turn in prompt.messages)


def plain_words(text: str) -> str:
    """Its words and signs in lower case, a space around each: blind to punctuation and spacing."""
    found = re.findall(r"[^\W_]+|[^\w\s]", text.casefold())
    return f" {' '.join(one for one in found if not _punctuation(one))} "


def _punctuation(mark: str) -> bool:
    """Whether it only parts words; `-`, `*`, `/` and the like make sums and code differ."""
    return unicodedata.category(mark[0])[0] == "P" and mark not in "-*/%&#@\\"


def require_one_group(prompts: Iterable[Prompt]) -> None:
    """Refuse copies of a prompt in several groups: no split and no interval can know them.

    Raises:
        BadInputError: two prompts of different groups have the same words (see `plain_words`).
    """
    groups: dict[str, str] = {}
    for prompt in prompts:
        said = conversation(prompt)
        words = plain_words(said).strip() or said
        if groups.setdefault(words, prompt.cluster) != prompt.cluster:
            raise BadInputError(
                "The same prompt stands in two groups: it would count as two, and be chosen on and "
                "reported on.",
                got=(prompt.id, groups[words], prompt.cluster),
                fix="Leave copies out, or give them one group.",
            )
