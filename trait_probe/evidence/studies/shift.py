"""Claims that a fine-tuned model carries more of a trait than its base on the same text.

Any fine-tune adds a near-constant shift that projects on every direction. So the shift must exceed
that of the control fine-tunes (difference of differences), and what exceeds them must stand out
three times, each rival being read at the place where its own difference is largest:

- among random directions of the same covariance,
- among directions fitted to the same texts with shuffled labels,
- beyond what benign fine-tunes differ by along directions that mean something, by a prediction
  test: over four controls or more, each in the variant's role; else over four unrelated traits or
  more. Two benign fine-tunes that differ in their seed alone differ more along trait directions
  than along the first two kinds (in 17 % of such pairs those two were exceeded).

Place is chosen on the selection rows, everything else is read on the report rows. (For a trigger
inside one model see the `trigger_*` modules.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from trait_probe.errors import BadInputError, MismatchError
from trait_probe.evidence._arrays import require_same_length
from trait_probe.evidence.checks import (
    Check,
    beats_check,
    interval_check,
    missing_check,
    p_value_check,
)
from trait_probe.evidence.claims import MODELS_CHECK, SIZE_CHECK, Claim
from trait_probe.evidence.distribution import input_shifts
from trait_probe.evidence.estimate import Estimate, Unscored
from trait_probe.evidence.means import clustered_mean
from trait_probe.evidence.multiplicity import holm
from trait_probe.evidence.nulls import PretendNull, pretend_null
from trait_probe.evidence.power import MIN_CLUSTERS, detectable_of
from trait_probe.evidence.simultaneous import simultaneous_means
from trait_probe.evidence.splits import Split
from trait_probe.evidence.studies.models import ModelScores, ShiftRows
from trait_probe.evidence.studies.rows import (
    NullRank,
    chosen_places,
    holm_ranks,
    null_check,
    null_rank,
    opened_once,
    require_traits,
    untestable,
)

SMALLEST_SHIFT = 0.5
"""SD of the base model's prompts; Cohen's "medium"."""

UNIT = "SD of the base"
MIN_RIVALS = 4
"""Fewest controls, or unrelated traits, that a prediction test is made from."""


@dataclass(frozen=True)
class Shift:
    """Everything a claim of a shift is made from.

    Args:
        rows: groups and split.
        places: what each column of scores reads.
        traits: per trait, its scores in the models.
        random: random directions of the base activations' covariance.
        shuffled: directions fitted to a trait's texts with shuffled labels.
        unrelated: per trait that has nothing to do with those claimed, its scores.
        directions: unit directions `[place d_model]` of traits and unrelated ones, so that the
            latter are made orthogonal to each trait; empty: they are taken as they are.

    Raises:
        MismatchError: scores that do not fit rows and places.
    """

    rows: ShiftRows
    places: tuple[str, ...]
    traits: Mapping[str, ModelScores]
    random: ModelScores | None = None
    shuffled: ModelScores | None = None
    unrelated: Mapping[str, ModelScores] = field(default_factory=dict)
    directions: Mapping[str, Float[np.ndarray, "place d_model"]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_traits(self.traits)
        require_same_length(len(self.rows.ids), self.rows.groups, "groups")
        nulls = [null for null in (self.random, self.shuffled) if null is not None]
        everything = [*self.traits.values(), *self.unrelated.values(), *nulls]
        shape = (len(self.rows.groups), len(self.places))
        found = {(models.base.shape[:2], len(models.controls)) for models in everything}
        if found != {(shape, self.n_controls)}:
            raise MismatchError(
                "Traits and null directions are scored on the same rows, places and models.",
                got=sorted(found),
                valid=[(shape, self.n_controls)],
                fix="Score all of them in the base, the variant and every control.",
            )
        self._check_names()

    def _check_names(self) -> None:
        if both := sorted(set(self.traits) & set(self.unrelated)):
            raise BadInputError(
                "A trait that is claimed is not unrelated to itself.",
                got=both,
                fix="Leave it out of the unrelated traits.",
            )
        named = {*self.traits, *self.unrelated}
        if self.directions and not named <= set(self.directions):
            raise MismatchError(
                "Directions are handed in for every trait, claimed or unrelated, or for none.",
                got=sorted(named - set(self.directions)),
                valid=sorted(named),
            )

    @property
    def n_controls(self) -> int:
        """Control models, the same for every trait."""
        return len(next(iter(self.traits.values())).controls)


@dataclass(frozen=True)
class Models:
    """How the statements name the models."""

    variant: str
    base: str
    control: str | None

    def carries(self, trait: str) -> str:
        """The sentence of a shift, without its end."""
        return f"{self.variant} carries more {trait} than {self.base} on the same text"


@dataclass(frozen=True)
class _Read:
    """One trait at its place, on the report rows, in SD of the base."""

    trait: str
    place: str
    shift: Float[np.ndarray, " report"]
    beyond: Float[np.ndarray, " report"]
    random: NullRank | None
    shuffled: NullRank | None
    rivals: PretendNull | Unscored


def shift_claims(
    study: Shift,
    models: Models,
    *,
    alpha: float = 0.05,
    n_permutations: int = 2000,
    seed: int = 0,
) -> list[Claim]:
    """One claim per trait; p values adjusted over the traits.

    Args:
        n_permutations: sign flips of the report rows' groups, at least 1 / alpha.
    """
    places = {trait: _best_place(study, trait) for trait in study.traits}
    study.rows.lock.report(chosen_places({t: study.places[i] for t, i in places.items()}))
    clusters = study.rows.report_groups
    if (n := len(set(clusters))) < MIN_CLUSTERS:
        small = missing_check(SIZE_CHECK, f"{n} report groups", f"{MIN_CLUSTERS} or more")
        return [
            untestable(
                "shift", f"shift:{trait}", f"{models.carries(trait)}.", small, len(study.traits)
            )
            for trait in study.traits
        ]
    read = [_read(study, *chosen) for chosen in places.items()]
    beyond = np.stack([item.beyond for item in read], axis=1)
    together = simultaneous_means(
        beyond, clusters, n=n_permutations, seed=seed, alternative="greater"
    )
    random_p = holm_ranks([item.random for item in read])
    shuffled_p = holm_ranks([item.shuffled for item in read])
    rivals_p = holm(np.array([_p(item.rivals) for item in read]))
    adjusted = zip(together.p, random_p, shuffled_p, rivals_p, strict=True)
    return [
        _claim(study, models, item, _Adjusted(*(float(p) for p in found)), alpha)
        for item, found in zip(read, adjusted, strict=True)
    ]


@dataclass(frozen=True)
class _Adjusted:
    """p values of one claim, adjusted over the traits."""

    flips: float
    random: float
    shuffled: float
    rivals: float


def _best_place(study: Shift, trait: str) -> int:
    """Where the selection rows differ most from the controls', in SD of the base."""
    scores, rows = study.traits[trait], study.rows.lock.selection
    return int(scores.standardized(rows)[rows].mean(axis=0).argmax())


def _read(study: Shift, trait: str, place: int) -> _Read:
    scores, split = study.traits[trait], study.rows.lock.split
    unit = scores.unit(split.selection)
    beyond = scores.standardized(split.selection)[split.report, place]
    value = float(beyond.mean())
    return _Read(
        trait=trait,
        place=study.places[place],
        shift=np.asarray((scores.shift() / unit)[split.report, place]),
        beyond=beyond,
        random=_rank(value, study.random, split),
        shuffled=_rank(value, study.shuffled, split),
        rivals=_rivals(study, trait, value),
    )


def _rank(value: float, null: ModelScores | None, split: Split) -> NullRank | None:
    return None if null is None else null_rank(value, null.reported(split))


def _rivals(study: Shift, trait: str, value: float) -> PretendNull | Unscored:
    """The effect among what benign fine-tunes differ by along this or along unrelated traits."""
    split, scores = study.rows.lock.split, study.traits[trait]
    n = study.n_controls
    if n >= MIN_RIVALS:
        rivals = [float(scores.pretend(j).reported(split)[0]) for j in range(n)]
    elif n and len(study.unrelated) >= MIN_RIVALS:
        rivals = [float(other.reported(split)[0]) for other in _apart(study, trait)]
    else:
        return Unscored(
            f"{n} control models and {len(study.unrelated)} unrelated traits; {MIN_RIVALS} of "
            "either are needed (and one control)"
        )
    return pretend_null(value, np.array(rivals))


def _apart(study: Shift, trait: str) -> list[ModelScores]:
    """The unrelated traits, orthogonal to the trait where directions were handed in."""
    if not study.directions:
        return list(study.unrelated.values())
    own = study.directions[trait]
    return [
        other.apart(study.traits[trait], (study.directions[name] * own).sum(axis=1))
        for name, other in study.unrelated.items()
    ]


def _p(null: PretendNull | Unscored) -> float:
    if isinstance(null, Unscored):
        return 1.0
    return null.rank_p if isinstance(null.p, Unscored) else null.p


def _claim(study: Shift, models: Models, read: _Read, adjusted: _Adjusted, alpha: float) -> Claim:
    clusters = list(study.rows.report_groups)
    effect = clustered_mean(read.shift, clusters, unit=UNIT)
    beyond = clustered_mean(read.beyond, clusters, unit=UNIT)
    control: Estimate | Unscored = (
        beyond if study.n_controls else Unscored("no control model was given")
    )
    checks = (
        interval_check("shift", effect),
        beats_check("control model", control),
        null_check("random directions", read.random, adjusted.random, alpha),
        null_check("unrelated directions", read.shuffled, adjusted.shuffled, alpha),
        _rivals_check(study, read.rivals, adjusted.rivals, alpha),
        p_value_check("multiplicity", adjusted.flips, alpha=alpha),
        opened_once(study.rows.lock),
    )
    return Claim(
        id=f"shift:{read.trait}",
        kind="shift",
        statement=(
            f"{models.carries(read.trait)}, beyond {models.control or '(no control model)'}, at "
            f"{read.place}."
        ),
        effect=effect,
        checks=checks,
        controls={"beyond the control model": control} if study.n_controls else {},
        nulls={
            "random directions": read.random,
            "unrelated directions": read.shuffled,
            MODELS_CHECK: read.rivals,
        },
        shortcuts={"per input, beyond the control": input_shifts(read.beyond)},
        split="report rows; place chosen on the selection rows",
        looks=len(study.traits),
        smallest_effect_of_interest=SMALLEST_SHIFT,
        trigger_involved=False,
        detectable=detectable_of(beyond),
        notes=(f"chosen among {len(study.places)} places per trait on the selection rows",),
    )


def _rivals_check(
    study: Shift, rivals: PretendNull | Unscored, adjusted_p: float, alpha: float
) -> Check:
    required = f"prediction p <= {alpha:g} (Holm-adjusted over the traits)"
    if isinstance(rivals, Unscored):
        return missing_check(MODELS_CHECK, rivals.reason, required)
    by_controls = study.n_controls >= MIN_RIVALS
    among = "controls in the variant's role" if by_controls else "unrelated traits"
    observed = f"adjusted p = {adjusted_p:.4g} among {rivals.n} {among}"
    return Check(MODELS_CHECK, "passed" if adjusted_p <= alpha else "failed", observed, required)
