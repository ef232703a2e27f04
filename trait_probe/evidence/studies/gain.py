"""Claims that a searched vector is better, on test questions, than what costs less.

Every arm is scored on the same test questions at a matched cost in coherence: the searched vector,
the extracted one at its best strength, an equal-budget random search, a strength-only search, and
the prompt that simply asks for the trait. All must be beaten (an intersection-union test: requiring
all keeps the error rate at that of each). A search is a draw: seeds are a sample as questions are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import stats

from trait_probe.errors import BadInputError, MismatchError, nearest
from trait_probe.evidence._arrays import as_finite, require_count, require_same_length
from trait_probe.evidence.checks import Check, beats_check, interval_check, missing_check
from trait_probe.evidence.claims import Claim
from trait_probe.evidence.distribution import input_shifts
from trait_probe.evidence.estimate import Estimate, Unscored
from trait_probe.evidence.means import clustered_means
from trait_probe.evidence.power import Detectable, detectable_of
from trait_probe.evidence.splits import require_disjoint
from trait_probe.evidence.studies.parts import null_rank, require_rates

EXTRACTED = "extracted vector at its best strength"
ARMS = (EXTRACTED, "equal-budget random search", "strength-only search", "prompt baseline")
MIN_SEEDS = 3
SMALLEST_GAIN = 0.05
_ROUNDING = 1e-12  # a spread below this share of the scores is rounding


@dataclass(frozen=True)
class Gain:
    """Test scores of the searched vector and of every arm it is compared with.

    Args:
        searched: score of each search seed and test question.
        arms: by the names in `ARMS`, `[seed question]`; one row for an arm without seeds.
        test, chosen_on: ids of the test questions, and of all questions used in search and
            validation (never empty); no id is in both.
        groups: per test question, the family that it moves with; each alone if None.
        null: scores of random directions at matched coherence `[draw question]`, for the
            percentile.

    Raises:
        MismatchError: arms on other questions.
        BadInputError: an unknown arm, no questions to choose on, or a test question that was
            searched or validated on.
    """

    searched: Float[np.ndarray, "seed question"]
    arms: Mapping[str, Float[np.ndarray, "_seed question"]]
    test: tuple[str, ...]
    chosen_on: tuple[str, ...]
    groups: tuple[str, ...] | None = None
    null: Float[np.ndarray, "draw question"] | None = None

    def __post_init__(self) -> None:
        if self.searched.ndim != 2:
            raise MismatchError(
                "Scores have one row per seed and one column per test question.",
                got=self.searched.shape,
                valid=("(seeds, questions)",),
            )
        for name, scores in self.arms.items():
            _require_arm(name, scores.shape, self.searched.shape)
        n = self.searched.shape[1]
        if self.groups is not None:
            require_same_length(n, self.groups, "groups")
        if len(set(self.test)) != n or len(self.test) != n:
            raise MismatchError(
                "Every test question has one id of its own.",
                got=f"{len(self.test)} ids, {len(set(self.test))} distinct",
                valid=(n,),
                fix="Pass the id of each column of the scores, in their order.",
            )
        if self.null is not None and (self.null.shape[1] != n or not len(self.null)):
            raise MismatchError(
                "Random directions are scored on the test questions.",
                got=self.null.shape,
                valid=(f"(draws, {n})",),
                fix="Score them on the same questions, or pass null=None.",
            )
        if not self.chosen_on:
            raise BadInputError(
                "A search has questions that it was made on.",
                got=self.chosen_on,
                fix="Pass the ids of all questions used in search and validation.",
            )
        require_disjoint(self.test, self.chosen_on, "Questions")


def mean_advantage(
    first: Float[np.ndarray, "_first question"],
    second: Float[np.ndarray, "_second question"],
    *,
    unit: str,
    groups: Sequence[str] | None = None,
    level: float = 0.95,
) -> Estimate | Unscored:
    """Mean of `first` minus mean of `second` on the same questions; seeds of each are a sample.

    Variance: that of the questions' differences (of means over seeds) over questions, plus that of
    the seed means over seeds for each arm with more than one (each part holds a share of the
    residual, so the sum errs on the wide side); Student t with Welch & Satterthwaite's degrees of
    freedom. An arm of one row has no seeds: it is as it is. Where nothing varies, 0 is a point and
    any other value is Unscored: no interval can be had from it.

    Args:
        groups: family of each question, which varies as a whole (`means.clustered_means`).

    Raises:
        BadInputError: fewer than two questions or groups, or values not finite.
    """
    tables = [as_finite(side, "The scores") for side in (first, second)]
    n_questions = tables[0].shape[1]
    require_count(n_questions, 2, "The number of questions")
    by_question = tables[0].mean(axis=0) - tables[1].mean(axis=0)
    value = float(by_question.mean())
    names = [str(i) for i in range(n_questions)] if groups is None else list(groups)
    parts = _variance_parts(tables, by_question, names)
    variance = sum(part for part, _ in parts)
    rounding = _ROUNDING * max(float(np.abs(table).max()) for table in tables)
    if variance > rounding**2:
        df = variance**2 / sum(part**2 / df for part, df in parts)
        half = float(stats.t.ppf((1.0 + level) / 2.0, df)) * float(np.sqrt(variance))
    elif abs(value) > rounding:
        return Unscored("no variance over questions or seeds, so that nothing bounds the value")
    else:
        value = half = 0.0
    return Estimate(
        value=value,
        low=value - half,
        high=value + half,
        n=tables[0].size,
        n_clusters=len(set(names)),
        unit=unit,
        method=f"student t over {len(set(names))} questions and {len(first)} and "
        f"{len(second)} seeds (satterthwaite)",
        level=level,
    )


def gain_claim(
    study: Gain,
    *,
    statement: str,
    unit: str,
    looks: int = 1,
    alpha: float = 0.05,
    id: str = "gain",
) -> Claim:
    """One claim that the searched vector beats every arm on the test questions.

    Args:
        unit: of the scores.
        looks: searched vectors compared in this run (traits); intervals of the multiplicity
            check are widened for them (Bonferroni).
        alpha: error rate over all looks, in (0, 0.05]; below 0.05 it is checked for one look too.

    Raises:
        BadInputError: `alpha` outside (0, 0.05], or as `mean_advantage`.
    """
    require_rates(alpha)
    against = {name: _against(study, name, unit) for name in ARMS}
    effect = against[EXTRACTED]
    checks = [interval_check("gain", effect)]
    checks += [beats_check(name, difference) for name, difference in against.items()]
    checks += [_no_better_arm(against), _seeds_check(study), _questions_check(study)]
    if looks > 1 or alpha < 0.05:
        checks.append(_multiplicity(study, unit, alpha / looks))
    found = _by_question(study)
    return Claim(
        id=id,
        kind="gain",
        statement=statement,
        effect=effect,
        checks=tuple(checks),
        controls=dict(against),
        nulls={"random directions": _rank(study)},
        shortcuts={} if found is None else {"per question": input_shifts(found)},
        split="test questions, unseen in search and validation",
        looks=looks,
        smallest_effect_of_interest=SMALLEST_GAIN,
        trigger_involved=False,
        detectable=_detectable(effect),
    )


def _require_arm(name: str, got: tuple[int, ...], searched: tuple[int, ...]) -> None:
    if name not in ARMS:
        raise BadInputError(
            "There is no such arm.", got=name, valid=nearest(name, ARMS), fix="Name one of `ARMS`."
        )
    if got[1] != searched[1]:
        raise MismatchError(
            f"The arm {name!r} was scored on other questions than the searched vector.",
            got=got,
            valid=(f"(seeds, {searched[1]})",),
            fix="Score every arm on the same test questions, in the same order.",
        )


def _variance_parts(
    tables: list[Float[np.ndarray, "_seed question"]],
    by_question: Float[np.ndarray, " question"],
    groups: Sequence[str],
) -> list[tuple[float, int]]:
    """(variance of the mean, degrees of freedom) of the questions and of each arm's seeds."""
    _, errors, n = clustered_means(by_question[:, None], groups)
    return [(float(errors[0]) ** 2, n - 1)] + [
        (float(table.mean(axis=1).var(ddof=1)) / len(table), len(table) - 1)
        for table in tables
        if len(table) > 1
    ]


def _by_question(study: Gain) -> Float[np.ndarray, " question"] | None:
    """Searched minus extracted, means over seeds."""
    if EXTRACTED not in study.arms:
        return None
    means = [
        side.astype(np.float64).mean(axis=0) for side in (study.searched, study.arms[EXTRACTED])
    ]
    return np.asarray(means[0] - means[1])


def _against(study: Gain, arm: str, unit: str, level: float = 0.95) -> Estimate | Unscored:
    if arm not in study.arms:
        return Unscored("this arm was not run")
    return mean_advantage(
        study.searched, study.arms[arm], unit=unit, groups=study.groups, level=level
    )


def _multiplicity(study: Gain, unit: str, alpha: float) -> Check:
    adjusted = [_against(study, arm, unit, 1.0 - alpha) for arm in ARMS]
    checks = [beats_check("multiplicity", one) for one in adjusted]
    worst = [check for check in checks if check.status != "passed"]
    return (worst or checks)[0]


def _no_better_arm(against: Mapping[str, Estimate | Unscored]) -> Check:
    """Failed where an arm is better beyond its interval: the claim is refuted then, not open."""
    required = "no arm that is better beyond its 95 % interval"
    better = [
        f"{name} by {-one.value:.4g} [{-one.high:.4g}, {-one.low:.4g}]"
        for name, one in against.items()
        if isinstance(one, Estimate) and one.high < 0.0
    ]
    if better:
        return Check("no better arm", "failed", "; ".join(better), required)
    return Check("no better arm", "passed", "none", required)


def _seeds_check(study: Gain) -> Check:
    n, required = len(study.searched), f"{MIN_SEEDS} or more seeds of the search"
    if n < MIN_SEEDS:
        return missing_check("search seeds", f"{n}", required)
    return Check("search seeds", "passed", f"{n}", required)


def _questions_check(study: Gain) -> Check:
    observed = f"{len(study.test)} test questions, {len(study.chosen_on)} others to choose on"
    return Check("test questions", "passed", observed, "none of them searched or validated on")


def _rank(study: Gain) -> object:
    if study.null is None:
        return Unscored("no random directions were scored")
    return null_rank(float(study.searched.mean()), as_finite(study.null, "The null").mean(axis=1))


def _detectable(effect: Estimate | Unscored) -> Detectable | None:
    """From the effect's own interval, seeds included; None where nothing varies."""
    if isinstance(effect, Unscored) or effect.width == 0.0:
        return None
    return detectable_of(effect)
