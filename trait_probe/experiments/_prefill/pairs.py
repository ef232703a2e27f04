"""Step 1: pairs of a harmful and a benign request, none of which a vector was fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool

from trait_probe.errors import BadInputError
from trait_probe.experiments._handed_in import require_named
from trait_probe.experiments._prefill.config import Config
from trait_probe.experiments._prompts import conversation, plain_words, require_one_group
from trait_probe.identity import HookedModel, identify
from trait_probe.organisms.harm_pairs import REFUSED, SETS, harm_pairs
from trait_probe.prompts.prompt import Prompt, PromptSet
from trait_probe.prompts.sources.load import load_labelled
from trait_probe.vectors.contrast_sets import language_of

HARMFUL = "harmful"  # the label
DEALT = "paired_by_chance"  # the label of a prompt that no source matched
FEWEST = 4
"""Pairs below which nothing is run; a claim takes more."""
FEWEST_WORDS = 4
"""Of a fitted text that is looked for inside a prompt; "what is" says nothing."""


@dataclass(frozen=True)
class Pairs:
    """Harmful and benign requests, each in a pair.

    Attributes:
        prompts: chat prompts without an answer; a prompt's group is its pair.
        harmful: per prompt, its label.
        matched: pairs that the source matched by topic.
        dealt: pairs that were put together by chance, where the source matches none.
        fitted: pairs left out because a vector was fitted on one of their texts.
        unused: prompts left without a partner, or above the number of pairs asked for.
    """

    prompts: PromptSet
    harmful: Bool[np.ndarray, " prompt"]
    matched: int
    dealt: int
    fitted: int
    unused: int

    @property
    def names(self) -> tuple[str, ...]:
        """The pair of each prompt."""
        return tuple(prompt.cluster for prompt in self.prompts)

    @property
    def texts(self) -> tuple[str, ...]:
        """Every word that stands before each answer, for readers of words and the lock."""
        return tuple(conversation(prompt) for prompt in self.prompts)

    @property
    def blocks(self) -> tuple[str, ...]:
        """The request that each prompt phrases: a side of its pair."""
        return tuple(
            f"{name}, {'harmful' if label else 'benign'}"
            for name, label in zip(self.names, self.harmful, strict=True)
        )


def request_text(prompt: Prompt) -> str:
    """The last user message."""
    return prompt.messages[-1].content


def load_pairs(
    config: Config,
    model: HookedModel,
    prompts: PromptSet | None,
    fitted: Sequence[str],
) -> Pairs:
    """The configuration's pairs, without those that something was fitted on.

    Args:
        prompts: used in place of the configuration's sources.
        fitted: texts that vectors are fitted on.

    Raises:
        BadInputError: a model that is no organism without sources, prompts that are no
            conversations or carry an answer, or too few pairs.
    """
    found = load_labelled(prompts) if prompts is not None else _from_config(config, model)
    _check_open(found)
    whole = _paired(found, config.seed)
    kept, n_fitted = _unfitted(whole.prompts, fitted)
    if len({prompt.cluster for prompt in kept}) < FEWEST:
        raise BadInputError(
            f"Fewer than {FEWEST} pairs are left to test on.",
            got=f"{len({prompt.cluster for prompt in kept})} pairs; {n_fitted} left out because a "
            "vector is fitted on one of their texts",
            fix="Give more pairs, or other traits: refusal, in the organisms, is fitted on acts "
            "like these.",
        )
    some = _some(kept, config.max_pairs, config.seed)
    names = {prompt.cluster for prompt in some}
    return Pairs(
        prompts=some,
        harmful=np.array([prompt.labels[HARMFUL] is True for prompt in some]),
        matched=len(names & whole.matched),
        dealt=len(names - whole.matched),
        fitted=n_fitted,
        unused=whole.unused + len(kept) - len(some),
    )


def _from_config(config: Config, model: HookedModel) -> PromptSet:
    if config.harmful not in (None, *SETS):
        hint = "Give --harmful; the run that used the prompts keeps them in its pairs.jsonl."
        require_named("harmful", str(config.harmful), hint)
        return load_labelled(str(config.harmful), config.benign)
    if language_of(model) != "organism":
        raise BadInputError(
            "Only the organisms have built-in pairs of harmful and benign prompts.",
            got=identify(model).id,
            fix="Give --harmful jailbreakbench (which has its matched benign prompts), or "
            "--harmful advbench --benign xstest, or files.",
        )
    return harm_pairs(config.harmful or REFUSED)


def _check_open(prompts: PromptSet) -> None:
    texts = [prompt.id for prompt in prompts if not prompt.messages]
    if texts:
        raise BadInputError(
            f"{len(texts)} of {len(prompts)} prompts are plain texts; a prefill follows a chat "
            "template's assistant header.",
            got=texts[:5],
            fix="Give conversations ('messages').",
        )
    answered = [p.id for p in prompts if p.response is not None or p.prefill is not None]
    if answered:
        raise BadInputError(
            f"{len(answered)} of {len(prompts)} prompts have a prefill or a response already.",
            got=answered[:5],
            fix="Leave both out: prefills are those of --prefills.",
        )
    require_one_group(prompts, plain_words)


@dataclass(frozen=True)
class _Whole:
    prompts: tuple[Prompt, ...]
    matched: frozenset[str]
    unused: int


def _paired(prompts: PromptSet, seed: int) -> _Whole:
    """Groups with both labels are pairs; the other groups are dealt into pairs by chance."""
    sides: dict[str, set[bool]] = {}
    for prompt in prompts:
        sides.setdefault(prompt.cluster, set()).add(prompt.labels[HARMFUL] is True)
    by_chance = {prompt.cluster for prompt in prompts if prompt.labels.get(DEALT) is True}
    matched = frozenset(name for name, labels in sides.items() if len(labels) == 2)
    rng = np.random.default_rng(seed)
    alone = [
        rng.permutation(sorted(name for name, labels in sides.items() if labels == {side}))
        for side in (True, False)
    ]
    dealt = {
        str(name): f"dealt by chance, {number:04d}"
        for side in alone
        for number, name in enumerate(side[: min(map(len, alone))])
    }
    kept = tuple(
        _dealt(prompt, dealt[prompt.cluster]) if prompt.cluster in dealt else prompt
        for prompt in prompts
        if prompt.cluster in matched or prompt.cluster in dealt
    )
    return _Whole(kept, matched - by_chance, len(prompts) - len(kept))


def _dealt(prompt: Prompt, group: str) -> Prompt:
    """The mark goes into pairs.jsonl: read again, the pair is still one by chance."""
    return replace(prompt, group=group, labels={**prompt.labels, DEALT: True})


def _unfitted(prompts: Sequence[Prompt], fitted: Sequence[str]) -> tuple[PromptSet, int]:
    """Without pairs of which a prompt is, or holds, a fitted text; case and marks do not count."""
    texts = {plain_words(text) for text in fitted}
    longer = [text for text in texts if text.count(" ") > FEWEST_WORDS]  # one at each end
    seen = set()
    for prompt in prompts:
        said = [plain_words(turn.content) for turn in prompt.messages]
        if any(own in texts or any(text in own for text in longer) for own in said):
            seen.add(prompt.cluster)
    return PromptSet(p for p in prompts if p.cluster not in seen), len(seen)


def _some(prompts: PromptSet, n: int, seed: int) -> PromptSet:
    names = sorted({prompt.cluster for prompt in prompts})
    chosen = set(np.random.default_rng(seed).permutation(names)[:n].tolist())
    return prompts.filter(lambda prompt: prompt.cluster in chosen)
