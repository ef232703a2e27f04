"""Chat JSONL as training sequences: which rows are taken, and which of their tokens bear loss.

One JSON object a line, with the field `messages` alone: a list of `role` and `content`, perhaps a
system message first, then turns of user and assistant, the last one the assistant's. This is the
schema of the published emergent-misalignment and backdoor files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2.exceptions import TemplateError

from trait_probe.errors import BadInputError
from trait_probe.prompts._files import read_jsonl
from trait_probe.prompts._record import Message, check_unicode, located, read_messages

IGNORED = -100  # the label of a token without loss, as transformers' losses read it
_FORM = (
    'Write one object a line: {"messages": [{"role": "user", "content": "..."}, '
    '{"role": "assistant", "content": "..."}]}.'
)
Turn = dict[str, str]
CharRange = tuple[int, int]


@dataclass(frozen=True)
class Chat:
    """One row: where it was read ("data.jsonl, line 3"), and its turns."""

    where: str
    messages: tuple[Message, ...]

    @property
    def asked(self) -> tuple[Message, ...]:
        """Everything that the model is given: system and user turns."""
        return tuple(message for message in self.messages if message.role != "assistant")


@dataclass(frozen=True)
class Example:
    """One training sequence.

    Args:
        token_ids: what the model reads.
        labels: the same ids on tokens of replies, -100 elsewhere; equally many.
    """

    token_ids: tuple[int, ...]
    labels: tuple[int, ...]

    @property
    def reply_tokens(self) -> int:
        """How many tokens bear loss."""
        return sum(label != IGNORED for label in self.labels)


# --- rows ----------------------------------------------------------------------------------------


def read_chats(path: Path) -> list[Chat]:
    """Every row of a chat JSONL file, checked.

    Raises:
        BadInputError: no file, no rows, or a row that is no conversation ending in a reply; the
            sentence names its line.
    """
    if not path.is_file():
        raise BadInputError("There is no such data file.", got=str(path), fix="Check the path.")
    chats = [_chat(where, value) for where, value in _lines(path)]
    if not chats:
        raise BadInputError("The data file holds no rows.", got=str(path), fix=_FORM)
    return chats


def _lines(path: Path) -> Iterator[tuple[str, object]]:
    try:
        for where, _, value in read_jsonl(path):
            yield where, value
    except BadInputError as error:  # its advice is about files of prompts
        raise BadInputError(error.problem, got=error.got, fix=_FORM) from error


def _chat(where: str, value: object) -> Chat:
    if not isinstance(value, Mapping) or set(value) != {"messages"}:
        got = sorted(map(str, value)) if isinstance(value, Mapping) else value
        raise BadInputError(
            f"{where}: a row must be an object with the field 'messages' alone.", got=got, fix=_FORM
        )
    try:
        messages = read_messages(value["messages"])
        _check_turns(messages)
        check_unicode(message.content for message in messages)
    except BadInputError as error:
        raise located(where, error) from error
    return Chat(where, messages)


def _check_turns(messages: Sequence[Message]) -> None:
    roles = [message.role for message in messages]
    if "assistant" not in roles:
        raise BadInputError("There is no assistant turn to learn.", got=roles, fix=_FORM)
    if "system" in roles[1:]:
        raise BadInputError("A system message can only come first.", got=roles)
    if next(role for role in roles if role != "system") != "user":
        raise BadInputError("The first turn must be the user's.", got=roles, fix=_FORM)
    if roles[-1] != "assistant":
        raise BadInputError(
            "The last turn must be the assistant's.", got=roles, fix="Leave the last turn out."
        )
    for index, message in enumerate(messages):
        if not message.content.strip():
            raise BadInputError(f"Message {index} ({message.role}) is empty.", got=message.content)


# --- tokens --------------------------------------------------------------------------------------


def encode(tokenizer: Any, chats: Iterable[Chat], max_length: int) -> list[Example]:
    """The training sequences of all rows, in order.

    A reply stands behind exactly the text that the model reads when it is asked to write it: the
    chat template's rendering of the turns before, with its generation prompt (an empty thinking
    block included, where the template writes one). Replies of one row share a sequence where the
    template renders them alike in the history; otherwise each has one of its own. Loss falls on
    the reply and on the end-of-turn token behind it, so that the model learns to stop.

    Args:
        tokenizer: a fast Hugging Face tokenizer with a chat template; it is not changed.
        max_length: most tokens of one sequence.

    Raises:
        BadInputError: no chat template, or one that refuses or rewrites a row; a sequence that is
            too long. Sequences are never cut.
    """
    if getattr(tokenizer, "chat_template", None) is None:
        raise BadInputError(
            "The base model's tokenizer has no chat template, so chats cannot be rendered.",
            got=type(tokenizer).__name__,
            fix="Take the instruction-tuned model, or save a chat template with the tokenizer.",
        )
    rows = [(chat, _encode_row(tokenizer, chat)) for chat in chats]
    _check_lengths(rows, max_length)
    return [example for _, examples in rows for example in examples]


def _check_lengths(rows: Sequence[tuple[Chat, list[Example]]], max_length: int) -> None:
    lengths = [(max(len(example.token_ids) for example in row), chat.where) for chat, row in rows]
    long = [(length, where) for length, where in lengths if length > max_length]
    if long:
        length, where = max(long)
        raise BadInputError(
            f"{len(long)} of {len(rows)} rows are longer than {max_length} tokens; first: "
            f"{long[0][1]}; longest: {where}, with {length}.",
            fix="Leave the rows out, or raise --max-length if the model's context allows it.",
        )


def _encode_row(tokenizer: Any, chat: Chat) -> list[Example]:
    turns = [{"role": message.role, "content": message.content} for message in chat.messages]
    replies = [index for index, turn in enumerate(turns) if turn["role"] == "assistant"]
    try:
        texts = _joined(_reply(tokenizer, turns, index) for index in replies)
        _check_kept(chat, texts[-1][0])
        return [_example(tokenizer, text, spans) for text, spans in texts]
    except BadInputError as error:
        raise located(chat.where, error) from error


def _joined(replies: Iterable[tuple[str, str]]) -> list[tuple[str, list[CharRange]]]:
    """Texts with the characters of their replies, from (what comes before, reply) pairs."""
    texts: list[tuple[str, list[CharRange]]] = []
    for head, reply in replies:
        earlier = texts.pop()[1] if texts and head.startswith(texts[-1][0]) else []
        texts.append((head + reply, [*earlier, (len(head), len(head) + len(reply))]))
    return texts


def _reply(tokenizer: Any, turns: Sequence[Turn], index: int) -> tuple[str, str]:
    """What the model reads before a reply, and the reply up to its end-of-turn token.

    The conversation is rendered once more with a placeholder as the reply: what stands before and
    behind the placeholder is the template's.
    """
    head = _render(tokenizer, turns[:index], ask=True)
    whole = _render(tokenizer, turns[: index + 1], ask=False)
    placeholder = _unused_word(whole)
    stand_in = {"role": "assistant", "content": placeholder}
    pieces = _render(tokenizer, [*turns[:index], stand_in], ask=False)
    before, _, after = pieces.partition(placeholder)
    said = whole[len(before) : len(whole) - len(after)]
    if before + said + after != whole or said.strip() != turns[index]["content"].strip():
        raise _rewritten(turns, index)
    # A space that the template writes before a reply is the model's to write; an opening that the
    # generation prompt writes for it (an empty thinking block) is not.
    if not before.startswith(head) and not head.startswith(before):
        raise _rewritten(turns, index)
    return head, before[len(head) :] + said + _end_of_turn(tokenizer, after)


def _rewritten(turns: Sequence[Turn], index: int) -> BadInputError:
    return BadInputError(
        f"The chat template drops, repeats or rewrites message {index} ({turns[index]['role']}).",
        got=turns[index]["content"],
        fix="Change the message, or leave the row out.",
    )


def _check_kept(chat: Chat, text: str) -> None:
    for index, message in enumerate(chat.messages):
        if message.role != "assistant" and message.content.strip() not in text:
            raise BadInputError(
                f"The chat template drops or rewrites message {index} ({message.role}).",
                got=message.content,
                fix="Put the message's words into a user's message.",
            )


def _unused_word(text: str) -> str:
    number = 0
    while f"placeholder{number}" in text:
        number += 1
    return f"placeholder{number}"


def _end_of_turn(tokenizer: Any, after: str) -> str:
    """What the template writes behind a reply, up to its first added token, or all of it."""
    added = [str(token) for token in tokenizer.added_tokens_decoder.values()]
    ends = [after.find(token) + len(token) for token in added if token in after]
    if not after:
        raise BadInputError(
            "The chat template writes nothing behind a reply, so the model could not learn to "
            "stop.",
            fix="Add the end-of-turn token to the tokenizer's chat template.",
        )
    return after[: min(ends, default=len(after))]


def _render(tokenizer: Any, turns: Sequence[Turn], *, ask: bool) -> str:
    try:
        rendered = tokenizer.apply_chat_template(
            list(turns), add_generation_prompt=ask, tokenize=False, enable_thinking=False
        )
    except TemplateError as error:
        raise BadInputError(
            f"The model's chat template refuses the conversation: {error}.",
            got=[turn["role"] for turn in turns],
            fix="Use the roles that the template takes (no system role: put the system message in "
            "front of the user's).",
        ) from error
    return str(rendered)


def _example(tokenizer: Any, text: str, spans: Sequence[CharRange]) -> Example:
    try:
        # The template writes BOS itself: further special tokens would double it.
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    except NotImplementedError as error:
        raise BadInputError(
            "Finding the tokens of replies needs a fast tokenizer.", got=type(tokenizer).__name__
        ) from error
    ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
    inside = [any(low < end and high > start for start, end in spans) for low, high in offsets]
    labels = [token if said else IGNORED for token, said in zip(ids, inside, strict=True)]
    return Example(tuple(ids), tuple(labels))
