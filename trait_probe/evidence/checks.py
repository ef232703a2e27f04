"""One requirement of a claim and what was found, each kind of check in one line.

The verdict rules that read them are in `claims`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from trait_probe.errors import BadInputError, nearest
from trait_probe.evidence.estimate import Estimate, Unscored
from trait_probe.evidence.locks import ReportLock

Kind = Literal["shift", "separation", "beyond the text", "same behaviour", "gain"]
Status = Literal["passed", "failed", "missing"]

INTERVAL_CHECK: Mapping[Kind, str] = {
    "shift": "interval excludes zero",
    "separation": "interval excludes chance",
    "beyond the text": "interval exceeds the smallest gain",
    "same behaviour": "interval within equivalence bound",
    "gain": "interval excludes zero",
}
"""Name of the check on the effect's own interval; build it with `interval_check`."""

NEED_BOUND = frozenset({"same behaviour", "beyond the text"})
"""Kinds whose interval is compared with a bound instead of the null value."""

AREAS = frozenset({"auroc", "auc", "rocauc", "aucroc", "areaundertheroccurve", "areaunderthecurve"})

HALF_BY_CHANCE = frozenset({"AUROC", "ordinal concordance"})
"""Units in which 0.5 says that nothing is there; in every other 0 does."""


@dataclass(frozen=True)
class Check:
    """One requirement and what was found.

    Args:
        name: one of `REQUIRED_CHECKS`, or a further one (which must pass too).
        status: passed, failed, or missing (not run, not computable).
        observed: what was found, in words with numbers.
        required: what would have passed.

    Raises:
        BadInputError: a field is empty.
    """

    name: str
    status: Status
    observed: str
    required: str

    def __post_init__(self) -> None:
        for field in ("name", "observed", "required"):
            if not getattr(self, field).strip():
                raise BadInputError(
                    f"A check needs its field {field!r}.", got="", fix="Say it in words."
                )

    @property
    def reason(self) -> str:
        """The check as a sentence."""
        return f"{self.name} {self.status}: {self.observed} (required: {self.required})"

    def to_json(self) -> dict[str, object]:
        """Plain fields."""
        return {
            "name": self.name,
            "status": self.status,
            "observed": self.observed,
            "required": self.required,
        }


def null_value(effect: Estimate) -> float:
    """The value that says "nothing there": 0.5 for an AUROC or a concordance, else 0.

    Raises:
        BadInputError: an area under the curve under another name, whose null value would be 0.
    """
    if effect.unit != "AUROC" and _letters(effect.unit) in AREAS:
        raise BadInputError(
            'The unit of an area under the ROC curve is written "AUROC".',
            got=effect.unit,
            valid=("AUROC",),
            fix="Name it so, or its null value would be 0.",
        )
    return 0.5 if effect.unit in HALF_BY_CHANCE else 0.0


def _letters(unit: str) -> str:
    return "".join(filter(str.isalpha, unit.casefold()))


def interval_check(kind: Kind, effect: Estimate | Unscored, *, bound: float | None = None) -> Check:
    """The required check on the effect's interval, ready for a claim of this kind.

    Args:
        bound: equivalence bound of "same behaviour", smallest gain of "beyond the text", in the
            unit of the effect. Without it the check of these kinds is missing.
    """
    require_known_kind(kind)
    required = _interval_requirement(kind, effect, bound)
    if isinstance(effect, Unscored):
        return Check(INTERVAL_CHECK[kind], "missing", effect.reason, required)
    if kind in NEED_BOUND and bound is None:
        return Check(INTERVAL_CHECK[kind], "missing", "no bound was set", required)
    status: Status = "passed" if interval_passes(kind, effect, bound) else "failed"
    return Check(INTERVAL_CHECK[kind], status, _interval_text(effect), required)


def _interval_requirement(kind: Kind, effect: Estimate | Unscored, bound: float | None) -> str:
    if kind == "same behaviour":
        distance = "the bound" if bound is None else f"{bound:g}"
        return f"a 90 % or wider interval wholly within {distance} of the null value"
    if kind == "beyond the text":
        return (
            f"a 95 % interval wholly above {'the smallest gain' if bound is None else f'{bound:g}'}"
        )
    null = 0.5 if kind == "separation" else 0.0
    if isinstance(effect, Estimate):
        null = null_value(effect)
    return f"a 95 % interval wholly above {null:g}"


def _interval_text(effect: Estimate) -> str:
    ends = f"[{effect.low:.4g}, {effect.high:.4g}]"
    return f"{effect.value:.4g}, {100 * effect.level:g} % interval {ends} {effect.unit}"


def interval_passes(kind: Kind, effect: Estimate, bound: float | None) -> bool:
    """Whether the effect's own interval passes the check that its kind requires."""
    null = null_value(effect)
    if kind == "same behaviour":
        # Two one-sided tests at 5 % are a 90 % interval inside the bound (Schuirmann 1987).
        inside = bound is not None and -bound < effect.low - null and effect.high - null < bound
        return inside and effect.level >= 0.9
    if kind == "beyond the text":
        null = float("inf") if bound is None else bound
    return effect.low > null and effect.level >= 0.95


def p_value_check(name: str, p: float | Unscored, *, alpha: float = 0.05) -> Check:
    """Passed when `p <= alpha`; missing when there is no p.

    Raises:
        BadInputError: `p` lies outside [0, 1].
    """
    required = f"p <= {alpha:g}"
    if isinstance(p, Unscored):
        return Check(name, "missing", p.reason, required)
    _require_share(p, "A p value")
    return Check(name, "passed" if p <= alpha else "failed", f"p = {p:.4g}", required)


def percentile_check(
    name: str, percentile: float, *, at_least: float = 0.95, null: str = "the null"
) -> Check:
    """Passed when the effect exceeds the share `at_least` of its null.

    Args:
        null: what it consists of, such as "500 random directions".

    Raises:
        BadInputError: `percentile` lies outside [0, 1] (it is a share, not a percentage).
    """
    _require_share(percentile, "A null percentile")
    status: Status = "passed" if percentile >= at_least else "failed"
    observed = f"above {100 * percentile:.4g} % of {null}"
    return Check(name, status, observed, f"above {100 * at_least:g} % of the null")


def beats_check(name: str, advantage: Estimate | Unscored, *, margin: float = 0.0) -> Check:
    """Passed when the interval of (effect - control), 95 % or wider, lies wholly above `margin`.

    A margin (in the advantage's unit, 0 or more) is for controls that fall short of what they
    stand for: a classifier fitted on finite rows knows less than the words tell.

    Raises:
        BadInputError: a margin below 0, or not finite.
    """
    if not 0.0 <= margin < float("inf"):
        raise BadInputError(
            "A margin is a finite number that makes the check stricter.",
            got=margin,
            fix="Pass 0 or more, in the advantage's unit.",
        )
    required = f"an advantage whose 95 % interval lies wholly above {margin:g}"
    if isinstance(advantage, Unscored):
        return Check(name, "missing", advantage.reason, required)
    status: Status = "passed" if advantage.low > margin and advantage.level >= 0.95 else "failed"
    return Check(name, status, "advantage " + _interval_text(advantage), required)


def opened_once(lock: ReportLock) -> Check:
    """Failed where the report rows were looked at with more than one selection, up to now."""
    status: Status = "failed" if lock.reopened else "passed"
    return Check("report split opened once", status, lock.note(), "one selection, made unseen")


def missing_check(name: str, why: str, required: str = "to be run") -> Check:
    """A check that could not be made, and why."""
    return Check(name, "missing", why, required)


def require_known_kind(kind: str) -> None:
    kinds = get_args(Kind)
    if kind not in kinds:
        raise BadInputError(
            "There is no such kind of claim.",
            got=kind,
            valid=nearest(kind, kinds),
            fix="Take the kind whose controls the experiment has.",
        )


def _require_share(value: float, what: str) -> None:
    if not 0.0 <= value <= 1.0:
        raise BadInputError(
            f"{what} must lie between 0 and 1.", got=value, fix="Pass a share such as 0.03."
        )
