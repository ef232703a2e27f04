"""Chunks of prompts, rendered one ahead: tokenizing overlaps with the forward passes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from trait_probe.errors import BadInputError
from trait_probe.forward.reader import Part
from trait_probe.forward.rendering import render_for
from trait_probe.identity import HookedModel, context_length, tokenizer_of
from trait_probe.prompts.positions import PositionRule
from trait_probe.prompts.prompt import Prompt
from trait_probe.prompts.render import Rendered, Truncate, render
from trait_probe.prompts.stream import ChunkLimit, chunked

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 1
"""Chunks that are made ready while one is computed."""
PART = 4096
"""Prompts of a part of what is in memory."""
CHARACTERS = 2**23
"""Of all prompts that are rendered at once."""


@dataclass(frozen=True)
class _End:
    """The iterable has no further item."""


@dataclass(frozen=True)
class _Pair(Generic[Item, Result]):
    item: Item
    result: Result


def ahead(
    items: Iterable[Item], prepare: Callable[[Item], Result]
) -> Iterator[tuple[Item, Result]]:
    """Each item with what `prepare` makes of it; the next ones are prepared in a thread meanwhile.

    The items too are drawn in that thread, one after the other. An error of either comes out in
    its turn, after the items before it.
    """
    iterator = iter(items)

    def step() -> _Pair[Item, Result] | _End:
        try:
            item = next(iterator)
        except StopIteration:
            return _End()
        return _Pair(item, prepare(item))

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="trait_probe-render") as pool:
        waiting: deque[Future[_Pair[Item, Result] | _End]] = deque()
        waiting.extend(pool.submit(step) for _ in range(AHEAD))
        try:
            while not isinstance(found := waiting.popleft().result(), _End):
                waiting.append(pool.submit(step))
                yield found.item, found.result
        finally:
            for future in waiting:
                future.cancel()


def in_parts(
    model: HookedModel,
    prompts: Iterable[Prompt] | Iterable[Rendered],
    positions: Sequence[str],
    truncate: Truncate | None,
) -> Iterator[tuple[Part, list[Rendered]]]:
    """Prompts that are in memory, looked at as a whole and then rendered part by part, ahead.

    Raises:
        BadInputError: something that is no prompt, a mixture, and as `Preflight`.
    """
    items: list[Prompt | Rendered] = list(prompts)
    unrendered = [item for item in items if isinstance(item, Prompt)]
    if len(items) <= PART or len(unrendered) < len(items):
        yield Part(0, len(items)), render_for(model, items, truncate=truncate)
        return
    check = Preflight(model, positions, truncate)
    for item in unrendered:
        check(item)
    parts = [
        Part(first, len(items), f" {first // PART + 1} of {-(-len(items) // PART)}")
        for first in range(0, len(items), PART)
    ]
    yield from ahead(
        parts,
        lambda part: render_for(
            model, unrendered[part.first : part.first + PART], truncate=truncate
        ),
    )


def stream(
    model: HookedModel,
    prompts: Iterable[Prompt | Mapping[str, object]],
    positions: Sequence[str],
    truncate: Truncate | None,
) -> Iterator[tuple[Part, list[Prompt], list[Rendered]]]:
    """Prompts of any iterable, drawn, looked at and rendered chunk by chunk, ahead.

    Raises:
        BadInputError: as `chunked` and `Preflight`, when the chunk is reached.
    """
    limit = ChunkLimit(PART, CHARACTERS)
    chunks = chunked(prompts, limit, Preflight(model, positions, truncate))
    rendered = ahead(chunks, lambda chunk: render_for(model, chunk.load(), truncate=truncate))
    for chunk, items in rendered:
        part = Part(chunk.first, chunk.first + chunk.count, f" from prompt {chunk.first + 1}")
        yield part, chunk.load(), items


class Preflight:
    """Refuses, before anything runs, prompts that the model or a position rule cannot take.

    A prompt is rendered for it only where its characters do not already show that it fits: a
    tokenizer makes at most one token of a byte of text.
    """

    def __init__(
        self,
        model: HookedModel,
        positions: Iterable[str],
        truncate: Truncate | None,
    ) -> None:
        self._model = model
        self._spans = {PositionRule.parse(rule).span: rule for rule in positions}
        self._truncate = truncate
        self._limit = context_length(model)

    def __call__(self, prompt: Prompt) -> None:
        """Look at one prompt.

        Raises:
            BadInputError: it lacks a span that a rule needs, or is longer than the context.
        """
        for span, rule in self._spans.items():
            if span not in spans_of(prompt):
                raise BadInputError(
                    f"The position rule {rule} needs the span {span!r}, which this prompt does not "
                    "have.",
                    got=prompt.id,
                    valid=sorted(spans_of(prompt)),
                    fix="Mark the span in the prompt ('spans'), or choose a rule over a span it "
                    "has.",
                )
        if self._truncate is None and 2 * _bytes(prompt) > self._limit:
            render(tokenizer_of(self._model), prompt, max_length=self._limit)


def spans_of(prompt: Prompt) -> set[str]:
    """Names of the spans that the prompt will have once rendered."""
    names = {"prompt", "response", "all", *prompt.spans}
    roles = {turn.role for turn in prompt.messages}
    return names | ({"system", "user"} & roles) | ({"prefill"} if prompt.prefill else set())


def _bytes(prompt: Prompt) -> int:
    texts = (*(turn.content for turn in prompt.messages), prompt.text, prompt.prefill)
    return sum(len(text.encode()) for text in (*texts, prompt.response) if text)
