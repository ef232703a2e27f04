"""Copies of a prompt in two groups are refused; prompts that only look alike are not."""

from __future__ import annotations

from itertools import combinations

import pytest

from trait_probe.errors import BadInputError
from trait_probe.experiments._draws import require_draws
from trait_probe.experiments._prefill.config import N_POSITIONS
from trait_probe.experiments._prefill.reading import POSITIONS
from trait_probe.experiments._prompts import asked_texts, plain_words, require_one_group
from trait_probe.prompts.prompt import PromptSet


def chats(*texts: str, system: tuple[str | None, ...] = (), group: str | None = None) -> PromptSet:
    rows = []
    for i, text in enumerate(texts):
        messages = [{"role": "user", "content": text}]
        if system and system[i]:
            messages.insert(0, {"role": "system", "content": system[i]})
        rows.append({"id": str(i), "messages": messages} | ({"group": group} if group else {}))
    return PromptSet.from_dicts(rows)


@pytest.mark.parametrize(
    "copy",
    [
        "how do i cook rice?",
        "How do I cook rice",
        "  how do I  cook rice ?",
        "«How do I cook rice?»",
    ],
)
def test_copies_in_two_groups_are_refused(copy):
    with pytest.raises(BadInputError, match="stands in two groups"):
        require_one_group(chats("How do I cook rice?", copy))
    require_one_group(chats("How do I cook rice?", copy, group="rice"))


DIFFERENT = (
    *("12 + 5 = ?", "12 - 5 = ?", "12 * 5 = ?", "12 / 5 = ?", "12 % 5 = ?"),
    *("if (a < b)", "if (a > b)", "a & b", "a | b", "C++", "C#", "C"),
    *("x_1", "x1", "1.5", "1,5", "15", "😀", "🙂", "你好", "您好", "?", "!", "5!?", "5?"),
    *("(2+3)*4", "2+(3*4)", "if (!ready)", "if (ready)", "[a, b]", "{a, b}"),
)


@pytest.mark.parametrize(("one", "other"), list(combinations(DIFFERENT, 2)))
def test_other_words_or_signs_are_other_prompts(one, other):
    require_one_group(chats(one, other))


def test_a_system_prompt_makes_another_prompt():
    require_one_group(chats("Hi", "Hi", system=("You are a pirate.", None)))
    with pytest.raises(BadInputError):
        require_one_group(chats("Hi", "hi.", system=("You are a pirate.", "you are a pirate")))


def test_by_words_alone_marks_do_not_count():
    marked = chats("Is it well-known?", "is it `well known`")
    require_one_group(marked)
    with pytest.raises(BadInputError):
        require_one_group(marked, plain_words)


def test_words_stand_alone():
    assert plain_words("Is it ICE?") == " is it ice "
    assert plain_words(" ice ") not in plain_words("a slice of bread")


def test_asked_texts_are_what_users_say_and_texts_once():
    mixed = PromptSet.from_dicts(
        [
            {
                "id": "a",
                "messages": [
                    {"role": "system", "content": "s"},
                    {"role": "user", "content": "u"},
                    {"role": "assistant", "content": "r"},
                    {"role": "user", "content": "v"},
                ],
            },
            {"id": "b", "text": "t"},
            {"id": "c", "text": "t"},
        ]
    )
    assert asked_texts(mixed) == ("u", "v", "t")


@pytest.mark.parametrize("n", [58, 59])
def test_draws_that_no_effect_could_pass_are_refused(n):
    if n == 59:
        require_draws(0.05, 3, n_random=n)
        return
    with pytest.raises(BadInputError, match="--n-random") as caught:
        require_draws(0.05, 3, n_random=n, n_shuffled=500)
    assert "59 or more" in str(caught.value)


def test_the_prefill_counts_its_positions():
    assert len(POSITIONS) == N_POSITIONS
