"""Reliability is high where a direction is planted, low in noise, and never flatters."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from trait_probe.errors import BadInputError
from trait_probe.vectors import fit, reliability


def pairs(shift: float, n: int = 24, d_model: int = 16, seed: int = 0):
    noise = torch.from_numpy(np.random.default_rng(seed).normal(size=(2, n, d_model)))
    planted = torch.zeros(d_model).double()
    planted[3] = shift
    return noise[0] + planted, noise[1]


@pytest.mark.parametrize("name", list(fit.METHODS))
def test_a_planted_direction_is_reliable_and_noise_is_not(name):
    method = fit.METHODS[name]
    strong, noise = (
        reliability.assess(
            *pairs(shift, n=150), *pairs(shift, seed=1), method, n_splits=8, n_boot=12, seed=0
        )
        for shift in (3.0, 0.0)
    )
    assert strong.split_half_cosine > 0.7 > 0.5 > noise.split_half_cosine
    assert strong.bootstrap_angle_deg < 30 < noise.bootstrap_angle_deg
    assert strong.held_out_auc > 0.9
    assert 0.2 < noise.held_out_auc < 0.8
    assert strong.energy_share_top1 > 0.7 > noise.energy_share_top1
    assert strong.n_pairs == 150


def test_held_out_pairs_that_disagree_show_an_auc_below_one_half():
    positive, negative = pairs(8.0)
    held_positive, held_negative = pairs(-8.0, seed=1)
    result = reliability.assess(
        positive, negative, held_positive, held_negative, fit.mean_difference, n_boot=2, n_splits=2
    )
    assert result.held_out_auc < 0.01
    oriented = fit.orient(fit.mean_difference(positive, negative), held_positive, held_negative)
    assert oriented.auc > 0.99  # chosen on these pairs: why this one is not the evidence


def test_the_held_out_auc_of_noise_averages_one_half():
    areas = [
        reliability.assess(
            *pairs(0.0, seed=seed), *pairs(0.0, seed=seed + 1000), fit.pca, n_boot=1, n_splits=1
        ).held_out_auc
        for seed in range(60)
    ]
    assert np.mean(areas) == pytest.approx(0.5, abs=4 * np.std(areas) / 60**0.5)


def test_the_arbitrary_sign_of_pca_does_not_count_as_unreliability():
    calls = iter(range(10_000))

    def flickering(positive, negative):
        return (-1) ** next(calls) * fit.pca(positive, negative)

    steady = reliability.split_half_cosine(*pairs(8.0), fit.pca)
    assert reliability.split_half_cosine(*pairs(8.0), flickering) == pytest.approx(steady)
    assert reliability.bootstrap_angle(*pairs(8.0), flickering, n_boot=20) < 30


def test_split_halves_share_no_pair_and_cover_all():
    seen = []

    def spy(positive, negative):
        seen.append(positive[:, 0].tolist())
        return fit.mean_difference(positive, negative)

    positive, negative = torch.arange(14.0).reshape(7, 2), torch.zeros(7, 2)
    reliability.split_half_cosine(positive, negative, spy, n_splits=5)
    assert len(seen) == 10
    for first, second in zip(seen[::2], seen[1::2], strict=True):
        assert sorted(first + second) == positive[:, 0].tolist()


def test_the_bootstrap_keeps_pairs_together():
    def spy(positive, negative):
        assert torch.equal(positive - 100, negative)
        return fit.mean_difference(positive, negative)

    negative = torch.arange(12.0).reshape(6, 2)
    assert reliability.bootstrap_angle(negative + 100, negative, spy, n_boot=5) < 1e-6


def test_four_equal_draws_do_not_stop_the_bootstrap():
    positive, negative = pairs(8.0, n=4)
    angle = reliability.bootstrap_angle(
        positive, negative, fit.whitened_mean_difference, n_boot=400
    )
    assert 0 < angle < 90


def test_equal_seeds_give_equal_numbers():
    one, again, other = (
        reliability.bootstrap_angle(*pairs(1.0), fit.mean_difference, n_boot=9, seed=seed)
        for seed in (1, 1, 2)
    )
    assert one == again != other


def test_the_split_half_cosine_of_a_known_mean_shift_is_near_its_expectation():
    # Each half mean difference is planted + noise of variance 2 / (n / 2) in each dimension.
    shift, n, d_model = 2.0, 200, 16
    expected = shift**2 / (shift**2 + d_model * 4 / n)
    cosines = [
        reliability.split_half_cosine(
            *pairs(shift, n, d_model, seed), fit.mean_difference, n_splits=4
        )
        for seed in range(20)
    ]
    assert np.mean(cosines) == pytest.approx(expected, abs=0.02)


def test_too_few_pairs_are_refused():
    with pytest.raises(BadInputError, match="at least 4 pairs") as caught:
        reliability.split_half_cosine(*pairs(1.0, n=3), fit.pca)
    assert caught.value.got == 3


@pytest.mark.parametrize("act", [reliability.split_half_cosine, reliability.bootstrap_angle])
def test_no_repetitions_are_refused(act):
    name = {"split_half_cosine": "n_splits", "bootstrap_angle": "n_boot"}[act.__name__]
    with pytest.raises(BadInputError, match=f"{name} counts repetitions"):
        act(*pairs(1.0), fit.pca, **{name: 0})


def test_pairs_without_any_difference_have_no_direction():
    same = torch.ones(6, 3)
    with pytest.raises(BadInputError, match="finite length above 0"):
        reliability.bootstrap_angle(same, same, fit.mean_difference)
