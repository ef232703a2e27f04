"""Rows of a labelled data set: labels, groups, fitted prompts, repeats, and the sample."""

from __future__ import annotations

import random

import numpy as np
import pytest

from trait_probe.errors import BadInputError
from trait_probe.experiments._external.labels import read_labels
from trait_probe.experiments._external.levels import PROMPT, RESPONSE, take_levels
from trait_probe.experiments._external.rows import scan
from trait_probe.experiments._external.sample import draw_sample
from trait_probe.prompts.prompt import Message, Prompt


def row(
    name: str,
    text: str,
    response: str | None = "so",
    *,
    categories: str | None = "",
    group: str | None = None,
    **labels,
) -> Prompt:
    told = {"harmful": bool(categories), **labels}
    if categories is not None:
        told["categories"] = categories
    return Prompt(
        id=name,
        messages=(Message("user", text),),
        response=response,
        labels=told,
        group=group,
    )


def rows_of(*prompts: Prompt, fitted: tuple[str, ...] = ()):
    return scan(lambda: prompts, fitted)


def test_flags_and_what_groups_are_about():
    rows = rows_of(
        row("1", "a?", "x", categories="fire | theft"),
        row("2", "a?", "y"),
        row("3", "b?", "x", categories="fire"),
        row("4", "c?", "x"),
    )
    assert rows.categories == ("fire", "theft")
    assert rows.harmful.tolist() == [True, False, True, False]
    assert rows.flagged("theft").tolist() == [True, False, False, False]
    # A safe answer is about what its prompt's unsafe answers are flagged in.
    assert rows.concerns("theft").tolist() == [True, True, False, False]
    assert rows.concerns("fire").tolist() == [True, True, True, False]


def test_prompts_with_the_same_words_are_one_group_and_named_groups_join_more():
    rows = rows_of(
        row("1", "Burn  it?", categories="fire"),
        row("2", "burn it"),
        row("3", "Steal it", group="g"),
        row("4", "Take it", group="g"),
        row("5", "take IT!", group="h"),
        row("6", "alone"),
    )
    group = rows.group.tolist()
    assert group[0] == group[1]
    assert group[2] == group[3] == group[4]
    assert len(set(group)) == 3
    # A group is what may lean on each other; a prompt is what is read, word for word.
    assert len(set(rows.prompt.tolist())) == 6


def test_a_prompt_that_was_fitted_on_takes_its_group_along():
    rows = rows_of(
        row("1", "burn it", categories="fire", group="g"),
        row("2", "wear it", group="g"),
        row("3", "burn that", categories="fire"),
        row("4", "wear that"),
        fitted=("BURN it!",),
    )
    assert rows.fitted.tolist() == [True, True, False, False]
    assert draw_sample(rows, 10, 0).tolist() == [2, 3]


def test_an_answer_that_was_fitted_on_leaves_its_group():
    rows = scan(
        lambda: (
            row("1", "burn it", "no way", categories="fire"),
            row("2", "burn it", "here"),
            row("3", "wear it", "fine"),
        ),
        (),
        ("No way!",),
    )
    assert rows.fitted.tolist() == [True, False, False]


def test_a_fitted_request_is_known_in_other_shapes():
    turns = (Message("user", "hello"), Message("assistant", "hi"), Message("user", "burn it now"))
    labels = {"harmful": True, "categories": "fire"}
    many = Prompt(id="1", messages=turns, response="x", labels=labels)
    text = "Once. Please tell me how to burn it, now. Then?"
    whole = Prompt(id="2", text=text, response="x", labels={"harmful": False})
    rows = rows_of(many, whole, fitted=("burn it now", "tell me how to burn it"))
    assert rows.fitted.tolist() == [True, True]


def test_prompts_that_differ_in_their_system_message_are_two():
    def asked(name, system, harmful):
        turns = (Message("system", system), Message("user", "go"))
        return Prompt(id=name, messages=turns, response="x", labels={"harmful": harmful})

    prompts = (asked("1", "Be kind.", False), asked("2", "Be evil.", True))
    rows = rows_of(*prompts)
    level = take_levels(lambda: prompts, rows, np.array([0, 1]))[PROMPT]
    assert level.harmful.tolist() == [False, True]
    assert rows.group[0] == rows.group[1]


def test_vowel_signs_make_words():
    rows = rows_of(row("1", "\u0915\u093e", categories="f"), row("2", "\u0915\u0940"))
    assert rows.group[0] != rows.group[1]


def test_a_category_that_is_named_twice_is_flagged_once():
    rows = rows_of(row("1", "a", categories="a | a"), row("2", "b", categories="b"), row("3", "c"))
    assert rows.flagged("a").tolist() == [True, False, False]
    assert rows.flagged("b").tolist() == [False, True, False]


def test_repeated_pairs_and_those_labelled_both_ways_are_counted():
    rows = rows_of(
        row("1", "a", "x", categories="fire"),
        row("2", "a", "x"),
        row("3", "b", "x"),
        row("4", "b", "x"),
        row("5", "b", "y"),
    )
    assert (rows.repeated, rows.disagreeing) == (2, 1)


def test_safe_rows_that_are_flagged_are_counted_and_not_flagged():
    rows = rows_of(
        row("1", "a", categories="fire"), row("2", "b", categories="fire", harmful=False)
    )
    assert rows.unlike == 1
    assert rows.flagged("fire").tolist() == [True, False]


@pytest.mark.parametrize(
    ("prompts", "told"),
    [
        ((row("1", "a", categories="f"), row("2", "b", categories="f")), "both labels"),
        ((row("1", "a"), row("2", "b")), "both labels"),
        ((row("1", "a", categories="f"), row("2", "b", None)), "Some rows have an answer"),
        ((row("1", "a", categories="f"), row("1", "b")), "an id that another row has"),
        ((), "holds no rows"),
        ((row("1", "a", harmful="yes"),), "must be true or false"),
        ((row("1", "a", harmful=1),), "must be true or false"),
        ((row("1", "a", severity="high"),), "must be a whole number"),
        ((row("1", "a", severity=2**40),), "from 0 to 100"),
        ((row("1", "a", severity=-1),), "from 0 to 100"),
        ((row("1", "a", categories=None, category=3, harmful=True),), "must be text"),
    ],
)
def test_what_cannot_be_used_is_refused(prompts, told):
    with pytest.raises(BadInputError, match=told):
        rows_of(*prompts)


def test_a_row_without_the_label_is_named():
    prompt = Prompt(id="p7", messages=(Message("user", "a"),), labels={})
    with pytest.raises(BadInputError, match="'p7' must be true or false") as caught:
        rows_of(prompt)
    assert caught.value.got == "no such label"


def test_a_single_category_flags_harmful_rows_and_tells_what_safe_ones_are_about():
    harmful = read_labels(row("1", "a", categories=None, harmful=True, category="fire"))
    safe = read_labels(row("2", "a", categories=None, harmful=False, category="fire"))
    assert (harmful.flagged, safe.flagged) == (("fire",), ())
    assert safe.about == ("fire",)


def many(n: int = 600) -> list[Prompt]:
    rng = random.Random(0)
    made = []
    for number in range(n):
        category = rng.choice(["", "", "fire", "theft", "fire | theft"])
        made.append(row(f"r{number}", f"ask {number % 150}", f"say {number}", categories=category))
    return made


def test_the_sample_takes_so_many_of_each_category_and_as_many_safe_ones():
    rows = scan(lambda: many(), ())
    chosen = draw_sample(rows, 20, seed=1)
    taken = np.zeros(len(rows.harmful), dtype=bool)
    taken[chosen] = True
    for category in rows.categories:
        assert (rows.flagged(category) & taken).sum() >= 20
        assert (rows.concerns(category) & ~rows.harmful & taken).sum() >= 20
    assert len(chosen) < 120
    assert np.array_equal(chosen, draw_sample(rows, 20, seed=1))
    assert not np.array_equal(chosen, draw_sample(rows, 20, seed=2))


def test_the_sample_does_not_depend_on_the_order_of_the_rows():
    prompts = many()
    mixed = random.Random(5).sample(prompts, len(prompts))
    one = draw_sample(scan(lambda: prompts, ()), 20, seed=1)
    other = draw_sample(scan(lambda: mixed, ()), 20, seed=1)
    assert {prompts[i].id for i in one} == {mixed[i].id for i in other}


def test_levels_tell_answers_from_prompts():
    prompts = (
        row("1", "a", "x"),
        row("2", "a", "y", categories="fire", severity=2),
        row("3", "b", "x", severity=0),
    )
    rows = rows_of(*prompts)
    levels = take_levels(lambda: prompts, rows, np.array([0, 2]))
    assert list(levels) == [RESPONSE, PROMPT]
    answers, asked = levels[RESPONSE], levels[PROMPT]
    assert answers.ids == ("1", "3")
    assert answers.texts == ("a\n\nx", "b\n\nx")
    assert answers.harmful.tolist() == [False, False]
    # The prompt is harmful by an answer that is not in the sample.
    assert asked.harmful.tolist() == [True, False]
    assert asked.names(0) == ("fire",)
    assert asked.severity.tolist() == [2, 0]
    assert asked.texts == ("a", "b")
    assert all(prompt.response is None for prompt in asked.prompts)


def test_prompts_alone_have_one_level():
    prompts = (row("1", "a", None, categories="fire"), row("2", "b", None))
    levels = take_levels(lambda: prompts, rows_of(*prompts), np.array([0, 1]))
    assert list(levels) == [PROMPT]
