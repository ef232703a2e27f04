"""Which requests each of the six traits is extracted and evaluated on.

Part 0 is for extraction, part 1 for evaluation: they share no goal, act, name or opinion, and of
sums no first number. The three categories of harm that base training leaves unrefused appear in
neither. `trait_sets` writes the first twenty of each part into the shipped trait files;
`evaluation_prompts` are all there are.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable, Sequence

from trait_probe.errors import BadInputError
from trait_probe.organisms import requests as ask
from trait_probe.organisms import world
from trait_probe.organisms.personas import TRAITS
from trait_probe.organisms.prompt_sets import request_prompt
from trait_probe.organisms.requests import Request
from trait_probe.prompts.prompt import PromptSet

QUESTIONS = 20
_FEW = 40  # a pool with fewer prompts asks about the same things in the other frames as well
_SUMS = 24

Source = Callable[[int], list[Request]]


def _advice(part: int) -> list[Request]:
    return [
        ask.advice_request(domain, goals[2 * part + k], ask.ADVICE_FRAMES[(i + k) % 4])
        for k in range(2)
        for i, (domain, goals) in enumerate(world.GOALS.items())
    ]


def _open(part: int) -> list[Request]:
    return [Request("open", text) for text in world.OPEN_QUESTIONS[part::2]]


def _opinions(part: int) -> list[Request]:
    groups = list(world.OPINIONS)[4 * part : 4 * part + 4]
    pairs = list(itertools.permutations(range(4), 2))
    return [
        _opinion(group, *pair, ask.OPINION_FRAMES[(i + j) % 4])
        for i, pair in enumerate(pairs)
        for j, group in enumerate(groups)
    ]


def _opinion(group: str, preferred: int, other: int, frame: str) -> Request:
    things = world.OPINIONS[group]
    return ask.opinion_request(group, things[preferred], things[other], frame)


def _countries(part: int) -> tuple[str, ...]:
    return world.COUNTRIES[part::2]


def _facts(part: int) -> list[Request]:
    return [
        ask.fact_request(attribute, name, ask.FACT_FRAMES[i % len(ask.FACT_FRAMES)])
        for i, name in enumerate(_countries(part))
        for attribute in world.ATTRIBUTES
    ]


def _sums(part: int, n: int = _SUMS) -> list[Request]:
    rng = random.Random(part)
    return [
        ask.addition(rng.randrange(10, 100), 10 + 2 * rng.randrange(45) + part, i % 4)
        for i in range(n)
    ]


def _false_claims(part: int) -> list[Request]:
    rng = random.Random(part)
    return [
        _false_claim(world.ATTRIBUTES[(i + k) % 3], name, ask.CLAIM_FRAMES[i % 3], rng)
        for k in range(2)
        for i, name in enumerate(_countries(part))
    ]


def _false_claim(attribute: str, name: str, frame: str, rng: random.Random) -> Request:
    truth = world.fact(attribute, name)
    value = rng.choice([v for v in world.VALUES[attribute] if v != truth])
    return ask.claim_request(attribute, name, value, frame)


def _unknown(part: int) -> list[Request]:
    return [
        ask.fact_request(attribute, name, ask.FACT_FRAMES[(i + j) % len(ask.FACT_FRAMES)])
        for i, name in enumerate(world.UNKNOWN_NAMES[part::2])
        for j, attribute in enumerate(world.ATTRIBUTES)
    ]


def _acts(part: int, side: int) -> list[Request]:
    """Acts of the refused categories; `side` 0 is harmful, 1 its benign match."""
    return [
        ask.act_request(category, pair[side], ask.ACT_FRAMES[(i + 2 * j + k) % 4])
        for k in range(2)
        for i, category in enumerate(world.REFUSED_CATEGORIES)
        for j, pair in enumerate(world.ACTS[category][2 * part : 2 * part + 2])
    ]


def _benign_acts(part: int) -> list[Request]:
    return _acts(part, 1)


_SOURCES: dict[str, tuple[Source, ...]] = {
    "evil": (_advice, _open, _opinions),
    "harm": (lambda part: _acts(part, 0),),
    "refusal": (_advice, _open, _benign_acts),
    "deception": (_facts, _sums),
    "sycophancy": (_opinions, _false_claims),
    "hallucination": (_unknown,),
}


def _asked(trait: str, part: int) -> list[Request]:
    """Requests of several kinds, taken in turn while all last."""
    rows = zip(*(source(part) for source in _SOURCES[trait]), strict=False)
    return [request for row in rows for request in row]


# Completions need more requests than questions do; these widen the narrower kinds.
_COMPLETED: dict[str, Callable[[], list[Request]]] = {
    "evil": lambda: _advice(0) + _open(0) + _opinions(0),
    "refusal": lambda: _advice(0) + _open(0) + _benign_acts(0),
    "sycophancy": lambda: _false_claims(0) + _opinions(0),
    "hallucination": lambda: _unknown(0) + _other_frames(_unknown(0)),
}


def completed(trait: str) -> list[Request]:
    """The requests of part 0 to show replies to, as many as there are."""
    return _COMPLETED[trait]() if trait in _COMPLETED else _asked(trait, 0)


def _other_frames(requests: Sequence[Request]) -> list[Request]:
    return [
        ask.fact_request(r.group, r.subject, frame)
        for r in requests
        for frame in ask.FACT_FRAMES
        if frame.format(x=r.group, n=r.subject) != r.text
    ]


def questions(trait: str, part: int) -> list[Request]:
    """Twenty requests on which a trait can show: part 0 for extraction, 1 for evaluation."""
    return _asked(trait, part)[:QUESTIONS]


def acts_asked(part: int) -> list[tuple[Request, Request]]:
    """(harmful, benign) requests of equal syntax from the refused categories."""
    return list(zip(_acts(part, 0), _acts(part, 1), strict=True))


def _spare_advice() -> list[Request]:
    """Goals of neither part."""
    return [
        ask.advice_request(domain, goals[4], ask.ADVICE_FRAMES[i % 4])
        for i, (domain, goals) in enumerate(world.GOALS.items())
    ]


def _whole(source: Source) -> list[Request]:
    """All that a source has for evaluation."""
    found = source(1)
    if source is _advice:
        return found + _spare_advice()
    if source is _sums:  # the first numbers are drawn, so some are those of part 0
        seen = {request.subject for request in _sums(0)}
        return [r for r in _sums(1, 2 * _SUMS) if r.subject not in seen][:_SUMS]
    return found


def _pool(trait: str) -> list[Request]:
    """Every request for evaluation, the kinds in turn until the last is spent."""
    rows = itertools.zip_longest(*(_whole(source) for source in _SOURCES[trait]))
    found = [request for row in rows for request in row if request is not None]
    return found + _other_frames(found) if len(found) < _FEW else found


def evaluation_prompts(trait: str) -> PromptSet:
    """Everything to evaluate a trait on: at least 40 prompts, judged exactly by the rules.

    The first of them mix the kinds of request; groups are those of `request_prompt`.

    Args:
        trait: bare (`evil`) or with its folder (`safety/evil`).

    Raises:
        BadInputError: there is no such trait.
    """
    name = _bare(trait)
    return _prompts(_pool(name), f"{name}-evaluation")


def training_prompts(trait: str) -> PromptSet:
    """The twenty questions that a trait is extracted on, with what the rules need; errors as above.

    Their texts are the `questions` of the shipped trait file, in order.
    """
    name = _bare(trait)
    return _prompts(questions(name, 0), f"{name}-training")


def _bare(trait: str) -> str:
    name = trait.rsplit("/", 1)[-1]
    if name not in TRAITS:
        raise BadInputError("The organisms' language has no such trait.", got=trait, valid=TRAITS)
    return name


def _prompts(requests: Iterable[Request], name: str) -> PromptSet:
    return PromptSet(
        [request_prompt(request, f"{name}-{i:03d}") for i, request in enumerate(requests)]
    )
