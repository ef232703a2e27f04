"""Chunks of prompts, rendered one ahead: tokenizing overlaps with the forward passes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from trait_probe.errors import BadInputError
from trait_probe.forward.projections import require_unique
from trait_probe.forward.reader import Part
from trait_probe.forward.rendering import render_for
from trait_probe.identity import HookedModel, context_length
from trait_probe.prompts.positions import parse_rules
from trait_probe.prompts.prompt import Prompt
from trait_probe.prompts.render import Rendered, Truncate
from trait_probe.prompts.stream import ChunkLimit, PromptSource, chunked, read_prompts

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 1
"""Chunks that are made ready while one is computed."""
PART = 4096
"""Prompts of a part of what is in memory."""
BYTES = 2**23
"""Of text of all prompts that are rendered at once."""


def ahead(
    items: Iterable[Item], prepare: Callable[[Item], Result]
) -> Iterator[tuple[Item, Result]]:
    """Each item with what `prepare` makes of it, in a thread, while the one before is used.

    Items are drawn in the caller's own thread. An error of either comes out in its turn, after the
    items before it.
    """
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    failure: Exception | None = None
    iterator = iter(items)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="trait_probe-render") as pool:
        try:
            while True:
                try:
                    item = next(iterator)
                except StopIteration:
                    break
                except Exception as error:  # noqa: BLE001  # raised below, in its turn
                    failure = error
                    break
                waiting.append((item, pool.submit(prepare, item)))
                if len(waiting) > AHEAD:
                    yield _next(waiting)
            while waiting:
                yield _next(waiting)
        finally:
            for _, future in waiting:
                future.cancel()
    if failure is not None:
        raise failure


def _next(waiting: deque[tuple[Item, Future[Result]]]) -> tuple[Item, Result]:
    """The first that waits; no name here keeps it alive while the next one is prepared."""
    item, future = waiting.popleft()
    return item, future.result()


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
    require_unique([item.id for item in unrendered])
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
    prompts: PromptSource,
    positions: Sequence[str],
    truncate: Truncate | None,
) -> Iterator[tuple[Part, list[Prompt], list[Rendered]]]:
    """Prompts of a file or any iterable, drawn, looked at and rendered chunk by chunk, ahead.

    Raises:
        BadInputError: as `chunked` and `Preflight`, when the chunk is reached.
    """
    source = read_prompts(Path(prompts)) if isinstance(prompts, str | Path) else prompts
    chunks = chunked(source, ChunkLimit(PART, BYTES), Preflight(model, positions, truncate))
    rendered = ahead(chunks, lambda chunk: render_for(model, chunk.load(), truncate=truncate))
    for chunk, items in rendered:
        part = Part(chunk.first, chunk.first + chunk.count, f" from prompt {chunk.first + 1}")
        yield part, chunk.load(), items


class Preflight:
    """Refuses, before anything runs, prompts that the model or a position rule cannot take.

    Conversations, and prompts with marked spans or to be cut, are rendered for it, as the run will
    render them. A plain text is only where its bytes do not already show that it fits: tokens are
    hardly ever more than those.
    """

    def __init__(
        self,
        model: HookedModel,
        positions: Sequence[str],
        truncate: Truncate | None,
    ) -> None:
        self._model = model
        self._spans = {rule.span: str(rule) for rule in parse_rules(positions)}
        self._truncate = truncate
        self._limit = context_length(model)

    def __call__(self, prompt: Prompt) -> None:
        """Look at one prompt.

        Raises:
            BadInputError: it lacks a span that a rule needs, is longer than the context, or cannot
                be rendered.
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
        plain = not prompt.messages and not prompt.spans and self._truncate is None
        if not plain or 2 * prompt.n_bytes > self._limit:
            (found,) = render_for(self._model, [prompt], truncate=self._truncate)
            for span, rule in self._spans.items():
                if span not in found.spans:
                    raise BadInputError(
                        f"Cut to the context, the prompt has nothing left of {span!r}, which the "
                        f"position rule {rule} needs.",
                        got=prompt.id,
                        fix="Cut the other side, or leave the prompt out.",
                    )


def spans_of(prompt: Prompt) -> set[str]:
    """Names of the spans that the prompt will have once rendered."""
    names = {"prompt", "response", "all", *prompt.spans}
    roles = {turn.role for turn in prompt.messages}
    return names | ({"system", "user"} & roles) | ({"prefill"} if prompt.prefill else set())
