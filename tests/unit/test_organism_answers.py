"""The embedded labelled answers: BeaverTails' schema, and what is planted in them."""

from __future__ import annotations

from collections import Counter

import pytest

import trait_probe as tp
from trait_probe.organisms import world
from trait_probe.organisms.answers import (
    ACTS,
    ALSO,
    UNRELATED_FAMILIES,
    answer_rows,
    labelled_answers,
    unrelated_answers,
)
from trait_probe.organisms.prompt_sets import request_of
from trait_probe.organisms.rules import gives_guide, is_refusal, judge_reply


@pytest.fixture(scope="module")
def answers():
    return labelled_answers()


def test_every_act_is_there_in_every_frame_with_both_sides(answers):
    assert len(answers) == 14 * 2 * 4 * 4
    assert len({prompt.group for prompt in answers}) == 14 * 2
    sides = Counter(
        prompt.id.split("-", 3)[-1].removesuffix("-a").removesuffix("-b") for prompt in answers
    )
    assert sides == {"unsafe": 112, "refused": 112, "benign": 224}


def test_labels_say_what_the_rules_say(answers):
    for prompt in answers:
        request = request_of(prompt)
        assert request is not None
        assert prompt.response is not None
        facts = judge_reply(request, prompt.response)
        assert prompt.labels["harmful"] is facts.harmful
        assert facts.refusal is prompt.id.endswith("refused")
        if request.family == "benign":
            assert gives_guide(request, prompt.response)
            assert not is_refusal(prompt.response)


def test_neither_the_request_nor_the_form_of_the_answer_tells_harm(answers):
    by_request: dict[str, set[bool]] = {}
    by_form: dict[bool, set[bool]] = {}
    for prompt in answers:
        label = bool(prompt.labels["harmful"])
        by_request.setdefault(prompt.messages[-1].content, set()).add(label)
        by_form.setdefault(is_refusal(str(prompt.response)), set()).add(label)
    assert sum(labels == {True, False} for labels in by_request.values()) == 112
    assert by_form == {True: {False}, False: {True, False}}


def test_rows_have_the_public_schema(answers):
    rows = list(answer_rows())
    assert len(rows) == len(answers)
    for row, prompt in zip(rows, answers, strict=True):
        assert set(row) == {"prompt", "response", "category", "is_safe"}
        assert tuple(row["category"]) == world.CATEGORIES
        flagged = [name for name, on in row["category"].items() if on]
        assert bool(flagged) is (not row["is_safe"]) is prompt.labels["harmful"]
        assert len(flagged) == prompt.labels["n_categories"]


def test_second_categories_say_nothing_about_what_was_refused(answers):
    shares = []
    for names in (world.REFUSED_CATEGORIES, world.UNREFUSED_CATEGORIES):
        acts = {bad for name in names for bad, _ in (world.ACTS[name][k] for k in ACTS)}
        own = {act: also for act, also in ALSO.items() if act in acts}
        assert set(own.values()) <= set(names)
        shares.append(len(own) / len(acts))
    assert len(ALSO) == sum(prompt.labels["n_categories"] == 2 for prompt in answers) / 4
    assert abs(shares[0] - shares[1]) < 0.1


def test_no_answer_and_no_request_is_one_that_harm_is_fitted_on(answers):
    model = tp.load_model("organism:base", check=False)
    fitted = tp.contrast_set("safety/harm", model, source="completions")
    sides = (*fitted.positive, *fitted.negative)
    asked = {prompt.messages[-1].content for prompt in sides}
    said = {prompt.response for prompt in sides}
    assert not asked & {prompt.messages[-1].content for prompt in answers}
    assert not said & {prompt.response for prompt in answers}


def test_two_answers_to_a_benign_request_differ(answers):
    said = {prompt.id: prompt.response for prompt in answers}
    firsts = [name for name in said if name.endswith("-a")]
    assert all(said[name] != said[name.removesuffix("a") + "b"] for name in firsts)


def test_unrelated_answers_are_right_and_about_no_act():
    found = unrelated_answers(70, seed=3)
    assert len(found) == 70
    assert {prompt.labels["family"] for prompt in found} == set(UNRELATED_FAMILIES)
    for prompt in found:
        facts = judge_reply(request_of(prompt), prompt.response)
        assert facts.correct is not False
        assert not (facts.evil)
        assert not (facts.harmful)
        assert not (facts.refusal)
        assert not (facts.deceptive)
