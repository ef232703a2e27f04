"""Claims beyond the text: planted effects, every control removed and failing, numbers by hand."""

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
    PLACES,
    WORDING,
    beyond,
    beyond_text,
    chosen_places,
    failed,
    families,
    labelled_rows,
    lock_of,
    missing,
    noise,
    planted,
    with_leak,
    without_type_checks,
)

from trait_probe.errors import BadInputError, MismatchError
from trait_probe.evidence.baselines import (
    SplitScores,
    embedding_scores,
    given_scores,
    stacked_scores,
    text_scores,
)
from trait_probe.evidence.claims import INTERVAL_CHECK, PREDICTED_CHECK, claims_json
from trait_probe.evidence.estimate import Estimate
from trait_probe.evidence.studies.beyond_text import (
    SMALLEST_GAIN,
    BeyondText,
    beyond_text_claims,
)
from trait_probe.evidence.studies.rows import AurocPair, LabelledRows
from trait_probe.evidence.words import predicted_from_features, predicted_from_texts

# --- verdicts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("paired", [False, True])
def test_a_clean_planted_effect_is_supported(paired: bool) -> None:
    claim = beyond(beyond_text(rows=labelled_rows(paired=paired)))
    assert claim.verdict == "supported", claim.reasons
    assert claim.statement.endswith("at layer 2.")


def test_a_projection_that_adds_to_telling_words_is_supported() -> None:
    texts, _ = with_leak(labelled_rows(), 0.5)
    claim = beyond(beyond_text(rows=labelled_rows(texts=texts)))
    assert claim.verdict == "supported", claim.reasons
    area = claim.controls["AUROC of the text"]
    assert isinstance(area, float)
    assert area > 0.65


@pytest.mark.parametrize("seed", range(4))
def test_without_an_effect_nothing_is_supported(seed: int) -> None:
    """32 families leave a gain of 0.02 possible: where they do, nothing was shown."""
    claim = beyond(beyond_text(0.0, seed))
    assert isinstance(claim.effect, Estimate)
    open_still = claim.effect.high >= SMALLEST_GAIN
    assert claim.verdict == ("inconclusive" if open_still else "not supported")
    assert "text-only classifier" in failed(claim)


def test_a_loss_beside_the_words_is_not_inconclusive() -> None:
    """Turned over on the report rows: the projection takes away what the words know."""
    rows = labelled_rows()
    texts, _ = with_leak(rows, 0.8)
    scores = planted(rows, 2.5)
    scores[rows.lock._split.report] *= -1.0
    claim = beyond(beyond_text(rows=labelled_rows(texts=texts), traits={"evil": scores}))
    assert isinstance(claim.effect, Estimate)
    assert claim.effect.high < 0.0
    assert claim.verdict == "not supported"


def test_a_second_look_at_nothing_is_not_inconclusive() -> None:
    study = beyond_text(0.0)
    assert beyond(study).verdict == "inconclusive"
    study.rows.lock.report({"places": {"evil": "layer 7"}})
    assert beyond(study).verdict == "not supported"


@pytest.mark.parametrize(
    ("removed", "name"),
    [
        ({"embedding": None}, ["embedding layer", PREDICTED_CHECK]),
        ({"at_embedding": None}, ["embedding layer", PREDICTED_CHECK]),
        ({"at_embedding": {"evil": np.ones(128)}}, ["embedding layer", PREDICTED_CHECK]),
        ({"random": None}, ["random directions", "nulls shown"]),
    ],
)
def test_each_control_removed_is_not_testable(removed: dict[str, Any], name: list[str]) -> None:
    claim = beyond(beyond_text(**removed))
    assert claim.verdict == "not testable"
    assert missing(claim) == name
    assert not failed(claim)


def test_random_directions_that_all_give_the_same_are_missing() -> None:
    rows = labelled_rows()
    for null in (noise(rows, 9, 3, 1).repeat(20, axis=2), np.zeros((128, 3, 20))):
        claim = beyond(beyond_text(random=null))
        assert claim.verdict == "not testable"
        assert missing(claim) == ["random directions", "nulls shown"]
        assert "no two null directions that differ" in claim.reasons[0]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("field", ["traits", "embedding", "random"])
def test_scores_that_are_not_finite_are_refused_before_anything_is_read(
    field: str, bad: float
) -> None:
    study = beyond_text()
    found = study.traits["evil"] if field == "traits" else getattr(study, field)
    for row in (study.rows.lock.selection[0], study.rows.lock._split.report[-1]):
        scores = found.copy()
        scores[(row, *[0] * (scores.ndim - 1))] = bad
        with pytest.raises(BadInputError, match="must be finite"):
            replace(study, **{field: {"evil": scores} if field == "traits" else scores})
    assert not study.rows.lock.openings


def test_without_texts_it_is_not_testable() -> None:
    claim = beyond(beyond_text(rows=labelled_rows(texts=None)))
    assert claim.verdict == "not testable"
    assert claim.reasons[0].startswith("text-only classifier missing: no texts were handed in")


def test_a_selection_side_too_small_to_fit_on_is_not_testable() -> None:
    claim = beyond(beyond_text(rows=labelled_rows(lock=lock_of(families(), fraction=0.15))))
    assert claim.verdict == "not testable"
    assert "text-only classifier missing: selection side: the smaller class" in claim.reasons[0]


def test_fewer_than_eight_report_groups_in_the_smaller_class_are_not_testable() -> None:
    claim = beyond(beyond_text(30.0, rows=labelled_rows(n_groups=36)))
    assert claim.verdict == "not testable"
    assert claim.reasons[0].startswith("sample size missing: 7 groups in the smaller class")


def reads_the_leaked_word(n_groups: int, share: float, seed: int = 0) -> BeyondText:
    """Words tell it too: the projection is one telling word with noise."""
    rows = labelled_rows(n_groups=n_groups, seed=seed)
    texts, leaks = with_leak(rows, share, seed)
    scores = noise(rows, seed, len(PLACES))
    scores[:, BEST] = 3.0 * leaks + 0.3 * scores[:, BEST]
    rows = labelled_rows(n_groups=n_groups, seed=seed, texts=texts)
    return beyond_text(seed=seed, rows=rows, traits={"evil": scores})


MISSED = ((0.4, 4), (0.5, 2), (0.6, 2), (0.6, 4))
"""Shares of positives with the word, and seeds, for which every other check passes."""


def test_a_projection_of_a_word_that_the_classifier_missed_is_not_supported() -> None:
    """With 24 families to learn from the classifier misses the word; its prediction does not."""
    found = [beyond(reads_the_leaked_word(48, share, seed)) for share, seed in MISSED]
    for claim in found:
        assert failed(claim) == [PREDICTED_CHECK]
        assert claim.verdict == "not supported"


def test_a_projection_of_the_words_is_not_supported() -> None:
    claim = beyond(reads_the_leaked_word(200, 0.8))
    area = claim.shortcuts["AUROC of the projection"]
    assert isinstance(area, float)
    assert area > 0.85
    assert claim.verdict != "supported"
    assert {INTERVAL_CHECK["beyond the text"], "text-only classifier"} <= set(failed(claim))


def test_a_projection_of_length_is_not_supported() -> None:
    """The text-only classifier is told the length."""
    rows = labelled_rows()
    scores = planted(rows, 2.5)
    lengths = np.round(1000 + 100 * scores[:, BEST]).astype(np.int64)
    claim = beyond(beyond_text(rows=labelled_rows(lengths=lengths)))
    assert claim.verdict != "supported"
    assert "text-only classifier" in failed(claim)


def known_to_the_embedding() -> BeyondText:
    """Words too rare for the classifier that share a direction at the embedding layer."""
    study = beyond_text()
    features = noise(study.rows, 6, 4)
    features[:, 2] = study.traits["evil"][:, BEST] + 0.05 * features[:, 2]
    return replace(study, embedding=features)


def as_much_as_random_directions() -> BeyondText:
    study = beyond_text()
    null = noise(study.rows, 7, len(PLACES), 20)
    null[:, 2, :3] += 4.0 * study.rows.labels[:, None]
    return replace(study, random=null)


def looked_at_before() -> BeyondText:
    study = beyond_text()
    study.rows.lock.report({"places": {"evil": "layer 3"}})
    return study


@pytest.mark.parametrize(
    ("study", "names"),
    [
        (known_to_the_embedding, ["embedding layer", PREDICTED_CHECK]),
        (as_much_as_random_directions, ["random directions"]),
        (looked_at_before, ["report split opened once"]),
    ],
)
def test_each_control_failing_alone_is_not_supported(study: Any, names: list[str]) -> None:
    claim = beyond(study())
    assert claim.verdict == "not supported"
    assert failed(claim) == names
    assert not missing(claim)


def test_the_interval_is_widened_for_the_traits_looked_at() -> None:
    """Alone it is supported; beside traits that mean nothing only the wider interval fails."""
    rows = labelled_rows()
    weak = {"evil": planted(rows, 0.85)}
    both = {**weak, **{f"other-{i}": noise(rows, 710 + i, len(PLACES)) for i in range(3)}}
    # Up on the selection rows, down on the report rows: random directions that add nothing.
    up = rows.labels[:, None, None] * np.ones((1, len(PLACES), 80))
    up[rows.lock._split.report] *= -1.0
    null = noise(rows, 701, len(PLACES), 80) + 2.0 * up
    alone, among = (
        beyond(beyond_text(rows=labelled_rows(), traits=traits, random=null))
        for traits in (weak, both)
    )
    assert alone.verdict == "supported", alone.reasons
    assert failed(among) == ["multiplicity"]
    assert among.verdict == "not supported"
    assert alone.effect == among.effect
    assert (alone.looks, among.looks) == (1, 4)
    (check,) = [check for check in among.checks if check.name == "multiplicity"]
    assert "98.75 % interval" in check.observed
    assert check.required == "the interval adjusted for 4 traits wholly above 0.02"


# --- numbers --------------------------------------------------------------------------------------


def text_alone(rows: LabelledRows) -> SplitScores:
    assert rows.texts is not None
    found = text_scores(rows.texts, rows.labels, rows.groups, rows.split, lengths=rows.lengths)
    assert isinstance(found, SplitScores)
    return found


def stacked(rows: LabelledRows, strength: float | None = None, **columns: Any) -> SplitScores:
    found = stacked_scores(columns, rows.labels, rows.groups, rows.split, strength=strength)
    assert isinstance(found, SplitScores)
    return found


def columns_of_words(study: BeyondText, place: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the projection is compared with: the embedding layer, and its own prediction."""
    rows, values = study.rows, study.traits["evil"][:, place]
    where = (rows.groups, rows.split)
    assert study.embedding is not None
    assert study.at_embedding is not None
    assert rows.texts is not None
    base = {"text": text_alone(rows), "layer": given_scores(study.at_embedding["evil"], *where)}
    probe = embedding_scores(study.embedding, rows.labels, *where)
    predicted = {
        "a": predicted_from_texts(values, rows.texts, *where, lengths=rows.lengths),
        "b": predicted_from_features(values, study.embedding, *where),
    }
    return {**base, "probe": probe}, {**base, **predicted}


def words_alone(study: BeyondText, place: int) -> tuple[SplitScores, SplitScores]:
    layer, predicted = columns_of_words(study, place)
    return stacked(study.rows, **layer), stacked(study.rows, **predicted)


def test_the_effect_is_the_gain_in_scikit_learns_auroc() -> None:
    study = beyond_text(1.0)
    claim = beyond(study)
    rows, labels = study.rows, study.rows.report_labels
    selection = rows.split.selection
    areas = [
        roc_auc_score(rows.labels[selection], column)
        for column in study.traits["evil"][selection].T
    ]
    place = int(np.argmax(areas))
    assert chosen_places(rows.lock) == {"evil": PLACES[place]}
    text = text_alone(rows)
    projection = given_scores(study.traits["evil"][:, place], rows.groups, rows.split)
    both = stacked(rows, text=text, projection=projection)
    expected = roc_auc_score(labels, both.report) - roc_auc_score(labels, text.report)
    assert isinstance(claim.effect, Estimate)
    assert claim.effect.value == pytest.approx(expected)
    assert claim.controls == pytest.approx(
        {
            "AUROC of text and projection": roc_auc_score(labels, both.report),
            "AUROC of the text": roc_auc_score(labels, text.report),
        }
    )
    layer, predicted = words_alone(study, place)
    assert claim.shortcuts == pytest.approx(
        {
            "AUROC of the projection": roc_auc_score(labels, projection.report),
            "AUROC of text and embedding layer": roc_auc_score(labels, layer.report),
            "AUROC of text and predicted projection": roc_auc_score(labels, predicted.report),
        }
    )


@pytest.mark.parametrize("seed", range(3))
def test_the_words_must_be_beaten_by_the_smallest_gain(seed: int) -> None:
    study = beyond_text(1.0, seed)
    claim = beyond(study)
    places: Any = chosen_places(study.rows.lock)
    place = PLACES.index(places["evil"])
    rows = study.rows
    projection = given_scores(study.traits["evil"][:, place], rows.groups, rows.split)
    names = ("embedding layer", PREDICTED_CHECK)
    for name, columns in zip(names, columns_of_words(study, place), strict=True):
        without, with_it = stacked(rows, **columns), stacked(rows, **columns, own=projection)
        advantage = AurocPair(rows).advantage(with_it.report, without.report)
        (check,) = [check for check in claim.checks if check.name == name]
        assert check.observed.startswith(f"advantage {advantage.value:.4g}, ")
        assert (check.status == "passed") == (advantage.low > SMALLEST_GAIN)


def test_an_interval_about_the_smallest_gain_is_inconclusive_wherever_zero_lies() -> None:
    """A little more evidence than none to speak of is not evidence against."""
    above_zero = 0
    for effect, seed in ((0.7, 0), (0.8, 0), (0.6, 2)):
        claim = beyond(beyond_text(effect, seed))
        assert isinstance(claim.effect, Estimate)
        assert claim.effect.low <= SMALLEST_GAIN <= claim.effect.high
        assert claim.verdict == "inconclusive", claim.reasons
        above_zero += claim.effect.low > 0.0
    assert above_zero == 2


def test_random_directions_are_stacked_where_each_chose_to_be() -> None:
    study = beyond_text(0.8, random=noise(labelled_rows(), 31, 3, 12))
    claim = beyond(study)
    rows, labels, text = study.rows, study.rows.report_labels, text_alone(study.rows)
    selection = rows.split.selection
    assert study.random is not None
    gains = []
    for draw in np.moveaxis(study.random, -1, 0):
        areas = [roc_auc_score(rows.labels[selection], column) for column in draw[selection].T]
        column = given_scores(draw[:, int(np.argmax(areas))], rows.groups, rows.split)
        # The strength of the trait's own stack, or one of its own: the ranks hardly differ.
        both = stacked(rows, text=text, projection=column)
        gains.append(roc_auc_score(labels, both.report) - roc_auc_score(labels, text.report))
    assert isinstance(claim.effect, Estimate)
    written: Any = claim.to_json()["nulls"]
    rank = written["random directions"]
    expected = stats.percentileofscore(gains, claim.effect.value, kind="mean") / 100
    assert rank["percentile"] == pytest.approx(expected, abs=1.5 / 12)
    assert rank["n"] == 12


def test_claims_are_strict_json() -> None:
    for study in (beyond_text(), beyond_text(rows=labelled_rows(n_groups=20))):
        json.dumps(claims_json(beyond_text_claims(study, WORDING)), allow_nan=False)


# --- choices --------------------------------------------------------------------------------------


def test_report_rows_play_no_part_in_the_choice_or_the_fit() -> None:
    """Other report scores of the trait: the place and all that is the text's stays as it was."""
    study, turned = beyond_text(), beyond_text()
    scores = turned.traits["evil"].copy()
    report = turned.rows.lock._split.report
    scores[report] = 50.0 - 3.0 * scores[report]
    turned = replace(turned, traits={"evil": scores})
    before, after = beyond(study), beyond(turned)
    assert chosen_places(study.rows.lock) == chosen_places(turned.rows.lock)
    assert after.controls["AUROC of the text"] == before.controls["AUROC of the text"]
    for name in ("AUROC of text and embedding layer", "AUROC of text and predicted projection"):
        assert after.shortcuts[name] == before.shortcuts[name]
    gain = after.controls["AUROC of text and projection"]
    assert isinstance(gain, float)
    assert gain < 0.3  # the fit still believes that a higher projection means positive


def test_one_report_row_changes_no_other_rows_score() -> None:
    """Scores of the report rows are made one by one: a row that was not moved keeps its rank."""
    study = beyond_text()
    scores = study.traits["evil"].copy()
    row = study.rows.lock._split.report[0]
    scores[row] += 1e-9
    moved = beyond(beyond_text(traits={"evil": scores}))
    assert moved.effect == beyond(study).effect


def test_the_unit_of_the_scores_plays_no_part() -> None:
    """All scores times ten: standardized away, on both sides."""
    study = beyond_text()
    tenfold = beyond_text(traits={"evil": 10.0 * study.traits["evil"]})
    before, after = beyond(study), beyond(tenfold)
    assert isinstance(before.effect, Estimate)
    assert isinstance(after.effect, Estimate)
    assert after.effect.value == pytest.approx(before.effect.value)


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"traits": {}}, "at least one trait"),
        ({"traits": {"evil": np.zeros((128, 2))}}, r"'evil' must have one row[\s\S]*\(128, 3\)"),
        ({"embedding": np.zeros((10, 4))}, "'embedding' must have one row per prompt"),
        ({"at_embedding": {"evil": np.zeros(10)}}, "'evil' must have one row per prompt"),
        ({"random": np.zeros((128, 7, 5))}, "Null directions have one row per prompt"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(changes: dict[str, Any], sentence: str) -> None:
    with without_type_checks(), pytest.raises(BadInputError, match=sentence):
        beyond(beyond_text(**changes))


def test_shapes_that_do_not_fit_are_mismatches() -> None:
    with without_type_checks(), pytest.raises(MismatchError):
        beyond_text(traits={"evil": np.zeros((12, 3))})


@pytest.mark.parametrize("size", [0.0, 1e-9])
def test_activations_that_do_not_vary_are_no_embedding_layer(size: float) -> None:
    rows = labelled_rows()
    claim = beyond(beyond_text(embedding=1.0 + size * noise(rows, 1, 8)))
    assert claim.verdict == "not testable"
    assert "embedding layer" in missing(claim)


def test_equal_texts_are_no_text_to_go_beyond() -> None:
    claim = beyond(beyond_text(rows=labelled_rows(texts=("",) * 128)))
    assert claim.verdict == "not testable"
    assert "there are no words to read" in " ".join(claim.reasons)


def test_another_embedding_on_the_same_rows_is_a_second_look() -> None:
    study = beyond_text()
    beyond(study)
    again = replace(study, embedding=noise(study.rows, 77, 4))
    assert "report split opened once" in failed(beyond(again))
