"""Claims of a shift: planted effects, every control removed and failing, numbers by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from operator import itemgetter
from typing import Any

import numpy as np
import pytest
from scipy import stats
from study_builders import (
    BEST,
    MODELS,
    N_DRAWS,
    PLACES,
    chosen_places,
    failed,
    families,
    lock_of,
    missing,
    scores_of,
    shift,
    shift_rows,
    shifted,
    unequal_families,
    unrelated,
)

from trait_probe.errors import BadInputError
from trait_probe.evidence.claims import MODELS_CHECK, Claim, claims_json, required_checks
from trait_probe.evidence.estimate import Estimate
from trait_probe.evidence.locks import ReportLock
from trait_probe.evidence.multiplicity import holm
from trait_probe.evidence.power import detectable_mean
from trait_probe.evidence.splits import Split
from trait_probe.evidence.studies.models import ModelScores
from trait_probe.evidence.studies.shift import (
    MIN_RIVALS,
    SMALLEST_SHIFT,
    Shift,
    shift_claims,
)


def evil(study: Shift) -> ModelScores:
    return study.traits["evil"]


def mapped(models: ModelScores, change: Callable[[np.ndarray], np.ndarray]) -> ModelScores:
    """The same change of every model's scores."""
    controls = tuple(change(one) for one in models.controls)
    return ModelScores(change(models.base), change(models.variant), controls)


def many_controls(effect: float = 1.5, n: int = 6, **changes: Any) -> Shift:
    """Benign fine-tunes enough to take the variant's role, and no unrelated traits."""
    rows = shift_rows()
    traits = {"evil": scores_of(rows, variant=effect, controls=(0.0,) * n)}
    return shift(rows=rows, **{"traits": traits, "unrelated": {}, **changes})


def estimate(claim: Claim) -> Estimate:
    assert isinstance(claim.effect, Estimate)
    return claim.effect


def singles(n: int = 40, seed: int = 0) -> Any:
    """Rows that are families of one, half of them reported."""
    groups = families(n, per_group=1)
    return shift_rows(
        ids=tuple(f"prompt-{i}" for i in range(n)), groups=groups, lock=lock_of(groups, seed)
    )


# --- verdicts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_a_clean_planted_effect_is_supported(seed: int) -> None:
    claim = shifted(shift(seed=seed))
    assert claim.verdict == "supported", claim.reasons
    assert claim.statement == (
        "variant carries more evil than base on the same text, beyond control, at layer 2."
    )


@pytest.mark.parametrize("seed", range(10))
def test_without_an_effect_nothing_is_supported(seed: int) -> None:
    """And half an SD is excluded: 32 families are enough to say so."""
    claim = shifted(shift(0.0, seed))
    assert claim.verdict == "not supported"
    assert estimate(claim).high < SMALLEST_SHIFT


def test_nothing_found_in_noisy_models_is_inconclusive() -> None:
    """Fine-tunes that move each prompt by 4 SD: half an SD could hide in that."""
    rows = shift_rows()
    study = shift(rows=rows, traits={"evil": scores_of(rows, jitter=4.0, seed=3)})
    claim = shifted(study)
    assert estimate(claim).low <= 0.0
    assert estimate(claim).high >= SMALLEST_SHIFT
    assert claim.verdict == "inconclusive"
    rows.lock.report({"places": {"evil": "layer 9"}})
    assert shifted(study).verdict == "not supported"


def test_less_of_a_trait_is_not_supported() -> None:
    """Every place moved down: the best of them on the selection rows is still below zero."""
    study = shift()
    down = replace(evil(study), variant=evil(study).base - 1.5)
    assert shifted(replace(study, traits={"evil": down})).verdict == "not supported"


@pytest.mark.parametrize("seed", range(4))
def test_with_many_controls_no_unrelated_traits_are_needed(seed: int) -> None:
    rows = shift_rows(seed=seed)
    for effect, verdict in ((1.5, "supported"), (0.0, "not supported")):
        traits = {"evil": scores_of(rows, variant=effect, controls=(0.0,) * 6, seed=seed)}
        claim = shifted(shift(rows=rows, traits=traits, unrelated={}))
        assert claim.verdict == verdict, claim.reasons


@pytest.mark.parametrize(
    ("removed", "name"),
    [
        ({"random": None}, "random directions"),
        ({"shuffled": None}, "unrelated directions"),
        ({"unrelated": {}}, MODELS_CHECK),
        ({"unrelated": unrelated(shift_rows(), MIN_RIVALS - 1)}, MODELS_CHECK),
    ],
)
def test_each_null_removed_is_not_testable(removed: dict[str, Any], name: str) -> None:
    claim = shifted(shift(**removed))
    assert claim.verdict == "not testable"
    assert missing(claim) == [name]
    assert not failed(claim)


def test_few_controls_are_too_few_to_take_the_variants_role() -> None:
    claim = shifted(many_controls(n=MIN_RIVALS - 1))
    assert missing(claim) == [MODELS_CHECK]
    assert f"{MIN_RIVALS - 1} control models and 0 unrelated traits" in claim.reasons[0]


def test_without_a_control_model_it_is_not_testable() -> None:
    """However many unrelated traits there are."""
    study = shift()

    def alone(models: ModelScores) -> ModelScores:
        return replace(models, controls=())

    assert study.random is not None
    assert study.shuffled is not None
    claim = shifted(
        replace(
            study,
            traits={"evil": alone(evil(study))},
            random=alone(study.random),
            shuffled=alone(study.shuffled),
            unrelated={name: alone(models) for name, models in study.unrelated.items()},
        )
    )
    assert claim.verdict == "not testable"
    assert missing(claim) == ["control model", MODELS_CHECK, "controls shown"]
    assert not failed(claim)


def test_a_control_that_shifted_as_much_is_not_supported() -> None:
    """Any fine-tune moves so: the plain shift is large and certain, and says nothing."""
    alike = scores_of(shift_rows())
    moved = replace(alike, variant=alike.variant + 1.5, controls=(alike.controls[0] + 1.5,))
    claim = shifted(shift(traits={"evil": moved}))
    assert estimate(claim).low > 1.0
    assert claim.verdict == "not supported"
    assert "control model" in failed(claim)
    assert "interval excludes zero" not in failed(claim)


def test_a_control_that_is_the_base_is_no_control() -> None:
    """It takes nothing off: the plain shift of any fine-tune would pass."""
    study = shift()
    same = replace(evil(study), controls=(evil(study).base.copy(),))
    claim = shifted(replace(study, traits={"evil": same}))
    assert claim.verdict == "not testable"
    assert missing(claim) == ["control model", "controls shown"]
    assert not failed(claim)
    assert "control model 1 gives what the base gives" in claim.reasons[0]
    for share, is_one in ((1e-6, False), (1e-3, False), (0.1, True)):  # rounding is no training
        moved = same.base + share * (evil(study).controls[0] - same.base)
        claim = shifted(replace(shift(), traits={"evil": replace(same, controls=(moved,))}))
        assert (not missing(claim)) == is_one


def test_controls_that_are_copies_of_each_other_are_no_four() -> None:
    """Two fine-tunes under four names would be four rivals."""
    study = many_controls()
    models = evil(study)
    first, second, _, *others = models.controls
    doubled = (first, second, first + 1e-6 * second, *others)
    claim = shifted(replace(study, traits={"evil": replace(models, controls=doubled)}))
    assert claim.verdict == "not testable"
    assert "control models 1 and 3 give the same: they count once" in " ".join(claim.reasons)


def test_one_of_many_controls_that_is_the_base_is_named() -> None:
    study = many_controls()
    models = evil(study)
    controls = (*models.controls[:4], models.base.copy(), models.controls[5])
    claim = shifted(replace(study, traits={"evil": replace(models, controls=controls)}))
    assert missing(claim) == ["control model", "controls shown"]
    assert "control model 5 gives" in claim.reasons[0]


def one_strong_rival(n: int = 40) -> Shift:
    """One unrelated trait of many shifted by more; all the others stay where they were."""
    study = shift()
    moved = scores_of(study.rows, variant=1.8, seed=900)
    return replace(study, unrelated={**unrelated(study.rows, n - 1), "moved": moved})


def test_every_rival_must_be_beaten_however_small_the_p() -> None:
    """A prediction test assumes normal rivals; one that went further is seen all the same."""
    claim = shifted(one_strong_rival())
    assert failed(claim) == [MODELS_CHECK]
    assert claim.verdict == "not supported"
    found: Any = claim.nulls[MODELS_CHECK]
    assert isinstance(found.p, float)
    assert found.p <= 0.05
    assert not found.beyond_all
    assert "not beyond all 40 unrelated traits" in claim.reasons[0]


def test_to_be_beyond_all_rivals_is_not_enough() -> None:
    """Four rivals that scatter widely: beyond all of them, and well within the prediction."""
    rows = shift_rows()
    rivals = {f"r{i}": scores_of(rows, variant=by, seed=80 + i) for i, by in enumerate(SCATTER)}
    claim = shifted(shift(rows=rows, unrelated=rivals))
    assert failed(claim) == [MODELS_CHECK]
    found: Any = claim.nulls[MODELS_CHECK]
    assert found.beyond_all
    assert found.p > 0.05


SCATTER = (1.2, 0.9, 0.6, 0.3)


@pytest.mark.parametrize("field", ["random", "shuffled"])
def test_null_directions_that_all_give_the_same_are_missing(field: str) -> None:
    study = shift()
    null = getattr(study, field)
    same = mapped(null, lambda scores: np.zeros_like(scores))
    claim = shifted(replace(study, **{field: same}))
    name = {"random": "random directions", "shuffled": "unrelated directions"}[field]
    assert claim.verdict == "not testable"
    assert missing(claim) == [name]
    assert "no two null directions that differ" in claim.reasons[0]


def test_rivals_that_all_give_the_same_are_missing() -> None:
    """One unrelated trait under eight names, or controls that are one model."""
    study = shift()
    one = study.unrelated["other-0"]
    for size in (0.0, 1e-9):
        copies = {
            f"name-{i}": mapped(one, lambda scores, by=size * i: scores + by) for i in range(8)
        }
        with pytest.raises(BadInputError, match="Unrelated traits must not be copies"):
            replace(study, unrelated=copies)
    many = many_controls()
    models = evil(many)
    alike = replace(models, controls=(models.controls[0],) * 6)
    claim = shifted(replace(many, traits={"evil": alike}))
    assert missing(claim)[0] == "control model"
    assert MODELS_CHECK in missing(claim)
    assert "6 rivals that all give the same" in " ".join(claim.reasons)


def as_strong(name: str) -> Shift:
    """One null direction in ten moves beyond the control as much, at a place of its own."""
    study = shift()
    null = scores_of(study.rows, seed=7, draws=N_DRAWS)
    for draw in range(0, N_DRAWS, 10):
        null.variant[:, draw % 3, draw] += 3.0
    return replace(study, **{name: null})


def unrelated_traits_that_shifted_as_much() -> Shift:
    """Two of eight: the fine-tune moves traits that it has nothing to do with."""
    study = shift()
    moved = unrelated(study.rows, 2, seed=50, variant=1.5)
    others = {f"moved-{name}": models for name, models in moved.items()}
    return replace(study, unrelated={**unrelated(study.rows, 6), **others})


def controls_that_differ_as_much() -> Shift:
    """Benign fine-tunes of other seeds: some of them differ by as much from the rest."""
    rows = shift_rows()
    models = scores_of(rows, variant=1.5, controls=(-1.0, 1.0, -1.0, 1.2, 0.0, 0.0))
    return many_controls(traits={"evil": models})


def a_control_that_went_down() -> Shift:
    """More than the control, not more than the base."""
    study = shift()
    return replace(study, traits={"evil": scores_of(study.rows, variant=-0.02, controls=(-1.5,))})


def looked_at_before() -> Shift:
    study = shift()
    study.rows.lock.report({"places": {"evil": "layer 3"}})
    return study


@pytest.mark.parametrize(
    ("study", "name"),
    [
        (lambda: as_strong("random"), "random directions"),
        (lambda: as_strong("shuffled"), "unrelated directions"),
        (unrelated_traits_that_shifted_as_much, MODELS_CHECK),
        (controls_that_differ_as_much, MODELS_CHECK),
        (a_control_that_went_down, "interval excludes zero"),
        (looked_at_before, "report split opened once"),
    ],
)
def test_each_control_failing_alone_is_not_supported(study: Any, name: str) -> None:
    claim = shifted(study())
    assert claim.verdict == "not supported"
    assert failed(claim) == [name]
    assert not missing(claim)


def quiet(rows: Any, draws: int = 1500) -> ModelScores:
    """Null directions that hardly move."""
    return scores_of(rows, seed=5, draws=draws, jitter=1e-3)


def test_many_traits_make_one_weak_finding_not_enough() -> None:
    """Alone it is supported; among 30 traits that mean nothing only the adjusted p fails."""
    rows = shift_rows(seed=1)
    weak, null = {"evil": scores_of(rows, variant=0.16, seed=1)}, quiet(rows)
    rivals = unrelated(rows, jitter=0.03)
    alone = shift(rows=rows, traits=weak, random=null, shuffled=null, unrelated=rivals)
    assert shifted(alone).verdict == "supported", shifted(alone).reasons
    others = {f"t{i}": scores_of(rows, seed=700 + i) for i in range(29)}
    many = shift(
        rows=shift_rows(seed=1),
        traits={**weak, **others},
        random=null,
        shuffled=null,
        unrelated=rivals,
    )
    claims = shift_claims(many, MODELS, n_permutations=400)
    assert failed(claims[0]) == ["multiplicity"]
    assert not [claim.id for claim in claims if claim.verdict == "supported"]
    assert {claim.looks for claim in claims} == {30}


@pytest.mark.parametrize(("n_groups", "testable"), [(16, True), (14, False)])
def test_fewer_than_eight_report_groups_are_not_testable(n_groups: int, testable: bool) -> None:
    claim = shifted(shift(20.0, rows=shift_rows(n_groups=n_groups)))
    assert (claim.verdict == "supported") == testable
    if not testable:
        assert claim.verdict == "not testable"
        assert claim.reasons[0] == (
            "sample size missing: 7 report groups, effectively 7.0 (required: 8 or more)"
        )
        assert missing(claim).count("sample size") == 1


def test_one_giant_family_among_eight_is_not_testable() -> None:
    for giant, testable in ((60, False), (2, True)):
        groups, lock = unequal_families(giant)
        ids = tuple(f"prompt-{i}" for i in range(len(groups)))
        rows = shift_rows(ids=ids, groups=groups, lock=lock)
        claim = shifted(shift(20.0, rows=rows))
        assert claim.verdict == ("supported" if testable else "not testable"), claim.reasons
        if not testable:
            assert claim.reasons[0].startswith(
                f"sample size missing: 8 report groups, effectively {74**2 / 3628:.1f}"
            )


# --- laws -----------------------------------------------------------------------------------------


def test_identical_models_give_exactly_zero() -> None:
    study = shift()

    def same(models: ModelScores) -> ModelScores:
        return ModelScores(models.base, models.base.copy(), (models.base.copy(),))

    assert study.random is not None
    assert study.shuffled is not None
    claim = shifted(
        replace(
            study,
            traits={"evil": same(evil(study))},
            random=same(study.random),
            shuffled=same(study.shuffled),
            unrelated={name: same(models) for name, models in study.unrelated.items()},
        )
    )
    effect = estimate(claim)
    assert (effect.value, effect.low, effect.high) == (0.0, 0.0, 0.0)
    assert claim.verdict == "not testable"  # nothing varies, so there is nothing to compare with
    names = required_checks("shift", looks=2, trigger_involved=False)
    assert failed(claim) == ["interval excludes zero", "multiplicity"]
    shown = {"controls shown", "nulls shown"}
    assert set(missing(claim)) == {*names, *shown} - set(failed(claim))
    json.dumps(claim.to_json(), allow_nan=False)


def test_swapping_variant_and_base_flips_the_sign() -> None:
    """One place; on the selection rows variant and base differ by an offset, which is no unit."""
    rows = shift_rows()
    rng = np.random.default_rng(1)
    base, control = rng.standard_normal((2, len(rows.ids), 1))
    variant = base + 0.75
    report = rows.lock._split.report
    variant[report] += rng.standard_normal((len(report), 1))

    def claim(one: np.ndarray, other: np.ndarray) -> Claim:
        traits = {"evil": ModelScores(one, other, (control,))}
        return shifted(Shift(shift_rows(), ("layer 2",), traits))

    forth, back = estimate(claim(base, variant)), estimate(claim(variant, base))
    assert forth.value > 0.3
    assert (back.value, back.low, back.high) == pytest.approx(
        (-forth.value, -forth.high, -forth.low)
    )


def test_the_unit_of_the_scores_and_an_offset_play_no_part() -> None:
    study = shift(0.4)
    scaled = mapped(evil(study), lambda scores: 3.0 + 10.0 * scores)
    one, other = shifted(study), shifted(shift(traits={"evil": scaled}))
    assert estimate(other).value == pytest.approx(estimate(one).value)
    assert estimate(other).width == pytest.approx(estimate(one).width)
    assert (failed(other), missing(other)) == (failed(one), missing(one))


# --- numbers --------------------------------------------------------------------------------------


def beyond_by_hand(models: ModelScores, rows: Any) -> tuple[int, np.ndarray, np.ndarray]:
    """Place chosen, shift of each report row there, and beyond the control, in SD of the base."""
    selection, report = rows.lock._split.selection, rows.lock._split.report
    unit = np.std(models.base[selection], axis=0, ddof=1)
    moved = (models.variant - models.base) / unit
    controls = [(control - models.base) / unit for control in models.controls]
    beyond = moved - sum(controls) / len(controls)
    place = int(np.argmax([beyond[selection, k].mean() for k in range(moved.shape[1])]))
    return place, moved[report, place], beyond[report, place]


@pytest.mark.parametrize("seed", range(3))
def test_effect_and_difference_of_differences_are_the_t_intervals_of_scipy(seed: int) -> None:
    rows = singles(seed=seed)
    study = shift(0.5, seed, rows=rows)
    claim = shifted(study)
    place, moved, beyond = beyond_by_hand(evil(study), rows)
    assert chosen_places(rows.lock) == {"evil": PLACES[place]}
    control = claim.controls["beyond the control model"]
    assert isinstance(control, Estimate)
    for found, values in ((estimate(claim), moved), (control, beyond)):
        low, high = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
        assert found.value == pytest.approx(values.mean())
        assert (found.low, found.high) == pytest.approx((low, high))
        assert (found.n, found.n_clusters, found.unit) == (20, 20, "SD of the base")
    assert claim.detectable is not None
    smallest = detectable_mean(20, float(beyond.std(ddof=1)), "SD of the base").effect
    assert claim.detectable.effect == pytest.approx(smallest)
    written: Any = claim.to_json()["shortcuts"]
    assert written["per input, beyond the control"]["mean"] == pytest.approx(beyond.mean())


def test_copies_of_a_row_in_its_family_change_no_interval() -> None:
    """Families of two equal rows are as many clusters as families of one."""
    once = shift(0.5, rows=singles())
    copied = mapped(evil(once), lambda scores: scores.repeat(2, axis=0))
    selection = np.flatnonzero(np.isin(np.arange(80) // 2, once.rows.lock.selection))
    lock = ReportLock(Split(selection, np.setdiff1d(np.arange(80), selection), 0.5, 0), {"a": 1})
    rows = shift_rows(n_groups=40, groups=tuple(np.repeat(once.rows.groups, 2).tolist()), lock=lock)
    twice = Shift(rows, PLACES, {"evil": copied})
    one, other = estimate(shifted(once)), estimate(shifted(twice))
    unit = np.std(evil(once).base[once.rows.lock.selection], axis=0, ddof=1)
    both = np.std(np.repeat(evil(once).base[once.rows.lock.selection], 2, 0), axis=0, ddof=1)
    assert other.n_clusters == one.n_clusters == 20
    assert other.width == pytest.approx(one.width * (unit / both)[BEST])


def test_null_directions_are_read_beyond_the_control_where_each_chose_to_be() -> None:
    study = shift(0.12)
    claim = shifted(study)
    beyond = beyond_by_hand(evil(study), study.rows)[2].mean()
    written: Any = claim.to_json()["nulls"]
    for name, field in (("random", "random"), ("unrelated", "shuffled")):
        null = [
            beyond_by_hand(mapped(getattr(study, field), itemgetter((..., k))), study.rows)[
                2
            ].mean()
            for k in range(N_DRAWS)
        ]
        rank = written[f"{name} directions"]
        assert rank["percentile"] == pytest.approx(
            stats.percentileofscore(null, beyond, kind="mean") / 100
        )
        assert rank["p"] == pytest.approx((1 + np.sum(np.array(null) >= beyond)) / (1 + N_DRAWS))
        assert 0.0 < rank["percentile"] < 1.0


def prediction_p(value: float, rivals: list[float]) -> float:
    """scipy's two-sample t test of one value against many is the prediction test."""
    return float(stats.ttest_ind([value], rivals, alternative="greater").pvalue)


def test_the_variation_among_unrelated_traits_by_hand() -> None:
    study = shift(0.2)
    claim = shifted(study)
    value = beyond_by_hand(evil(study), study.rows)[2].mean()
    rivals = [beyond_by_hand(one, study.rows)[2].mean() for one in study.unrelated.values()]
    written: Any = claim.to_json()["nulls"]
    assert written[MODELS_CHECK]["p"] == pytest.approx(prediction_p(value, rivals))
    (check,) = [check for check in claim.checks if check.name == MODELS_CHECK]
    p = prediction_p(value, rivals)
    words = "beyond all" if value > max(rivals) else "not beyond all"
    assert check.observed == f"{words} 8 unrelated traits, adjusted p = {p:.4g}"


def test_the_variation_among_controls_by_hand() -> None:
    """Each control in the variant's role against the others, at the place where it differs most."""
    study = many_controls(0.2)
    claim = shifted(study)
    models = evil(study)
    value = beyond_by_hand(models, study.rows)[2].mean()
    rivals = []
    for j, control in enumerate(models.controls):
        others = models.controls[:j] + models.controls[j + 1 :]
        rivals.append(
            beyond_by_hand(ModelScores(models.base, control, others), study.rows)[2].mean()
        )
    written: Any = claim.to_json()["nulls"]
    assert written[MODELS_CHECK]["p"] == pytest.approx(prediction_p(value, rivals))
    (check,) = [check for check in claim.checks if check.name == MODELS_CHECK]
    p = prediction_p(value, rivals)
    words = "beyond all" if value > max(rivals) else "not beyond all"
    assert check.observed == f"{words} 6 controls in the variant's role, adjusted p = {p:.4g}"


def test_the_variation_is_holm_adjusted_over_the_traits() -> None:
    rows = shift_rows()
    traits = {f"t{i}": scores_of(rows, variant=0.15 * i, seed=i) for i in range(1, 4)}
    claims = shift_claims(shift(rows=rows, traits=traits), MODELS, n_permutations=200)
    written: list[Any] = [claim.to_json()["nulls"] for claim in claims]
    adjusted = holm(np.array([nulls[MODELS_CHECK]["p"] for nulls in written]))
    for claim, p in zip(claims, adjusted, strict=True):
        (check,) = [check for check in claim.checks if check.name == MODELS_CHECK]
        assert check.observed.endswith(f"8 unrelated traits, adjusted p = {p:.4g}")
        beyond_all = check.observed.startswith("beyond all")
        assert check.status == ("passed" if p <= 0.05 and beyond_all else "failed")


def test_a_constant_base_has_a_unit() -> None:
    """Base scores that do not vary at all: numbers stay finite."""
    rows = shift_rows()
    zeros = np.zeros((len(rows.ids), len(PLACES)))
    study = shift(traits={"evil": ModelScores(zeros, zeros.copy(), (zeros.copy(),))})
    assert estimate(shifted(study)).value == 0.0


def test_claims_are_strict_json() -> None:
    for study in (shift(), shift(rows=shift_rows(n_groups=8))):
        json.dumps(claims_json(shift_claims(study, MODELS, n_permutations=200)), allow_nan=False)


# --- choices --------------------------------------------------------------------------------------


def moved_rows(study: Shift, rows: np.ndarray, by: float, place: int | slice) -> Shift:
    variant = evil(study).variant.copy()
    variant[rows, place] += by
    return replace(study, traits={"evil": replace(evil(study), variant=variant)})


def test_report_rows_play_no_part_in_the_choice_of_places() -> None:
    study = shift()
    shifted(moved_rows(study, study.rows.lock._split.report, 50.0, 0))
    assert chosen_places(study.rows.lock) == {"evil": PLACES[BEST]}


def test_selection_rows_play_no_part_in_the_numbers_given_the_same_place() -> None:
    """But for the unit, which is the base's SD on them."""
    one, other = shift(), shift()
    other = moved_rows(other, other.rows.lock.selection, 50.0, BEST)
    assert shifted(one).to_json() == shifted(other).to_json()


def test_a_selection_side_that_says_otherwise_changes_the_place() -> None:
    study = shift()
    shifted(moved_rows(study, study.rows.lock.selection, 50.0, 2))
    assert chosen_places(study.rows.lock) == {"evil": PLACES[2]}


def test_the_same_choice_again_is_one_opening_and_another_is_seen() -> None:
    study = shift()
    assert shifted(study).verdict == shifted(study).verdict == "supported"
    assert len(study.rows.lock.openings) == 1
    changed = replace(study, places=("layer 7", "layer 8", "layer 9"))
    assert failed(shifted(changed)) == ["report split opened once"]


def test_another_direction_of_the_same_name_and_place_is_another_choice() -> None:
    study = shift()
    shifted(study)
    other = shift(rows=study.rows, traits={"evil": scores_of(study.rows, variant=1.5, seed=8)})
    assert failed(shifted(other)) == ["report split opened once"]
    places = [opening.chosen["places"] for opening in study.rows.lock.openings]
    assert places == [{"evil": PLACES[BEST]}] * 2


@pytest.mark.parametrize("options", [{"alpha": 0.051}, {"alpha": 0.0}, {"n_permutations": 18}])
def test_rates_that_cannot_hold_are_refused_before_anything_is_read(options: Any) -> None:
    study = shift()
    with pytest.raises(BadInputError, match=r"alpha must lie in|18 permutations cannot reach"):
        shift_claims(study, MODELS, **options)
    assert not study.rows.lock.openings


# --- what is refused ------------------------------------------------------------------------------


def damaged(found: Any, part: str, row: int) -> Any:
    """One number of the models, or of the first of several named ones, that is none."""
    if isinstance(found, dict):
        first = next(iter(found))
        return {**found, first: damaged(found[first], part, row)}
    models = [one.copy() for one in (found.base, found.variant, *found.controls)]
    models[PARTS.index(part)][(row, *[0] * (found.base.ndim - 1))] = np.nan
    return ModelScores(models[0], models[1], tuple(models[2:]))


PARTS = ("base", "variant", "control")


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("field", ["traits", "random", "shuffled", "unrelated"])
def test_scores_that_are_not_finite_are_refused_before_anything_is_read(
    field: str, part: str
) -> None:
    """On either side of the split: found after the opening, they would have cost the one look."""
    study = shift()
    found = getattr(study, field)
    for row in (study.rows.lock.selection[0], study.rows.lock._split.report[-1]):
        with pytest.raises(BadInputError, match="must be finite"):
            shifted(replace(study, **{field: damaged(found, part, int(row))}))
    assert not study.rows.lock.openings


def test_no_trait_and_null_directions_without_the_control_are_refused() -> None:
    study = shift()
    assert study.random is not None
    for changes in ({"random": replace(study.random, controls=())}, {"traits": {}}):
        with pytest.raises(BadInputError):
            replace(study, **changes)


def test_a_claimed_trait_is_not_unrelated_to_itself() -> None:
    study = shift()
    with pytest.raises(BadInputError, match="not unrelated to itself"):
        replace(study, unrelated={"evil": evil(study)})
