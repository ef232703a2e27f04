"""Direction methods against independent implementations, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.covariance import OAS
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from trait_probe.errors import BadInputError, MismatchError
from trait_probe.vectors import fit, geometry
from trait_probe.vectors.moments import Moments


@pytest.fixture
def rows():
    rng = np.random.default_rng(7)
    scales = np.array([1, 3, 0.2, 10, 1, 1])
    negative = rng.normal(size=(25, 6)) * scales
    positive = rng.normal(size=(25, 6)) * scales + np.array([1, 0, 0.5, 0, 0, 2])
    return torch.from_numpy(positive), torch.from_numpy(negative)


@pytest.mark.parametrize("pairs", [2, 25])
def test_whitening_equals_scikit_learns_shrunk_covariance(rows, pairs):
    positive, negative = (side[:pairs].numpy() for side in rows)
    centred = np.concatenate([positive - positive.mean(0), negative - negative.mean(0)])
    covariance = OAS(assume_centered=True).fit(centred).covariance_
    expected = np.linalg.solve(covariance, positive.mean(0) - negative.mean(0))
    found = fit.whitened_mean_difference(rows[0][:pairs], rows[1][:pairs])
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-8)


def test_whitening_beats_the_plain_difference_under_a_massive_dimension():
    rng = np.random.default_rng(0)
    noise = torch.from_numpy(rng.normal(size=(2, 200, 5)))
    noise[..., 3] *= 20
    positive, negative = noise[0] + torch.eye(5).double()[0], noise[1]
    held = torch.from_numpy(rng.normal(size=(2, 400, 5)))
    held[..., 3] *= 20
    held_positive = held[0] + torch.eye(5).double()[0]
    plain, whitened = (
        fit.auc(method(positive, negative), held_positive, held[1])
        for method in (fit.mean_difference, fit.whitened_mean_difference)
    )
    assert whitened > 0.7 > 0.6 > plain
    assert geometry.energy_share(fit.mean_difference(positive, negative)) > 0.8


def test_the_probe_orders_raw_rows_as_the_standardized_probe_does(rows):
    positive, negative = rows
    stacked = torch.cat(rows).numpy()
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000))
    pipeline.fit(stacked, [1] * 25 + [0] * 25)
    logits = pipeline.decision_function(stacked)
    scores = stacked @ fit.logistic_probe(positive, negative).numpy()
    np.testing.assert_allclose(scores - scores.mean(), logits - logits.mean(), rtol=1e-6, atol=1e-8)


def test_the_probe_survives_a_constant_dimension(rows):
    positive, negative = (side.clone() for side in rows)
    positive[:, 2] = negative[:, 2] = 5.0
    direction = fit.logistic_probe(positive, negative)
    assert float(direction[2]) == 0.0
    assert bool(direction.isfinite().all())


def test_pca_is_the_leading_eigenvector_of_the_uncentred_differences(rows):
    differences = (rows[0] - rows[1]).numpy()
    values, vectors = np.linalg.eigh(differences.T @ differences / 25)
    found = fit.pca(*rows).numpy()
    np.testing.assert_allclose(np.linalg.norm(found), values[-1] ** 0.5)
    assert abs(found @ vectors[:, -1]) == pytest.approx(values[-1] ** 0.5)


def test_an_unknown_method_is_answered_with_the_nearest():
    with pytest.raises(BadInputError, match="no extraction method of that name") as caught:
        fit.method("mean_diference")
    assert caught.value.valid[0] == "mean_difference"
    assert fit.method("pca") is fit.pca


def test_the_method_table_cannot_be_changed():
    with pytest.raises(TypeError, match="does not support item assignment"):
        fit.METHODS["mine"] = fit.pca


@pytest.mark.parametrize("name", list(fit.METHODS))
def test_activations_that_are_not_finite_are_refused(rows, name):
    broken = rows[1].clone()
    broken[3, 2] = float("inf")
    with pytest.raises(BadInputError, match="negative activations are not all finite"):
        fit.METHODS[name](rows[0], broken)


@pytest.mark.parametrize("name", list(fit.METHODS))
def test_no_rows_are_refused(name):
    with pytest.raises(BadInputError, match="There are no positive rows"):
        fit.METHODS[name](torch.ones(0, 3), torch.ones(0, 3))


def test_whitening_without_spread_names_the_way_out():
    same = torch.ones(4, 3)
    with pytest.raises(BadInputError, match="rows that vary within their class") as caught:
        fit.whitened_mean_difference(same, 2 * same)
    assert "mean_difference" in str(caught.value)


def test_orientation_flips_a_direction_that_points_the_wrong_way():
    positive, negative = torch.tensor([[1.0], [2.0]]), torch.tensor([[-1.0], [0.0]])
    direction, area = fit.orient(torch.tensor([-1.0]), positive, negative)
    assert float(direction) == 1.0
    assert area == 1.0


def test_orientation_leaves_an_exact_tie_alone():
    same = torch.tensor([[1.0], [2.0]])
    direction, area = fit.orient(torch.tensor([-1.0]), same, same)
    assert float(direction) == -1.0
    assert area == 0.5


def test_the_auc_counts_wins_and_half_the_ties():
    positive, negative = torch.tensor([[1.0], [3.0]]), torch.tensor([[1.0], [2.0]])
    assert fit.auc(torch.ones(1), positive, negative) == pytest.approx((0.5 + 0 + 1 + 1) / 4)


def test_bfloat16_rows_are_summed_in_float64():
    positive = torch.full((1000, 2), 1.0).bfloat16()
    positive[0] = 512.0
    difference = fit.mean_difference(positive, torch.zeros(1000, 2).bfloat16())
    torch.testing.assert_close(difference, torch.full((2,), 1.511, dtype=torch.float64))


def test_moments_of_another_width_do_not_merge():
    with pytest.raises(MismatchError, match="different widths") as caught:
        Moments.empty(3).merge(Moments.empty(4))
    assert caught.value.got == 4


def test_a_covariance_needs_two_rows():
    moments = Moments.of(torch.ones(1, 3))
    for name in ("covariance", "std"):
        with pytest.raises(BadInputError, match="at least 2 rows"):
            getattr(moments, name)


def test_a_class_mean_needs_a_row():
    with pytest.raises(BadInputError, match="at least 1 row"):
        fit.mean_difference_of_moments(Moments.of(torch.ones(1, 3)), Moments.empty(3))


def test_streaming_keeps_digits_that_raw_sums_of_squares_lose():
    rows = 1e8 + torch.tensor([[0.0], [1.0], [2.0]], dtype=torch.float64)
    moments = Moments.empty(1)
    for row in rows:
        moments = moments.update(row[None])
    assert float(moments.covariance) == pytest.approx(1.0)
    naive = (rows.square().sum() - rows.sum() ** 2 / 3) / 2
    assert float(naive) != pytest.approx(1.0, rel=1e-3)


def test_updating_leaves_the_old_moments_alone():
    old = Moments.of(torch.arange(6.0).reshape(3, 2))
    kept = old.mean.clone(), old.scatter.clone()
    old.update(torch.ones(2, 2))
    torch.testing.assert_close((old.mean, old.scatter), kept, rtol=0, atol=0)
