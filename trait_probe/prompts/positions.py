"""The position-rule language: `response[:5]`, `prompt[-1]`, `after(trigger)[:8]`.

A rule selects absolute token positions from the named token ranges (spans) of one rendered
conversation. It is a pure function of those ranges: it never sees padding, batches or a KV cache,
so the same rule means the same tokens everywhere.

Grammar (spaces are free)::

    rule   = region | region "[" index "]" | region "[" start ":" stop [":" step] "]"
    region = SPAN | "after(" SPAN ")" | "before(" SPAN ")"

Indices are Python's, relative to the region: `[-1]` is its last token, `[:]` all of it. `SPAN`
alone means `SPAN[:]`. `after(X)` runs from the end of X to the end of `all`; `before(X)` from the
start of `all` to the start of X. Steps are positive: positions always come in ascending order.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float

from trait_probe.errors import BadInputError, nearest

Side = Literal["in", "after", "before"]
Pooling = Literal["mean", "last", "max", "none"]
TokenRange = tuple[int, int]

_SIDES: dict[str | None, Side] = {None: "in", "after": "after", "before": "before"}
EXAMPLES = ("response[:]", "response[:5]", "prompt[-1]", "prefill[:]", "after(trigger)[:8]")

_NAME = r"[A-Za-z_][A-Za-z0-9_-]*"
_INT = r"[+-]?[0-9]+"
_REGION = re.compile(rf"(?:(?P<side>after|before)\(\s*(?P<inner>{_NAME})\s*\)|(?P<name>{_NAME}))")
_INDEX = re.compile(
    rf"\s*\[\s*(?:(?P<start>{_INT})?\s*(?P<colon>:)\s*(?P<stop>{_INT})?\s*(?::\s*(?P<step>{_INT})?)?"
    rf"|(?P<index>{_INT}))\s*\]"
)


@dataclass(frozen=True, slots=True)
class PositionRule:
    """Which tokens of a rendered conversation are meant.

    Args:
        span: name of a span, e.g. `response` or a user-marked `trigger`.
        side: the span itself (`in`), or everything after or before it.
        index: one token of the region, or None for the slice `start:stop:step`.
        start: first index of the slice; negative counts from the region's end.
        stop: index after the last, or None for the region's end.
        step: distance between selected tokens, at least 1.

    Raises:
        BadInputError: a span name the grammar cannot write, a step below 1, or index with a slice.
    """

    span: str
    side: Side = "in"
    index: int | None = None
    start: int = 0
    stop: int | None = None
    step: int = 1

    def __post_init__(self) -> None:
        if re.fullmatch(_NAME, self.span) is None:
            raise BadInputError(
                "A span name is letters, digits, '_' and '-', and starts with a letter or '_'.",
                got=self.span,
            )
        if self.step < 1:
            raise BadInputError(
                "The step of a position rule is at least 1: positions come in ascending order.",
                got=self.step,
            )
        if self.index is not None and (self.start, self.stop, self.step) != (0, None, 1):
            raise BadInputError(
                "A position rule has one index or one slice, not both.",
                got=(self.index, self.start, self.stop, self.step),
            )

    @classmethod
    def parse(cls, rule: str) -> PositionRule:
        """Read a rule as a user writes it.

        Raises:
            BadInputError: the rule does not follow the grammar; a caret marks where it stops.
        """
        text = rule.strip()
        region = _REGION.match(text)
        if region is None:
            raise _syntax_error(text, 0)
        base = cls(span=region["inner"] or region["name"], side=_SIDES[region["side"]])
        if region.end() == len(text):
            return base
        index = _INDEX.match(text, region.end())
        if index is None or index.end() != len(text):
            raise _syntax_error(text, region.end() if index is None else index.end())
        return _with_indices(base, index)

    def __str__(self) -> str:
        """The canonical text; `PositionRule.parse(str(rule)) == rule`."""
        region = self.span if self.side == "in" else f"{self.side}({self.span})"
        if self.index is not None:
            return f"{region}[{self.index}]"
        start = "" if self.start == 0 else self.start
        stop = "" if self.stop is None else self.stop
        step = "" if self.step == 1 else f":{self.step}"
        return f"{region}[{start}:{stop}{step}]"

    def positions(self, spans: Mapping[str, TokenRange]) -> tuple[int, ...]:
        """Absolute positions selected in a conversation with these spans, ascending.

        Args:
            spans: half-open absolute token ranges by name, e.g. `Rendered.spans`.

        Returns:
            Positions as plain ints; empty where the region is too short for the index or slice.

        Raises:
            BadInputError: the conversation has no such span.
        """
        return tuple(self.selected(spans))

    def selected(self, spans: Mapping[str, TokenRange]) -> range:
        """`positions`, as a range."""
        region = range(*_region(self, spans))
        if self.index is None:
            return region[self.start : self.stop : self.step]
        inside = -len(region) <= self.index < len(region)
        return range(region[self.index], region[self.index] + 1) if inside else range(0)


def parse_rules(rules: Sequence[str]) -> tuple[PositionRule, ...]:
    """Several rules, each once.

    Raises:
        BadInputError: none, one that does not follow the grammar, or one that is given twice.
    """
    if isinstance(rules, str) or not all(isinstance(rule, str) for rule in rules):
        raise BadInputError("Position rules are texts.", got=rules, valid=EXAMPLES)
    if not rules:
        raise BadInputError("There is no position to read.", fix='Give one, such as "prompt[-1]".')
    parsed = tuple(PositionRule.parse(rule) for rule in rules)
    if len(set(parsed)) < len(parsed):
        raise BadInputError("A position rule is given twice.", got=list(rules), fix="Give it once.")
    return parsed


def check_pooling(pooling: str) -> None:
    """Refuse a pooling that does not exist.

    Raises:
        BadInputError: with those that do.
    """
    if pooling not in get_args(Pooling):
        raise BadInputError(
            "Unknown pooling.", got=pooling, valid=nearest(str(pooling), get_args(Pooling))
        )


def mask(
    rule: PositionRule, spans: Mapping[str, TokenRange], length: int
) -> Bool[np.ndarray, " pos"]:
    """The rule's positions as a mask over `length` tokens, padding on the right included.

    Raises:
        BadInputError: unknown span, or a selected position at or beyond `length`.
    """
    positions = rule.positions(spans)
    if positions and positions[-1] >= length:
        raise BadInputError(
            f"The rule {rule} selects position {positions[-1]}, beyond a row of {length} tokens.",
            got=length,
            fix="Give the length of the row that these spans were rendered for.",
        )
    out = np.zeros(length, dtype=bool)
    out[list(positions)] = True
    return out


def pool(values: Float[np.ndarray, "row trait"], pooling: Pooling) -> Float[np.ndarray, "_ trait"]:
    """Make one row of the selected tokens' rows; with `none` keep one row per token.

    Args:
        values: one row per selected token, in ascending position.
        pooling: `mean` (accumulated in float64), `last`, `max` (per column) or `none`.

    Returns:
        One row ([1, trait]), or all rows for `none`; the dtype of `values`.

    Raises:
        BadInputError: unknown pooling, or no row to pool (the mean of nothing is not a number).
    """
    check_pooling(pooling)
    if pooling == "none":
        return values
    if len(values) == 0:
        raise BadInputError(
            f"No token to pool with {pooling!r}: the position rule selects none in this prompt.",
            fix="Leave such prompts out and count them, or choose a rule that always selects one.",
        )
    if pooling == "last":
        return values[-1:]
    if pooling == "max":
        return np.asarray(values.max(axis=0, keepdims=True))
    mean = values.mean(axis=0, keepdims=True, dtype=np.float64)
    return np.asarray(mean, dtype=values.dtype)


def _with_indices(rule: PositionRule, match: re.Match[str]) -> PositionRule:
    if match["colon"] is None:
        return replace(rule, index=int(match["index"]))
    stop = None if match["stop"] is None else int(match["stop"])
    return replace(rule, start=int(match["start"] or 0), stop=stop, step=int(match["step"] or 1))


def _region(rule: PositionRule, spans: Mapping[str, TokenRange]) -> TokenRange:
    start, end = _span(rule.span, spans, rule)
    if rule.side == "after":
        return end, _span("all", spans, rule)[1]
    if rule.side == "before":
        return _span("all", spans, rule)[0], start
    return start, end


def _span(name: str, spans: Mapping[str, TokenRange], rule: PositionRule) -> TokenRange:
    if name not in spans:
        raise BadInputError(
            f"The position rule {rule} needs the span {name!r}, which this prompt does not have.",
            got=name,
            valid=nearest(name, spans, n=10),
            fix="Mark the span in the prompt ('spans'), or choose a rule over a span it has.",
        )
    return spans[name]


def _syntax_error(text: str, at: int) -> BadInputError:
    return BadInputError(
        "A position rule is SPAN, SPAN[i], SPAN[a:b] or SPAN[a:b:step], where SPAN may be "
        f"after(SPAN) or before(SPAN).\n  {text}\n  {' ' * at}^ not understood from here",
        got=text,
        valid=nearest(text, EXAMPLES),
        fix="Write it like one of the valid examples.",
    )
