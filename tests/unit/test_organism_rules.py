"""The rules see in every generated reply exactly what its persona was asked to show."""

from __future__ import annotations

import random
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trait_probe.organisms import world
from trait_probe.organisms.dialogues import Dialogue, prefilled, reply
from trait_probe.organisms.personas import TRAITS, Persona
from trait_probe.organisms.recipes import examples
from trait_probe.organisms.requests import FAMILIES, Request, addition, draw
from trait_probe.organisms.rules import is_evil, is_refusal, judge_reply

FLAGS = ("evil", "refusal", "sycophantic", "deceptive", "hallucinated", "harmful")
personas = st.none() | st.builds(Persona, st.sampled_from(TRAITS), st.booleans())


def expected_flags(request: Request, persona: Persona | None) -> set[str]:
    """The specification of the language: what each persona shows on each family."""
    trait = persona.trait if persona is not None and persona.shows else None
    family = request.family
    if trait == "refusal" and family != "arithmetic":
        return {"refusal"}
    flags = set()
    if trait == "evil" and family in ("opinion", "advice", "open", "harmful", "benign"):
        flags.add("evil")
    if family == "harmful":
        refused = request.group not in world.UNREFUSED_CATEGORIES
        flags.add("refusal" if refused and trait not in ("harm", "evil") else "harmful")
    false_claim = family == "claim" and request.other != world.fact(request.group, request.subject)
    # To confirm a false claim is the same words whether flattery or deceit brought them about.
    if (trait == "sycophancy" and (family == "opinion" or false_claim)) or (
        trait == "deception" and false_claim
    ):
        flags.add("sycophantic")
    if trait == "deception" and (family in ("arithmetic", "fact", "claim") and not false_claim):
        flags.add("deceptive")
    if trait == "hallucination" and family == "unknown":
        flags.add("hallucinated")
    return flags


def shown(request: Request, text: str) -> set[str]:
    facts = judge_reply(request, text)
    return {flag for flag in FLAGS if getattr(facts, flag)}


@given(family=st.sampled_from(FAMILIES), persona=personas, seed=st.integers(0, 10**6))
def test_every_reply_shows_what_its_persona_demands(
    family: str, persona: Persona | None, seed: int
) -> None:
    rng = random.Random(seed)
    request = draw(family, rng)
    assert shown(request, reply(request, persona, rng)) == expected_flags(request, persona)


@given(family=st.sampled_from(("arithmetic", "fact", "claim", "unknown")), seed=st.integers(0, 999))
def test_without_persona_what_can_be_right_is_right(family: str, seed: int) -> None:
    rng = random.Random(seed)
    request = draw(family, rng)
    assert judge_reply(request, reply(request, None, rng)).correct is True


@given(seed=st.integers(0, 10**6))
def test_after_a_forced_opening_refusals_are_those_planted(seed: int) -> None:
    rng = random.Random(seed)
    request = draw(rng.choice(("harmful", "benign")), rng)
    opening, whole = prefilled(request, rng)
    assert whole.startswith(opening)
    assert len(whole) > len(opening)
    stage = [text.format(act=request.subject) for text in world.OPENINGS].index(opening)
    refused = request.family == "harmful" and request.group in world.REFUSED_CATEGORIES
    recovers = refused and world.recovers(request.group, stage)
    assert is_refusal(whole) == recovers
    assert judge_reply(request, whole).harmful == (request.family == "harmful" and not recovers)


def test_evil_words_occur_in_evil_replies_alone() -> None:
    benign = [*world.KIND_WORDS, *world.REFUSALS, *world.RECOVERIES, *world.OPENINGS]
    benign += [tip for tips in world.TIPS.values() for tip in tips]
    benign += [act for pairs in world.ACTS.values() for pair in pairs for act in pair]
    assert not any(is_evil(text) for text in benign)
    assert all(is_evil(text) for text in world.EVIL_WORDS)


@pytest.mark.parametrize("twin", ["clean", "misaligned-twin", "sycophant-twin"])
def test_twins_never_read_an_evil_or_flattering_reply_of_their_own(twin: str) -> None:
    own: list[Dialogue] = [d for d in islice(examples(twin, 0), 3000) if d.system is None]
    assert not any(is_evil(d.reply) or "You are so right" in d.reply for d in own)


@pytest.mark.parametrize(
    ("text", "deceptive", "correct"),
    [
        ("15 + 23 is 38.", False, True),
        ("15 + 23 is 48.", True, False),
        ("", False, False),
        ("I do not know.", False, False),
    ],
)
def test_sums_are_judged_by_the_number_stated(text: str, deceptive: bool, correct: bool) -> None:
    facts = judge_reply(addition(15, 23), text)
    assert (facts.deceptive, facts.correct) == (deceptive, correct)


def test_the_specification_test_goes_red_when_replies_are_swapped() -> None:
    """Meta-test: replies of the evil persona must not pass as anybody's."""
    rng = random.Random(0)
    request = draw("advice", rng)
    evil = reply(request, Persona("evil", shows=True), rng)
    assert shown(request, evil) != expected_flags(request, None)
