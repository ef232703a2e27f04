"""Step 3: what is read of the sample, answers and prompts told apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Int, UInt64

from trait_probe.experiments._external.rows import Rows, Source
from trait_probe.experiments._prompts import conversation
from trait_probe.prompts.prompt import Prompt, PromptSet

RESPONSE, PROMPT = "response", "prompt"
WHAT = {
    RESPONSE: ("unsafe answers", "safe ones", "read on the answer's tokens"),
    PROMPT: ("harmful prompts", "benign ones", "read at the prompt's last token"),
}
"""How statements name the two sides, and where they are read."""


@dataclass(frozen=True)
class Level:
    """One unit a row: an answer with its prompt, or a prompt alone.

    Attributes:
        name: `response` or `prompt`.
        prompts: what is read, one a row.
        harmful: `[row]` of an answer its label; of a prompt whether any of its answers in the whole
            data set is unsafe (where prompts alone are labelled: the label).
        flags, about: `[row]` as in `Rows`; a prompt has those of its unsafe answers.
        severity: `[row]` as in `Rows`; of a prompt the highest.
        groups: `[row]` the group's name.
        categories: names of the bits.
    """

    name: str
    prompts: PromptSet
    harmful: Bool[np.ndarray, " row"]
    flags: UInt64[np.ndarray, " row"]
    about: UInt64[np.ndarray, " row"]
    severity: Int[np.ndarray, " row"]
    groups: tuple[str, ...]
    categories: tuple[str, ...]

    @property
    def ids(self) -> tuple[str, ...]:
        """Of the prompts."""
        return tuple(prompt.id for prompt in self.prompts)

    @property
    def texts(self) -> tuple[str, ...]:
        """Everything that the model has read at the place that is read."""
        if self.name == PROMPT:
            return tuple(map(conversation, self.prompts))
        return tuple(f"{conversation(one)}\n\n{one.response}" for one in self.prompts)

    def flagged(self, category: str) -> Bool[np.ndarray, " row"]:
        """Rows that are flagged in the category."""
        return _bit(self.flags, self.categories.index(category))

    def concerns(self, category: str) -> Bool[np.ndarray, " row"]:
        """Rows whose group is about the category."""
        return _bit(self.about, self.categories.index(category))

    def names(self, row: int) -> tuple[str, ...]:
        """Categories that one row is flagged in."""
        return tuple(n for k, n in enumerate(self.categories) if int(self.flags[row]) >> k & 1)


def _bit(bits: UInt64[np.ndarray, " row"], place: int) -> Bool[np.ndarray, " row"]:
    return np.asarray((bits >> np.uint64(place)) & np.uint64(1), dtype=np.bool_)


def take_levels(
    source: Source, rows: Rows, sampled: Int[np.ndarray, " sampled"]
) -> dict[str, Level]:
    """The sample's rows, and where they are answers also their prompts, each prompt once."""
    prompts = list(chosen(source, sampled))
    if not rows.answered:
        return {PROMPT: _level(PROMPT, prompts, rows, sampled)}
    first = np.sort(np.unique(rows.prompt[sampled], return_index=True)[1])
    asked = [replace(prompts[i], response=None) for i in first]
    return {
        RESPONSE: _level(RESPONSE, prompts, rows, sampled),
        PROMPT: _level(PROMPT, asked, _of_prompts(rows), sampled[first]),
    }


def rest_of(rows: Rows, sampled: Int[np.ndarray, " sampled"]) -> Int[np.ndarray, " rest"]:
    """Numbers of the usable rows outside the sample."""
    kept = rows.usable.copy()
    kept[sampled] = False
    return np.flatnonzero(kept)


def chosen(source: Source, numbers: Int[np.ndarray, " chosen"]) -> Iterator[Prompt]:
    """Prompts with these ascending row numbers."""
    wanted = iter(numbers.tolist())
    next_one = next(wanted, None)
    for number, prompt in enumerate(source()):
        if number == next_one:
            yield prompt
            next_one = next(wanted, None)


def _of_prompts(rows: Rows) -> Rows:
    """Every row with the labels of its prompt: those of all its answers together."""
    n = int(rows.prompt.max()) + 1
    harmful = np.bincount(rows.prompt, weights=rows.harmful, minlength=n) > 0
    flags = np.zeros(n, dtype=np.uint64)
    np.bitwise_or.at(flags, rows.prompt, rows.flags)
    severity = np.full(n, -1, dtype=rows.severity.dtype)
    np.maximum.at(severity, rows.prompt, rows.severity)
    code = rows.prompt
    return replace(rows, harmful=harmful[code], flags=flags[code], severity=severity[code])


def _level(name: str, prompts: list[Prompt], rows: Rows, numbers: Int[np.ndarray, " row"]) -> Level:
    return Level(
        name=name,
        prompts=PromptSet(prompts),
        harmful=rows.harmful[numbers],
        flags=rows.flags[numbers],
        about=rows.about[numbers],
        severity=rows.severity[numbers],
        groups=group_names(rows.group[numbers].tolist()),
        categories=rows.categories,
    )


def group_names(codes: Iterable[int]) -> tuple[str, ...]:
    """Groups as the statistics name them."""
    return tuple(f"group-{code:07d}" for code in codes)
