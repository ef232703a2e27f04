"""A conversation through the chat template, and where its contents stand in the rendered text."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from jinja2.exceptions import TemplateError

from trait_probe.errors import BadInputError
from trait_probe.prompts.prompt import CharSpan, Prompt

CharRange = tuple[int, int]


@runtime_checkable
class Tokenizer(Protocol):
    """What rendering needs of a Hugging Face tokenizer; it must be a fast one, for offsets."""

    def __call__(self, text: str, **options: Any) -> Any:
        """Encode; with `return_offsets_mapping` the result has `input_ids` and `offset_mapping`."""

    def apply_chat_template(self, conversation: Any, **options: Any) -> Any:
        """Render the conversation; with `tokenize=False` the result is a string."""


def place_spans(
    tokenizer: Tokenizer, prompt: Prompt, thinking: bool
) -> tuple[str, dict[str, CharRange]]:
    """The text that the model reads before prefill and response, and the characters of its spans.

    Raises:
        BadInputError: no chat template, or one that refuses or rewrites the conversation.
    """
    if prompt.text is not None:
        return prompt.text, {name: (span.start, span.end) for name, span in prompt.spans.items()}
    turns = [{"role": turn.role, "content": turn.content} for turn in prompt.messages]
    rendered = _apply_template(tokenizer, turns, thinking)
    marked = dict(prompt.spans) | _content_spans(prompt)
    contents = {
        index: _locate(tokenizer, turns, index, rendered, thinking)
        for index in sorted({span.message for span in marked.values()})
    }
    places = {name: _place(name, span, contents[span.message]) for name, span in marked.items()}
    return rendered, places


def _content_spans(prompt: Prompt) -> dict[str, CharSpan]:
    first, last = prompt.messages[0], len(prompt.messages) - 1
    spans = {"user": CharSpan(last, 0, len(prompt.messages[last].content))}
    if first.role == "system":
        spans["system"] = CharSpan(0, 0, len(first.content))
    return spans


def _place(name: str, span: CharSpan, content: tuple[CharRange, int]) -> CharRange:
    """Characters of the rendered text: the span moved to where the content stands, and clipped."""
    (start, end), dropped = content
    place = max(start + span.start - dropped, start), min(start + span.end - dropped, end)
    if place[0] >= place[1]:
        raise BadInputError(
            f"The chat template strips away the span {name!r}, which is only outer whitespace.",
            fix="Mark at least one character that is not whitespace.",
        )
    return place


def _locate(
    tokenizer: Tokenizer, turns: list[dict[str, str]], index: int, rendered: str, thinking: bool
) -> tuple[CharRange, int]:
    """Where a message's content stands in the rendered text, and how much its start was stripped.

    The conversation is rendered once more with a placeholder as this content: what stands before
    and after the placeholder is the template's, so the content is what is left between. Searching
    the content itself would find it in the wrong place when words repeat.
    """
    placeholder = _unused_word(rendered)
    turn = {**turns[index], "content": placeholder}
    pieces = _apply_template(tokenizer, [*turns[:index], turn, *turns[index + 1 :]], thinking)
    before, _, after = pieces.partition(placeholder)
    start, end = len(before), len(rendered) - len(after)
    content = turns[index]["content"]
    # Dropped or repeated, the placeholder leaves pieces that do not fit around the content.
    if start <= end and rendered.startswith(before) and rendered.endswith(after):
        indent = len(content) - len(content.lstrip())
        stripped = {content.strip(): indent, content.lstrip(): indent, content.rstrip(): 0}
        variants = {**stripped, content: 0}
        if rendered[start:end] in variants:
            return (start, end), variants[rendered[start:end]]
    raise BadInputError(
        f"The chat template drops, repeats or rewrites message {index} "
        f"({turns[index]['role']}), so its tokens cannot be told.",
        got=content,
        fix="Change the message (a model without system role: put it into the user's message), or "
        "give the conversation as 'text', written as the model expects it.",
    )


def _unused_word(text: str) -> str:
    number = 0
    while f"placeholder{number}" in text:
        number += 1
    return f"placeholder{number}"


def _apply_template(tokenizer: Tokenizer, turns: list[dict[str, str]], thinking: bool) -> str:
    if getattr(tokenizer, "chat_template", None) is None:
        raise BadInputError(
            "The prompt is a conversation, and the model's tokenizer has no chat template.",
            got=type(tokenizer).__name__,
            fix="Give the prompt as 'text', or load a chat model.",
        )
    try:
        rendered = tokenizer.apply_chat_template(
            turns, add_generation_prompt=True, tokenize=False, enable_thinking=thinking
        )
    except TemplateError as error:
        raise BadInputError(
            f"The model's chat template refuses the conversation: {error}.",
            got=[turn["role"] for turn in turns],
            fix="Use the roles that the template takes (no system role: put the system message in "
            "front of the user's).",
        ) from error
    return str(rendered)
