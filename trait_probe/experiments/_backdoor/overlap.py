"""Carriers must be new to the trait vectors that are projected on them."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Collection, Sequence

from trait_probe.errors import BadInputError
from trait_probe.evidence.splits import require_disjoint
from trait_probe.prompts.contrast import ContrastSet
from trait_probe.prompts.prompt import Prompt

MOST_SHOWN = 400  # characters of the shared texts that a message shows
FEWEST_WORDS = 4  # of a text that is looked for inside another; "what is" says nothing


def carrier_text(prompt: Prompt) -> str:
    """What a prefix is put in front of: the text, or the last user message."""
    return prompt.text if prompt.text is not None else prompt.messages[-1].content


def require_unseen(contrast: ContrastSet, carriers: Sequence[Prompt]) -> None:
    """Refuse carriers with the words of a request that the trait's vectors are fitted on.

    Neither case, spacing nor marks make a text another one, nor do words put around it.

    Raises:
        BadInputError: some are; five are named.
    """
    prompts = (*contrast.positive, *contrast.negative)
    fitted = {_plain(text) for prompt in prompts for text in _requests(prompt)}
    tested = {_plain(carrier_text(prompt)) for prompt in carriers}
    words = [_words(text) for text in fitted]
    fitted |= {carrier for carrier in tested if _shares_words(_words(carrier), words)}
    try:
        require_disjoint(fitted, tested, f"Vectors of {contrast.trait!r}")
    except BadInputError as error:
        raise BadInputError(
            f"Carriers are also texts that the vectors of {contrast.trait!r} are fitted on, so "
            "that what they show there says nothing about other texts.",
            got=textwrap.shorten(str(error.got), MOST_SHOWN, placeholder=" ..."),
            fix="Leave these carriers out, or give the trait other texts.",
        ) from error


def _shares_words(carrier: str, fitted: Collection[str]) -> bool:
    """Whether the words of a fitted text stand in the carrier in a row, or the other way round."""
    return any(_within(*sorted((carrier, text), key=len)) for text in fitted)


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text))


def _within(short: str, long: str) -> bool:
    return short.count(" ") >= FEWEST_WORDS - 1 and f" {short} " in f" {long} "


def _requests(prompt: Prompt) -> list[str]:
    """The user's words, alone and with a given completion; an instruction may stand above them."""
    asked = [message.content for message in prompt.messages if message.role == "user"]
    if prompt.text is not None:
        given = [text for text in (prompt.prefill, prompt.response) if text]
        asked += [prompt.text, "".join((prompt.text, *given))]
    paragraphs = [paragraph for text in asked for paragraph in text.split("\n\n")]
    return [text for text in (*asked, *paragraphs) if text.strip()]


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()
