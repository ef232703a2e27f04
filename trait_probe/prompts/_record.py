"""What a prompt is made of, and how its JSON fields are read and checked."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from trait_probe.errors import BadInputError, nearest

Role = Literal["system", "user", "assistant"]
Scalar = str | int | float | bool | None
JsonRow = Mapping[str, object]

TEXT = -1  # the message index of a span inside `text`
RESERVED_SPANS = ("system", "user", "prefill", "response", "prompt", "all")
_SPAN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation, as the chat template takes it."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class CharSpan:
    """Characters `start` to `end` (half-open) of one message's content.

    Args:
        message: index into `Prompt.messages`, or -1 for `Prompt.text`.
        start: first character (code points), from 0.
        end: character after the last.
    """

    message: int
    start: int
    end: int


def check_keys(row: JsonRow, valid: Sequence[str], what: str) -> None:
    """Refuse keys that nothing would read."""
    for key in row:
        if key not in valid:
            raise BadInputError(
                f"{what} has the unknown field {key!r}.",
                got=key,
                valid=nearest(str(key), valid),
                fix="Rename the field, or move it into 'labels'.",
            )


def read_text(row: JsonRow, field: str) -> str | None:
    """A string field; None where it is absent or null."""
    value = row.get(field)
    if value is not None and not isinstance(value, str):
        raise BadInputError(
            f"The field {field!r} must be a string.", got=value, fix=f"Write it as {str(value)!r}."
        )
    return value


def read_messages(value: object) -> tuple[Message, ...]:
    """The field `messages`: a list of objects with exactly `role` and `content`."""
    if value is None:
        return ()
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) == 0:
        raise BadInputError(
            "The field 'messages' must be a list of messages, at least one.",
            got=value,
            fix='Write [{"role": "user", "content": "..."}], or use "text" for a plain text.',
        )
    return tuple(_message(item, index) for index, item in enumerate(value))


def _message(item: object, index: int) -> Message:
    if not isinstance(item, Mapping):
        raise BadInputError(
            f"Message {index} of the field 'messages' must be an object.",
            got=item,
            fix='Write {"role": "user", "content": "..."}.',
        )
    check_keys(item, ("role", "content"), f"Message {index} of the field 'messages'")
    role, content = item.get("role"), item.get("content")
    if role not in ("system", "user", "assistant"):
        raise BadInputError(
            f"Message {index} of the field 'messages' has an unknown role.",
            got=role,
            valid=nearest(str(role), get_args(Role)),
        )
    if not isinstance(content, str):
        raise BadInputError(
            f"Message {index} of the field 'messages' must have a string as 'content'.",
            got=content,
        )
    return Message(role=role, content=content)


def read_spans(value: object, contents: Sequence[str], default_message: int) -> dict[str, CharSpan]:
    """The field `spans`: a substring, [start, end], or {"message", "start", "end"} per name.

    Args:
        value: the JSON value, or None.
        contents: contents of the messages, or the one text.
        default_message: where substrings and [start, end] are looked up.
    """
    mapping = read_mapping(value, "spans")
    return {name: _span(name, item, contents, default_message) for name, item in mapping.items()}


def read_mapping(value: object, field: str) -> dict[str, object]:
    """An object field with string keys; empty where it is absent or null."""
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise BadInputError(f"The field {field!r} must be an object with string keys.", got=value)
    return dict(value)


def _span(name: str, item: object, contents: Sequence[str], default: int) -> CharSpan:
    if isinstance(item, str):
        return _substring(name, item, contents[default], default)
    if isinstance(item, Mapping):
        check_keys(item, ("message", "start", "end"), f"The span {name!r}")
        numbers = [item.get("message", default), item.get("start"), item.get("end")]
    elif isinstance(item, Sequence) and len(item) == 2:
        numbers = [default, *item]
    else:
        numbers = []
    if len(numbers) != 3 or any(type(number) is not int for number in numbers):
        raise BadInputError(
            f"The span {name!r} must be a substring, [start, end] or an object.",
            got=item,
            fix='Write "marked words", [3, 8] or {"message": 0, "start": 3, "end": 8}.',
        )
    return CharSpan(*numbers)


def _substring(name: str, words: str, content: str, message: int) -> CharSpan:
    start = content.find(words) if words else -1
    if start < 0:
        raise BadInputError(
            f"The span {name!r} must be a substring of the last user message or text.",
            got=words,
            fix="Copy the words exactly, or give [start, end].",
        )
    if content.find(words, start + 1) >= 0:
        raise BadInputError(
            f"The span {name!r} occurs more than once in the last user message or text.",
            got=words,
            fix="Give [start, end] to say which occurrence is meant.",
        )
    return CharSpan(message, start, start + len(words))


def check_messages(messages: Sequence[Message]) -> None:
    """Roles in an order a chat template can render, no blank content, last one the user's."""
    for index, message in enumerate(messages):
        if not isinstance(message, Message):
            raise BadInputError(
                f"Message {index} must be a Message.", got=message, fix="Use Prompt.from_dict."
            )
        if message.role not in get_args(Role):
            raise BadInputError(
                f"Message {index} has an unknown role.", got=message.role, valid=get_args(Role)
            )
        if message.role == "system" and index > 0:
            raise BadInputError(
                f"Message {index} is a system message, which can only come first.",
                fix="Put the system message first, and only one.",
            )
        if not message.content.strip():
            raise BadInputError(
                f"Message {index} ({message.role}) is empty.", fix="Leave the message out."
            )
    if messages[-1].role != "user":
        raise BadInputError(
            f"The last message must be the user's, not the {messages[-1].role}'s.",
            fix="Give the assistant's words as 'response' (all of them) or 'prefill' (a start).",
        )


def check_spans(
    spans: Mapping[str, CharSpan], messages: Sequence[Message], text: str | None
) -> None:
    """Names free and writable in a position rule, ranges inside their message and not empty."""
    for name, span in spans.items():
        if name in RESERVED_SPANS or _SPAN_NAME.fullmatch(name) is None:
            raise BadInputError(
                f"A marked span cannot be named {name!r}.",
                got=name,
                fix="Use letters, digits, '_' and '-', and none of " + ", ".join(RESERVED_SPANS),
            )
        length = _content_length(name, span, messages, text)
        if not 0 <= span.start < span.end <= length:
            raise BadInputError(
                f"The span {name!r} must be a nonempty range inside {length} characters.",
                got=[span.start, span.end],
                valid=[f"0 <= start < end <= {length}"],
            )


def _content_length(
    name: str, span: CharSpan, messages: Sequence[Message], text: str | None
) -> int:
    if text is not None and span.message == TEXT:
        return len(text)
    if text is None and 0 <= span.message < len(messages):
        return len(messages[span.message].content)
    valid = [TEXT] if text is not None else list(range(len(messages)))
    raise BadInputError(
        f"The span {name!r} points into a message that is not there.", got=span.message, valid=valid
    )


def read_labels(value: object) -> dict[str, Scalar]:
    """Labels are JSON scalars, so that every file format keeps them exactly."""
    return {name: _scalar(name, item) for name, item in read_mapping(value, "labels").items()}


def _scalar(name: str, value: object) -> Scalar:
    finite = not isinstance(value, float) or math.isfinite(value)
    if finite and (value is None or isinstance(value, str | int | float)):
        return value
    raise BadInputError(
        f"The label {name!r} must be a string, a finite number, true, false or null.",
        got=value,
        fix="Leave the label out, or write it as a string.",
    )


def check_unicode(texts: Iterable[str]) -> None:
    """Refuse halves of surrogate pairs: no file format and no tokenizer can hold them."""
    for text in texts:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise BadInputError(
                "The text holds half of a surrogate pair, which is not Unicode text.",
                got=text[max(0, error.start - 10) : error.end + 10],
                fix="Repair the encoding of the source (read it as UTF-8).",
            ) from error


def check_final_assistant(prefill: str | None, response: str | None) -> None:
    """A last assistant message is the response, so nothing else may be."""
    if prefill is not None or response is not None:
        raise BadInputError(
            "The field 'messages' ends with an assistant message, beside a prefill or response.",
            fix="Leave the message out and give its words as 'prefill' and 'response'.",
        )


def check_unique(named: Iterable[tuple[str, str]]) -> None:
    """Take (where, id) pairs; name both places of the first id that comes twice."""
    seen: dict[str, str] = {}
    for where, name in named:
        if name in seen:
            raise BadInputError(
                f"{where}: the field 'id' must be unique, and {seen[name]} already has this one.",
                got=name,
                fix="Rename one of the two prompts.",
            )
        seen[name] = where


def located(where: str, error: BadInputError) -> BadInputError:
    """The same error, its sentence starting with the place."""
    problem = f"{where}: {error.problem}"
    return BadInputError(problem, got=error.got, valid=error.valid, fix=error.fix)
