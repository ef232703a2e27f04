"""The math of a transfer on planted rows: the map, its null, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from vector_builders import IDENTITY, basis, identity, vector, vector_set

from trait_probe.basis import Site
from trait_probe.errors import BadInputError, MismatchError
from trait_probe.evidence.estimate import Estimate, Unscored
from trait_probe.evidence.explained import explained_share, explained_variance, isometric
from trait_probe.vectors import transfer_check
from trait_probe.vectors.linear_map import MIN_GROUPS, PENALTIES, fit_map
from trait_probe.vectors.trait_vector import Origin, from_entry, to_entry
from trait_probe.vectors.transfer import pair_layers
from trait_probe.vectors.transfer_check import Candidate, FittedMap, TargetPairs, check_direction
from trait_probe.vectors.vector import VectorSet

D_SOURCE, D_TARGET = 6, 9


def names(n, per_group=1):
    return [f"text-{i // per_group:04d}" for i in range(n)]


def orthogonal(size, seed):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((size, size)))[0]


def planted(n=400, *, noise=0.5, seed=0):
    """Source rows of unequal variances, the true map, and its noisy image with an intercept."""
    rng = np.random.default_rng(seed)
    source = rng.standard_normal((n, D_SOURCE)) * np.arange(1, D_SOURCE + 1) + 3.0
    matrix = rng.standard_normal((D_SOURCE, D_TARGET))
    target = source @ matrix + noise * rng.standard_normal((n, D_TARGET)) - 7.0
    return source, matrix, target


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


# ----------------------------------------------------------------------- explained variance


def test_the_share_is_scikit_learns_variance_weighted_r2():
    rng = np.random.default_rng(0)
    actual = rng.standard_normal((50, 4)) * [1, 5, 10, 0.1]
    predicted = actual + rng.standard_normal((50, 4))
    expected = r2_score(actual, predicted, multioutput="variance_weighted")
    assert explained_share(actual, predicted) == pytest.approx(expected)
    found = explained_variance(actual, predicted, names(50))
    assert found.value == pytest.approx(expected)
    assert found.low < expected < found.high
    assert found.unit == "share of variance"


def test_the_interval_resamples_whole_groups():
    rng = np.random.default_rng(1)
    actual = np.repeat(rng.standard_normal((20, 3)), 5, axis=0)
    predicted = actual + np.repeat(rng.standard_normal((20, 3)), 5, axis=0)
    apart = explained_variance(actual, predicted, names(100))
    together = explained_variance(actual, predicted, names(100, per_group=5))
    assert (apart.n_clusters, together.n_clusters) == (100, 20)
    assert together.width > 1.5 * apart.width


def test_each_resample_is_measured_from_its_own_mean(monkeypatch):
    """The quick formula equals the plain one on the very rows of a resample."""
    rng = np.random.default_rng(2)
    actual, predicted = rng.standard_normal((2, 12, 30))
    seen = {}

    def spy(statistic, clusters, **options):
        seen["found"] = [statistic(rows) for rows in (drawn, np.arange(12))]
        return Estimate(0.0, 0.0, 0.0, 12, 12, "share of variance", "spied")

    drawn = np.array([0, 0, 3, 3, 3, 5, 7, 8, 9, 9, 11, 11])
    monkeypatch.setattr("trait_probe.evidence.explained.cluster_bootstrap", spy)
    explained_variance(actual, predicted, names(12))
    expected = [
        r2_score(actual[rows], predicted[rows], multioutput="variance_weighted")
        for rows in (drawn, np.arange(12))
    ]
    np.testing.assert_allclose(seen["found"], expected)


def test_rows_that_do_not_vary_have_no_share():
    constant = np.full((10, 3), 1e4) + 1e-6
    assert isinstance(explained_share(constant, constant), Unscored)
    assert isinstance(explained_variance(constant, constant, names(10)), Unscored)


def test_a_prediction_has_the_shape_of_what_it_predicts():
    with pytest.raises(MismatchError, match="shape"):
        explained_share(np.ones((4, 2)), np.ones((4, 3)))


def test_few_rows_keep_lengths_and_angles_in_fewer_columns():
    rows = np.random.default_rng(3).standard_normal((5, 40))
    compact = isometric(rows)
    assert compact.shape == (5, 5)
    np.testing.assert_allclose(compact @ compact.T, rows @ rows.T)
    assert isometric(rows.T) is not None
    assert isometric(rows.T).shape == (40, 5)


# ------------------------------------------------------------------------------- the map


def test_a_planted_map_is_recovered():
    source, matrix, target = planted()
    found = fit_map(source, target, names(400))
    np.testing.assert_allclose(found.matrix, matrix, atol=0.15)
    # Theory: the noise is all that is not explained.
    total = np.trace(np.cov(target.T))
    assert found.r2.value == pytest.approx(1 - D_TARGET * 0.25 / total, abs=0.003)
    assert found.r2.low > found.r2_to_beat
    direction = np.array([1.0, -2.0, 0.5, 0.0, 1.0, 3.0])
    assert cosine(found.displaced(direction[None])[0], direction @ matrix) > 0.999
    np.testing.assert_allclose(found.predicted(source), target, atol=3.0)


@pytest.mark.parametrize("noise", [3.0, 10.0])
def test_the_r2_is_the_planted_share(noise):
    source, _, target = planted(2000, noise=noise)
    total = np.trace(np.cov(target.T))
    found = fit_map(source, target, names(2000), n_shuffles=1)
    assert found.r2.value == pytest.approx(1 - D_TARGET * noise**2 / total, abs=0.03)
    assert found.r2.low - 0.02 < 1 - D_TARGET * noise**2 / total < found.r2.high + 0.02


def test_the_coefficients_are_scikit_learns():
    source, _, target = planted(200, noise=5.0)
    found = fit_map(source, target, names(200), n_shuffles=1)
    fitting = found.split.selection
    centred = source[fitting] - source[fitting].mean(axis=0)
    oracle = Ridge(alpha=found.penalty * float((centred**2).sum())).fit(
        source[fitting], target[fitting]
    )
    np.testing.assert_allclose(found.matrix, oracle.coef_.T, rtol=1e-8)
    np.testing.assert_allclose(found.predicted(source), oracle.predict(source), rtol=1e-8)
    held = found.split.report
    assert found.r2.value == pytest.approx(
        r2_score(target[held], oracle.predict(source[held]), multioutput="variance_weighted")
    )


def test_more_dimensions_than_texts_are_fine():
    """Activations of rank 5 in 300 dimensions on 80 texts."""
    rng = np.random.default_rng(4)
    hidden = rng.standard_normal((80, 5))
    source = hidden @ rng.standard_normal((5, 300)) + 0.01 * rng.standard_normal((80, 300))
    target = hidden @ rng.standard_normal((5, 200)) + 0.01 * rng.standard_normal((80, 200))
    found = fit_map(source, target, names(80))
    assert found.r2.low > 0.99
    assert max(map(abs, found.shuffled_r2)) < 0.2


def test_unrelated_rows_explain_nothing_and_so_do_shuffled_ones():
    rng = np.random.default_rng(5)
    source, target = rng.standard_normal((300, 40)), rng.standard_normal((300, 40))
    found = fit_map(source, target, names(300))
    assert abs(found.r2.value) < 0.05
    assert not found.r2.low > found.r2_to_beat
    related = fit_map(source, source @ orthogonal(40, 6), names(300))
    for shuffled in (found.shuffled_r2, related.shuffled_r2):
        assert len(shuffled) == 20
        assert max(map(abs, shuffled)) < 0.05


def test_groups_are_held_out_whole_and_a_copied_text_gains_nothing():
    """Each text five times, unrelated sides: split by row, the copies would be predicted."""
    rng = np.random.default_rng(7)
    source = np.repeat(rng.standard_normal((60, 80)), 5, axis=0)
    target = np.repeat(rng.standard_normal((60, 80)), 5, axis=0)
    groups = names(300, per_group=5)
    found = fit_map(source, target, groups)
    sides = [{groups[i] for i in side} for side in (found.split.selection, found.split.report)]
    assert not sides[0] & sides[1]
    assert found.r2.value < 0.05
    assert fit_map(source, target, names(300), n_shuffles=1).r2.value > 0.8  # what it guards from


def test_the_penalty_is_chosen_on_fitting_texts_alone():
    source, _, target = planted(noise=20.0)
    found = fit_map(source, target, names(400), n_shuffles=1)
    spoilt = target.copy()
    spoilt[found.split.report] = np.random.default_rng(0).standard_normal(
        spoilt[found.split.report].shape
    )
    again = fit_map(source, spoilt, names(400), n_shuffles=1)
    assert again.penalty == found.penalty
    np.testing.assert_array_equal(again.matrix, found.matrix)
    assert again.r2.value < found.r2.value


@pytest.mark.parametrize("width", [D_SOURCE, 200])
def test_rotating_the_source_changes_no_mapped_direction(width):
    rng = np.random.default_rng(8)
    source = rng.standard_normal((120, width)) * np.linspace(0.1, 3, width)
    target = source @ rng.standard_normal((width, D_TARGET)) + rng.standard_normal((120, D_TARGET))
    turn, direction = orthogonal(width, 9), rng.standard_normal((1, width))
    plain = fit_map(source, target, names(120), n_shuffles=2)
    turned = fit_map(source @ turn, target, names(120), n_shuffles=2)
    np.testing.assert_allclose(
        turned.displaced(direction @ turn), plain.displaced(direction), atol=1e-8
    )
    assert turned.r2.value == pytest.approx(plain.r2.value, abs=1e-9)
    np.testing.assert_allclose(turned.shuffled_r2, plain.shuffled_r2, atol=1e-9)


def test_rotating_the_target_turns_the_mapped_direction():
    source, _, target = planted()
    turn = orthogonal(D_TARGET, 10)
    direction = np.ones((1, D_SOURCE))
    plain, turned = (
        fit_map(source, rows, names(400), n_shuffles=1) for rows in (target, target @ turn)
    )
    np.testing.assert_allclose(
        turned.displaced(direction), plain.displaced(direction) @ turn, atol=1e-9
    )


def test_the_intercept_moves_no_direction():
    source, _, target = planted()
    moved = fit_map(source + 100.0, target - 50.0, names(400), n_shuffles=1)
    plain = fit_map(source, target, names(400), n_shuffles=1)
    np.testing.assert_allclose(moved.matrix, plain.matrix, atol=1e-9)


def test_a_seed_gives_one_map():
    source, _, target = planted(noise=5.0)
    first, again, other = (fit_map(source, target, names(400), seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.matrix, again.matrix)
    assert (first.r2, first.shuffled_r2) == (again.r2, again.shuffled_r2)
    assert first.r2 != other.r2


def test_too_few_groups_are_refused():
    source, _, target = planted()
    with pytest.raises(BadInputError, match=f"at least {MIN_GROUPS} groups") as caught:
        fit_map(source, target, names(400, per_group=40))
    assert caught.value.got == "10 groups of 400 texts"


def test_sides_of_different_length_are_refused():
    source, _, target = planted()
    with pytest.raises(MismatchError, match="the same text"):
        fit_map(source, target[:-1], names(400))


@pytest.mark.parametrize("side", ["source", "target"])
def test_rows_that_are_all_the_same_are_refused(side):
    source, _, target = planted()
    rows = {"source": source, "target": target}
    rows[side] = np.full_like(rows[side], 2.5)
    with pytest.raises(BadInputError, match=f"{side} activations are the same for every text"):
        fit_map(rows["source"], rows["target"], names(400))


@pytest.mark.parametrize("options", [{"penalties": []}, {"penalties": [0.0]}, {"n_shuffles": 0}])
def test_settings_that_make_no_fit_are_refused(options):
    source, _, target = planted()
    with pytest.raises(BadInputError, match="Penalties are above 0"):
        fit_map(source, target, names(400), **options)


def test_penalties_reach_from_none_to_all():
    assert min(PENALTIES) <= 1e-10
    assert max(PENALTIES) >= 100


# ------------------------------------------------------------------------------ the checks

TRUE = np.eye(D_SOURCE)[1]
LARGEST = np.eye(D_SOURCE)[-1]  # the axis of largest variance


def pairs_along(direction, matrix, *, distance=8.0, n=40, seed=11, per_group=1):
    """Contrast pairs in the target whose sides differ along the image of a source direction."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((2, n, D_SOURCE)) * np.arange(1, D_SOURCE + 1)
    sides = [
        (side + shift * direction) @ matrix for side, shift in zip(rows, (distance, 0), strict=True)
    ]
    return TargetPairs(sides[0], sides[1], names(n, per_group), "the-contrast-set")


def candidate(direction, fitted, contrast_hash="another-set"):
    image = fitted.found.displaced(direction[None])[0]
    return Candidate("made/up", Site(1), Site(2), image, "mean_difference", contrast_hash)


@pytest.fixture(scope="module")
def world():
    """A fitted map and the pairs of a trait that lies along TRUE."""
    source, matrix, target = planted()
    return FittedMap.of(source, target, names(400)), pairs_along(TRUE, matrix)


def test_the_true_direction_passes_with_everything_written_down(world):
    fitted, pairs = world
    check = check_direction(candidate(TRUE, fitted), fitted, pairs)
    assert check.refused is None
    assert check.auroc.low > 0.5
    assert check.auroc.n_clusters == 40
    assert (check.null_percentile > 0.95, check.n_null) == (True, 200)
    assert check.own_cosine > 0.8
    assert check.r2 == fitted.found.r2
    assert check.r2_along.value > 0.98
    assert (check.source_site, check.target_site) == (Site(1), Site(2))
    assert not check.pairs_fitted_on
    json.dumps(check.to_json(), allow_nan=False)


def test_the_length_of_a_direction_changes_nothing(world):
    fitted, pairs = world
    short, long = (
        check_direction(
            replace(candidate(TRUE, fitted), direction=scale * TRUE @ fitted.found.matrix),
            fitted,
            pairs,
        )
        for scale in (0.01, 100.0)
    )
    assert (short.auroc, short.null_p) == (long.auroc, long.null_p)


def test_a_turned_sign_is_a_failure(world):
    fitted, pairs = world
    check = check_direction(candidate(-TRUE, fitted), fitted, pairs)
    assert "its sign is turned round in the target model" in check.refused
    assert check.auroc.high < 0.5
    assert check.own_cosine < -0.8
    assert check.null_percentile < 0.05


def test_a_direction_that_separates_nothing_is_refused(world):
    fitted, pairs = world
    check = check_direction(candidate(np.eye(D_SOURCE)[0], fitted), fitted, pairs)
    assert "random directions through the same map" in check.refused
    near = check_direction(
        candidate(np.eye(D_SOURCE)[0], fitted), fitted, replace(pairs, positive=pairs.negative)
    )
    assert "does not separate its own contrast set" in near.refused
    assert isinstance(near.own_cosine, Unscored)


def test_a_map_of_unrelated_models_is_refused_however_well_it_separates():
    rng = np.random.default_rng(12)
    source, matrix, target = planted()
    fitted = FittedMap.of(source, target[rng.permutation(400)], names(400))
    image = replace(candidate(TRUE, fitted), direction=TRUE @ matrix)
    check = check_direction(image, fitted, pairs_along(TRUE, matrix))
    assert check.auroc.low > 0.5
    assert check.refused.startswith("the map explains")
    assert "maps between shuffled texts" in check.refused


def test_the_asked_for_r2_counts(world):
    fitted, pairs = world
    assert check_direction(candidate(TRUE, fitted), fitted, pairs, min_r2=0.9).refused is None
    check = check_direction(candidate(TRUE, fitted), fitted, pairs, min_r2=0.999)
    assert "not surely more than 0.999" in check.refused


def test_pairs_of_the_fit_are_told(world):
    fitted, pairs = world
    own = candidate(TRUE, fitted, contrast_hash=pairs.contrast_hash)
    assert check_direction(own, fitted, pairs).pairs_fitted_on


def test_too_few_groups_of_pairs_leave_no_number(world):
    fitted, pairs = world
    few = replace(pairs, groups=names(40, per_group=14))
    check = check_direction(candidate(TRUE, fitted), fitted, few)
    assert check.refused == (
        "its contrast set cannot be checked in the target model: "
        "3 groups of contrast pairs, 4 needed"
    )
    assert isinstance(check.auroc, Unscored)
    json.dumps(check.to_json(), allow_nan=False)


def meaningless_directions_are_refused(world):
    """The law: what varies as the source does, and means nothing, passes in 5 % of cases at most.

    The pairs differ along the axis of largest variance, so that most of these directions separate
    them: only the null tells that they are nothing special.
    """
    fitted, _ = world
    pairs = pairs_along(LARGEST, planted()[1])
    spread = np.arange(1, D_SOURCE + 1)
    drawn = np.random.default_rng(13).standard_normal((60, D_SOURCE)) * spread
    upright = drawn * np.sign(drawn[:, -1:])  # even with the sign of the trait
    checks = [check_direction(candidate(v, fitted), fitted, pairs) for v in upright]
    separating = [check for check in checks if check.auroc.low > 0.5]
    assert len(separating) > 30
    assert sum(check.refused is None for check in checks) <= 10  # 5 % of both signs: 6 expected


def test_meaningless_directions_are_refused(world):
    meaningless_directions_are_refused(world)


def test_a_broken_null_check_would_be_seen(world, monkeypatch):
    monkeypatch.setattr(transfer_check, "permutation_p", lambda value, null: 0.0)
    with pytest.raises(AssertionError):
        meaningless_directions_are_refused(world)


def test_a_broken_sign_check_would_be_seen(world, monkeypatch):
    """Oriented on the tested pairs, a turned direction passes: the law above goes red."""
    fitted, pairs = world
    turned = TargetPairs(pairs.negative, pairs.positive, pairs.groups, pairs.contrast_hash)
    assert check_direction(candidate(TRUE, fitted), fitted, turned).refused is not None
    assert check_direction(candidate(-TRUE, fitted), fitted, turned).refused is None


def test_where_every_direction_separates_the_distance_decides():
    """AUROC at its ceiling: the true direction still stands out, a crooked one does not."""
    source, matrix, _ = planted()
    source[:, :-1] *= 0.5  # the trait is most of what varies
    fitted = FittedMap.of(source, source @ matrix, names(400))
    easy, image = pairs_along(LARGEST, matrix, distance=300.0), LARGEST @ matrix
    check = check_direction(replace(candidate(TRUE, fitted), direction=image), fitted, easy)
    assert check.auroc.value == 1.0
    assert check.n_null_tied > 100
    assert check.refused is None
    aside = np.linalg.qr(np.stack([image, np.ones(D_TARGET)], axis=1))[0][:, 1]
    crooked = image + 3.0 * np.linalg.norm(image) * aside
    worse = check_direction(replace(candidate(TRUE, fitted), direction=crooked), fitted, easy)
    assert worse.auroc.value == 1.0
    assert "of 200 random directions" in worse.refused


def test_random_directions_are_oriented_on_other_pairs_than_they_are_read_on(world):
    """Pairs without any difference: oriented and read on the same, all would be above 0.5."""
    fitted, pairs = world
    rng = np.random.default_rng(14)
    same = replace(pairs, positive=rng.permutation(pairs.negative))
    halves = np.arange(20), np.arange(20, 40)
    units = fitted.random / np.linalg.norm(fitted.random, axis=1, keepdims=True)
    chosen = transfer_check._measured(units, same, halves[0]).areas >= 0.5
    signs = np.where(chosen, 1.0, -1.0)[:, None]
    assert transfer_check._measured(signs * units, same, halves[0]).areas.min() >= 0.5
    assert transfer_check._measured(signs * units, same, halves[1]).areas.min() < 0.5


def test_a_check_is_the_same_again(world):
    fitted, pairs = world
    one, two = (check_direction(candidate(TRUE, fitted), fitted, pairs, seed=3) for _ in range(2))
    assert one == two


# ------------------------------------------------------------------------------ the layers


def test_layers_of_the_same_relative_depth_are_paired():
    assert pair_layers(range(4), 4, 4) == {0: 0, 1: 1, 2: 2, 3: 3}
    assert pair_layers([0, 13, 25], 26, 80) == {0: 0, 13: 41, 25: 79}
    assert pair_layers([0], 1, 12) == {0: 11}


def test_source_layers_that_would_meet_leave_the_nearest():
    # Depths 0, 0.4, 0.8, 1.2, 1.6, 2.
    assert pair_layers(range(6), 6, 3) == {0: 0, 2: 1, 5: 2}
    assert pair_layers([1, 3], 6, 3) == {1: 0, 3: 1}


@pytest.mark.parametrize(("n_source", "n_target"), [(32, 26), (26, 80), (5, 5), (7, 2)])
def test_no_target_layer_is_taken_twice_and_order_stays(n_source, n_target):
    pairing = pair_layers(range(n_source), n_source, n_target)
    places = list(pairing.values())
    assert places == sorted(set(places))
    assert (places[0], places[-1]) == (0, n_target - 1)
    assert len(places) == min(n_source, n_target)


# ----------------------------------------------------------------------------- provenance

ORIGIN = Origin(
    model=identity(id="another", weights_hash="ee55", d_model=32),
    site=Site(3),
    method="mean_difference",
    texts_hash="ff66",
    r2=0.75,
)


def transferred_vector():
    made = vector()
    moved = basis(method="mean_difference, transferred from another", origin=ORIGIN)
    return replace(made, basis=moved)


def test_where_a_vector_comes_from_survives_the_file(tmp_path):
    path = tmp_path / "vectors.safetensors"
    VectorSet([transferred_vector()]).save(path)
    loaded = VectorSet.load(path, model=IDENTITY)
    assert loaded[0] == transferred_vector()
    assert loaded[0].basis.origin == ORIGIN
    assert "transferred from another" in repr(loaded)
    assert loaded.sha256 != VectorSet([vector()]).sha256


def test_files_of_fitted_vectors_are_as_they_were(tmp_path):
    path = tmp_path / "vectors.safetensors"
    vector_set().save(path)
    with safe_open(path, framework="pt") as file:
        entries = json.loads(file.metadata()["trait_probe"])["vectors"]
    assert all("origin" not in entry["basis"] for entry in entries)
    assert all(v.basis.origin is None for v in VectorSet.load(path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda origin: origin.pop("r2"), "basis.origin"),
        (lambda origin: origin.update(r2="high"), r"basis.origin.r2 has the wrong type"),
        (lambda origin: origin.update(site="layer 3"), "not a residual-stream site"),
        (lambda origin: origin["model"].pop("d_model"), r"basis.origin.model"),
    ],
)
def test_a_malformed_origin_is_refused(change, message):
    entry = to_entry(transferred_vector())
    change(entry["basis"]["origin"])
    with pytest.raises(BadInputError, match=message):
        from_entry(entry, {vector().key: torch.zeros(8)})


def test_an_origin_that_is_no_object_is_refused():
    entry = to_entry(transferred_vector())
    entry["basis"]["origin"] = None
    with pytest.raises(BadInputError, match=r"basis\.origin is not an object"):
        from_entry(entry, {vector().key: torch.zeros(8)})
