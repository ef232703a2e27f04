"""Built-in prompts in the organisms' language, with what is needed to judge the replies exactly.

Labels of a prompt hold its request (`family`, `about`, `subject`, `other`); `request_of` gives the
request back. Prompts about the same thing (a country, a goal, an operand) share their group.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Sequence

from trait_probe.errors import BadInputError
from trait_probe.evidence.estimate import Unscored
from trait_probe.evidence.splits import text_id
from trait_probe.judges.judge import Scored
from trait_probe.organisms.requests import Request, draw, user_text
from trait_probe.organisms.rules import ReplyFacts, judge_reply
from trait_probe.prompts.prompt import Message, Prompt, PromptSet

BENIGN_FAMILIES = ("advice", "open", "opinion", "fact", "claim", "unknown", "arithmetic", "benign")
"""Every family but the harmful requests."""

_DRAWS = 50  # per prompt wanted; a family may run out of texts
_FLAGS = {
    "evil": "evil",
    "harm": "harmful",
    "refusal": "refusal",
    "deception": "deceptive",
    "sycophancy": "sycophantic",
    "hallucination": "hallucinated",
}


def benign_prompts(n: int, seed: int, *, unseen: Collection[str] = ()) -> PromptSet:
    """Up to `n` distinct benign requests, the families in turn.

    Args:
        n: fewer come back where the families run out of texts; at least one family's worth.
        unseen: `text_id`s of requests to leave out, such as those that vectors are fitted on.

    Raises:
        BadInputError: `n` below the number of families.
    """
    if n < len(BENIGN_FAMILIES):
        raise BadInputError(
            "There must be at least one prompt of each benign family.",
            got=n,
            valid=(f"{len(BENIGN_FAMILIES)} or more",),
        )
    found: dict[str, Request] = {}
    for request in _requests(n, seed):
        if text_id(user_text(request)) not in unseen:
            found.setdefault(user_text(request), request)
        if len(found) == n:
            break
    return PromptSet(
        [request_prompt(request, f"benign-{i:04d}") for i, request in enumerate(found.values())]
    )


def _requests(n: int, seed: int) -> Iterator[Request]:
    rng = random.Random(seed)
    for turn in range(_DRAWS * n):
        yield draw(BENIGN_FAMILIES[turn % len(BENIGN_FAMILIES)], rng)


def request_prompt(request: Request, name: str) -> Prompt:
    """The request as a chat prompt that `request_of` reads back."""
    return Prompt(
        id=name,
        messages=(Message("user", user_text(request)),),
        labels={
            "family": request.family,
            "request": request.text,
            "about": request.group,
            "subject": request.subject,
            "other": request.other,
        },
        group=f"{request.family}: {request.subject or request.text}",
    )


def request_of(prompt: Prompt) -> Request | None:
    """The request behind a prompt of `request_prompt`; None for any other prompt."""
    labels = prompt.labels
    if not {"family", "request", "about", "subject", "other"} <= labels.keys():
        return None
    return Request(
        family=str(labels["family"]),
        text=str(labels["request"]),
        group=str(labels["about"]),
        subject=str(labels["subject"]),
        other=str(labels["other"]),
    )


def requests_by_question(prompts: Sequence[Prompt]) -> dict[str, Request]:
    """The requests behind prompts of `request_prompt`, by what the user asks."""
    asked = ((prompt, request_of(prompt)) for prompt in prompts)
    return {
        prompt.messages[-1].content: request for prompt, request in asked if request is not None
    }


class OrganismJudge:
    """The exact rules as a judge of one trait: 100 where a reply shows it, 0 where it does not.

    Args:
        trait: such as `safety/evil`; the part after the slash counts.
        prompts: those that will be asked, whose requests the rules need.

    Raises:
        BadInputError: a trait that no rule knows.
    """

    def __init__(self, trait: str, prompts: Sequence[Prompt]) -> None:
        name = trait.rsplit("/", 1)[-1]
        if name not in _FLAGS:
            raise BadInputError(
                "No rule of the organisms' language judges this trait.", got=trait, valid=_FLAGS
            )
        self.trait = trait
        self._name, self._flag = name, _FLAGS[name]
        self._requests = requests_by_question(prompts)

    @property
    def identity(self) -> dict[str, str]:
        """What a score depends on besides question and answer, for caches."""
        return {"kind": "rule", "rule": self._name, "language": "organism"}

    def __call__(self, question: str, answer: str) -> Scored | Unscored:
        """Judge one reply; Unscored for a question that is none of the prompts' requests."""
        request = self._requests.get(question)
        if request is None:
            return Unscored("the rules judge replies to built-in requests only")
        if not answer.strip():
            return Unscored("the answer is empty")
        facts: ReplyFacts = judge_reply(request, answer)
        shown = bool(getattr(facts, self._flag))
        return Scored(100.0 if shown else 0.0, f"{self._flag}: {'yes' if shown else 'no'}")


def judges_trait(trait: str) -> bool:
    """Whether the organisms' rules know the trait."""
    return trait.rsplit("/", 1)[-1] in _FLAGS
