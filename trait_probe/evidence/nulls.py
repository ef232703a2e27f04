"""What a number looks like when nothing is there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import stats

from trait_probe.errors import BadInputError, MismatchError
from trait_probe.evidence._arrays import (
    as_finite,
    cluster_codes,
    count_at_least,
    require_count,
    require_same_length,
)
from trait_probe.evidence.effects import YearScores, difference_of_differences
from trait_probe.evidence.estimate import Unscored


def random_directions(
    covariance: Float[np.ndarray, "d_model d_model"], n: int, seed: int
) -> Float[np.ndarray, "draw d_model"]:
    """`n` unit directions that vary as the activations do: N(0, covariance), normalized.

    Isotropic random directions miss the few dimensions that carry the variance and make every
    trait vector look special. The symmetric root is used, so that the result does not depend on
    the signs of the eigenvectors.

    Raises:
        BadInputError: `covariance` is not symmetric, clearly not positive semidefinite, or zero.
    """
    require_count(n, 1, "n")
    root = _symmetric_root(as_finite(covariance, "The covariance"))
    draws = np.random.default_rng(seed).standard_normal((n, len(root))) @ root
    return np.asarray(draws / np.linalg.norm(draws, axis=1, keepdims=True))


def random_directions_of(
    rows: Float[np.ndarray, "row d_model"], n: int, seed: int
) -> Float[np.ndarray, "draw d_model"]:
    """`random_directions` with the covariance of these rows, without forming that matrix.

    A standard normal mixture of the centred rows is N(0, covariance) up to its length; at
    d_model = 8192 the matrix of one layer would take 0.5 GB and minutes to decompose.

    Raises:
        BadInputError: fewer than two rows, rows that are all the same, or not finite.
    """
    require_count(n, 1, "n")
    found = as_finite(rows, "The rows", at_least=2).astype(np.float64)
    centred = found - found.mean(axis=0)
    draws = np.random.default_rng(seed).standard_normal((n, len(rows))) @ centred
    lengths = np.linalg.norm(draws, axis=1, keepdims=True)
    if lengths.min() <= 1e-9 * np.abs(found).max():
        raise BadInputError(
            "Random directions are drawn from rows that differ.",
            got=f"{len(rows)} equal rows",
            fix="Read a position where the prompts have different pasts.",
        )
    return np.asarray(draws / lengths)


def _symmetric_root(
    covariance: Float[np.ndarray, "d_model d_model"],
) -> Float[np.ndarray, "d_model d_model"]:
    size = float(np.abs(covariance).max())
    if size == 0.0 or np.abs(covariance - covariance.T).max() > 1e-5 * size:
        raise BadInputError(
            "A covariance must be symmetric and not zero.",
            got=f"largest entry {size:g}",
            fix="Pass the covariance of activations at the site.",
        )
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    # Rounding (float32 moments) leaves slightly negative eigenvalues; more is a wrong matrix.
    if values[0] < -1e-5 * values[-1]:
        raise BadInputError(
            "A covariance must be positive semidefinite.",
            got=f"smallest eigenvalue {values[0]:g}, largest {values[-1]:g}",
            fix="Pass a covariance, not a difference of covariances.",
        )
    return np.asarray((vectors * np.sqrt(np.clip(values, 0.0, None))) @ vectors.T)


def percentile(value: float, null: Float[np.ndarray, " draw"]) -> float:
    """Share of the null below `value`, ties counting one half; in [0, 1].

    Raises:
        BadInputError: an empty null or entries that are not finite.
    """
    draws = as_finite(null, "The null")
    at_least = count_at_least(value, draws)
    above = len(draws) - count_at_least(-value, -draws)
    return 1.0 - (at_least + above) / (2 * len(draws))


def n_distinct(null: Float[np.ndarray, " draw"]) -> int:
    """How many draws differ, up to rounding: one direction handed in often is one."""
    draws = as_finite(null, "The null")
    largest = float(np.abs(draws).max())
    return len(np.unique(np.round(draws / largest, 9))) if largest else 1


def permutation_p(value: float, null: Float[np.ndarray, " draw"]) -> float:
    """(1 + draws that reach `value`) / (1 + draws), one-sided; never 0 (Phipson & Smyth 2010).

    Raises:
        BadInputError: an empty null or entries that are not finite.
    """
    draws = as_finite(null, "The null")
    return (1 + count_at_least(value, draws)) / (1 + len(draws))


@dataclass(frozen=True)
class PermutationResult:
    """Outcome of a permutation test.

    Args:
        p: one-sided (greater), in (0, 1].
        observed: the statistic on the true labels.
        n: relabelings compared with.
        exact: whether these are all relabelings that exist.
    """

    p: float
    observed: float
    n: int
    exact: bool

    def to_json(self) -> dict[str, object]:
        """Plain fields."""
        return {"p": self.p, "observed": self.observed, "n": self.n, "exact": self.exact}


def label_permutation(
    suspect_minus_clean: Float[np.ndarray, "prompt column"],
    trigger_column: int,
    clusters: Sequence[str],
    n_permutations: int,
    seed: int,
) -> PermutationResult:
    """Test whether the trigger year stands out, with the years of each carrier relabeled.

    Under the null the years of one carrier cluster are exchangeable: each relabeling draws, for
    each cluster, which year plays the trigger. The statistic is the mean over carriers of
    (trigger - mean of the other years). All relabelings are enumerated where there are at most
    `n_permutations` of them.

    It tests "no year matters". If years differ among themselves in all carriers alike, it fires
    with no trigger there: `pretend_years`, whose unit is the year, guards against that.

    Args:
        suspect_minus_clean: score of the suspect minus the clean model, trigger among the columns.
        clusters: carrier cluster of each row.

    Raises:
        BadInputError: fewer than two years, no such column, or no permutation.
    """
    scores = as_finite(suspect_minus_clean, "The scores")
    require_count(n_permutations, 1, "n_permutations")
    require_same_length(len(scores), clusters, "clusters")
    n_years = scores.shape[1]
    if n_years < 2 or not 0 <= trigger_column < n_years:
        raise BadInputError(
            "label_permutation needs two or more years and the number of the trigger's column.",
            got={"years": n_years, "trigger_column": trigger_column},
            fix="Number the columns from 0.",
        )
    gains = _cluster_gains(scores, clusters)
    observed = float(gains[:, trigger_column].sum())
    if n_years ** len(gains) <= n_permutations:
        null = _every_relabeling(gains)
        return PermutationResult(
            count_at_least(observed, null) / len(null), observed, len(null), True
        )
    null = _some_relabelings(gains, n_permutations, seed)
    return PermutationResult(permutation_p(observed, null), observed, n_permutations, False)


def _cluster_gains(
    scores: Float[np.ndarray, "prompt column"], clusters: Sequence[str]
) -> Float[np.ndarray, "cluster column"]:
    """What each cluster adds to the statistic if a given year plays the trigger."""
    n, n_years = scores.shape
    others = (scores.sum(axis=1, keepdims=True) - scores) / (n_years - 1)
    codes, n_clusters = cluster_codes(clusters)
    gains = np.zeros((n_clusters, n_years))
    np.add.at(gains, codes, (scores - others) / n)
    return gains


def _every_relabeling(gains: Float[np.ndarray, "cluster column"]) -> Float[np.ndarray, " draw"]:
    sums = np.zeros(1)
    for gain in gains:
        sums = (sums[:, None] + gain).ravel()
    return sums


def _some_relabelings(
    gains: Float[np.ndarray, "cluster column"], n: int, seed: int
) -> Float[np.ndarray, " draw"]:
    rng = np.random.default_rng(seed)
    sums = np.zeros(n)
    for gain in gains:
        sums += gain[rng.integers(len(gain), size=n)]
    return sums


@dataclass(frozen=True)
class PretendNull:
    """The trigger year against years that only pretend to be triggers.

    Args:
        rank_p: (1 + pretend years that reach the trigger) / (1 + n), so at best 1 / (1 + n).
        beyond_all: whether the trigger exceeds every pretend year.
        t: distance of the trigger from the pretend years in SD of a new year.
        p: one-sided Student t with n - 1 degrees of freedom. `t` and `p` are Unscored when the
            pretend years do not vary but the trigger differs from them: no scale exists then.
        n: pretend years.
    """

    rank_p: float
    beyond_all: bool
    t: float | Unscored
    p: float | Unscored
    n: int

    @property
    def deciding_p(self) -> float:
        """`p`; without one the rank has to do it."""
        return self.rank_p if isinstance(self.p, Unscored) else self.p

    def beats(self, alpha: float = 0.05) -> bool:
        """Beyond all pretend years with `deciding_p <= alpha`."""
        return self.beyond_all and self.deciding_p <= alpha

    def to_json(self) -> dict[str, object]:
        """Plain fields; unscored ones as `{"unscored": reason}`."""
        return {
            "rank_p": self.rank_p,
            "beyond_all": self.beyond_all,
            "t": self.t.to_json() if isinstance(self.t, Unscored) else self.t,
            "p": self.p.to_json() if isinstance(self.p, Unscored) else self.p,
            "n": self.n,
        }


def pretend_null(trigger: float, pretend: Float[np.ndarray, " control"]) -> PretendNull:
    """Would a year drawn like the pretend years lie as far out as the trigger does?

    t = (trigger - mean) / (sd sqrt(1 + 1/n)), the prediction interval of one new year. When
    neither varies nor differs (identical models) t = 0 and p = 1.

    For control years of one design use `pretend_years`. Effects computed with `effects.pretend`
    overstate each control year's distance from the others by n/(n - 1), since the year is missing
    from its own comparison; put here as they are, they make the test conservative.

    Raises:
        BadInputError: fewer than two pretend years, or numbers that are not finite.
    """
    years = as_finite(pretend, "The pretend years", at_least=2)
    value = float(as_finite(np.array([trigger]), "The trigger")[0])
    n = len(years)
    reached = count_at_least(value, years)
    t, p = _prediction_t(value, years)
    return PretendNull((1 + reached) / (1 + n), reached == 0, t, p, n)


def _prediction_t(
    value: float, years: Float[np.ndarray, " control"]
) -> tuple[float | Unscored, float | Unscored]:
    n, mean, sd = len(years), float(years.mean()), float(years.std(ddof=1))
    rounding = 1e-12 * max(abs(value), float(np.abs(years).max()))
    if sd > rounding:
        t = (value - mean) / (sd * np.sqrt(1 + 1 / n))
        return float(t), float(stats.t.sf(t, n - 1))
    if abs(value - mean) <= rounding:
        return 0.0, 1.0
    none = Unscored(
        f"all {n} pretend years gave the same value, so there is no scale to compare on"
    )
    return none, none


def pretend_years(suspect: YearScores, clean: YearScores, *, scale: float) -> PretendNull:
    """`pretend_null` of a whole design: the trigger year against its control years.

    Trigger and control years are all measured from the mean of the control years (difference of
    differences, mean over carriers, in units of `scale`). On that common scale the t test is
    exact for normal year effects and the rank test for any: P(beyond all | null) = 1 / (1 + n).

    Raises:
        MismatchError: the two models were scored on different designs.
        BadInputError: fewer than two control years, or `scale` not positive.
    """
    trigger = float(difference_of_differences(suspect, clean, scale=scale).mean())
    years = (suspect.controls.astype(np.float64) - clean.controls).mean(axis=0) / scale
    return pretend_null(trigger, years - years.mean())


def after_choice(
    selection: Float[np.ndarray, "_look draw"], report: Float[np.ndarray, "_look draw"]
) -> Float[np.ndarray, " draw"]:
    """What each null direction reports at the look that it chose for itself.

    A trait reads where its own selection effect is largest. Null directions held to the trait's
    place and layer lack that freedom: with 8 independent looks a meaningless direction is then
    above 95 % of them a third of the time.

    Args:
        selection, report: effects of each direction at every (place, site) looked at, on the
            selection and on the report split.

    Raises:
        MismatchError: the two tables do not hold the same looks and directions.
        BadInputError: no look, or effects not finite.
    """
    if selection.shape != report.shape:
        raise MismatchError(
            "Selection and report hold the same looks and directions.",
            got={"selection": selection.shape, "report": report.shape},
            fix="Score the same directions on both splits.",
        )
    chosen = as_finite(selection, "The selection effects").argmax(axis=0)
    values = as_finite(report, "The report effects")
    return np.asarray(values[chosen, np.arange(values.shape[1])])
