"""Scores of one direction in several models: differences, directions apart, what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from study_builders import (
    PLACES,
    families,
    lock_of,
    shift,
    shift_rows,
    shifted,
    unrelated,
    without_type_checks,
)

from trait_probe.errors import BadInputError, MismatchError
from trait_probe.evidence.claims import MODELS_CHECK
from trait_probe.evidence.locks import ReportLock
from trait_probe.evidence.splits import Split
from trait_probe.evidence.studies.models import ModelScores
from trait_probe.evidence.studies.shift import Shift


def test_differences_of_differences() -> None:
    base, variant, one, other = (np.full((2, 1), value) for value in (1.0, 4.0, 1.5, 2.5))
    models = ModelScores(base, variant, (one, other))
    assert np.array_equal(models.shift(), np.full((2, 1), 3.0))
    assert np.array_equal(models.beyond_controls(), np.full((2, 1), 2.0))
    assert np.array_equal(models.pretend(1).beyond_controls(), np.full((2, 1), 1.0))
    alone = replace(models, controls=())
    assert np.array_equal(alone.beyond_controls(), alone.shift())


# --- directions that overlap ----------------------------------------------------------------------


def units(rng: np.random.Generator, *shape: int) -> np.ndarray:
    drawn = rng.standard_normal(shape)
    return np.asarray(drawn / np.linalg.norm(drawn, axis=-1, keepdims=True))


def projected(activations: tuple[np.ndarray, ...], direction: np.ndarray) -> ModelScores:
    base, variant, *controls = (np.einsum("rpd,pd->rp", one, direction) for one in activations)
    return ModelScores(base, variant, tuple(controls))


def test_apart_gives_the_scores_of_the_orthogonal_direction() -> None:
    rng = np.random.default_rng(1)
    activations = tuple(rng.standard_normal((3, 6, 2, 5)))
    own, other = units(rng, 2, 2, 5)
    cosines = (own * other).sum(axis=1)
    left = other - cosines[:, None] * own
    left /= np.linalg.norm(left, axis=1, keepdims=True)
    found = projected(activations, other).apart(projected(activations, own), cosines)
    expected = projected(activations, left)
    assert found.base == pytest.approx(expected.base)
    assert found.variant == pytest.approx(expected.variant)
    assert found.controls[0] == pytest.approx(expected.controls[0])


def overlapping(rows: Any, cosine: float = 0.7, d: int = 12) -> tuple[Shift, Shift]:
    """A shift along the trait alone, unrelated traits at a cosine to it; told of it or not."""
    rng = np.random.default_rng(2)
    own = np.tile(np.eye(d)[0], (len(PLACES), 1))
    others = units(rng, 8, 1, d - 1).repeat(len(PLACES), axis=1)
    others = np.concatenate(
        [np.full((8, len(PLACES), 1), cosine), np.sqrt(1 - cosine**2) * others], axis=2
    )
    base = rng.standard_normal((len(rows.ids), len(PLACES), d))
    variant, control = (base + 0.1 * rng.standard_normal(base.shape) for _ in range(2))
    activations = (base, variant + 1.5 * np.eye(d)[0], control)
    names = {f"other-{i}": direction for i, direction in enumerate(others)}
    parts: dict[str, Any] = {
        "traits": {"evil": projected(activations, own)},
        "unrelated": {name: projected(activations, found) for name, found in names.items()},
    }
    return (
        shift(rows=rows, directions={"evil": own, **names}, **parts),
        shift(rows=rows, **parts),
    )


def test_a_true_shift_does_not_count_against_itself_through_overlapping_traits() -> None:
    """Each unrelated trait moves by 0.7 of the shift; orthogonal to the trait none does."""
    told, untold = overlapping(shift_rows())
    assert shifted(told).verdict == "supported", shifted(told).reasons

    def rivals(study: Shift) -> float:
        written: Any = shifted(study).to_json()["nulls"]
        return float(written[MODELS_CHECK]["t"])

    assert rivals(told) > 5 * rivals(untold)


def test_directions_without_overlap_change_nothing() -> None:
    rows = shift_rows()
    names = ("evil", *unrelated(rows))
    axes = {name: np.tile(np.eye(9)[i], (len(PLACES), 1)) for i, name in enumerate(names)}
    assert shifted(shift(directions=axes)).to_json() == shifted(shift()).to_json()


def test_directions_of_some_traits_only_and_of_the_trait_itself_are_refused() -> None:
    rows = shift_rows()
    names = ("evil", *unrelated(rows))
    axes = {name: np.tile(np.eye(9)[i], (len(PLACES), 1)) for i, name in enumerate(names)}
    some = {name: axes[name] for name in names[:-1]}
    with pytest.raises(MismatchError, match=r"every trait[\s\S]*got: +\['other-7'\]"):
        shift(directions=some)
    with pytest.raises(BadInputError, match=r"must not be that of the trait[\s\S]*cosine 1\.000"):
        shifted(shift(directions={**axes, "other-3": axes["evil"]}))


# --- what is refused ------------------------------------------------------------------------------


def test_groups_on_both_sides_are_refused() -> None:
    rows = np.arange(128)
    lock = ReportLock(Split(rows[::2], rows[1::2], 0.5, 0), {"prompts": "ab12"})
    with pytest.raises(BadInputError, match=r"Groups of a split: [\s\S]*64 shared"):
        shift_rows(lock=lock)


def test_a_tested_prompt_that_was_fitted_or_centred_on_is_refused() -> None:
    ids = shift_rows().ids
    with pytest.raises(BadInputError, match=r"means and thresholds: [\s\S]*1 shared: prompt-003"):
        shift_rows(fitted_on=frozenset({ids[3], "contrast-0"}))


def test_that_nothing_was_fitted_is_stated_and_an_empty_set_is_an_oversight() -> None:
    assert shift_rows(fitted_on=None).fitted_on is None
    with pytest.raises(BadInputError, match=r"an empty set[\s\S]*None where nothing was fitted"):
        shift_rows(fitted_on=frozenset())


def copies(axes: dict[str, np.ndarray], cosine: float, sign: float = 1.0) -> dict[str, np.ndarray]:
    """Another unrelated trait made all but the same, at every place."""
    along, beside = axes["other-3"], axes["other-5"]
    turned = sign * (cosine * along + np.sqrt(1 - cosine**2) * beside)
    return {**axes, "other-4": turned}


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_unrelated_traits_that_are_copies_of_each_other_are_refused(sign: float) -> None:
    """Two names of one direction would count as two independent rivals."""
    names = ("evil", *unrelated(shift_rows()))
    axes = {name: np.tile(np.eye(9)[i], (len(PLACES), 1)) for i, name in enumerate(names)}
    with pytest.raises(
        BadInputError, match=r"copies of each other[\s\S]*'other-3' and 'other-4', cosine 0\.96"
    ):
        shift(directions=copies(axes, 0.96, sign))
    shift(directions=copies(axes, 0.94, sign))
    somewhere = copies(axes, 1.0, sign)
    somewhere["other-4"][1] = axes["other-4"][1]
    shift(directions=somewhere)  # at one place they differ


def test_a_claimed_trait_may_be_near_another_claimed_one() -> None:
    """Both are claimed, neither is a rival."""
    rows = shift_rows()
    names = ("evil", *unrelated(rows))
    axes = {name: np.tile(np.eye(9)[i], (len(PLACES), 1)) for i, name in enumerate(names)}
    models = shift(rows=rows).traits["evil"]
    shift(
        rows=rows, traits={"evil": models, "bad": models}, directions={**axes, "bad": axes["evil"]}
    )


def test_rows_of_different_length_are_refused() -> None:
    with pytest.raises(MismatchError, match="groups must have one entry per row"):
        shift_rows(ids=("prompt-0",))
    with pytest.raises(MismatchError, match="rows that are not there"):
        shift_rows(lock=lock_of(families(200)))


def models_of(*shapes: tuple[int, ...]) -> ModelScores:
    base, variant, *controls = (np.zeros(shape) for shape in shapes)
    return ModelScores(base, variant, tuple(controls))


@pytest.mark.parametrize(
    "shapes", [((4, 3), (4, 2), (4, 3)), ((4, 3), (4, 3), (5, 3)), ((4, 3, 2), (4, 3), (4, 3))]
)
def test_models_scored_on_other_rows_or_places_are_refused(shapes: Any) -> None:
    with (
        without_type_checks(),
        pytest.raises(MismatchError, match=r"same rows and places[\s\S]*Replay the same token ids"),
    ):
        models_of(*shapes)


@pytest.mark.parametrize(
    "changes",
    [
        {"traits": {"evil": models_of(*[(128, 2)] * 3)}},
        {"traits": {"evil": models_of(*[(12, 3)] * 3)}},
        {"random": models_of(*[(128, 2, 5)] * 3)},
        {"shuffled": models_of(*[(12, 3, 5)] * 3)},
        {"unrelated": {"another": models_of(*[(128, 4)] * 3)}},
    ],
)
def test_scores_that_do_not_fit_rows_and_places_are_refused(changes: dict[str, Any]) -> None:
    with (
        without_type_checks(),
        pytest.raises(MismatchError, match=r"same rows, places[\s\S]*valid: \(\(128, 3\), 1\)"),
    ):
        shift(**changes)
