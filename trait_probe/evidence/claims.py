"""The one place of verdict rules: what a sentence needs before it may be called supported.

A claim carries checks. Each kind of claim has checks it cannot do without; an absent one makes
the claim not testable, a failed one makes it not supported. A number alone supports nothing.

Effects are oriented: the statement predicts a value above the null value (0, or 0.5 for an
AUROC). A claim of a decrease reports the decrease as a positive number. `Check` and the functions
that build checks come from `checks` and are offered here too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from trait_probe.errors import BadInputError
from trait_probe.evidence.checks import INTERVAL_CHECK as INTERVAL_CHECK
from trait_probe.evidence.checks import Check as Check
from trait_probe.evidence.checks import Kind as Kind
from trait_probe.evidence.checks import beats_check as beats_check
from trait_probe.evidence.checks import interval_check as interval_check
from trait_probe.evidence.checks import (
    interval_passes,
    null_value,
    opened_once,
    require_known_kind,
)
from trait_probe.evidence.checks import missing_check as missing_check
from trait_probe.evidence.checks import p_value_check as p_value_check
from trait_probe.evidence.checks import percentile_check as percentile_check
from trait_probe.evidence.estimate import Estimate, Unscored, strict_json
from trait_probe.evidence.locks import ReportLock
from trait_probe.evidence.power import MIN_CLUSTERS, Detectable

Verdict = Literal["supported", "not supported", "inconclusive", "not testable"]

SCHEMA = "trait_probe.claims/1"

PREDICTED_CHECK = "projection predicted from the words"
"""A projection that the words predict tells no more than they do, whatever a classifier missed."""

REQUIRED_CHECKS: Mapping[Kind, tuple[str, ...]] = {
    "shift": (
        "interval excludes zero",
        "control model",
        "random directions",
        "unrelated directions",
    ),
    "separation": (
        "interval excludes chance",
        "label permutation",
        "random directions",
        "foil directions",
        "embedding layer",
        "length",
    ),
    "beyond the text": (
        "interval exceeds the smallest gain",
        "text-only classifier",
        "embedding layer",
        PREDICTED_CHECK,
        "random directions",
        "same locked splits",
        "unseen groups",
    ),
    "same behaviour": ("interval within equivalence bound",),
    "gain": (
        "interval excludes zero",
        "extracted vector at its best strength",
        "equal-budget random search",
        "strength-only search",
        "prompt baseline",
        "test questions",
    ),
}
"""Checks that a claim of each kind must carry; without one of them it is not testable."""

TRIGGER_CHECKS = ("label permutation", "pretend triggers")
"""Further checks of a shift in which a trigger is involved."""

SUSPECT_CHECK = "raised in the suspect itself"
"""A shift by a trigger must be the suspect's rise, not its control model's fall."""

MODELS_CHECK = "fine-tuning variation"
"""Further check of a shift between models: what benign fine-tunes differ by of themselves."""

MULTIPLICITY_CHECK = "multiplicity"
"""Required of every claim with more than one look: its p value adjusted for all of them."""

SIZE_CHECK = "sample size"
"""Missing where fewer than `MIN_CLUSTERS` independent clusters carry the effect."""

CHANCE_CHECKS = frozenset(
    {name for names in REQUIRED_CHECKS.values() for name in names}
    | {"label permutation", SUSPECT_CHECK, MODELS_CHECK, MULTIPLICITY_CHECK}
) - {"same locked splits", "unseen groups", "test questions"}
"""Checks that too few data alone make fail. A claim that fails no other, with an interval holding
both the null value and the smallest effect of interest, is inconclusive: nothing was shown.
"pretend triggers" are no such check: a control that does as much is a counterexample."""

REQUIRED_EVIDENCE: Mapping[Kind, tuple[str, ...]] = {
    "shift": ("controls", "nulls"),
    "separation": ("nulls", "shortcuts"),
    "beyond the text": ("controls", "nulls", "shortcuts"),
    "same behaviour": (),
    "gain": ("controls",),
}
"""Fields that must not be empty: a reader sees the numbers that the checks compared with."""

TEXT_BASELINE = "bag_of_words"
"""Key of the text-only AUROC in `shortcuts`; a separation is not testable without it."""


@dataclass(frozen=True)
class Claim:
    """One sentence with its effect, everything it was compared with, and what follows.

    Args:
        id: short name, unique within a run.
        kind: which checks are required.
        statement: the sentence; it predicts an effect above the null value.
        effect: on the report split, oriented as the statement says.
        checks: what was checked; required ones that are absent count as missing.
        controls, nulls, shortcuts: the numbers behind the checks, by name; JSON data,
            `Estimate`, `Unscored`, or objects with `to_json`.
        split: the split that the effect was computed on, in words.
        looks: effects looked at on that split before this one was reported, itself included.
        smallest_effect_of_interest: in the unit of the effect, above its null value; the
            equivalence bound for "same behaviour". Without it no claim is inconclusive.
        trigger_involved: whether a shift compares triggered with other prompts. True unless said
            otherwise, so that forgetting it costs a verdict instead of a control.
        detectable: the smallest effect that the design could have found.
        notes: what else a reader should know.
        lock: of the report rows. A second look fails every claim on them, those before it too.

    Raises:
        BadInputError: an unnamed, doubled or contradictory check, looks below 1, a bound that is
            not positive, or evidence that is not JSON.
    """

    id: str
    kind: Kind
    statement: str
    effect: Estimate | Unscored
    checks: tuple[Check, ...]
    controls: Mapping[str, object]
    nulls: Mapping[str, object]
    shortcuts: Mapping[str, object]
    split: str
    looks: int
    smallest_effect_of_interest: float | None = None
    trigger_involved: bool = True
    detectable: Detectable | None = None
    notes: tuple[str, ...] = ()
    lock: ReportLock | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        require_known_kind(self.kind)
        _require_fields(self)
        _require_distinct(self.checks)
        _require_agreement(self)
        strict_json([self.controls, self.nulls, self.shortcuts])

    @property
    def all_checks(self) -> tuple[Check, ...]:
        """The supplied checks, then the required ones that are absent or follow from the fields."""
        return (*self.checks, *_absent_checks(self), *_derived_checks(self))

    @property
    def verdict(self) -> Verdict:
        """What the checks allow to be said; see the module docstring for the rules."""
        checks = self.all_checks
        if any(check.status == "missing" for check in checks):
            return "not testable"
        failed = {check.name for check in checks if check.status == "failed"}
        if not failed:
            return "supported"
        by_chance = INTERVAL_CHECK[self.kind] in failed and failed <= CHANCE_CHECKS
        if by_chance and _interval_undecided(self):
            return "inconclusive"
        return "not supported"

    @property
    def reasons(self) -> tuple[str, ...]:
        """One sentence per failed or missing check, or "every check passed"."""
        open_checks = [check.reason for check in self.all_checks if check.status != "passed"]
        return tuple(open_checks) or ("every check passed",)

    def to_json(self) -> dict[str, object]:
        """Strict JSON with the verdict and its reasons."""
        return {
            "id": self.id,
            "kind": self.kind,
            "statement": self.statement,
            "verdict": self.verdict,
            "effect": self.effect.to_json(),
            "controls": strict_json(self.controls),
            "nulls": strict_json(self.nulls),
            "shortcuts": strict_json(self.shortcuts),
            "split": self.split,
            "looks": self.looks,
            "detectable": None if self.detectable is None else self.detectable.to_json(),
            "reasons": list(self.reasons),
            "notes": list(self.notes),
            "checks": [check.to_json() for check in self.all_checks],
        }


def claims_json(claims: Iterable[Claim]) -> dict[str, object]:
    """The content of `claims.json`.

    Raises:
        BadInputError: two claims share an id.
    """
    listed = list(claims)
    ids = [claim.id for claim in listed]
    if doubled := sorted({name for name in ids if ids.count(name) > 1}):
        raise BadInputError("Claim ids must be unique.", got=doubled, fix="Rename one of each.")
    return {"schema": SCHEMA, "claims": [claim.to_json() for claim in listed]}


def required_checks(
    kind: Kind, *, looks: int = 1, trigger_involved: bool = True
) -> tuple[str, ...]:
    """Names of every check that such a claim must carry."""
    further = TRIGGER_CHECKS if trigger_involved else (MODELS_CHECK,)
    several = (MULTIPLICITY_CHECK,) if looks > 1 else ()
    return (*REQUIRED_CHECKS[kind], *(further if kind == "shift" else ()), *several)


def _absent_checks(claim: Claim) -> list[Check]:
    supplied = {check.name for check in claim.checks}
    names = required_checks(claim.kind, looks=claim.looks, trigger_involved=claim.trigger_involved)
    return [
        Check(name, "missing", "not run", f"needed for every claim of kind {claim.kind!r}")
        for name in names
        if name not in supplied
    ]


def _derived_checks(claim: Claim) -> list[Check]:
    """What follows from the fields: what is missing, and how often the report rows were opened."""
    found = [
        Check(f"{field} shown", "missing", "none given", "the numbers that were compared with")
        for field in REQUIRED_EVIDENCE[claim.kind]
        if not any(_is_scored(value) for value in getattr(claim, field).values())
    ]
    if claim.kind == "separation" and not _has_text_baseline(claim):
        found.append(
            Check("text-only baseline", "missing", "not scored", f"shortcuts[{TEXT_BASELINE!r}]")
        )
    if isinstance(claim.effect, Unscored):
        found.append(Check("effect", "missing", claim.effect.reason, "a scored effect"))
    elif claim.effect.n_clusters < MIN_CLUSTERS and not _names_size(claim):
        observed = f"{claim.effect.n_clusters} clusters"
        found.append(Check(SIZE_CHECK, "missing", observed, f"{MIN_CLUSTERS} or more"))
    if claim.lock is not None:
        found.append(opened_once(claim.lock))
    return found


def _names_size(claim: Claim) -> bool:
    return any(check.name == SIZE_CHECK and check.status == "missing" for check in claim.checks)


def _has_text_baseline(claim: Claim) -> bool:
    return _is_scored(claim.shortcuts.get(TEXT_BASELINE))


def _is_scored(value: object) -> bool:
    """Whether there is something to see: neither None nor the reason why there is no number."""
    found = strict_json(value)
    if isinstance(found, str | list | dict) and not found:
        return False
    return found is not None and not (isinstance(found, dict) and "unscored" in found)


def _interval_undecided(claim: Claim) -> bool:
    """Whether the interval still holds what the statement hopes for."""
    effect, bound = claim.effect, claim.smallest_effect_of_interest
    if isinstance(effect, Unscored) or bound is None:
        return False
    if claim.kind == "same behaviour":
        null = null_value(effect)
        return effect.low - null < bound and effect.high - null > -bound
    return effect.high - null_value(effect) >= bound


# --- validation -------------------------------------------------------------------------------


def _require_fields(claim: Claim) -> None:
    for name in ("id", "statement", "split"):
        if not getattr(claim, name).strip():
            raise BadInputError(f"A claim needs its {name}.", got="", fix="Say it in words.")
    if claim.looks < 1:
        raise BadInputError(
            "looks counts every effect looked at, itself included.",
            got=claim.looks,
            fix="Pass 1 when nothing else was computed on the split.",
        )
    bound = claim.smallest_effect_of_interest
    if bound is not None and not 0.0 < bound < float("inf"):
        raise BadInputError(
            "smallest_effect_of_interest must be a positive number.",
            got=bound,
            fix="Give the distance from the null value that would matter.",
        )


def _require_distinct(checks: tuple[Check, ...]) -> None:
    names = [check.name for check in checks]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise BadInputError(
            "Each check is named once.", got=doubled, fix="Merge them: passed only if both are."
        )


def _require_agreement(claim: Claim) -> None:
    """An interval check cannot be passed by an interval that fails it."""
    for check in claim.checks:
        if check.name != INTERVAL_CHECK[claim.kind] or check.status != "passed":
            continue
        effect, bound = claim.effect, claim.smallest_effect_of_interest
        if isinstance(effect, Unscored) or not interval_passes(claim.kind, effect, bound):
            raise BadInputError(
                f"The check {check.name!r} is marked as passed but the effect does not pass it.",
                got=effect.to_json(),
                fix="Build it with interval_check(kind, effect).",
            )
