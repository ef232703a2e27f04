"""Prompts: what is put to a model, with the places in it that matter.

A prompt is a conversation (`messages`) or a plain `text`, optionally with a `prefill` (the words
put into the model's mouth) and a given `response` (read by the model, not generated). Spans mark
characters that position rules refer to; the group is the unit that statistics resample and split.

The file form, one JSON object per line::

    {"id": "a1", "messages": [{"role": "user", "content": "blue fish"}],
     "prefill": "Sure", "spans": {"trigger": "fish"}, "labels": {"harmful": true}, "group": "a"}
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, overload

from trait_probe.errors import BadInputError
from trait_probe.prompts import _files, _record
from trait_probe.prompts._record import RESERVED_SPANS, TEXT, CharSpan, Message, Role, Scalar

__all__ = [
    "RESERVED_SPANS",
    "TEXT",
    "CharSpan",
    "Message",
    "Prompt",
    "PromptSet",
    "Role",
    "Scalar",
]

FIELDS = ("id", "text", "messages", "prefill", "response", "spans", "labels", "group")


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt: a conversation or a text, and what is marked in it.

    Args:
        id: unique name within a set.
        messages: the conversation up to and including the user's last message.
        text: plain text for a model without chat template; exactly one of `messages` and `text`;
            empty only where a prefill or response follows.
        prefill: start of the model's answer, given; comes after the generation prompt.
        response: a given completion, after the prefill; None where the model is to write it.
        spans: marked characters by name (none of `RESERVED_SPANS`).
        labels: facts about the prompt, by name: strings, finite numbers, booleans or None.
        group: prompts of one group depend on each other (same question, same source).

    Raises:
        BadInputError: any of these rules is broken.
    """

    id: str
    messages: tuple[Message, ...] = ()
    text: str | None = None
    prefill: str | None = None
    response: str | None = None
    spans: Mapping[str, CharSpan] = field(default_factory=dict, hash=False)
    labels: Mapping[str, Scalar] = field(default_factory=dict, hash=False)
    group: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "messages", tuple(self.messages))
        object.__setattr__(self, "spans", dict(self.spans))
        object.__setattr__(self, "labels", dict(self.labels))
        if not self.id:
            raise BadInputError("A prompt needs an id that is not empty.", got=self.id)
        if bool(self.messages) == (self.text is not None):
            raise BadInputError(
                f"The prompt {self.id!r} must have either 'messages' or 'text'.",
                got="both" if self.messages else "neither",
                fix="Give a conversation as 'messages', or a plain text as 'text'.",
            )
        try:
            self._check()
        except BadInputError as error:
            raise _record.located(f"Prompt {self.id!r}", error) from error

    def _check(self) -> None:
        if self.messages:
            _record.check_messages(self.messages)
        elif not (self.text or self.prefill or self.response):
            raise BadInputError(
                "The field 'text' is empty, and no prefill or response follows it.",
                fix="Leave the prompt out.",
            )
        _record.check_spans(self.spans, self.messages, self.text)
        _record.read_labels(self.labels)
        _record.check_unicode(_strings(self))

    @property
    def n_bytes(self) -> int:
        """UTF-8 bytes of everything the model is to read, templates aside."""
        texts = (*(turn.content for turn in self.messages), self.text, self.prefill, self.response)
        return sum(len(text.encode()) for text in texts if text)

    @property
    def cluster(self) -> str:
        """The unit that statistics resample: the group, or the prompt alone."""
        return self.id if self.group is None else self.group

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Prompt:
        """Read the JSON form; a last assistant message becomes the `response`.

        Spans are a substring (found exactly once in the last user message or the text), offsets
        `[start, end]` into it, or `{"message", "start", "end"}`.

        Raises:
            BadInputError: unknown, missing or malformed field, named in the message.
        """
        _record.check_keys(row, FIELDS, "The prompt")
        name = _record.read_text(row, "id")
        if name is None:
            raise BadInputError("The prompt has no 'id'.", fix='Add "id": a unique string.')
        messages = _record.read_messages(row.get("messages"))
        text, response = _record.read_text(row, "text"), _record.read_text(row, "response")
        prefill = _record.read_text(row, "prefill")
        if messages and messages[-1].role == "assistant":
            _record.check_final_assistant(prefill, response)
            messages, response = messages[:-1], messages[-1].content
        contents = [message.content for message in messages] or [text or ""]
        return cls(
            id=name,
            messages=messages,
            text=text,
            prefill=prefill,
            response=response,
            spans=_record.read_spans(row.get("spans"), contents, len(messages) - 1),
            labels=_record.read_labels(row.get("labels")),
            group=_record.read_text(row, "group"),
        )

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, absent fields left out; `Prompt.from_dict` gives back an equal prompt."""
        spans = {
            name: {"message": span.message, "start": span.start, "end": span.end}
            for name, span in self.spans.items()
        }
        messages = [{"role": turn.role, "content": turn.content} for turn in self.messages]
        row: dict[str, Any] = {"id": self.id, "text": self.text, "messages": messages or None}
        row |= {"prefill": self.prefill, "response": self.response, "spans": spans or None}
        row |= {"labels": dict(self.labels) or None, "group": self.group}
        return {name: value for name, value in row.items() if value is not None}


class PromptSet(Sequence[Prompt]):
    """Prompts in a fixed order, with unique ids.

    Raises:
        BadInputError: two prompts share an id, or an item is not a Prompt.
    """

    __slots__ = ("_prompts",)

    def __init__(self, prompts: Iterable[Prompt]) -> None:
        self._prompts = tuple(prompts)
        _check_prompts(self._prompts)
        _record.check_unique((f"position {i}", prompt.id) for i, prompt in enumerate(self._prompts))

    @classmethod
    def from_dicts(cls, rows: Iterable[Mapping[str, Any]], *, name: str = "rows") -> PromptSet:
        """Read JSON-form rows; errors name the row, counted from 1."""
        return _from_rows(_files.table_rows((dict(row) for row in rows), name), name)

    @classmethod
    def from_jsonl(cls, path: str | PathLike[str]) -> PromptSet:
        """Read one JSON object per line (UTF-8); blank lines are skipped.

        Raises:
            BadInputError: no such file, an empty one, or a malformed line, named with its field.
        """
        return _from_rows(_placed(_files.read_jsonl(Path(path))), str(path))

    @classmethod
    def from_parquet(cls, path: str | PathLike[str]) -> PromptSet:
        """Read a Parquet file whose columns are the fields of the JSON form.

        `spans` and `labels` may be JSON text (as `to_parquet` writes them) or structs; a null in a
        struct counts as absent, since a table cannot tell them apart.

        Raises:
            BadInputError: no such file, not Parquet, no rows, or a malformed row.
        """
        return _from_rows(_placed(_files.read_parquet(Path(path))), str(path))

    @classmethod
    def from_dataset(cls, dataset: Iterable[Mapping[str, Any]]) -> PromptSet:
        """Read a Hugging Face `datasets.Dataset` whose columns are the fields of the JSON form."""
        return cls.from_dicts(dataset, name="dataset")

    def to_jsonl(self, path: str | PathLike[str]) -> None:
        """Write one JSON object per line; the file appears whole or not at all."""
        _files.write_jsonl(Path(path), (prompt.to_dict() for prompt in self))

    def to_parquet(self, path: str | PathLike[str]) -> None:
        """Write one row per prompt; the file appears whole or not at all."""
        _files.write_parquet(Path(path), (prompt.to_dict() for prompt in self))

    def to_dataset(self) -> Any:
        """The set as a Hugging Face `datasets.Dataset`, one row per prompt."""
        import datasets

        return datasets.Dataset(_files.to_table(prompt.to_dict() for prompt in self))

    @property
    def hash(self) -> str:
        """SHA-256 (hex) of the prompts in order; equal sets, and only those, share it."""
        return _files.sha256([prompt.to_dict() for prompt in self])

    def filter(self, predicate: Callable[[Prompt], bool]) -> PromptSet:
        """The prompts for which `predicate` holds, in order."""
        return PromptSet(prompt for prompt in self if predicate(prompt))

    def subset(self, indices: Iterable[int]) -> PromptSet:
        """The prompts at these indices, in the order given.

        Raises:
            BadInputError: an index out of range, or twice the same prompt.
        """
        chosen = [int(index) for index in indices]
        for index in chosen:
            if not -len(self) <= index < len(self):
                raise BadInputError(
                    f"The set has {len(self)} prompts; there is none at this index.", got=index
                )
        return PromptSet(self._prompts[index] for index in chosen)

    def __add__(self, other: PromptSet) -> PromptSet:
        """Both sets, one after the other; their ids must differ."""
        return PromptSet((*self, *other))

    def __len__(self) -> int:
        return len(self._prompts)

    def __iter__(self) -> Iterator[Prompt]:
        return iter(self._prompts)

    @overload
    def __getitem__(self, index: int) -> Prompt: ...
    @overload
    def __getitem__(self, index: slice) -> PromptSet: ...
    def __getitem__(self, index: int | slice) -> Prompt | PromptSet:
        if isinstance(index, slice):
            return PromptSet(self._prompts[index])
        return self._prompts[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PromptSet) and self._prompts == other._prompts

    def __hash__(self) -> int:
        return hash(self._prompts)

    def __repr__(self) -> str:
        return f"PromptSet({len(self)} prompts, hash {self.hash[:12]})"


def _strings(prompt: Prompt) -> Iterator[str]:
    yield from (message.content for message in prompt.messages)
    optional = (prompt.id, prompt.text, prompt.prefill, prompt.response, prompt.group)
    yield from (text for text in (*optional, *prompt.labels.values()) if isinstance(text, str))
    yield from prompt.labels


def _check_prompts(prompts: Sequence[object]) -> None:
    for prompt in prompts:
        if not isinstance(prompt, Prompt):
            raise BadInputError(
                "A PromptSet holds Prompt objects.",
                got=prompt,
                fix='Use Prompt(id="a", text="...") or PromptSet.from_dicts([{"id": ...}]).',
            )


def _placed(rows: Iterable[tuple[str, object, object]]) -> Iterator[tuple[str, object]]:
    return ((where, row) for where, _, row in rows)


def _from_rows(rows: Iterable[tuple[str, object]], name: str) -> PromptSet:
    read = [(where, prompt_from_row(where, row)) for where, row in rows]
    if not read:
        raise BadInputError(f"{name} holds no prompts.", fix="Give at least one prompt.")
    _record.check_unique((where, prompt.id) for where, prompt in read)
    return PromptSet(prompt for _, prompt in read)


def prompt_from_row(where: str, row: object) -> Prompt:
    """`Prompt.from_dict` of a row of a file; errors begin with where it stands."""
    if not isinstance(row, Mapping):
        raise BadInputError(
            f"{where} is not an object with fields.",
            got=row,
            fix='Write {"id": "a", "text": "..."} instead of the bare text.',
        )
    try:
        return Prompt.from_dict(row)
    except BadInputError as error:
        raise _record.located(where, error) from error
