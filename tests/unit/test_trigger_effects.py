"""Effects of a trigger: against numpy by hand, and what they say about planted truths."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from trigger_builders import scores, study

from trait_probe.errors import BadInputError, MismatchError
from trait_probe.evidence.triggers.effects import (
    contrasts,
    effect_of,
    effects_of_means,
    pooled_spread,
    spread,
)
from trait_probe.evidence.triggers.intervals import (
    auc_interval,
    auc_per_control,
    auc_pretend,
    effect_interval,
)


def names(n: int, size: int = 1) -> list[str]:
    return [f"cluster-{i // size}" for i in range(n)]


# --- contrasts, units, effects: against loops ----------------------------------------------------


def test_contrasts_are_those_of_a_loop() -> None:
    values = scores()
    found = contrasts(values)
    assert found[0] == pytest.approx(values[0] - values[1:].mean(axis=0))
    for j in range(1, 5):
        others = [values[k] for k in range(1, 5) if k != j]
        assert found[j] == pytest.approx(values[j] - np.mean(others, axis=0))


def test_one_control_has_no_pretend_contrast() -> None:
    with pytest.raises(BadInputError, match="needs two or more controls"):
        contrasts(scores(conditions=2))


def test_the_unit_is_the_spread_of_carriers_within_the_controls() -> None:
    values = scores()
    by_hand = [np.sqrt(np.mean([row.var(ddof=1) for row in values[1:, :, s]])) for s in range(3)]
    assert spread(values) == pytest.approx(by_hand)
    moved = values.copy()
    moved[0] = 1e6  # the trigger has no part in the unit
    moved[2] += 5.0  # nor do differences between controls
    assert spread(moved) == pytest.approx(by_hand)


def test_a_constant_series_has_a_unit_that_does_not_divide_by_zero() -> None:
    values = np.zeros((4, 10, 2))
    values[..., 1] = 3.0
    assert spread(values) == pytest.approx([1.0, 3e-6])
    assert pooled_spread(values, values) == pytest.approx([1.0, 3e-6])


def test_the_pooled_unit_is_the_standard_deviation_of_everything() -> None:
    here, there = scores(1), scores(2)
    assert pooled_spread(here, there) == pytest.approx(np.stack([here, there]).std(axis=(0, 1, 2)))


def test_effects_of_means_are_effects_of_carriers() -> None:
    here, there = scores(1), scores(2)
    scale = spread(there)
    found = effects_of_means(here.mean(axis=1), there.mean(axis=1), scale)
    for condition in range(5):
        for s in range(3):
            by_carrier = effect_of(
                here[..., s], there[..., s], scale=float(scale[s]), condition=condition
            )
            assert found[condition, s] == pytest.approx(by_carrier)


# --- the effect's interval -----------------------------------------------------------------------


def interval(here: np.ndarray, there: np.ndarray, clusters: list[str], n_boot: int = 4000):
    return effect_interval(here, there, clusters, scale=2.0, n_boot=n_boot, seed=0)


def test_the_effect_is_the_mean_difference_of_differences() -> None:
    here, there = scores(1)[..., 0], scores(2)[..., 0]
    difference = (here - there) / 2.0
    expected = (difference[0] - difference[1:].mean(axis=0)).mean()
    assert interval(here, there, names(12)).value == pytest.approx(expected)


def test_the_interval_is_that_of_a_bootstrap_by_hand() -> None:
    """Clusters, controls and one prefix's own effect drawn; quantiles of Hesterberg's levels."""
    here = scores(1, conditions=9, carriers=24)[..., 0]
    there = 0.2 * scores(2, conditions=9, carriers=24)[..., 0]
    clusters = names(24, size=2)
    found = interval(here, there, clusters, n_boot=20_000)
    rng = np.random.default_rng(99)
    rows, difference, drawn = np.arange(24).reshape(12, 2), (here - there) / 2.0, []
    for _ in range(20_000):
        carriers = rows[rng.integers(12, size=12)].ravel()
        controls = 1 + rng.integers(8, size=8)
        means = difference[:, carriers].mean(axis=1)
        own = means[1 + rng.integers(8)] - means[1:].mean()
        drawn.append(means[0] - own - means[controls].mean())
    n = 8  # the smaller of 12 clusters and 8 controls
    tail = stats.norm.cdf(-np.sqrt(n / (n - 1)) * stats.t.ppf(0.975, n - 1))
    low, high = np.quantile(drawn, [tail, 1 - tail])
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.03)
    assert (found.n, found.n_clusters, found.unit) == (24, 12, "SD")


def test_the_interval_covers_the_effect_beyond_what_a_prefix_does_by_itself() -> None:
    """Carriers, controls and the trigger's own prefix are random: 95 % within binomial error."""
    rng, hits = np.random.default_rng(0), 0
    for seed in range(200):
        year = 0.5 * rng.standard_normal(12)
        year[0] += 1.0
        clusters = np.repeat(0.4 * rng.standard_normal((12, 15)), 2, axis=1)
        here = year[:, None] + clusters + 0.3 * rng.standard_normal((12, 30))
        found = effect_interval(
            here, np.zeros_like(here), names(30, size=2), scale=1.0, n_boot=200, seed=seed
        )
        hits += found.low <= 1.0 <= found.high
    assert stats.binomtest(hits, 200, 0.95, alternative="less").pvalue > 0.01


def test_a_few_loud_controls_lower_the_low_end_not_the_high_one() -> None:
    """Two of twenty years do +3: the trigger's +2 may be a third such year."""
    here = 0.01 * np.random.default_rng(0).standard_normal((21, 40))
    here[0] += 2.0
    here[1:3] += 3.0
    found = effect_interval(here, 0 * here, names(40), scale=1.0, n_boot=2000, seed=0)
    assert found.low < 0.0
    assert found.high < 2.5


def test_few_controls_make_the_interval_wide() -> None:
    """Three controls that differ: cluster levels alone would pretend to know their mean."""
    rng = np.random.default_rng(0)
    here = np.repeat(np.array([1.0, 0.0, 0.5, -0.5])[:, None], 40, axis=1)
    here += 0.01 * rng.standard_normal(here.shape)
    found = effect_interval(here, 0 * here, names(40), scale=1.0, n_boot=2000, seed=0)
    assert found.low < 0.55
    assert found.high > 1.45


def test_clusters_and_rows_must_match() -> None:
    here = scores()[..., 0]
    with pytest.raises(MismatchError, match="clusters must have one entry per row"):
        interval(here, here, names(11))
    with pytest.raises(BadInputError, match="number of carrier clusters must be at least 2"):
        interval(here, here, ["one"] * 12)
    with pytest.raises(BadInputError, match="number of controls must be at least 2"):
        auc_interval(here[:2], names(12), n_boot=200, seed=0)


# --- AUROC ---------------------------------------------------------------------------------------


def auc_by_hand(trigger: np.ndarray, control: np.ndarray) -> float:
    return float(np.mean([(t > c) + 0.5 * (t == c) for t in trigger for c in control]))


def test_aurocs_are_those_of_a_loop() -> None:
    values = np.round(scores()[..., 0], 1)  # with ties
    expected = [auc_by_hand(values[0], control) for control in values[1:]]
    assert auc_per_control(values) == pytest.approx(expected)
    for j, found in enumerate(auc_pretend(values)):
        others = [auc_by_hand(values[1 + j], values[1 + k]) for k in range(4) if k != j]
        assert found == pytest.approx(np.mean(others))


def test_the_auroc_interval_is_that_of_a_bootstrap_by_hand() -> None:
    here = np.round(scores(1, conditions=7, carriers=16)[..., 0], 1)
    there = np.round(scores(2, conditions=7, carriers=16)[..., 0], 1)
    here[0] += 0.8
    alone = auc_interval(here, names(16, size=2), n_boot=2000, seed=0)
    both = auc_interval(here, names(16, size=2), against=there, n_boot=2000, seed=0)
    rng, rows, drawn = np.random.default_rng(99), np.arange(16).reshape(8, 2), []
    for _ in range(800):
        carriers = rows[rng.integers(8, size=8)].ravel()
        controls = 1 + rng.integers(6, size=6)
        prefix = 1 + rng.integers(6)
        moved = here.copy()
        moved[0] -= here[prefix].mean() - here[1:].mean()
        drawn.append(
            [
                np.mean([auc_per_control(grid[[0, k]][:, carriers])[0] for k in controls])
                for grid in (moved, here, there)
            ]
        )
    alone_drawn, suspect, clean = np.array(drawn).T
    tail = stats.norm.cdf(-np.sqrt(6 / 5) * stats.t.ppf(0.975, 5))
    assert (alone.low, alone.high) == pytest.approx(
        tuple(np.quantile(alone_drawn, [tail, 1 - tail])), abs=0.04
    )
    assert (both.low, both.high) == pytest.approx(
        tuple(np.quantile(suspect - clean, [tail, 1 - tail])), abs=0.05
    )
    assert (alone.unit, both.unit) == ("AUROC", "difference of AUROCs")


def test_a_perfect_separation_is_not_known_exactly() -> None:
    values = scores(carriers=20)[..., 0]
    values[0] += 100.0
    found = auc_interval(values, names(20), n_boot=200, seed=0)
    assert (found.value, found.high) == (1.0, 1.0)
    assert 0.5 < found.low < 0.98


@pytest.mark.parametrize("seed", [3, 11])
def test_rounding_takes_no_auroc_beyond_one(seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=(21, 30))
    values[0] += 5.5
    found = auc_interval(values, names(30), n_boot=200, seed=seed)
    assert found.low <= found.value <= found.high <= 1.0


def test_a_saturated_clean_model_leaves_no_advantage() -> None:
    """Where the words alone separate, the suspect cannot be shown to do better."""
    there = scores(carriers=20)[..., 0]
    there[0] += 100.0
    found = auc_interval(3 * there, names(20), against=there, n_boot=200, seed=0)
    assert (found.low, found.value, found.high) == (0.0, 0.0, 0.0)


# --- laws of planted studies ---------------------------------------------------------------------


def test_identical_variants_give_exactly_zero() -> None:
    planted = study(year_sd=1.0)
    same = replace(planted, suspect=planted.clean).read()
    assert same is not None
    assert (same.effect.value, same.effect.low, same.effect.high) == (0.0, 0.0, 0.0)
    assert same.auc_advantage is not None
    assert (same.auc_advantage.low, same.auc_advantage.high) == (0.0, 0.0)
    assert set(same.pretend_effects) == {0.0}
    assert (same.pretend.t, same.pretend.p, same.pretend.beyond_all) == (0.0, 1.0, False)
    assert same.onset is None


def test_swapping_the_variants_flips_the_sign() -> None:
    here, there = scores(1)[..., 0], scores(2)[..., 0]
    forward, backward = interval(here, there, names(12)), interval(there, here, names(12))
    assert forward.value == pytest.approx(-backward.value)
    assert (forward.low, forward.high) == pytest.approx((-backward.high, -backward.low))
    planted = study(effect=2.0)
    swapped = replace(planted, suspect=planted.clean, clean=planted.suspect).read()
    assert swapped is not None
    assert swapped.effect.high < 0.0
    assert not swapped.pretend.beyond_all
