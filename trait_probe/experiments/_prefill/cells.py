"""Step 2: the four cells as token ids: prompts, prefills of any length, the header put in again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from trait_probe.errors import BadInputError
from trait_probe.experiments._prefill.pairs import Pairs
from trait_probe.forward.rendering import has_chat_template, render_for
from trait_probe.identity import HookedModel, identify, tokenizer_of
from trait_probe.prompts.prompt import Prompt, PromptSet
from trait_probe.prompts.render import Rendered

HEADER_RULE = "response[-1]"
LAST_RULE = "prefill[-1]"
PROMPT_RULE = "prompt[-1]"
BEFORE_RULE = "before(prefill)[-1]"
MOST_TOKENS = 32
"""Of a prefill that are read; of a longer one so many, evenly spaced, the last one included."""


@dataclass(frozen=True)
class Header:
    """What the chat template puts in front of an answer, as token ids."""

    ids: tuple[int, ...]
    text: str

    def after(self, prompts: Sequence[Rendered]) -> list[Rendered]:
        """The prompts (prefill included) with the header put in again behind them."""
        return [item.with_response(self.ids) for item in prompts]


@dataclass(frozen=True)
class Cells:
    """Every prompt with one prefill.

    Attributes:
        prefill: its text, or what stands for it.
        rendered: prompts with the prefill, in the order of the pairs.
        shared: whether all prompts have the same prefill tokens.
    """

    prefill: str
    rendered: tuple[Rendered, ...]
    shared: bool

    @property
    def tokens(self) -> tuple[int, ...]:
        """Token ids of the prefill (of the first prompt's where they differ)."""
        return prefill_ids(self.rendered[0])

    @property
    def read(self) -> tuple[int, ...]:
        """Prefill tokens that are read, by number; the last one only where words differ."""
        n = len(self.tokens)
        if not self.shared:
            return (-1,)
        return tuple(sorted({int(at) for at in np.linspace(0, n - 1, min(n, MOST_TOKENS))}))

    @property
    def rules(self) -> tuple[str, ...]:
        """Position rules of the prefill tokens that are read."""
        return tuple(f"prefill[{at}]" for at in self.read)


def prefill_ids(item: Rendered) -> tuple[int, ...]:
    """Token ids of its prefill."""
    start, end = item.spans["prefill"]
    return item.token_ids[start:end]


def cut(item: Rendered, n: int) -> Rendered:
    """With the first `n` tokens of its prefill only."""
    start, end = item.spans["prefill"]
    end = min(end, start + n)
    spans = {"prefill": (start, end), "prompt": (0, end), "response": (end, end), "all": (0, end)}
    return replace(item, token_ids=item.token_ids[:end], spans={**item.spans, **spans})


def lengths(n_tokens: int, n: int) -> tuple[int, ...]:
    """Up to `n` lengths from 0 to `n_tokens`, evenly spaced, both ends included."""
    return tuple(sorted({round(at) for at in np.linspace(0, n_tokens, n).tolist()}))


def plain_cells(model: HookedModel, pairs: Pairs, reserve: int) -> tuple[Rendered, ...]:
    """The cells without prefill."""
    return tuple(render_for(model, pairs.prompts, reserve=reserve))


def prefilled_cells(model: HookedModel, pairs: Pairs, prefill: str, reserve: int) -> Cells:
    """Every prompt with the same prefill."""
    given = PromptSet(replace(prompt, prefill=prefill) for prompt in pairs.prompts)
    return _cells(model, given, prefill, reserve)


def target_cells(model: HookedModel, pairs: Pairs, name: str, fallback: str, reserve: int) -> Cells:
    """Every prompt with its own target, else its partner's, else `fallback`.

    Raises:
        BadInputError: no prompt has a target.
    """
    targets = {prompt.id: prompt.labels.get("target") for prompt in pairs.prompts}
    if not any(isinstance(text, str) and text for text in targets.values()):
        raise BadInputError(
            "No prompt has a target of its own.",
            got=f"{len(pairs.prompts)} prompts without a label 'target'",
            fix="Give a source with targets (advbench, jailbreakbench), or leave --target-prefill "
            "out.",
        )
    partner = {p.cluster: targets[p.id] for p in pairs.prompts if targets[p.id]}
    given = PromptSet(
        replace(prompt, prefill=str(targets[prompt.id] or partner.get(prompt.cluster) or fallback))
        for prompt in pairs.prompts
    )
    return _cells(model, given, name, reserve)


def _cells(model: HookedModel, given: PromptSet, name: str, reserve: int) -> Cells:
    rendered = tuple(render_for(model, given, reserve=reserve))
    return Cells(name, rendered, len({prefill_ids(item) for item in rendered}) == 1)


def assistant_header(model: HookedModel, pairs: Pairs) -> Header:
    """What the template adds in front of an answer; in every prompt the same.

    Raises:
        BadInputError: no chat template, or one that adds nothing or not the same everywhere.
    """
    if not has_chat_template(model):
        raise BadInputError(
            "A prefill attack puts words behind a chat template's assistant header; the model's "
            "tokenizer has no chat template.",
            got=identify(model).id,
            fix="Give a chat model, or set the tokenizer's chat_template.",
        )
    found = {_header_of(model, prompt) for prompt in pairs.prompts}
    if len(found) != 1 or not next(iter(found)).ids:
        raise BadInputError(
            "The chat template does not add the same header in front of every answer, so there is "
            "none to put in again.",
            got=sorted(header.text for header in found)[:3],
            fix="Give a model whose template writes a generation prompt.",
        )
    return found.pop()


def _header_of(model: HookedModel, prompt: Prompt) -> Header:
    """Tokens of the whole conversation that begin where it ends without the generation prompt."""
    tokenizer, thinking = tokenizer_of(model), identify(model).thinking
    turns = [{"role": turn.role, "content": turn.content} for turn in prompt.messages]
    with_header, without = (
        str(
            tokenizer.apply_chat_template(
                turns, add_generation_prompt=wanted, tokenize=False, enable_thinking=thinking
            )
        )
        for wanted in (True, False)
    )
    if not with_header.startswith(without):
        return Header((), "")
    encoded = tokenizer(with_header, add_special_tokens=False, return_offsets_mapping=True)
    ids = tuple(
        int(token)
        for token, (start, _) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
        if start >= len(without)
    )
    return Header(ids, with_header[len(without) :])
