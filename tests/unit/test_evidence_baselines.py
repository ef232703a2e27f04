"""Baselines learn from the selection rows alone and are scored on the others."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from trait_probe.errors import BadInputError, MismatchError
from trait_probe.evidence.auc import auroc_difference
from trait_probe.evidence.baselines import (
    SplitScores,
    embedding_scores,
    first_token_scores,
    given_scores,
    length_scores,
    stacked_scores,
    text_scores,
)
from trait_probe.evidence.classifiers import FOLDS, STRENGTHS, grouped_folds
from trait_probe.evidence.estimate import Estimate, Unscored
from trait_probe.evidence.splits import Split, split_by_group

N = 40
LABELS = np.tile([True, False], N)
GROUPS = [f"carrier-{i // 2}" for i in range(2 * N)]
SPLIT = split_by_group(GROUPS, seed=0)
WORDS = ["lom", "kesh", "tarin", "vel", "oru", "shen", "pa", "dweli"]
LEAK = [f"lom kesh {'vel' if label else 'oru'}" for label in LABELS]
TWO_SIDED = Split(np.arange(0, 41), np.arange(41, 80), 0.5, 0)  # carrier-20 on both sides


def random_texts(seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, size=6)) for _ in range(2 * N)]


def scored(result: SplitScores | Unscored) -> SplitScores:
    assert isinstance(result, SplitScores)
    return result


def report_auc(result: SplitScores | Unscored) -> float:
    return float(roc_auc_score(LABELS[SPLIT.report], scored(result).report))


# One call for each function, as a function of labels, groups and split: rules that all share.
FUNCTIONS: dict[str, Callable[..., SplitScores | Unscored]] = {
    "text": lambda labels, groups, split: text_scores(LEAK, labels, groups, split),
    "text and length": lambda labels, groups, split: text_scores(
        LEAK, labels, groups, split, lengths=np.arange(2 * N)
    ),
    "embedding": lambda labels, groups, split: embedding_scores(
        np.random.default_rng(0).normal(size=(2 * N, 3)) + 8 * LABELS[:, None],
        labels,
        groups,
        split,
    ),
    "first token": lambda labels, groups, split: first_token_scores(
        np.where(LABELS, 7, 3), labels, groups, split
    ),
    "length": lambda labels, groups, split: length_scores(
        np.where(LABELS, 7, 9), labels, groups, split
    ),
    "stacked": lambda labels, groups, split: stacked_scores(
        {
            "a": SplitScores(
                LABELS[split.selection].astype(float), LABELS[split.report].astype(float)
            )
        },
        labels,
        groups,
        split,
    ),
}
EACH = pytest.mark.parametrize("function", FUNCTIONS.values(), ids=list(FUNCTIONS))


@EACH
def test_a_planted_leak_is_found_on_the_report_rows(function: Callable[..., SplitScores]) -> None:
    assert report_auc(function(LABELS, GROUPS, SPLIT)) > 0.999


@EACH
def test_report_labels_are_not_read(function: Callable[..., SplitScores]) -> None:
    flipped = LABELS.copy()
    flipped[SPLIT.report] = ~flipped[SPLIT.report]
    assert_same(function(LABELS, GROUPS, SPLIT), function(flipped, GROUPS, SPLIT))
    turned = LABELS.copy()
    turned[SPLIT.selection] = ~turned[SPLIT.selection]  # meta: the selection labels are read
    assert report_auc(function(turned, GROUPS, SPLIT)) < 0.5


@EACH
def test_baselines_are_deterministic(function: Callable[..., SplitScores]) -> None:
    assert_same(function(LABELS, GROUPS, SPLIT), function(LABELS, GROUPS, SPLIT))


@EACH
def test_a_group_on_both_sides_is_refused(function: Callable[..., SplitScores]) -> None:
    with pytest.raises(BadInputError, match=r"must not overlap[\s\S]*1 shared: carrier-20"):
        function(LABELS, GROUPS, TWO_SIDED)


@EACH
def test_few_selection_groups_are_unscored(function: Callable[..., SplitScores]) -> None:
    few = Split(np.arange(14), np.arange(14, 80), 0.2, 0)
    reason = "selection side: the smaller class has 7 groups, 8 are needed"
    assert function(LABELS, GROUPS, few) == Unscored(reason)


@EACH
def test_a_group_too_few_is_a_mismatch(function: Callable[..., SplitScores]) -> None:
    with pytest.raises(MismatchError, match="79 entries for 80 rows"):
        function(LABELS, GROUPS[:-1], SPLIT)


def test_a_text_too_few_is_a_mismatch() -> None:
    with pytest.raises(MismatchError, match="79 inputs for 80 labels"):
        text_scores(LEAK[:-1], LABELS, GROUPS, SPLIT)


def test_a_given_score_is_refused_for_groups_on_both_sides_too() -> None:
    with pytest.raises(BadInputError, match="must not overlap"):
        given_scores(np.arange(80.0), GROUPS, TWO_SIDED)


def assert_same(one: SplitScores | Unscored, two: SplitScores | Unscored) -> None:
    first, second = scored(one), scored(two)
    np.testing.assert_array_equal(first.selection, second.selection)
    np.testing.assert_array_equal(first.report, second.report)
    assert first.strength == second.strength


def test_report_rows_do_not_influence_the_fit() -> None:
    """Not even their words: each report row keeps its score when the other report rows change."""
    texts, changed = random_texts(0), random_texts(0)
    kept, others = SPLIT.report[:5], SPLIT.report[5:]
    for i in others:
        changed[i] = "quite other words " * 9
    labels = np.array(["lom" in text for text in texts])
    one, two = (scored(text_scores(t, labels, GROUPS, SPLIT)) for t in (texts, changed))
    assert one.strength == two.strength
    np.testing.assert_array_equal(one.selection, two.selection)
    np.testing.assert_array_equal(one.report[: len(kept)], two.report[: len(kept)])
    assert not np.array_equal(one.report, two.report)


def test_words_and_features_that_say_nothing_score_like_chance() -> None:
    texts = [report_auc(text_scores(random_texts(s), LABELS, GROUPS, SPLIT)) for s in range(15)]
    features = [np.random.default_rng(s).normal(size=(2 * N, 40)) for s in range(15)]
    probes = [report_auc(embedding_scores(f, LABELS, GROUPS, SPLIT)) for f in features]
    # A report AUROC of 20 rows a side has SD 0.09 on noise: 0.024 for the mean of 15.
    assert np.mean(texts) == pytest.approx(0.5, abs=0.07)
    assert np.mean(probes) == pytest.approx(0.5, abs=0.07)


def test_embedding_scores_are_scikit_learns_at_the_chosen_strength() -> None:
    features = np.random.default_rng(1).normal(size=(2 * N, 5)) + 0.6 * LABELS[:, None]
    found = scored(embedding_scores(features, LABELS, GROUPS, SPLIT))
    assert found.strength in STRENGTHS
    rows, labels = SPLIT.selection, LABELS[SPLIT.selection]
    np.testing.assert_allclose(
        found.report, probe(features, rows, SPLIT.report, found.strength), rtol=1e-6, atol=1e-8
    )
    for train, test in grouped_folds(labels, [GROUPS[i] for i in rows], FOLDS):
        expected = probe(features, rows[train], rows[test], found.strength)
        np.testing.assert_allclose(found.selection[test], expected, rtol=1e-6, atol=1e-8)


def probe(features: np.ndarray, train: np.ndarray, test: np.ndarray, c: float) -> np.ndarray:
    scaler = StandardScaler().fit(features[train])
    model = LogisticRegression(C=c, class_weight="balanced")
    model.fit(scaler.transform(features[train]), LABELS[train])
    return model.decision_function(scaler.transform(features[test]))


def test_lengths_add_to_the_words() -> None:
    lengths = np.where(LABELS, 12, 11)
    texts = random_texts(0)
    assert report_auc(text_scores(texts, LABELS, GROUPS, SPLIT)) < 0.8
    assert report_auc(text_scores(texts, LABELS, GROUPS, SPLIT, lengths=lengths)) == 1.0


def test_empty_texts_are_a_word_of_their_own() -> None:
    texts = ["" if label else "lom" for label in LABELS]
    assert report_auc(text_scores(texts, LABELS, GROUPS, SPLIT)) == 1.0
    nothing = scored(text_scores([""] * (2 * N), LABELS, GROUPS, SPLIT))
    assert report_auc(nothing) == 0.5


def test_the_direction_of_length_comes_from_the_selection_rows() -> None:
    lengths = np.where(LABELS, 5, 9)
    lengths[SPLIT.report] = np.where(LABELS[SPLIT.report], 9, 5)  # the other way round
    found = scored(length_scores(lengths, LABELS, GROUPS, SPLIT))
    assert report_auc(found) == 0.0
    assert found.strength in STRENGTHS


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("seed", range(3))
def test_a_monotone_relation_scores_as_the_raw_lengths_do(sign: int, seed: int) -> None:
    """Noisy, skewed, and of either direction: the report AUROC is that of the lengths."""
    n = 400
    labels, groups = np.tile([True, False], n // 2), [f"g{i // 2}" for i in range(n)]
    split = split_by_group(groups, seed=seed)
    z = np.random.default_rng(seed).normal(size=n) + 0.8 * sign * labels
    lengths = np.round(40 * np.exp(0.7 * z)).astype(np.int64)
    found = scored(length_scores(lengths, labels, groups, split))
    raw = roc_auc_score(labels[split.report], sign * lengths[split.report])
    assert 0.6 < raw < 0.9
    assert roc_auc_score(labels[split.report], found.report) == pytest.approx(raw, abs=1e-9)


# Positives are very short or very long, negatives in between.
V_SHAPED = np.where(LABELS, np.where(np.arange(2 * N) % 4 < 2, 960, 1040), 1000) + np.tile(
    np.arange(-5, 5), 2 * N // 10
)


@pytest.mark.parametrize("inside_out", [False, True])
def test_positives_that_are_short_or_long_are_found(inside_out: bool) -> None:
    labels = ~LABELS if inside_out else LABELS
    raw = roc_auc_score(labels[SPLIT.report], V_SHAPED[SPLIT.report])
    assert abs(raw - 0.5) < 0.2  # meta: the lengths alone do not tell
    texts = random_texts(0)
    for found in (
        length_scores(V_SHAPED, labels, GROUPS, SPLIT),
        text_scores(texts, labels, GROUPS, SPLIT, lengths=V_SHAPED),
    ):
        assert roc_auc_score(labels[SPLIT.report], scored(found).report) > 0.97


def test_lengths_that_say_nothing_score_like_chance() -> None:
    lengths = [np.random.default_rng(s).integers(20, 60, 2 * N) for s in range(15)]
    found = [report_auc(length_scores(one, LABELS, GROUPS, SPLIT)) for one in lengths]
    assert np.mean(found) == pytest.approx(0.5, abs=0.07)
    same = length_scores(np.full(2 * N, 30), LABELS, GROUPS, SPLIT)
    assert report_auc(same) == 0.5


def test_a_projection_that_knows_more_adds_to_the_text_and_noise_does_not() -> None:
    rng = np.random.default_rng(4)
    told = LABELS ^ (rng.random(2 * N) < 0.25)  # a word that is right in three rows of four
    text = text_scores(["yes" if t else "no" for t in told], LABELS, GROUPS, SPLIT)
    knows = given_scores(LABELS + 0.3 * rng.normal(size=2 * N), GROUPS, SPLIT)
    noise = given_scores(rng.normal(size=2 * N), GROUPS, SPLIT)
    more = gain(stacked_scores({"text": text, "p": knows}, LABELS, GROUPS, SPLIT), text)
    none = gain(stacked_scores({"text": text, "p": noise}, LABELS, GROUPS, SPLIT), text)
    assert more.low > 0.0
    assert not none.excludes(0.0)


def gain(more: SplitScores | Unscored, text: SplitScores | Unscored) -> Estimate:
    chosen = LABELS[SPLIT.report]
    one, two = scored(more).report, scored(text).report
    names = np.asarray(GROUPS)[SPLIT.report]
    difference = auroc_difference(
        (one[chosen], one[~chosen]),
        (two[chosen], two[~chosen]),
        positive_clusters=names[chosen].tolist(),
        negative_clusters=names[~chosen].tolist(),
    )
    assert isinstance(difference, Estimate)
    return difference


def test_an_unscored_column_leaves_the_stack_unscored() -> None:
    columns = {"text": Unscored("too few"), "p": given_scores(np.arange(80.0), GROUPS, SPLIT)}
    assert stacked_scores(columns, LABELS, GROUPS, SPLIT) == Unscored("text: too few")


def test_columns_of_another_split_and_no_columns_are_refused() -> None:
    other = SplitScores(np.zeros(3), np.zeros(4))
    with pytest.raises(MismatchError, match="'p' does not fit the split"):
        stacked_scores({"p": other}, LABELS, GROUPS, SPLIT)
    with pytest.raises(BadInputError, match="needs columns"):
        stacked_scores({}, LABELS, GROUPS, SPLIT)


def test_a_split_of_another_table_is_refused() -> None:
    beyond = dataclasses.replace(SPLIT, report=np.array([80]))
    with pytest.raises(BadInputError, match=r"does not have[\s\S]*0 to 79"):
        text_scores(LEAK, LABELS, GROUPS, beyond)


def test_scores_must_be_finite() -> None:
    with pytest.raises(BadInputError, match="The report scores must be finite"):
        SplitScores(np.zeros(2), np.array([np.nan]))
    with pytest.raises(BadInputError, match="The features must be finite"):
        embedding_scores(np.full((80, 2), np.inf), LABELS, GROUPS, SPLIT)
