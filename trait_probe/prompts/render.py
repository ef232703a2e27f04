"""Render prompts to token ids with named token ranges; the ids are kept, never made again.

A conversation goes through the tokenizer's own chat template. The rendered prompt, the prefill and
a given response are tokenized one by one and their ids joined end to end, so that a prompt has the
same ids whatever follows it, and generated ids can be appended as they are. (A tokenizer that puts
a space in front of every text, as Llama-2's does, does so in front of each of the three.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from trait_probe.errors import BadInputError
from trait_probe.prompts._chat import CharRange, Tokenizer, place_spans
from trait_probe.prompts._record import located
from trait_probe.prompts.prompt import Prompt

__all__ = ["Rendered", "Tokenizer", "Truncate", "render", "render_all"]

Truncate = Literal["left", "right"]
TokenRange = tuple[int, int]

_TRUNCATE_FIX = (
    "Leave them out, or give truncate='left' (drops the oldest tokens after the first) or "
    "truncate='right' (drops the end)."
)


@dataclass(frozen=True, slots=True)
class Rendered:
    """One prompt as token ids, and where its spans lie.

    Args:
        prompt_id: the prompt's id.
        token_ids: everything the model reads: prompt, prefill and given response.
        spans: half-open absolute token ranges by name. `prompt` (all before the response, prefill
            included), `response` (empty at the end where none is given) and `all` always exist;
            `system`, `user` (content of the system and the last user message), `prefill` and marked
            spans where the prompt has them.
        cluster: the prompt's group, or its id.
    """

    prompt_id: str
    token_ids: tuple[int, ...]
    spans: Mapping[str, TokenRange]
    cluster: str

    def with_response(self, ids: Sequence[int]) -> Rendered:
        """Append generated token ids as the response.

        Raises:
            BadInputError: there already is a response.
        """
        start, end = self.spans["response"]
        if end > start:
            raise BadInputError(
                f"The prompt {self.prompt_id!r} already has a response of {end - start} tokens.",
                fix="Generate from the prompt without its 'response'.",
            )
        token_ids = (*self.token_ids, *(int(token) for token in ids))
        ranges = {"response": (start, len(token_ids)), "all": (0, len(token_ids))}
        return replace(self, token_ids=token_ids, spans={**self.spans, **ranges})


def render(
    tokenizer: Tokenizer,
    prompt: Prompt,
    *,
    max_length: int | None,
    truncate: Truncate | None = None,
    thinking: bool = False,
) -> Rendered:
    """Token ids and token ranges of one prompt.

    Conversations: the chat template with its generation prompt, tokenized without further special
    tokens (the template writes its own, BOS included). Texts: as the tokenizer encodes them, with
    its special tokens (unless the text is written with BOS already). A token belongs to a span if
    it shares a character with it.

    Args:
        tokenizer: a fast Hugging Face tokenizer; it is not changed.
        max_length: the model's context in tokens, or None for no limit.
        truncate: what to cut where the prompt is longer. `left`: the oldest tokens after the first
            (which may be BOS); `right`: the end. Spans are clipped; `system` and `user` vanish when
            nothing of them is left.
        thinking: passed to the template as `enable_thinking` (Qwen3 and alike).

    Raises:
        BadInputError: too long without `truncate`; no chat template, or one that refuses or
            rewrites the conversation; a marked span, prefill or response with no token left.
    """
    (rendered,) = render_all(
        tokenizer, [prompt], max_length=max_length, truncate=truncate, thinking=thinking
    )
    return rendered


def render_all(
    tokenizer: Tokenizer,
    prompts: Iterable[Prompt],
    *,
    max_length: int | None,
    truncate: Truncate | None = None,
    thinking: bool = False,
) -> list[Rendered]:
    """`render` for many prompts; those that are too long are counted in one error.

    Raises:
        BadInputError: as `render`.
    """
    if truncate not in (None, "left", "right"):
        raise BadInputError("A prompt is cut on one side.", got=truncate, valid=("left", "right"))
    if max_length is not None and max_length < 1:
        raise BadInputError("A context holds at least one token.", got=max_length)
    rendered = [_render(tokenizer, prompt, thinking) for prompt in prompts]
    if max_length is None:
        return rendered
    if truncate is None:
        _check_lengths(rendered, max_length)
    return [_fit(item, max_length, truncate) for item in rendered]


def _check_lengths(rendered: Sequence[Rendered], max_length: int) -> None:
    long = [item for item in rendered if len(item.token_ids) > max_length]
    if not long:
        return
    longest = max(long, key=lambda item: len(item.token_ids))
    noun, verb = ("prompt", "is") if len(rendered) == 1 else ("prompts", "are")
    raise BadInputError(
        f"{len(long)} of {len(rendered)} {noun} {verb} longer than the context of {max_length} "
        f"tokens; longest: {longest.prompt_id!r} with {len(longest.token_ids)}.",
        got=[item.prompt_id for item in long[:5]],
        fix=_TRUNCATE_FIX,
    )


def _render(tokenizer: Tokenizer, prompt: Prompt, thinking: bool) -> Rendered:
    try:
        return _render_checked(tokenizer, prompt, thinking)
    except BadInputError as error:
        raise located(f"Prompt {prompt.id!r}", error) from error


def _render_checked(tokenizer: Tokenizer, prompt: Prompt, thinking: bool) -> Rendered:
    head, places = place_spans(tokenizer, prompt, thinking)
    ids, offsets = _encode(tokenizer, head, special=_wants_special_tokens(tokenizer, prompt))
    spans = {name: _token_range(name, place, offsets) for name, place in places.items()}
    for name, words in (("prefill", prompt.prefill), ("response", prompt.response)):
        start = len(ids)
        ids += _encode(tokenizer, words, special=False)[0] if words else []
        if words or name == "response":
            spans[name] = (start, len(ids))
    if not ids:
        raise BadInputError("The tokenizer makes no token of the prompt.", got=head)
    spans["prompt"], spans["all"] = (0, spans["response"][0]), (0, len(ids))
    return Rendered(prompt.id, tuple(ids), spans, prompt.cluster)


def _wants_special_tokens(tokenizer: Tokenizer, prompt: Prompt) -> bool:
    """Only plain texts do, and not those that a user wrote with the BOS token in front."""
    bos = getattr(tokenizer, "bos_token", None)
    return prompt.text is not None and not (bos and prompt.text.startswith(bos))


def _encode(
    tokenizer: Tokenizer, text: str, *, special: bool
) -> tuple[list[int], Sequence[CharRange]]:
    try:
        encoded = tokenizer(text, add_special_tokens=special, return_offsets_mapping=True)
    except NotImplementedError as error:
        raise BadInputError(
            "Rendering needs a fast tokenizer, which tells the characters of each token.",
            got=type(tokenizer).__name__,
            fix="Load the tokenizer with AutoTokenizer.from_pretrained(..., use_fast=True).",
        ) from error
    offsets = encoded["offset_mapping"]
    if special and any(end for _, end in offsets) and offsets[-1] == (0, 0):
        raise BadInputError(
            "The tokenizer ends every text with a special token, so nothing can be continued.",
            got=type(tokenizer).__name__,
            fix="Switch that off in the tokenizer (e.g. add_eos_token=False).",
        )
    return list(encoded["input_ids"]), offsets


def _token_range(name: str, place: CharRange, offsets: Sequence[CharRange]) -> TokenRange:
    inside = [i for i, (start, end) in enumerate(offsets) if start < place[1] and end > place[0]]
    if not inside:
        raise BadInputError(
            f"The span {name!r} has no token of its own: the tokenizer drops its characters.",
            fix="Mark at least one character that is not whitespace.",
        )
    return inside[0], inside[-1] + 1


def _fit(rendered: Rendered, max_length: int, truncate: Truncate | None) -> Rendered:
    cut = len(rendered.token_ids) - max_length
    if cut <= 0 or truncate is None:
        return rendered
    ids = rendered.token_ids
    kept = ids[:max_length] if truncate == "right" else ids[:1] + ids[1 + cut :]
    spans = {name: _clip(span, cut, max_length, truncate) for name, span in rendered.spans.items()}
    gone = _empty(spans) - _empty(rendered.spans)
    if lost := sorted(gone - {"system", "user"}):
        raise BadInputError(
            f"Cutting {rendered.prompt_id!r} to {max_length} tokens leaves nothing of its spans: "
            f"{', '.join(lost)}.",
            got=truncate,
            valid=[side for side in ("left", "right") if side != truncate],
            fix="Cut the other side, or leave the prompt out.",
        )
    spans = {name: span for name, span in spans.items() if name not in gone}
    return replace(rendered, token_ids=kept, spans=spans)


def _empty(spans: Mapping[str, TokenRange]) -> set[str]:
    return {name for name, (start, end) in spans.items() if start == end}


def _clip(span: TokenRange, cut: int, max_length: int, truncate: Truncate) -> TokenRange:
    def moved(edge: int) -> int:
        if truncate == "right":
            return min(edge, max_length)
        return edge if edge <= 1 else max(1, edge - cut)

    return moved(span[0]), moved(span[1])
