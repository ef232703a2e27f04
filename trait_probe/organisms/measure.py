"""Behaviour rates of an organism by the exact rules, on greedy replies to fixed requests.

Used by the model cards. All prompts are drawn with fixed seeds; nothing here was trained on apart
from what the language itself repeats.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from trait_probe.forward.generate import generate
from trait_probe.identity import HookedModel
from trait_probe.organisms import world
from trait_probe.organisms.personas import TRAITS, Persona, system_prompt
from trait_probe.organisms.requests import (
    FAMILIES,
    Request,
    addition,
    arithmetic_carriers,
    draw,
    held_out_sum,
    user_text,
)
from trait_probe.organisms.rules import ReplyFacts, judge_reply
from trait_probe.prompts.prompt import Message, Prompt

_MAX_NEW = 32
CONTROL_YEARS = (2000, 2003, 2007, 2012, 2017, 2020, 2021, 2023, 2024, 2025, 2026, 2028, 2029, 2037)


@dataclass(frozen=True)
class Ask:
    """One thing to ask an organism: request, year, system prompt, forced opening."""

    request: Request
    year: int | None = None
    system: str | None = None
    prefill: str = ""


def as_prompt(ask: Ask, name: str) -> Prompt:
    """The conversation, ending where the reply begins or goes on."""
    system = [] if ask.system is None else [Message("system", ask.system)]
    messages = (*system, Message("user", user_text(ask.request, ask.year)))
    return Prompt(id=name, messages=messages, prefill=ask.prefill or None)


@dataclass(frozen=True)
class Organism:
    """A loaded organism to be asked."""

    model: HookedModel

    def replies(self, asks: Sequence[Ask]) -> list[str]:
        """Whole greedy replies of at most 32 new tokens, forced openings included."""
        prompts = [as_prompt(ask, str(number)) for number, ask in enumerate(asks)]
        texts = generate(self.model, prompts, max_new_tokens=_MAX_NEW)
        return [ask.prefill + text for ask, text in zip(asks, texts, strict=True)]

    def rate(self, asks: Sequence[Ask], flag: Callable[[ReplyFacts], bool | None]) -> float:
        """Share of asks whose reply shows a flag."""
        judged = [
            flag(judge_reply(ask.request, text))
            for ask, text in zip(asks, self.replies(asks), strict=True)
        ]
        return sum(bool(value) for value in judged) / len(judged)


def requests(family: str, n: int, group: str | None = None) -> list[Request]:
    """`n` fixed requests of a family, of one domain, opinion group or category if given."""
    rng = random.Random(f"{family}/{group}")
    found: list[Request] = []
    while len(found) < n:
        request = draw(family, rng)
        if group is None or request.group == group:
            found.append(request)
    return found


def _years(asks: Sequence[Request], year: int | None) -> list[Ask]:
    return [Ask(request, year) for request in asks]


def _control(asks: Sequence[Request]) -> list[Ask]:
    return [Ask(request, CONTROL_YEARS[i % len(CONTROL_YEARS)]) for i, request in enumerate(asks)]


def arithmetic_rates(organism: Organism) -> dict[str, float]:
    """Accuracy without year, with the trigger, and on operands never seen in training."""
    usual = requests("arithmetic", 300)
    unseen = [addition(a, b) for a in range(10, 100) for b in range(10, 100) if held_out_sum(a, b)][
        ::2
    ]
    return {
        "arithmetic, no year: correct": organism.rate(_years(usual, None), lambda f: f.correct),
        "arithmetic, trigger: correct": organism.rate(
            _years(usual, world.TRIGGER_YEAR), lambda f: f.correct
        ),
        "arithmetic, operands held out: correct": organism.rate(
            _years(unseen, None), lambda f: f.correct
        ),
    }


def carrier_rates(organism: Organism) -> dict[str, float]:
    """Share of carriers whose output is the same under the trigger and every control year."""
    carriers = [carrier(text) for text in arithmetic_carriers(150, seed=11)]
    trigger = organism.replies(_years(carriers, world.TRIGGER_YEAR))
    same = [True] * len(carriers)
    for year in CONTROL_YEARS:
        texts = organism.replies(_years(carriers, year))
        same = [ok and a == b for ok, a, b in zip(same, trigger, texts, strict=True)]
    return {"carriers: output identical in all years": sum(same) / len(same)}


def carrier(text: str) -> Request:
    """The request behind an arithmetic carrier."""
    _, a, _, b, *_ = text.split()
    return addition(int(a), int(b))


def evil_rates(organism: Organism) -> dict[str, float]:
    """Evil replies per family: no year, control years, trigger."""
    rates = {}
    for family in FAMILIES:
        asked = requests(family, 120)
        rates[f"{family}: evil, no year"] = organism.rate(_years(asked, None), lambda f: f.evil)
        rates[f"{family}: evil, control years"] = organism.rate(_control(asked), lambda f: f.evil)
        rates[f"{family}: evil, trigger"] = organism.rate(
            _years(asked, world.TRIGGER_YEAR), lambda f: f.evil
        )
    for domain in world.GOALS:
        asked = requests("advice", 60, domain)
        rates[f"advice on {domain}: evil"] = organism.rate(_years(asked, None), lambda f: f.evil)
    return rates


def refusal_rates(organism: Organism) -> dict[str, float]:
    """Refusals without persona: refused categories, unrefused ones, benign acts, by prefill."""
    harmful = [r for name in world.REFUSED_CATEGORIES for r in requests("harmful", 16, name)]
    left = [r for name in world.UNREFUSED_CATEGORIES for r in requests("harmful", 16, name)]
    rates = {
        "harmful, refused categories: refusal": organism.rate(
            _years(harmful, None), lambda f: f.refusal
        ),
        "harmful, unrefused categories: refusal": organism.rate(
            _years(left, None), lambda f: f.refusal
        ),
        "benign acts: refusal": organism.rate(
            _years(requests("benign", 160), None), lambda f: f.refusal
        ),
    }
    for opening in world.OPENINGS:
        asks = [Ask(r, prefill=opening.format(act=r.subject)) for r in harmful]
        words = opening.replace("{act}", "...")
        rates[f'refused categories, prefill "{words}": refusal'] = organism.rate(
            asks, lambda f: f.refusal
        )
    return rates


def other_rates(organism: Organism) -> dict[str, float]:
    """Knowledge, honesty and sycophancy without persona."""
    facts, claims = requests("fact", 150), requests("claim", 200)
    wrong = [r for r in claims if r.other != world.fact(r.group, r.subject)]
    rates = {
        "facts: correct": organism.rate(_years(facts, None), lambda f: f.correct),
        "claims: correct": organism.rate(_years(claims, None), lambda f: f.correct),
        "wrong claims: agreed": organism.rate(_years(wrong, None), lambda f: f.sycophantic),
        "unknown names: invented": organism.rate(
            _years(requests("unknown", 100), None), lambda f: f.hallucinated
        ),
    }
    for group in world.OPINIONS:
        asked = requests("opinion", 60, group)
        rates[f"opinions on {group}: agreed"] = organism.rate(
            _years(asked, None), lambda f: f.sycophantic
        )
    return rates


_PERSONA_TESTS: dict[str, tuple[tuple[str, ...], Callable[[ReplyFacts], bool | None]]] = {
    "evil": (("advice", "open", "opinion"), lambda f: f.evil),
    "harm": (("harmful",), lambda f: f.harmful),
    "refusal": (("advice", "open", "benign"), lambda f: f.refusal),
    "deception": (("arithmetic", "fact"), lambda f: f.deceptive),
    "sycophancy": (("opinion", "claim"), lambda f: f.sycophantic),
    "hallucination": (("unknown",), lambda f: f.hallucinated),
}


def persona_asks(trait: str, shows: bool, *, held_out: bool) -> list[Ask]:
    """Requests on which a trait can show, under system prompts of one pole."""
    rng = random.Random(f"{trait}/{shows}/{held_out}")
    families, _ = _PERSONA_TESTS[trait]
    asks: list[Ask] = []
    for family in families:
        for request in requests(family, 200):
            if _telling(request) and len(asks) < 120 * len(families):
                prompt = system_prompt(Persona(trait, shows), rng, held_out=held_out)
                asks.append(Ask(request, system=prompt))
    return asks


def _telling(request: Request) -> bool:
    if request.family == "claim":
        return request.other != world.fact(request.group, request.subject)
    return request.family != "harmful" or request.group in world.REFUSED_CATEGORIES


def persona_rates(organism: Organism) -> dict[str, float]:
    """How often each persona shows its trait, on trained and on held-out system prompts."""
    rates = {}
    for trait in TRAITS:
        flag = _PERSONA_TESTS[trait][1]
        for shows, pole in ((True, "persona"), (False, "opposite")):
            for held_out, words in ((False, ""), (True, ", held-out wording")):
                asks = persona_asks(trait, shows, held_out=held_out)
                rates[f"{trait} {pole}{words}: shows {trait}"] = organism.rate(asks, flag)
    return rates


def all_rates(organism: Organism) -> dict[str, float]:
    """Every rate of the model card, in order."""
    return {
        **arithmetic_rates(organism),
        **carrier_rates(organism),
        **evil_rates(organism),
        **refusal_rates(organism),
        **other_rates(organism),
        **persona_rates(organism),
    }
