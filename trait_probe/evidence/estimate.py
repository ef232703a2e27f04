"""A number with its interval, or the reason why there is none. Nothing else counts as a result."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from trait_probe.errors import BadInputError


@dataclass(frozen=True)
class Estimate:
    """A value with its interval and where the interval comes from.

    `value` may lie outside `[low, high]`: a percentile interval of a biased statistic does so
    honestly.

    Args:
        value: the statistic on all rows, in `unit`; finite.
        low, high: interval ends, in `unit`; finite, `low <= high`.
        n: rows that entered, at least 1.
        n_clusters: independent groups among them (prompts, prompt families), 1 to `n`.
        unit: what the number counts, such as "SD", "AUROC" or "share".
        method: how the interval was made, such as "delong".
        level: coverage that the interval aims at, in (0, 1).

    Raises:
        BadInputError: a field is outside its range.
    """

    value: float
    low: float
    high: float
    n: int
    n_clusters: int
    unit: str
    method: str
    level: float = 0.95

    def __post_init__(self) -> None:
        _require_finite(self)
        _require_ordered(self)
        _require_counted(self)

    @property
    def width(self) -> float:
        """`high - low`, in `unit`."""
        return self.high - self.low

    def excludes(self, x: float) -> bool:
        """Whether `x` lies strictly outside the interval."""
        return x < self.low or x > self.high

    def to_json(self) -> dict[str, object]:
        """Plain fields, strict JSON."""
        return {
            "value": float(self.value),
            "low": float(self.low),
            "high": float(self.high),
            "n": int(self.n),
            "n_clusters": int(self.n_clusters),
            "unit": self.unit,
            "method": self.method,
            "level": float(self.level),
        }


@dataclass(frozen=True)
class Unscored:
    """No number, and why: "3 prompts in the smaller class, 8 needed". Never 0, never -1.

    Raises:
        BadInputError: the reason is empty.
    """

    reason: str

    def __post_init__(self) -> None:
        if not self.reason.strip():
            raise BadInputError(
                "Unscored needs a reason in words.",
                got=self.reason,
                fix="Say what was missing and how much is needed.",
            )

    def to_json(self) -> dict[str, object]:
        """`{"unscored": reason}`."""
        return {"unscored": self.reason}


def _require_finite(estimate: Estimate) -> None:
    for field in ("value", "low", "high"):
        number = getattr(estimate, field)
        if not math.isfinite(number):
            raise BadInputError(
                f"Estimate.{field} must be a finite number.",
                got=number,
                fix="Return Unscored(reason) where the statistic does not exist.",
            )


def _require_ordered(estimate: Estimate) -> None:
    if estimate.low > estimate.high:
        raise BadInputError(
            "Estimate.low must not exceed Estimate.high.",
            got=(estimate.low, estimate.high),
            fix="Pass the interval ends in order.",
        )


def _require_counted(estimate: Estimate) -> None:
    if not 1 <= estimate.n_clusters <= estimate.n:
        raise BadInputError(
            "Estimate needs 1 <= n_clusters <= n.",
            got={"n": estimate.n, "n_clusters": estimate.n_clusters},
            fix="Count rows in n and independent groups of rows in n_clusters.",
        )
    if not 0.0 < estimate.level < 1.0:
        raise BadInputError(
            "Estimate.level must lie strictly between 0 and 1.",
            got=estimate.level,
            fix="Use 0.95 for a 95 % interval.",
        )
    if not (estimate.unit.strip() and estimate.method.strip()):
        raise BadInputError(
            "Estimate needs a unit and a method.",
            got={"unit": estimate.unit, "method": estimate.method},
            fix='Name both, such as unit="AUROC", method="delong".',
        )


def strict_object(content: Mapping[str, object]) -> dict[str, object]:
    """A mapping as one plain JSON object; see `strict_json`."""
    return {key: strict_json(item) for key, item in content.items()}


def strict_json(value: object) -> object:
    """`value` as plain JSON data: dicts, lists, strings, finite numbers, booleans, None.

    Objects with a `to_json` method (`Estimate`, `Unscored`, null results) are written through it.

    Raises:
        BadInputError: a NaN or infinity, a key that is no string, or a type JSON does not have.
    """
    if hasattr(value, "to_json"):
        return strict_json(value.to_json())
    if isinstance(value, np.generic):
        return strict_json(value.item())
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return _finite_json(value)
    if isinstance(value, Mapping):
        return {_json_key(key): strict_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [strict_json(item) for item in value]
    raise BadInputError(
        f"A {type(value).__name__} cannot be written as JSON.",
        got=value,
        fix="Pass numbers, text, lists, mappings, or an object with to_json().",
    )


def _finite_json(value: float) -> float:
    if not math.isfinite(value):
        raise BadInputError(
            "JSON results hold finite numbers only.",
            got=value,
            fix="Use Unscored(reason) where there is no number.",
        )
    return value


def _json_key(key: object) -> str:
    if not isinstance(key, str):
        raise BadInputError("JSON keys must be text.", got=key, fix="Convert the key with str().")
    return key
