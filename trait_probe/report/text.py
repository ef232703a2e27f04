"""Numbers and claim JSON in words, the same in the terminal and in the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_SHOWN = 8


@dataclass(frozen=True)
class Notice:
    """A sentence that a reader must not miss; `warning` when it lessens what the results say."""

    text: str
    warning: bool


def number(value: int | float) -> str:
    """A number for reading: integers whole, below 1 three decimals, else three digits or more.

    Very small numbers keep their exponent, so that a p value never reads as 0.
    """
    if isinstance(value, int) or value == 0:
        return str(int(value))
    size = abs(value)
    if size < 0.001:
        return f"{value:.1e}"
    if size < 1:
        return f"{value:.3f}"
    return f"{value:#.3g}".rstrip(".") if size < 100 else f"{value:,.0f}"


def estimate(effect: Mapping[str, Any]) -> str:
    """An effect of claims.json: "2.40 SD [2.10, 2.70]", or "unscored: reason"."""
    if "unscored" in effect:
        return f"unscored: {effect['unscored']}"
    ends = f"[{number(effect['low'])}, {number(effect['high'])}]"
    return f"{number(effect['value'])} {effect['unit']} {ends}"


def estimate_source(effect: Mapping[str, Any]) -> str:
    """How an effect's interval was made, and on how much; empty when unscored."""
    if "unscored" in effect:
        return ""
    return (
        f"{100 * effect['level']:g} % interval by {effect['method']}; "
        f"n = {number(effect['n'])} in {number(effect['n_clusters'])} independent groups"
    )


def claim_notes(claim: Mapping[str, Any]) -> list[str]:
    """What a claim of claims.json says beside its effect: what could be detected, and its notes."""
    detectable = claim["detectable"]
    return [*([] if detectable is None else [detectable["note"]]), *claim["notes"]]


def looks(claim: Mapping[str, Any]) -> str:
    """ "looked at 3 effects on this split"."""
    n = claim["looks"]
    return f"looked at {number(n)} effect{'' if n == 1 else 's'} on this split"


def describe(value: Any) -> str:
    """Any JSON value in one line: estimates with their interval, long lists cut and counted."""
    if isinstance(value, Mapping):
        if "unscored" in value or {"value", "low", "high", "unit"} <= value.keys():
            return estimate(value)
        return "; ".join(f"{key}: {describe(item)}" for key, item in value.items())
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    if isinstance(value, Sequence):
        return _listed(value)
    return number(value)


def verdict_counts(claims: Sequence[Mapping[str, Any]]) -> str:
    """ "2 supported, 1 not testable": how many claims have each verdict, strongest first."""
    order = ("supported", "inconclusive", "not supported", "not testable")
    verdicts = [claim["verdict"] for claim in claims]
    parts = [f"{verdicts.count(name)} {name}" for name in order if name in verdicts]
    return ", ".join(parts) or "no claims"


def _listed(values: Sequence[Any]) -> str:
    shown = ", ".join(describe(value) for value in values[:_SHOWN])
    return shown if len(values) <= _SHOWN else f"{shown}, … ({len(values)} in all)"
