"""Claims that a fine-tuned model carries more of a trait than its base on the same text.

Any fine-tune adds a near-constant shift that projects on every direction. So the shift must exceed
that of the control fine-tunes (difference of differences), and what exceeds them must stand out
three times, each rival being read at the place where its own difference is largest:

- among random directions of the same covariance,
- among directions fitted to the same texts with shuffled labels,
- beyond what benign fine-tunes differ by along directions that mean something, by a prediction
  test: over four controls or more, each in the variant's role; else over four unrelated traits or
  more. Two benign fine-tunes that differ in their seed alone differ more along trait directions
  than along the first two kinds: without this check, 8 of 48 studies of three traits between two
  such fine-tunes of an organism said `supported`.

Place is chosen on the selection rows, everything else is read on the report rows. (For a trigger
inside one model see `evidence.triggers`.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float

from trait_probe.errors import BadInputError, MismatchError
from trait_probe.evidence._arrays import effective_clusters, require_same_length
from trait_probe.evidence.checks import (
    Check,
    beats_check,
    interval_check,
    missing_check,
    p_value_check,
)
from trait_probe.evidence.claims import MODELS_CHECK, SIZE_CHECK, Claim
from trait_probe.evidence.distribution import input_shifts
from trait_probe.evidence.estimate import Unscored
from trait_probe.evidence.means import clustered_mean
from trait_probe.evidence.multiplicity import holm
from trait_probe.evidence.nulls import PretendNull, pretend_null
from trait_probe.evidence.power import MIN_CLUSTERS, detectable_of
from trait_probe.evidence.simultaneous import simultaneous_means
from trait_probe.evidence.splits import Split
from trait_probe.evidence.studies.models import (
    ModelScores,
    ShiftRows,
    require_apart,
    require_no_copies,
    require_unit,
)
from trait_probe.evidence.studies.parts import (
    NullRank,
    holm_ranks,
    null_check,
    open_lock,
    ranked,
    require_rates,
    require_traits,
    untestable,
)
from trait_probe.evidence.studies.vacuous import distinct_models, no_fine_tune

SMALLEST_SHIFT = 0.5
"""SD of the base model's prompts; Cohen's "medium"."""

UNIT = "SD of the base"
MIN_RIVALS = 4
"""Fewest controls, or unrelated traits, that a prediction test is made from."""
SMALLEST_SPREAD = 1e-3
"""SD of the base; rivals closer together are one, up to rounding."""


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
        require_unit(self.directions, len(self.places))
        named = {*self.traits, *self.unrelated}
        require_no_copies(self.unrelated)
        require_apart(
            {name: self.directions[name] for name in self.unrelated if name in self.directions}
        )
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
    random: NullRank | Unscored
    shuffled: NullRank | Unscored
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
    require_rates(alpha, n_permutations)
    chosen_on = study.rows.lock.selection
    places = {trait: models.best_place(chosen_on) for trait, models in study.traits.items()}
    beyond_all = {name: models.beyond_controls() for name, models in study.traits.items()}
    against = {
        "random": study.random,
        "shuffled": study.shuffled,
        "unrelated": study.unrelated,
        "settings": (alpha, n_permutations, seed),
    }
    open_lock(study.rows.lock, "shift", study.places, places, beyond_all, against=against)
    nulls = [
        None if null is None else distinct_models(null) for null in (study.random, study.shuffled)
    ]
    study = replace(study, random=nulls[0], shuffled=nulls[1])
    clusters = study.rows.report_groups
    if (n := effective_clusters(clusters)) < MIN_CLUSTERS:
        observed = f"{len(set(clusters))} report groups, effectively {n:.1f}"
        small = missing_check(SIZE_CHECK, observed, f"{MIN_CLUSTERS} or more")
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
    rivals = [item.rivals for item in read]
    rivals_p = holm(np.array([1.0 if isinstance(r, Unscored) else r.deciding_p for r in rivals]))
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


def _rank(value: float, null: ModelScores | None, split: Split) -> NullRank | Unscored:
    if null is None:
        return Unscored("not handed in")
    return ranked(value, null.reported(split))


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
    if np.ptp(rivals) < SMALLEST_SPREAD:
        return Unscored(f"{len(rivals)} rivals that all give the same")
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


def _claim(study: Shift, models: Models, read: _Read, adjusted: _Adjusted, alpha: float) -> Claim:
    clusters, looks = list(study.rows.report_groups), len(study.traits)
    effect = clustered_mean(read.shift, clusters, unit=UNIT)
    beyond = clustered_mean(read.beyond, clusters, unit=UNIT)
    control = _no_control(study, read.trait) or beyond
    checks = (
        interval_check("shift", effect),
        beats_check("control model", control),
        null_check("random directions", read.random, adjusted.random, alpha, looks),
        null_check("unrelated directions", read.shuffled, adjusted.shuffled, alpha, looks),
        _rivals_check(study, read.rivals, adjusted.rivals, alpha),
        p_value_check("multiplicity", adjusted.flips, alpha=alpha),
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
        controls={"beyond the control model": control},
        nulls={
            "random directions": read.random,
            "unrelated directions": read.shuffled,
            MODELS_CHECK: read.rivals,
        },
        shortcuts={"per input, beyond the control": input_shifts(read.beyond)},
        split="report rows; place chosen on the selection rows",
        looks=looks,
        smallest_effect_of_interest=SMALLEST_SHIFT,
        trigger_involved=False,
        lock=study.rows.lock,
        detectable=detectable_of(beyond, alpha=alpha / looks),
        notes=(f"chosen among {len(study.places)} places per trait on the selection rows",),
    )


def _no_control(study: Shift, trait: str) -> Unscored | None:
    """Why there is nothing to subtract, if so: a control that is the base takes nothing off."""
    models = study.traits[trait]
    if not models.controls:
        return Unscored("no control model was given")
    why = no_fine_tune(models, study.rows.lock.selection)
    return None if why is None else Unscored(why)


def _rivals_check(
    study: Shift, rivals: PretendNull | Unscored, adjusted_p: float, alpha: float
) -> Check:
    required = f"beyond all, with a prediction p <= {alpha:g} (Holm-adjusted over the traits)"
    if isinstance(rivals, Unscored):
        return missing_check(MODELS_CHECK, rivals.reason, required)
    by_controls = study.n_controls >= MIN_RIVALS
    among = "controls in the variant's role" if by_controls else "unrelated traits"
    words = "beyond all" if rivals.beyond_all else "not beyond all"
    observed = f"{words} {rivals.n} {among}, adjusted p = {adjusted_p:.4g}"
    passed = rivals.beyond_all and adjusted_p <= alpha
    return Check(MODELS_CHECK, "passed" if passed else "failed", observed, required)
