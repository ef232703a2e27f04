"""What the studies share: rows and their refusals, places, null ranks, one opening for all."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score
from study_builders import (
    BEST,
    PLACES,
    WORDING,
    beyond,
    beyond_text,
    failed,
    families,
    labelled_rows,
    lock_of,
    noise,
    planted,
    separated,
    separation,
    unequal_families,
    without_type_checks,
)

from trait_probe.errors import BadInputError, MismatchError
from trait_probe.evidence._arrays import effective_clusters
from trait_probe.evidence.checks import opened_once
from trait_probe.evidence.claims import REQUIRED_CHECKS, SIZE_CHECK, Check, Claim
from trait_probe.evidence.estimate import Estimate, Unscored
from trait_probe.evidence.locks import ReportLock
from trait_probe.evidence.power import Detectable
from trait_probe.evidence.splits import Split, text_id
from trait_probe.evidence.studies.beyond_text import beyond_text_claims
from trait_probe.evidence.studies.parts import (
    NullRank,
    holm_ranks,
    null_check,
    null_rank,
    open_lock,
    ranked,
    require_rates,
)
from trait_probe.evidence.studies.rows import (
    AurocPair,
    LabelledRows,
    best_place,
    null_aurocs,
    too_small,
)
from trait_probe.evidence.studies.separation import separation_claims


def opened(**changes: Any) -> LabelledRows:
    rows = labelled_rows(**changes)
    rows.lock.report({"places": {}})
    return rows


# --- the lock -------------------------------------------------------------------------------------


def test_both_sides_are_read_after_the_report_side_was_opened_only() -> None:
    rows = labelled_rows()
    for closed in (lambda: rows.lock.split, lambda: rows.split, lambda: rows.report_labels):
        with pytest.raises(BadInputError, match=r"after `report\(chosen\)`[\s\S]*fix: +Choose on"):
            closed()
    assert not rows.lock.openings
    report = rows.lock.report({"places": {}})
    assert np.array_equal(rows.split.report, report)
    assert np.array_equal(rows.split.selection, rows.lock.selection)
    assert np.array_equal(rows.report_labels, rows.labels[report])
    assert rows.report_groups == tuple(rows.groups[i] for i in report)


def test_separation_and_beyond_the_text_on_one_choice_are_one_opening() -> None:
    rows = labelled_rows()
    first, second = separation(rows=rows), beyond_text(rows=rows)
    assert separated(first).verdict == "supported"
    assert beyond(second).verdict == "supported"
    assert separated(first).verdict == "supported"
    assert len(rows.lock.openings) == 1
    assert opened_once(rows.lock).status == "passed"


def test_beyond_the_text_sees_that_a_separation_chose_otherwise() -> None:
    rows = labelled_rows()
    separated(separation(rows=rows))
    scores = np.roll(planted(rows, 2.5), 1, axis=1)
    claim = beyond(beyond_text(rows=rows, traits={"evil": scores}))
    assert failed(claim) == ["report split opened once"]
    assert claim.verdict == "not supported"


def test_a_second_look_fails_the_claims_of_the_first() -> None:
    """Who looks at one layer after another keeps what came out best, be it the first."""
    rows = labelled_rows()
    first = separated(separation(rows=rows))
    assert first.verdict == "supported"
    separated(separation(rows=rows, traits={"evil": np.roll(planted(rows, 2.5), 1, axis=1)}))
    assert failed(first) == ["report split opened once"]
    assert first.verdict == "not supported"
    assert first.to_json()["verdict"] == "not supported"


def test_another_direction_of_the_same_name_and_place_is_another_choice() -> None:
    """Told by its scores on the selection rows, in either study."""
    rows = labelled_rows()
    first, second = ({"evil": planted(rows, 2.5, seed)} for seed in (0, 1))
    assert separated(separation(rows=rows, traits=first)).verdict == "supported"
    claims = (
        separated(separation(rows=rows, traits=second)),
        beyond(beyond_text(rows=rows, traits=second)),
    )
    places = [opening.chosen["places"] for opening in rows.lock.openings]
    assert places == [{"evil": "layer 2"}] * 2
    for claim in claims:
        assert failed(claim) == ["report split opened once"]


def test_scores_of_the_report_rows_are_no_part_of_the_choice() -> None:
    """What was chosen cannot depend on them; the width of the numbers does not matter."""
    rows = labelled_rows()
    scores = planted(rows, 2.5).astype(np.float32).astype(np.float64)
    other = scores.copy()
    other[rows.lock._split.report] += 1.0
    for found in (scores, scores.astype(np.float32), other):
        opened_for(rows, {"evil": found})
    assert len(rows.lock.openings) == 1
    other[rows.lock.selection[0], 2] += 0.01  # not even at the place
    opened_for(rows, {"evil": other})
    assert opened_once(rows.lock).status == "failed"
    opened_for(rows, {"good": scores})
    assert len(rows.lock.openings) == 3


def opened_for(rows: LabelledRows, traits: dict[str, np.ndarray]) -> None:
    places = dict.fromkeys(traits, BEST)
    open_lock(rows.lock, "separation", PLACES, places, traits, against={"foils": None})


def test_opened_once_names_how_often() -> None:
    lock = lock_of(families())
    lock.report({"places": {"evil": "layer 1"}})
    assert opened_once(lock).observed == "opened once"
    lock.report({"places": {"evil": "layer 2"}})
    check = opened_once(lock)
    assert check.status == "failed"
    assert "opened 2 times" in check.observed


def by_row(n: int) -> ReportLock:
    """A split by row: it tears families apart."""
    rows = np.arange(n)
    return ReportLock(Split(rows[rows % 2 == 0], rows[rows % 2 == 1], 0.5, 0), {"prompts": "ab12"})


def test_a_lock_knows_whether_groups_are_apart() -> None:
    groups = families(4)
    lock_of(groups).require_apart(groups)
    by_row(8).require_apart([f"prompt-{i}" for i in range(8)])
    with pytest.raises(BadInputError, match=r"Groups of a split[\s\S]*4 shared: family-000"):
        by_row(8).require_apart(groups)
    with pytest.raises(MismatchError, match=r"rows that are not there[\s\S]*7 rows"):
        by_row(8).require_apart(groups[:7])
    assert not by_row(8).openings


# --- what is refused ------------------------------------------------------------------------------


def test_groups_on_both_sides_are_refused() -> None:
    with pytest.raises(BadInputError, match=r"Groups of a split: [\s\S]*64 shared"):
        labelled_rows(lock=by_row(128))


def test_a_tested_prompt_that_was_fitted_on_is_refused() -> None:
    """Directions and means of the tested rows themselves: on either side of the split."""
    rows = labelled_rows()
    for row in (rows.lock.selection[0], rows.lock._split.report[0]):
        with pytest.raises(BadInputError, match=r"Directions, means and thresholds: [\s\S]*shared"):
            labelled_rows(fitted_on=frozenset({"contrast-0", rows.ids[row]}))
    with pytest.raises(BadInputError, match="128 shared"):
        labelled_rows(fitted_on=frozenset(rows.ids))


def test_a_tested_prompt_is_found_by_its_words_under_another_id() -> None:
    rows = labelled_rows()
    assert rows.texts is not None
    again = f"  {rows.texts[5].upper()}\n"
    with pytest.raises(BadInputError, match=r"Directions, means and thresholds: [\s\S]*1 shared"):
        labelled_rows(fitted_on=frozenset({"contrast-0", text_id(again)}))
    labelled_rows(fitted_on=frozenset({text_id(again + " more")}))
    labelled_rows(fitted_on=frozenset({text_id(again)}), texts=None)


def test_that_nothing_was_fitted_is_stated_and_an_empty_set_is_an_oversight() -> None:
    assert labelled_rows(fitted_on=None).fitted_on is None
    with pytest.raises(BadInputError, match=r"an empty set[\s\S]*None where nothing was fitted"):
        labelled_rows(fitted_on=frozenset())


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"ids": ("prompt-0",)}, "ids must have one entry per row"),
        ({"groups": families(3)}, "groups must have one entry per row"),
        ({"lengths": np.arange(127)}, "Labels, lengths and texts have one entry per row"),
        ({"texts": ("a", "b")}, "Labels, lengths and texts have one entry per row"),
        ({"labels": np.ones(3, dtype=bool)}, "ids must have one entry per row"),
        ({"lock": lock_of(families(200))}, "rows that are not there"),
    ],
)
def test_tables_of_different_length_are_refused(changes: dict[str, Any], sentence: str) -> None:
    with without_type_checks(), pytest.raises(MismatchError, match=sentence):
        labelled_rows(**changes)


# --- places and nulls -----------------------------------------------------------------------------


def test_places_are_those_of_scikit_learn_on_the_selection_rows() -> None:
    rows = opened()
    null = noise(rows, 3, 4, 12)
    chosen, report = rows.split.selection, rows.split.report
    areas = np.array(
        [
            [roc_auc_score(rows.labels[chosen], null[chosen, place, k]) for place in range(4)]
            for k in range(12)
        ]
    )
    places = best_place(null, rows)
    assert np.array_equal(places, areas.argmax(axis=1))
    assert [int(best_place(null[..., k], rows)) for k in range(12)] == places.tolist()
    expected = [
        roc_auc_score(rows.labels[report], null[report, place, k]) for k, place in enumerate(places)
    ]
    assert null_aurocs(null, rows) == pytest.approx(expected)


def test_choosing_places_opens_nothing() -> None:
    rows = labelled_rows()
    best_place(planted(rows, 1.0), rows)
    assert not rows.lock.openings


def test_null_ranks_are_scipys_percentile_and_phipson_and_smyths_p() -> None:
    null = np.array([0.4, 0.5, 0.5, 0.6])
    rank = null_rank(0.5, null)
    assert rank.percentile == stats.percentileofscore(null, 0.5, kind="mean") / 100 == 0.5
    assert (rank.p, rank.n) == (pytest.approx(4 / 5), 4)
    assert rank.to_json() == {"percentile": 0.5, "p": rank.p, "n": 4}


def test_a_null_check_goes_by_the_adjusted_p() -> None:
    rank = NullRank(0.999, 0.001, 999)
    assert null_check("random directions", rank, 0.05, 0.05, 1).status == "passed"
    check = null_check("random directions", rank, 0.0501, 0.05, 1)
    assert check.status == "failed"
    assert check.observed == "above 99.9 % of 999, adjusted p = 0.0501"
    gone = null_check("random directions", Unscored("none were handed in"), 0.001, 0.05, 1)
    assert (gone.status, gone.observed) == ("missing", "none were handed in")


@pytest.mark.parametrize(
    ("draws", "looks", "alpha", "status"),
    [
        (18, 1, 0.05, "missing"),
        (19, 1, 0.05, "failed"),
        (98, 5, 0.05, "missing"),
        (99, 5, 0.05, "failed"),
        (99, 1, 0.01, "failed"),
        (98, 1, 0.01, "missing"),
    ],
)
def test_too_few_draws_for_the_traits_are_no_failure(
    draws: int, looks: int, alpha: float, status: str
) -> None:
    """The best p there is, (1 / (1 + draws)) times the traits, must reach alpha."""
    rank = NullRank(1.0, 1 / (1 + draws), draws)
    check = null_check("random directions", rank, looks * rank.p + 0.06, alpha, looks)
    assert check.status == status
    assert (f"too few draws for {looks} traits" in check.observed) == (status == "missing")
    assert null_check("random directions", rank, alpha, alpha, looks).status == "passed"


def test_a_null_without_variance_ranks_nothing() -> None:
    null = np.array([0.4, 0.5, 0.6])
    assert ranked(0.5, null) == null_rank(0.5, null)
    for same in (np.full(60, 0.5), np.zeros(1)):
        found = ranked(0.9, same)
        assert isinstance(found, Unscored)
        assert "no two null directions that differ" in found.reason


def test_ranks_are_adjusted_over_the_traits_and_a_missing_one_counts_as_one() -> None:
    ranks = [NullRank(0.9, p, 99) for p in (0.01, 0.04)]
    assert holm_ranks(ranks) == pytest.approx([0.02, 0.04])
    assert holm_ranks([ranks[0], Unscored("none"), ranks[1]]) == pytest.approx([0.03, 1.0, 0.08])
    nothing = Unscored("none")
    assert holm_ranks([nothing, nothing]) == [1.0, 1.0]


# --- comparisons ----------------------------------------------------------------------------------


def test_an_advantage_is_the_difference_of_two_aurocs_of_the_report_rows() -> None:
    rows = opened()
    report = rows.split.report
    one, two = planted(rows, 1.0)[report, 1], noise(rows, 8)[report]
    found = AurocPair(rows).advantage(one, two)
    labels = rows.labels[report]
    assert found.value == pytest.approx(roc_auc_score(labels, one) - roc_auc_score(labels, two))
    back = AurocPair(rows).advantage(two, one)
    assert (back.low, back.high) == pytest.approx((-found.high, -found.low))
    assert AurocPair(rows).advantage(one, two, level=0.99).width > found.width
    assert (found.n, found.n_clusters) == (64, 32)


def test_scores_that_rank_all_rows_alike_have_exactly_no_advantage() -> None:
    rows = opened()
    scores = planted(rows, 1.0)[rows.split.report, 1]
    found = AurocPair(rows).advantage(scores, np.exp(scores))
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)
    assert "rank every row alike" in found.method


def test_clusters_are_counted_by_class() -> None:
    assert sum(opened().clusters()) == 32
    assert opened(paired=True).clusters() == (32, 32)


@pytest.mark.parametrize(("n_groups", "small"), [(16, False), (14, True)])
def test_too_small_counts_groups_not_rows(n_groups: int, small: bool) -> None:
    check = too_small(opened(n_groups=n_groups, paired=True))
    assert (check is not None) == small
    if check is not None:
        assert (check.name, check.status) == (SIZE_CHECK, "missing")
        assert check.observed == "7 groups in the smaller class, effectively 7.0"


def test_effective_clusters_are_kishs() -> None:
    sizes = {"a": 60, **{f"f{i}": 2 for i in range(7)}}
    names = [name for name, n in sizes.items() for _ in range(n)]
    expected = sum(sizes.values()) ** 2 / sum(n**2 for n in sizes.values())
    assert effective_clusters(names) == pytest.approx(expected) == pytest.approx(74**2 / 3628)
    assert effective_clusters(families(9)) == pytest.approx(9.0)
    assert (effective_clusters(["one"] * 5), effective_clusters([])) == (1.0, 0.0)


def with_a_giant(giant: int) -> LabelledRows:
    """Report rows of both classes in eight families, one of them of `giant` rows a class."""
    groups, _ = unequal_families(giant)
    n = len(groups)
    rows = np.arange(2 * n)
    chosen = rows % n < 16
    return labelled_rows(
        ids=tuple(f"prompt-{i}" for i in rows),
        labels=rows < n,
        groups=groups + groups,
        lock=ReportLock(Split(rows[chosen], rows[~chosen], 0.5, 0), {"prompts": "ab12"}),
        lengths=10 + rows % 5,
        texts=tuple(f"word{i % 7} word{i % 11}" for i in rows),
    )


def test_one_giant_family_among_eight_is_too_small() -> None:
    """Eight names, but a single family decides: with rows of equal families it is testable."""
    small, even = with_a_giant(60), with_a_giant(2)
    for rows in (small, even):
        claim = separated(separation(6.0, rows=rows))
        assert rows.clusters() == (8, 8)
        size = [check for check in claim.all_checks if check.name == SIZE_CHECK]
        assert len(size) == (rows is small)
    claim = separated(separation(6.0, rows=small))
    assert claim.verdict == "not testable"
    words = f"8 groups in the smaller class, effectively {74**2 / 3628:.1f}"
    assert claim.reasons[0] == f"sample size missing: {words} (required: 8 or more)"
    assert (
        beyond(beyond_text(6.0, rows=small)).reasons[0].startswith(f"sample size missing: {words}")
    )


# --- rates ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.0, -0.01, 0.0501, 0.5, 1.0, float("nan")])
def test_alpha_above_five_percent_is_refused_before_anything_is_read(alpha: float) -> None:
    study, text = separation(), beyond_text()
    with pytest.raises(BadInputError, match=r"alpha must lie in \(0, 0\.05\]"):
        require_rates(alpha)
    with pytest.raises(BadInputError, match="alpha must lie in"):
        separation_claims(study, WORDING, alpha=alpha)
    with pytest.raises(BadInputError, match="alpha must lie in"):
        beyond_text_claims(text, WORDING, alpha=alpha)
    assert not (*study.rows.lock.openings, *text.rows.lock.openings)


@pytest.mark.parametrize(
    ("alpha", "n", "fewest"), [(0.05, 18, 19), (0.01, 98, 99), (0.03, 32, 34), (0.05, 0, 19)]
)
def test_permutations_that_cannot_reach_alpha_are_refused_before_anything_is_read(
    alpha: float, n: int, fewest: int
) -> None:
    study = separation()
    with pytest.raises(BadInputError, match=rf"{n} permutations cannot reach p = {alpha}"):
        separation_claims(study, WORDING, alpha=alpha, n_permutations=n)
    assert not study.rows.lock.openings
    require_rates(alpha, fewest)
    require_rates(alpha)


# --- claims ---------------------------------------------------------------------------------------


def claim_with(effect: Estimate | Unscored, *checks: Check, **changes: Any) -> Claim:
    fields: dict[str, Any] = {
        "id": "c",
        "kind": "same behaviour",
        "statement": "Nothing differs.",
        "effect": effect,
        "checks": checks,
        "controls": {},
        "nulls": {},
        "shortcuts": {},
        "split": "report rows",
        "looks": 1,
    }
    return Claim(**{**fields, **changes})


def test_a_missing_sample_size_is_named_once() -> None:
    few = Estimate(0.0, -0.1, 0.1, 9, 5, "rate", "by hand")
    own = Check(SIZE_CHECK, "missing", "5 report groups", "8 or more")
    for claim in (claim_with(few), claim_with(few, own)):
        assert [check.name for check in claim.all_checks].count(SIZE_CHECK) == 1
        assert claim.verdict == "not testable"
    passed = replace(own, status="passed")
    assert claim_with(few, passed).verdict == "not testable"


def test_what_was_detectable_and_the_notes_are_written() -> None:
    effect = Estimate(0.0, -0.1, 0.1, 90, 30, "rate", "by hand")
    claim = claim_with(effect, detectable=Detectable(0.25, "rate", 30), notes=("one", "two"))
    written = claim.to_json()
    assert written["detectable"] == {
        "effect": 0.25,
        "unit": "rate",
        "n": 30,
        "alpha": 0.05,
        "power": 0.8,
        "units": "independent units",
        "sided": "two-sided",
        "note": "30 independent units: effects below 0.25 rate are missed more than 20 % of the "
        "time (two-sided alpha 0.05)",
    }
    assert written["notes"] == ["one", "two"]
    plain = claim_with(effect).to_json()
    assert (plain["detectable"], plain["notes"]) == (None, [])
    assert claim.verdict == claim_with(effect).verdict


def test_beyond_the_text_requires_the_embedding_layer() -> None:
    assert "embedding layer" in REQUIRED_CHECKS["beyond the text"]


def test_places_are_what_the_builders_say() -> None:
    """Guards the tests themselves: an effect at another place than PLACES[1] would be noise."""
    rows = labelled_rows()
    scores = planted(rows, 5.0)
    assert PLACES[int(best_place(scores, rows))] == "layer 2"
    assert roc_auc_score(rows.labels, scores[:, 0]) == pytest.approx(0.5, abs=0.15)
