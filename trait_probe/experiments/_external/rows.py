"""Step 1: every row of the data set once, its labels kept and its words not."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int, UInt64

from trait_probe.errors import BadInputError
from trait_probe.experiments._external.labels import Labels, read_labels
from trait_probe.experiments._prompts import asked_texts, plain_words
from trait_probe.prompts._files import canonical_json
from trait_probe.prompts.prompt import Prompt

FEWEST_WORDS = 4
"""Of a fitted text that is looked for inside a longer text."""
Source = Callable[[], Iterable[Prompt]]
"""Gives all prompts, from the first, each time it is called."""


@dataclass(frozen=True)
class Rows:
    """The rows of a data set in their order, some tens of bytes each.

    Attributes:
        answered: whether rows are answers to prompts; else prompts alone.
        categories: names of the harm categories that some harmful row is flagged in, sorted.
        harmful: `[row]` the label.
        flags: `[row]` bit k is set where category k is flagged; 0 in every safe row.
        about: `[row]` as `flags`, for what the row's group is about: the flags of its harmful rows,
            and the category that a safe row names itself.
        severity: `[row]` -1 where there is none.
        group: `[row]` number of the group: prompts with the same words, or that the source groups.
        prompt: `[row]` number of the prompt, word for word; answers to one prompt share it.
        key: `[row]` a hash of the id, by which samples are drawn.
        fitted: `[row]` whether a vector was fitted on a prompt of its group, or on its answer.
        repeated: pairs of prompt and answer that come more than once.
        disagreeing: those of them whose labels differ: a lower bound of the label noise.
        unlike: rows whose label and flags contradict each other (safe and flagged).
        sha256: of all prompts in order.
    """

    answered: bool
    categories: tuple[str, ...]
    harmful: Bool[np.ndarray, " row"]
    flags: UInt64[np.ndarray, " row"]
    about: UInt64[np.ndarray, " row"]
    severity: Int[np.ndarray, " row"]
    group: Int[np.ndarray, " row"]
    prompt: Int[np.ndarray, " row"]
    key: UInt64[np.ndarray, " row"]
    fitted: Bool[np.ndarray, " row"]
    repeated: int
    disagreeing: int
    unlike: int
    sha256: str

    def flagged(self, category: str) -> Bool[np.ndarray, " row"]:
        """Rows that are flagged in the category."""
        return self._has(self.flags, category)

    def concerns(self, category: str) -> Bool[np.ndarray, " row"]:
        """Rows whose group is about the category."""
        return self._has(self.about, category)

    def _has(self, bits: UInt64[np.ndarray, " row"], category: str) -> Bool[np.ndarray, " row"]:
        place = np.uint64(self.categories.index(category))
        return np.asarray((bits >> place) & np.uint64(1), dtype=np.bool_)

    @property
    def usable(self) -> Bool[np.ndarray, " row"]:
        """Rows of groups that no vector was fitted on."""
        return ~self.fitted


def scan(source: Source, fitted: Iterable[str], fitted_answers: Iterable[str] = ()) -> Rows:
    """Read every row once.

    Args:
        fitted: requests and texts that vectors are fitted on; case, marks and spacing do not count.
        fitted_answers: answers that vectors are fitted on, likewise.

    Raises:
        BadInputError: a row without its label, some with and some without an answer, an id that
            comes twice, or labels of one kind only.
    """
    found = _Scan(_Fitted.of(fitted, fitted_answers))
    for prompt in source():
        found.add(prompt)
    return found.rows()


@dataclass(frozen=True)
class _Fitted:
    """What vectors are fitted on, as plain words."""

    requests: frozenset[str]
    long: tuple[str, ...]
    answers: frozenset[str]

    @classmethod
    def of(cls, requests: Iterable[str], answers: Iterable[str]) -> _Fitted:
        asked = frozenset(map(plain_words, requests))
        long = tuple(text for text in asked if text.count(" ") > FEWEST_WORDS)
        return cls(asked, long, frozenset(map(plain_words, answers)))

    def asked(self, prompt: Prompt) -> bool:
        """Whether a turn of the prompt is one of the requests, or its text holds one."""
        if prompt.text is not None:
            own = plain_words(prompt.text)
            return own in self.requests or any(text in own for text in self.long)
        return any(plain_words(turn.content) in self.requests for turn in prompt.messages)

    def answered(self, prompt: Prompt) -> bool:
        """Whether its answer is one of the answers."""
        return bool(prompt.response) and plain_words(str(prompt.response)) in self.answers


class _Scan:
    """What is known after some rows."""

    def __init__(self, fitted: _Fitted) -> None:
        self._fitted = fitted
        self._of_fitted = array("b")  # 1: its prompt, 2: its answer
        self._labels: list[Labels] = []  # distinct ones: rows keep their number
        self._number: dict[Labels, int] = {}
        self._codes = {"label": array("i"), "group": array("i"), "prompt": array("i")}
        self._keys, self._pairs = array("Q"), array("Q")
        self._prompts: dict[int, int] = {}  # hash of the conversation -> number
        self._groups: dict[int, int] = {}  # hash of the group's name -> number
        self._joined = _Joined()
        self._digest = hashlib.sha256()
        self._answered: bool | None = None

    def add(self, prompt: Prompt) -> None:
        labels = read_labels(prompt)
        answered = bool(prompt.response)
        if self._answered is not None and answered != self._answered:
            raise BadInputError(
                f"Some rows have an answer and some have none: {prompt.id!r} differs from those "
                "before it.",
                got="an answer" if answered else "no answer",
                fix="Give answers to all prompts, or to none.",
            )
        self._answered = answered
        if labels not in self._number:
            self._number[labels] = len(self._labels)
            self._labels.append(labels)
        words = _hash(said(prompt))
        exact = _hash(_conversation(prompt))
        asked, told = self._fitted.asked(prompt), self._fitted.answered(prompt)
        self._of_fitted.append(asked + 2 * told)
        self._codes["label"].append(self._number[labels])
        self._codes["prompt"].append(self._prompts.setdefault(exact, len(self._prompts)))
        self._codes["group"].append(self._group(words, prompt.group))
        self._keys.append(_hash(prompt.id))
        self._pairs.append(_hash(f"{exact} {prompt.response}"))
        self._digest.update(canonical_json(prompt.to_dict()).encode() + b"\n")

    def _group(self, words: int, name: str | None) -> int:
        """The group of these words; a name that the source gives joins all that have it."""
        own = self._joined.number(words)
        if name is None:
            return own
        first = self._groups.setdefault(_hash(name), own)
        self._joined.join(first, own)
        return own

    def rows(self) -> Rows:
        if not self._labels:
            raise BadInputError("The data set holds no rows.", fix="Give at least some.")
        code = {name: np.frombuffer(codes, dtype=np.int32) for name, codes in self._codes.items()}
        self._require_unique()
        told = (labels.flagged for labels in self._labels if labels.harmful)
        categories = tuple(sorted({name for names in told for name in names}))
        harmful, flags, about, severity = _columns(self._labels, categories)
        harmful = harmful[code["label"]]
        _require_both(harmful)
        group = self._joined.roots()[code["group"]]
        of_fitted = np.frombuffer(self._of_fitted, dtype=np.int8)
        whole = np.isin(group, np.unique(group[(of_fitted & 1) > 0]))
        repeated, disagreeing = _repeats(np.frombuffer(self._pairs, np.uint64), harmful)
        flags = flags[code["label"]]
        return Rows(
            answered=bool(self._answered),
            categories=categories,
            harmful=harmful,
            flags=np.where(harmful, flags, np.uint64(0)),
            about=_over_groups(np.where(harmful, flags, about[code["label"]]), group),
            severity=severity[code["label"]],
            group=group,
            prompt=code["prompt"],
            key=np.frombuffer(self._keys, dtype=np.uint64),
            fitted=whole | (of_fitted >= 2),
            repeated=repeated,
            disagreeing=disagreeing,
            unlike=int((~harmful & (flags != 0)).sum()),
            sha256=self._digest.hexdigest(),
        )

    def _require_unique(self) -> None:
        keys = np.sort(np.frombuffer(self._keys, dtype=np.uint64))
        if doubled := int((keys[1:] == keys[:-1]).sum()):
            raise BadInputError(
                f"{doubled} rows have an id that another row has.",
                fix="Give each row an id of its own.",
            )


class _Joined:
    """Numbers that may turn out to be one (union-find)."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}
        self._parent = array("i")

    def number(self, name: int) -> int:
        if name not in self._numbers:
            self._numbers[name] = len(self._parent)
            self._parent.append(len(self._parent))
        return self._numbers[name]

    def root(self, number: int) -> int:
        while self._parent[number] != number:
            self._parent[number] = self._parent[self._parent[number]]
            number = self._parent[number]
        return number

    def join(self, one: int, other: int) -> None:
        first, second = sorted((self.root(one), self.root(other)))
        self._parent[second] = first

    def roots(self) -> Int[np.ndarray, " number"]:
        return np.array([self.root(number) for number in range(len(self._parent))], dtype=np.int32)


def said(prompt: Prompt) -> str:
    """The words of a prompt, its answer aside: blind to case, marks and spacing."""
    return "\n".join(map(plain_words, asked_texts([prompt])))


def _conversation(prompt: Prompt) -> str:
    """A prompt word for word, its answer aside."""
    turns = [[turn.role, turn.content] for turn in prompt.messages]
    return canonical_json([turns, prompt.text, prompt.prefill])


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _columns(
    every: list[Labels], categories: tuple[str, ...]
) -> tuple[
    Bool[np.ndarray, " label"],
    UInt64[np.ndarray, " label"],
    UInt64[np.ndarray, " label"],
    Int[np.ndarray, " label"],
]:
    if len(categories) > 64:
        raise BadInputError(
            "At most 64 categories of harm can be told apart.",
            got=len(categories),
            fix="Join those that are rare.",
        )
    bit = {name: 1 << k for k, name in enumerate(categories)}

    def bits(names: Iterable[str]) -> int:
        return sum(bit.get(name, 0) for name in set(names))

    return (
        np.array([labels.harmful for labels in every]),
        np.array([bits(labels.flagged) for labels in every], dtype=np.uint64),
        np.array([bits(labels.about) for labels in every], dtype=np.uint64),
        np.array([labels.severity for labels in every], dtype=np.int32),
    )


def _over_groups(
    bits: UInt64[np.ndarray, " row"], group: Int[np.ndarray, " row"]
) -> UInt64[np.ndarray, " row"]:
    """Each row's bits joined with those of the other rows of its group."""
    joined = np.zeros(int(group.max()) + 1, dtype=np.uint64)
    np.bitwise_or.at(joined, group, bits)
    return np.asarray(joined[group])


def _repeats(
    pairs: UInt64[np.ndarray, " row"], harmful: Bool[np.ndarray, " row"]
) -> tuple[int, int]:
    """Pairs of prompt and answer that come more than once, and those labelled both ways."""
    _, code, counts = np.unique(pairs, return_inverse=True, return_counts=True)
    unsafe = np.bincount(code.reshape(-1), weights=harmful)
    repeated = counts > 1
    return int(repeated.sum()), int((repeated & (unsafe > 0) & (unsafe < counts)).sum())


def _require_both(harmful: Bool[np.ndarray, " row"]) -> None:
    if harmful.all() or not harmful.any():
        raise BadInputError(
            "Harm is told from what is not: rows of both labels are needed.",
            got=f"{int(harmful.sum())} harmful rows of {len(harmful)}",
            fix="Give benign prompts too (--safe xstest), or a data set that has both.",
        )
