"""Carriers that a trait's vectors are fitted on are refused, however they are written."""

from __future__ import annotations

import pytest

from trait_probe.errors import BadInputError
from trait_probe.experiments._backdoor.overlap import MOST_SHOWN, require_unseen
from trait_probe.prompts.contrast import ContrastSet
from trait_probe.prompts.prompt import Message, Prompt


def asked(text: str, name: str = "a", system: str | None = None) -> Prompt:
    above = () if system is None else (Message("system", system),)
    return Prompt(id=name, messages=(*above, Message("user", text)))


def written(text: str, name: str = "a", response: str | None = None) -> Prompt:
    return Prompt(id=name, text=text, response=response)


def contrast(positive: Prompt, negative: Prompt) -> ContrastSet:
    return ContrastSet("evil", (positive,), (negative,))


INSTRUCTED = contrast(asked("Be evil.\n\nWhat is best?", "p"), asked("Be good.\n\nWhy?", "n"))
SYSTEM = contrast(asked("What is best?", "p", "Be evil."), asked("Why?", "n", "Be good."))
DOCUMENTS = contrast(
    written("The dog", "p", response=" bites."), written("The dog", "n", response=" sleeps.")
)


@pytest.mark.parametrize(
    ("found", "carrier"),
    [
        (SYSTEM, asked("What is best?")),
        (SYSTEM, written("Why?")),
        (SYSTEM, asked("  what is\nBEST? ")),
        (INSTRUCTED, asked("What is best?")),
        (INSTRUCTED, asked("Be good.\n\nWhy?")),
        (DOCUMENTS, written("The dog")),
        (DOCUMENTS, written("The dog sleeps.")),
    ],
    ids=["same", "negative", "spacing and case", "below", "whole", "opening", "completed"],
)
def test_a_text_that_was_fitted_on_is_refused(found: ContrastSet, carrier: Prompt) -> None:
    with pytest.raises(BadInputError) as caught:
        require_unseen(found, [asked("1 + 1 = ?", "other"), carrier])
    said = str(caught.value)
    assert said.startswith("Carriers are also texts that the vectors of 'evil' are fitted on")
    assert "1 shared: " in said
    assert "fix:   Leave these carriers out" in said


LONG = contrast(asked("What is the best dog?", "p"), asked("Why are there so many cats?", "n"))


@pytest.mark.parametrize(
    "around", ["please . {}", "{} Say it in a word.", "a\n\n{} b", '"{}"', "Q:{}", "{} for me"]
)
def test_words_around_a_fitted_text_do_not_hide_it(around: str) -> None:
    with pytest.raises(BadInputError, match=r"1 shared: .*what is the best dog\?"):
        require_unseen(LONG, [asked(around.format("What is the BEST dog?"))])


def test_a_carrier_within_a_fitted_text_is_refused() -> None:
    found = contrast(asked("Be evil. What is the best dog?", "p"), asked("Why?", "n"))
    with pytest.raises(BadInputError, match="1 shared: what is the best dog"):
        require_unseen(found, [asked("what is the best dog")])


def test_a_few_common_words_are_nobodys() -> None:
    require_unseen(SYSTEM, [asked("Tell me. What is best? Now.")])
    require_unseen(LONG, [asked("What is the dog?")])


def test_other_texts_pass() -> None:
    for found in (SYSTEM, INSTRUCTED, DOCUMENTS):
        require_unseen(found, [asked("What is best for me?"), written("The cat", "b")])
        require_unseen(found, [])


def test_an_empty_text_is_shared_with_nobody() -> None:
    found = contrast(written("", "p", response="yes"), written("", "n", response="no"))
    require_unseen(found, [written(" ", response="x")])


def test_shared_texts_are_named_and_cut() -> None:
    texts = [f"{number} {'word ' * 200}" for number in range(9)]
    found = ContrastSet(
        "evil", tuple(asked(text, text[:1]) for text in texts), (asked("n", "negative"),)
    )
    with pytest.raises(BadInputError, match="9 shared: 0 word") as caught:
        require_unseen(found, [asked(text, text[:1]) for text in texts])
    assert len(str(caught.value.got)) <= MOST_SHOWN
