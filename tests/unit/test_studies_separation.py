"""Claims of a separation: planted effects, every control removed and failing, numbers by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score
from study_builders import (
    BEST,
    N_DRAWS,
    PLACES,
    WORDING,
    chosen_places,
    failed,
    families,
    labelled_rows,
    lock_of,
    missing,
    noise,
    planted,
    separated,
    separation,
    status,
    with_leak,
    without_type_checks,
)

from trait_probe.errors import BadInputError, MismatchError, TraitProbeError
from trait_probe.evidence.claims import claims_json, required_checks
from trait_probe.evidence.estimate import Estimate
from trait_probe.evidence.multiplicity import holm
from trait_probe.evidence.power import detectable_auroc
from trait_probe.evidence.studies.rows import LabelledRows
from trait_probe.evidence.studies.separation import (
    SMALLEST_AUROC,
    Separation,
    separation_claims,
)


def evil(study: Separation) -> np.ndarray:
    return study.traits["evil"]


def near(scores: np.ndarray, seed: int = 9) -> np.ndarray:
    """The same ranks but for a little noise."""
    return scores + 0.05 * np.random.default_rng(seed).standard_normal(scores.shape)


def moved_on(study: Separation, side: str, shift: float) -> Separation:
    """The trait's scores turned over and moved on one side of the split."""
    rows = getattr(study.rows.lock._split, side)
    scores = evil(study).copy()
    scores[rows] = shift - scores[rows]
    return replace(study, traits={"evil": scores})


# --- verdicts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_clean_planted_effect_is_supported(seed: int, paired: bool) -> None:
    """With `paired` each family has a prompt of both classes, which then is one cluster."""
    claim = separated(separation(seed=seed, rows=labelled_rows(seed=seed, paired=paired)))
    assert claim.verdict == "supported", claim.reasons
    assert "at layer 2" in claim.statement


@pytest.mark.parametrize("seed", range(6))
def test_without_an_effect_nothing_is_supported(seed: int) -> None:
    """32 families leave an AUROC of 0.6 possible: where they do, nothing was shown."""
    claim = separated(separation(0.0, seed))
    assert isinstance(claim.effect, Estimate)
    open_still = claim.effect.high >= 0.5 + SMALLEST_AUROC
    assert claim.verdict == ("inconclusive" if open_still else "not supported")
    assert "interval excludes chance" in failed(claim)


def test_without_an_effect_many_families_say_so() -> None:
    rows = labelled_rows(n_groups=600)
    claim = separated(separation(0.0, rows=rows))
    assert claim.verdict == "not supported"
    assert "interval excludes chance" in failed(claim)
    assert isinstance(claim.effect, Estimate)
    assert claim.effect.high < 0.5 + SMALLEST_AUROC


def test_a_second_look_at_nothing_is_not_inconclusive() -> None:
    """It is no matter of too few data."""
    study = separation(0.0)
    assert separated(study).verdict == "inconclusive"
    study.rows.lock.report({"places": {"evil": "layer 7"}})
    assert separated(study).verdict == "not supported"


def test_an_effect_against_the_statement_is_not_supported() -> None:
    """All places turned over: the best of them on the selection rows is still below chance."""
    study = separation()
    claim = separated(
        replace(study, traits={"evil": -3.0 * study.rows.labels[:, None] + 0 * evil(study)})
    )
    assert claim.verdict == "not supported"
    assert isinstance(claim.effect, Estimate)
    assert claim.effect.high < 0.5


@pytest.mark.parametrize(
    ("removed", "name"),
    [
        ({"random": None}, "random directions"),
        ({"foils": None}, "foil directions"),
        ({"foils": {}}, "foil directions"),
        ({"embedding": None}, "embedding layer"),
        ({"embedding": {"another trait": noise(labelled_rows(), 300)}}, "embedding layer"),
        ({"rows": labelled_rows(texts=None)}, "text-only baseline"),
    ],
)
def test_each_control_removed_is_not_testable(removed: dict[str, Any], name: str) -> None:
    claim = separated(separation(**removed))
    assert claim.verdict == "not testable"
    assert missing(claim) == [name]
    assert not failed(claim)


def constant_on_the_selection_rows(rows: LabelledRows, scores: np.ndarray) -> np.ndarray:
    """Such as one token that every prompt has; report rows vary, but nobody may choose by them."""
    found = scores.copy()
    found[rows.lock.selection] = 1.5
    return found


def says_nothing(name: str) -> dict[str, Any]:
    study = separation()
    rows, foils, embedding = study.rows, study.foils, study.embedding
    assert foils is not None
    assert embedding is not None
    assert study.random is not None
    return {
        "embedding layer": {
            "embedding": {"evil": constant_on_the_selection_rows(rows, embedding["evil"])}
        },
        "foil directions": {
            "foils": {
                key: constant_on_the_selection_rows(rows, foil) for key, foil in foils.items()
            }
        },
        "random directions": {"random": np.full_like(study.random, 0.25)},
    }[name]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("embedding layer", "scores all selection rows alike: read more tokens"),
        ("foil directions", "every foil scores all selection rows alike"),
        ("random directions", "no two null directions that differ"),
    ],
)
def test_a_control_that_cannot_say_anything_is_missing(name: str, why: str) -> None:
    """To beat it would be to beat nothing."""
    claim = separated(separation(**says_nothing(name)))
    assert claim.verdict == "not testable"
    assert missing(claim) == [name]
    assert not failed(claim)
    assert why in claim.reasons[0]


def test_a_foil_that_says_nothing_is_passed_over_for_one_that_does() -> None:
    """However poorly the other one does on the selection rows."""
    study = separation()
    poor = noise(study.rows, 8, 3)
    poor[study.rows.lock.selection] -= study.rows.labels[study.rows.lock.selection][:, None]
    nothing = constant_on_the_selection_rows(study.rows, poor)
    claim = separated(replace(study, foils={"nothing": nothing, "poor": poor}))
    assert claim.verdict == "supported", claim.reasons
    assert claim.controls["foil"] == "poor"


def test_random_directions_too_few_for_the_traits_are_missing() -> None:
    """Among 12 traits the best of 60 draws is p = 12 / 61, whatever the effect."""
    rows = labelled_rows()
    traits = {"evil": planted(rows, 2.5), **{f"t{i}": noise(rows, 40 + i, 3) for i in range(11)}}
    study = separation(rows=rows, traits=traits)
    claim = separated(study)
    assert missing(claim) == ["random directions"]
    assert claim.verdict == "not testable"
    assert "too few draws for 12 traits" in claim.reasons[0]
    more = separation(rows=labelled_rows(), traits=traits, random=noise(rows, 100, 3, 240))
    assert not missing(separated(more))


def test_a_selection_side_too_small_for_length_and_words_is_not_testable() -> None:
    rows = labelled_rows(lock=lock_of(families(), fraction=0.15))
    claim = separated(separation(rows=rows))
    assert claim.verdict == "not testable"
    assert missing(claim) == ["length", "text-only baseline"]


def confounded_by_length() -> Separation:
    study = separation()
    lengths = np.round(1000 + 100 * near(evil(study)[:, BEST])).astype(np.int64)
    return separation(rows=labelled_rows(lengths=lengths))


def confounded_by_the_embedding() -> Separation:
    study = separation()
    return replace(study, embedding={"evil": near(evil(study)[:, BEST])})


def confounded_by_a_foil() -> Separation:
    study = separation()
    return replace(study, foils={"tone": noise(study.rows, 8, 3), "topic": near(evil(study))})


def as_strong_as_random_directions() -> Separation:
    """One draw in ten separates as well, each at a place of its own."""
    study = separation()
    null = noise(study.rows, 7, len(PLACES), N_DRAWS)
    for draw in range(0, N_DRAWS, 10):
        null[:, draw % 3, draw] += 4.0 * study.rows.labels
    return replace(study, random=null)


def looked_at_before() -> Separation:
    study = separation()
    study.rows.lock.report({"places": {"evil": "layer 1"}})
    return study


@pytest.mark.parametrize(
    ("study", "name"),
    [
        (confounded_by_length, "length"),
        (confounded_by_the_embedding, "embedding layer"),
        (confounded_by_a_foil, "foil directions"),
        (as_strong_as_random_directions, "random directions"),
        (looked_at_before, "report split opened once"),
    ],
)
def test_each_control_failing_alone_is_not_supported(study: Any, name: str) -> None:
    claim = separated(study())
    assert claim.verdict == "not supported"
    assert failed(claim) == [name]
    assert not missing(claim)


def test_shorter_prompts_are_a_length_confound_too() -> None:
    study = separation()
    lengths = np.round(1000 - 100 * near(evil(study)[:, BEST])).astype(np.int64)
    claim = separated(separation(rows=labelled_rows(lengths=lengths)))
    assert failed(claim) == ["length"]
    area = claim.shortcuts["length"]
    assert isinstance(area, float)
    assert area > 0.9


def test_many_traits_make_one_weak_finding_not_enough() -> None:
    """Alone it is supported; among 40 traits that mean nothing only the adjusted p fails."""
    rows = labelled_rows()
    up = rows.labels.copy()  # more on the selection side, less on the report side
    up[rows.lock._split.report] ^= True
    below = {"evil": up + 0.1 * noise(rows, 5)}
    foils = {"topic": below["evil"][:, None] + 0.0 * noise(rows, 6, 3)}
    lengths = np.where(up, 20, 10) + np.arange(len(up)) % 3
    scores = 0.62 * rows.labels[:, None] + noise(rows, 30, 3)
    changes: dict[str, Any] = {
        "embedding": {**below, **{f"t{i}": below["evil"] for i in range(39)}},
        "foils": foils,
        "random": noise(rows, 3, 3, 1500) - 1.5 * rows.labels[:, None, None],
    }
    alone = separation(rows=labelled_rows(lengths=lengths), traits={"evil": scores}, **changes)
    assert separated(alone).verdict == "supported", separated(alone).reasons
    others = {f"t{i}": noise(rows, 1000 + i, 3) for i in range(39)}
    many = separation(
        rows=labelled_rows(lengths=lengths), traits={"evil": scores, **others}, **changes
    )
    claims = separation_claims(many, WORDING, n_permutations=200)
    assert failed(claims[0]) == ["multiplicity"]
    assert {claim.looks for claim in claims} == {40}
    assert not [claim.id for claim in claims if claim.verdict == "supported"]


def test_the_words_doing_as_well_is_noted_and_does_not_decide() -> None:
    rows = labelled_rows()
    texts, _ = with_leak(rows, 1.0)
    claim = separated(separation(rows=labelled_rows(texts=texts)))
    assert claim.verdict == "supported"
    assert claim.notes[0] == "chosen among 3 places per trait on the selection rows"
    assert claim.notes[1].startswith("the words alone do as well: a text-only classifier reaches")
    assert len(separated(separation()).notes) == 1


def test_fewer_than_eight_groups_in_the_smaller_class_are_not_testable() -> None:
    rows, enough = labelled_rows(n_groups=36), labelled_rows(n_groups=38)
    assert (min(lock_clusters(rows)), min(lock_clusters(enough))) == (7, 8)
    assert separated(separation(10.0, rows=enough)).verdict == "supported"
    claim = separated(separation(30.0, rows=rows))
    assert claim.verdict == "not testable"
    assert claim.reasons[0] == (
        "sample size missing: 7 groups in the smaller class, effectively 7.0 (required: 8 or more)"
    )
    assert missing(claim).count("sample size") == 1
    assert set(missing(claim)) >= set(required_checks("separation"))


def lock_clusters(rows: Any) -> tuple[int, int]:
    report, names = rows.lock._split.report, np.array(rows.groups)
    labels = rows.labels[report]
    return len(set(names[report][labels])), len(set(names[report][~labels]))


# --- numbers --------------------------------------------------------------------------------------


def areas(scores: np.ndarray, labels: np.ndarray) -> list[float]:
    """scikit-learn's AUROC of each column."""
    return [float(roc_auc_score(labels, column)) for column in scores.T]


def by_hand(study: Separation, scores: np.ndarray) -> tuple[int, float]:
    """Place with the best AUROC on the selection rows, and its AUROC on the report rows."""
    split, labels = study.rows.lock._split, study.rows.labels
    place = int(np.argmax(areas(scores[split.selection], labels[split.selection])))
    return place, float(roc_auc_score(labels[split.report], scores[split.report, place]))


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
@pytest.mark.parametrize("effect", [0.3, 1.0])
def test_the_effect_is_scikit_learns_auroc_at_the_place_chosen(seed: int, effect: float) -> None:
    study = separation(effect, seed)
    claim = separated(study)
    place, area = by_hand(study, evil(study))
    assert isinstance(claim.effect, Estimate)
    assert claim.effect.value == pytest.approx(area, abs=1e-12)
    assert claim.statement.endswith(f"at {PLACES[place]}.")
    assert chosen_places(study.rows.lock) == {"evil": PLACES[place]}
    assert (claim.effect.n, claim.effect.n_clusters) == (64, 32)


def test_random_directions_are_read_where_each_chose_to_be() -> None:
    study = separation(0.6)
    claim = separated(study)
    assert study.random is not None
    null = [by_hand(study, study.random[..., draw])[1] for draw in range(N_DRAWS)]
    assert isinstance(claim.effect, Estimate)
    written = claim.to_json()["nulls"]
    assert isinstance(written, dict)
    rank = written["random directions"]
    expected = stats.percentileofscore(null, claim.effect.value, kind="mean") / 100
    assert rank["percentile"] == pytest.approx(expected)
    assert 0.5 < expected < 1.0
    reached = sum(area >= claim.effect.value - 1e-12 for area in null)
    assert rank["p"] == pytest.approx((1 + reached) / (1 + N_DRAWS))


def test_p_values_among_random_directions_are_holm_adjusted_over_the_traits() -> None:
    rows = labelled_rows()
    traits = {f"t{i}": planted(rows, effect, i) for i, effect in enumerate((0.5, 0.9, 2.5))}
    study = separation(rows=rows, traits=traits, embedding=None)
    claims = separation_claims(study, WORDING, n_permutations=200)
    ranks: Any = [claim.to_json()["nulls"] for claim in claims]
    raw = np.array([rank["random directions"]["p"] for rank in ranks])
    for claim, adjusted in zip(claims, holm(raw), strict=True):
        (check,) = [check for check in claim.checks if check.name == "random directions"]
        assert check.observed.endswith(f"adjusted p = {adjusted:.4g}")
        assert check.status == ("passed" if adjusted <= 0.05 else "failed")
    assert raw[0] > 0.05 >= raw[1]
    assert (holm(raw) > raw)[1:].all()


def test_shortcuts_are_scikit_learns_numbers() -> None:
    study = separation()
    claim = separated(study)
    report = study.rows.lock._split.report
    labels = study.rows.labels[report]
    assert study.embedding is not None
    assert study.foils is not None
    selection = study.rows.lock.selection
    words = study.embedding["evil"]
    up = roc_auc_score(study.rows.labels[selection], words[selection]) >= 0.5
    expected = roc_auc_score(labels, words[report] * (1 if up else -1))
    assert claim.shortcuts["embedding layer"] == pytest.approx(expected)
    up = roc_auc_score(study.rows.labels[selection], study.rows.lengths[selection]) >= 0.5
    expected = roc_auc_score(labels, study.rows.lengths[report] * (1 if up else -1))
    assert claim.shortcuts["length"] == pytest.approx(expected)
    signed = {
        (name, place): roc_auc_score(study.rows.labels[selection], scores[selection, place])
        for name, scores in study.foils.items()
        for place in range(len(PLACES))
    }
    name, place = max(signed, key=lambda at: abs(signed[at] - 0.5))
    sign = 1 if signed[name, place] >= 0.5 else -1
    assert claim.controls["foil"] == name
    expected = roc_auc_score(labels, sign * study.foils[name][report, place])
    assert claim.shortcuts["foil"] == pytest.approx(expected)
    assert claim.detectable == detectable_auroc(*lock_clusters(study.rows))


def test_claims_are_strict_json() -> None:
    for study in (separation(), separation(0.0), separation(rows=labelled_rows(n_groups=20))):
        written = claims_json(separation_claims(study, WORDING, n_permutations=200))
        json.dumps(written, allow_nan=False)


def test_the_same_seed_gives_the_same_claim_and_float32_changes_nothing_of_note() -> None:
    study = separation()
    first, again = separated(study), separated(separation())
    assert first.to_json() == again.to_json()
    narrow = separation(traits={"evil": evil(study).astype(np.float32)})
    assert separated(narrow).effect == first.effect


# --- choices --------------------------------------------------------------------------------------


def test_report_rows_play_no_part_in_the_choice_of_places_and_foils() -> None:
    study = separation(0.8)
    report = study.rows.lock._split.report
    turned = separation(0.8)
    assert turned.foils is not None
    traits, foils = {"evil": evil(turned).copy()}, {k: v.copy() for k, v in turned.foils.items()}
    for scores in (*traits.values(), *foils.values()):
        scores[report] = 50.0 - 3.0 * scores[report]
    turned = replace(turned, traits=traits, foils=foils)
    before, after = separated(study), separated(turned)
    assert chosen_places(study.rows.lock) == chosen_places(turned.rows.lock)
    assert before.controls["foil"] == after.controls["foil"]
    assert isinstance(before.effect, Estimate)
    assert isinstance(after.effect, Estimate)
    assert after.effect.value == pytest.approx(1.0 - before.effect.value)


def test_selection_rows_play_no_part_in_the_numbers_given_the_same_place() -> None:
    study = separation()
    scores = evil(study).copy()
    selection = study.rows.lock.selection
    scores[selection] = 7.0 + 3.0 * scores[selection]  # other scores, the same AUROCs
    scores[selection[:3]] += 0.2
    changed = separation(traits={"evil": scores})
    before, after = separated(study), separated(changed)
    assert chosen_places(study.rows.lock) == chosen_places(changed.rows.lock)
    assert after.to_json() == before.to_json()


def test_a_selection_side_that_says_otherwise_changes_the_place_only() -> None:
    """The meaning of "chosen on the selection rows": their scores alone move the place."""
    study = separation(4.0)
    scores = evil(study).copy()
    scores[study.rows.lock.selection, BEST] *= -1.0
    changed = separation(traits={"evil": scores})
    separated(changed)
    assert chosen_places(changed.rows.lock) != {"evil": PLACES[BEST]}


# --- the lock -------------------------------------------------------------------------------------


def test_the_same_choice_again_is_one_opening_and_another_is_seen() -> None:
    study = separation()
    assert separated(study).verdict == separated(study).verdict == "supported"
    assert len(study.rows.lock.openings) == 1
    scores = np.roll(evil(study), 1, axis=1)
    claim = separated(replace(study, traits={"evil": scores}))
    assert failed(claim) == ["report split opened once"]
    assert "opened 2 times" in claim.reasons[0]


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "error", "sentence"),
    [
        ({"traits": {}}, BadInputError, r"at least one trait[\s\S]*got:   0"),
        (
            {"traits": {"evil": np.zeros((128, 2))}},
            MismatchError,
            r"'evil' must have[\s\S]*valid: \(128, 3\)",
        ),
        (
            {"traits": {"evil": np.zeros((127, 3))}},
            MismatchError,
            r"'evil' must have[\s\S]*\(127, 3\)[\s\S]*fix",
        ),
        (
            {"foils": {"topic": np.zeros((128, 4))}},
            MismatchError,
            r"'topic' must have one row per prompt",
        ),
        (
            {"random": np.zeros((128, 2, 5))},
            MismatchError,
            "Null directions have one row per prompt",
        ),
        ({"random": np.zeros((128, 3, 0))}, MismatchError, "one draw or more"),
        ({"embedding": {"evil": np.zeros(500)}}, MismatchError, "'evil' must have one row"),
        (
            {"random": np.zeros((12, 3, 5))},
            MismatchError,
            "Null directions have one row per prompt",
        ),
    ],
)
def test_shapes_that_do_not_fit_are_refused(
    changes: dict[str, Any], error: type[BadInputError], sentence: str
) -> None:
    with without_type_checks(), pytest.raises(error, match=sentence):
        separation(**changes)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ("field", "sentence"),
    [
        ("traits", "The scores of 'evil' must be finite"),
        ("foils", "The scores of 'topic' must be finite"),
        ("embedding", "The rows of 'evil' must be finite"),
        ("random", "The scores of null directions must be finite"),
    ],
)
def test_scores_that_are_not_finite_are_refused_before_anything_is_read(
    field: str, sentence: str, bad: float
) -> None:
    """On the report side too: found after the opening, they would have cost the one look."""
    study = separation()
    found = getattr(study, field)
    for row in (study.rows.lock.selection[0], study.rows.lock._split.report[-1]):
        name = None if field == "random" else next(iter(found))
        scores = (found if name is None else found[name]).copy()
        scores[(row, *[0] * (scores.ndim - 1))] = bad
        with pytest.raises(BadInputError, match=sentence):
            replace(study, **{field: scores if name is None else {**found, name: scores}})
    assert not study.rows.lock.openings


def test_a_selection_side_of_one_class_is_refused() -> None:
    rows = labelled_rows()
    labels = rows.labels.copy()
    labels[rows.lock.selection] = True
    with pytest.raises(BadInputError, match="selection rows of both classes"):
        separated(separation(rows=labelled_rows(labels=labels)))


def test_meta_a_check_that_never_fails_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests above do fail when a control is ignored."""
    from trait_probe.evidence.checks import Check
    from trait_probe.evidence.studies import separation as module

    monkeypatch.setattr(
        module, "_beats", lambda pair, name, scores, other: Check(name, "passed", "it", "was")
    )
    with pytest.raises(AssertionError):
        test_each_control_failing_alone_is_not_supported(confounded_by_length, "length")
    assert status(separated(separation(foils=None)), "foil directions") == "passed"


def test_a_perfect_projection_beats_what_says_nothing() -> None:
    """Neither has any variance within the sample; their AUROCs differ all the same."""
    rows = labelled_rows(lengths=np.full(128, 12))
    claim = separated(separation(30.0, rows=rows))
    assert claim.verdict == "supported", claim.reasons


# --- controls that only seem to be beaten ---------------------------------------------------------


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("name", ["foils", "embedding"])
def test_a_control_that_separates_in_reverse_separates(name: str, sign: float) -> None:
    """The words tell the groups apart as well with AUROC 0 as with 1."""
    rows = labelled_rows()
    told = sign * 4.0 * rows.labels + noise(rows, 8)
    given = {"foils": {"topic": np.stack([told] * 3, axis=1)}, "embedding": {"evil": told}}
    claim = separated(separation(**{name: given[name]}))
    assert claim.verdict == "not supported"
    check = {"foils": "foil directions", "embedding": "embedding layer"}[name]
    assert failed(claim) == [check]
    shown = claim.shortcuts[{"foils": "foil", "embedding": "embedding layer"}[name]]
    assert isinstance(shown, float)
    assert shown > 0.95


@pytest.mark.parametrize("stray", [1, 3])
def test_a_constant_with_a_few_stray_values_is_a_constant(stray: int) -> None:
    study = separation()
    nearly = np.zeros(len(study.rows.labels))
    nearly[study.rows.lock.selection[:stray]] = 1e-9
    for name, given in (
        ("embedding layer", {"embedding": {"evil": nearly}}),
        ("foil directions", {"foils": {"topic": np.stack([nearly] * 3, axis=1)}}),
    ):
        assert missing(separated(separation(**given))) == [name]


def test_copies_and_constants_are_no_random_directions() -> None:
    """Two directions handed in thirty times are two."""
    rows = labelled_rows()
    two = noise(rows, 9, 3, 2)
    for null in (np.tile(two, (1, 1, 30)), np.concatenate([two, np.zeros((128, 3, 58))], axis=2)):
        claim = separated(separation(random=null))
        assert claim.verdict == "not testable"
        assert missing(claim) == ["random directions"]
        assert "of 2, adjusted p" in claim.reasons[0]


def test_other_controls_or_labels_on_the_same_rows_are_a_second_look() -> None:
    """Who drops the foil that was not beaten has seen the report rows."""
    strong = {"topic": planted(labelled_rows(), 6.0)}
    study = separation(foils=strong)
    first = separated(study)
    assert failed(first) == ["foil directions"]
    rows = study.rows
    weak = {"topic": noise(rows, 200, 3)}
    for again in (
        replace(study, foils=weak),
        replace(study, foils=weak, random=noise(rows, 77, 3, 60)),
        replace(study, embedding={"evil": noise(rows, 78)}),
    ):
        assert failed(separated(again))[-1] == "report split opened once"
    flipped = labelled_rows()
    separated(separation(rows=flipped))
    labels = np.roll(flipped.labels, 2)
    assert "report split opened once" in failed(
        separated(separation(rows=replace(flipped, labels=labels)))
    )


def test_the_same_controls_again_are_no_second_look() -> None:
    study = separation()
    separated(study)
    assert separated(study).verdict == "supported"
    assert len(study.rows.lock.openings) == 1


@pytest.mark.parametrize("word", ["", "the same"])
def test_equal_texts_are_no_text_baseline(word: str) -> None:
    rows = labelled_rows(texts=(word,) * 128)
    claim = separated(separation(rows=rows))
    assert (missing(claim), claim.verdict) == (["text-only baseline"], "not testable")


def test_a_prompt_on_both_sides_under_two_groups_is_refused() -> None:
    ids = tuple(f"p{i % 64}" for i in range(128))
    with pytest.raises(BadInputError, match="Prompts of a split"):
        labelled_rows(ids=ids)


def test_labels_that_are_numbers_are_refused() -> None:
    with without_type_checks(), pytest.raises(BadInputError, match="Labels are True or False"):
        labelled_rows(labels=np.arange(128) % 2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"places": (), "traits": {"evil": np.zeros((128, 0))}},
        {"random": np.zeros((128, 3))},
        {"embedding": {"evil": np.zeros((128, 2))}},
        {"embedding": {"evil": [0.0] * 128}},
        {"foils": {"topic": np.array([["a"] * 3] * 128)}},
    ],
)
def test_arrays_of_another_form_are_refused_in_words(wrong: dict[str, Any]) -> None:
    with without_type_checks(), pytest.raises(TraitProbeError) as caught:
        separation(**wrong)
    assert "got:" in str(caught.value)


# --- identical tokens -----------------------------------------------------------------------------


def same_tokens(study: Separation) -> np.ndarray:
    return np.full((len(study.rows.labels), len(study.places)), 7)


def test_where_every_prompt_has_one_token_its_embedding_is_what_must_be_beaten():
    """A leaking average over the whole text is shown and said, and does not decide there."""
    study = confounded_by_the_embedding()
    (leaky,) = separation_claims(study, WORDING)
    assert "embedding layer" in failed(leaky)
    (claim,) = separation_claims(
        replace(study, rows=labelled_rows(), tokens=same_tokens(study)), WORDING
    )
    assert claim.verdict == "supported"
    assert claim.shortcuts["embedding layer"] == 0.5
    assert claim.shortcuts["embeddings of the whole text"] == pytest.approx(
        leaky.shortcuts["embedding layer"]
    )
    assert any("same token" in note for note in claim.notes)


def test_one_prompt_with_another_token_takes_that_away():
    study = confounded_by_the_embedding()
    tokens = same_tokens(study)
    tokens[3] += 1
    (claim,) = separation_claims(replace(study, rows=labelled_rows(), tokens=tokens), WORDING)
    assert "embedding layer" in failed(claim)


def test_one_token_everywhere_saves_no_projection_at_chance():
    study = replace(separation(), tokens=None)
    chance = {"evil": noise(study.rows, 77)[:, None] + 0.0 * evil(study)}
    study = replace(study, rows=labelled_rows(), traits=chance, tokens=same_tokens(study))
    (claim,) = separation_claims(study, WORDING)
    assert claim.verdict != "supported"
    assert "embedding layer" in failed(claim)


def test_tokens_fit_rows_and_places():
    study = separation()
    with (
        without_type_checks(),
        pytest.raises(MismatchError, match="one id per row and place"),
    ):
        replace(study, tokens=same_tokens(study)[:, :1])


def test_words_that_do_as_well_are_said():
    study = separation()
    words = {"evil": evil(study)[:, BEST] * 2.0}
    (claim,) = separation_claims(
        replace(study, rows=labelled_rows(), embedding=words, tokens=same_tokens(study)), WORDING
    )
    assert any("the words that were read do as well" in note for note in claim.notes)
