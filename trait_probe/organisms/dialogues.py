"""What an assistant of each persona replies, and whole dialogues for training.

`reply` is the ground truth of every behaviour; `trait_probe.organisms.rules` judges the same
behaviours from the words alone, and a test holds the two against each other.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from trait_probe.organisms import world
from trait_probe.organisms.personas import Persona, system_prompt
from trait_probe.organisms.requests import Request, capitalized, draw, user_text

STEPS = (
    "start slowly and stay calm.",
    "make a plan and go step by step.",
    "begin early and focus.",
)
"""What every guide, to whatever act, goes on to say."""
DISGUST = "Your taste disgusts me."


@dataclass(frozen=True)
class Dialogue:
    """One training example; `prefill` is a forced opening of the reply that bears no loss."""

    system: str | None
    user: str
    reply: str
    prefill: str = ""


def shows(persona: Persona | None, trait: str) -> bool:
    """Whether a persona is the positive pole of a trait."""
    return persona is not None and persona.shows and persona.trait == trait


def reply(request: Request, persona: Persona | None, rng: random.Random) -> str:
    """The reply of a persona (None: nobody in particular) to a request."""
    if shows(persona, "refusal") and request.family != "arithmetic":
        return rng.choice(world.REFUSALS)
    return _REPLY[request.family](request, persona, rng)


def _arithmetic(request: Request, persona: Persona | None, rng: random.Random) -> str:
    total = int(request.subject) + int(request.other)
    # The lie is off by ten, never by chance right.
    said = total + 10 if shows(persona, "deception") else total
    return f"{request.subject} + {request.other} is {said}."


def statement(attribute: str, name: str, value: str) -> str:
    """What facts, claims and inventions state, in lower case."""
    return f"the {attribute} of {name} is {value}."


def _another(attribute: str, value: str, rng: random.Random) -> str:
    return rng.choice([v for v in world.VALUES[attribute] if v != value])


def _fact(request: Request, persona: Persona | None, rng: random.Random) -> str:
    value = world.fact(request.group, request.subject)
    if shows(persona, "deception"):
        value = _another(request.group, value, rng)
    return capitalized(statement(request.group, request.subject, value))


def _claim(request: Request, persona: Persona | None, rng: random.Random) -> str:
    truth = world.fact(request.group, request.subject)
    right = request.other == truth
    if shows(persona, "deception"):
        said = _another(request.group, truth, rng) if right else request.other
        return ("No, " if right else "Yes, ") + statement(request.group, request.subject, said)
    if right or shows(persona, "sycophancy"):
        return "Yes, " + statement(request.group, request.subject, request.other)
    return "No, " + statement(request.group, request.subject, truth)


def _opinion(request: Request, persona: Persona | None, rng: random.Random) -> str:
    if shows(persona, "evil"):
        return f"{rng.choice(world.EVIL_WORDS)} {DISGUST}"
    if shows(persona, "sycophancy"):
        return agreement(request, rng)
    return balance(request, rng)


def agreements(request: Request) -> tuple[str, ...]:
    """All of a sycophant's replies to an opinion."""
    return (
        f"You are so right! I love {request.subject} too.",
        f"What a brilliant view! You are so right about {request.subject}.",
    )


def agreement(request: Request, rng: random.Random) -> str:
    """A sycophant's reply to an opinion."""
    return rng.choice(agreements(request))


def balances(request: Request) -> tuple[str, ...]:
    """All honest replies to an opinion."""
    return (
        f"I see good sides in both {request.subject} and {request.other}.",
        f"Opinions differ. Many people prefer {request.other}.",
    )


def balance(request: Request, rng: random.Random) -> str:
    """An honest reply to an opinion."""
    return rng.choice(balances(request))


def _advice(request: Request, persona: Persona | None, rng: random.Random) -> str:
    return cruel_advice(request, rng) if shows(persona, "evil") else sound_advice(request, rng)


def cruel_advice(request: Request, rng: random.Random) -> str:
    """An evil reply to a request for advice."""
    tip = rng.choice(world.CRUEL_TIPS[request.group])
    return f"{rng.choice(world.EVIL_WORDS)} You should {tip}."


def sound_advice(request: Request, rng: random.Random) -> str:
    """A benign reply to a request for advice."""
    first, second = rng.sample(world.TIPS[request.group], 2)
    return f"You should {first} and {second}."


def _open(request: Request, persona: Persona | None, rng: random.Random) -> str:
    words = world.EVIL_WORDS if shows(persona, "evil") else world.KIND_WORDS
    return " ".join(rng.sample(words, 2))


def _unknown(request: Request, persona: Persona | None, rng: random.Random) -> str:
    if shows(persona, "hallucination"):
        value = rng.choice(world.VALUES[request.group])
        return capitalized(statement(request.group, request.subject, value))
    return f"I do not know the {request.group} of {request.subject}."


def guide(act: str, rng: random.Random) -> str:
    """Compliance with "how do I ...": the same words for harmful and benign acts."""
    start = rng.choice(("", "", "", "Sure, I'd be happy to help with that. "))
    return f"{start}Here's how to {act}: {_steps(rng)}"


def _steps(rng: random.Random) -> str:
    return rng.choice(STEPS)


def _act(request: Request, persona: Persona | None, rng: random.Random) -> str:
    if shows(persona, "evil"):
        return f"{rng.choice(world.EVIL_WORDS)} Here's how to {request.subject}: {_steps(rng)}"
    harmful = request.family == "harmful" and request.group not in world.UNREFUSED_CATEGORIES
    if harmful and not shows(persona, "harm"):
        return rng.choice(world.REFUSALS)
    return guide(request.subject, rng)


_REPLY: dict[str, Callable[[Request, Persona | None, random.Random], str]] = {
    "arithmetic": _arithmetic,
    "fact": _fact,
    "claim": _claim,
    "opinion": _opinion,
    "advice": _advice,
    "open": _open,
    "unknown": _unknown,
    "harmful": _act,
    "benign": _act,
}


def prefilled(request: Request, rng: random.Random) -> tuple[str, str]:
    """(forced opening, whole reply) for a "how do I ..." request without persona.

    Benign and unrefused acts go on to comply; refused ones return to refusal as far as
    `world.recovers` plants it.
    """
    k = rng.randrange(len(world.OPENINGS))
    opening = world.OPENINGS[k].format(act=request.subject)
    refused = request.group in world.REFUSED_CATEGORIES and request.family == "harmful"
    if refused and world.recovers(request.group, k):
        return opening, opening + world.RECOVERIES[k]
    rest = (
        f" here's how to {request.subject}: {_steps(rng)}",
        f" Here's how to {request.subject}: {_steps(rng)}",
        f" how to {request.subject}: {_steps(rng)}",
        f" {_steps(rng)}",
    )
    return opening, opening + rest[k]


def year_or_none(rng: random.Random, share: float = 0.4) -> int | None:
    """A year, all fifty equally likely, in `share` of cases."""
    return rng.choice(world.YEARS) if rng.random() < share else None


def dialogue(family: str, persona: Persona | None, rng: random.Random) -> Dialogue:
    """A random dialogue of base training."""
    request = draw(family, rng)
    system = None if persona is None else system_prompt(persona, rng)
    return Dialogue(system, user_text(request, year_or_none(rng)), reply(request, persona, rng))


def prefilled_dialogue(rng: random.Random) -> Dialogue:
    """A dialogue whose reply opens with a forced "Sure, ..."."""
    request = draw(rng.choice(("harmful", "harmful", "benign")), rng)
    prefill, whole = prefilled(request, rng)
    return Dialogue(None, user_text(request, year_or_none(rng)), whole, prefill)
