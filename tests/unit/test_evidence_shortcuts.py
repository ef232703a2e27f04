"""Baselines from the words alone find planted leaks and nothing else, out of fold."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import special, stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from trait_probe.errors import MismatchError
from trait_probe.evidence.auc import out_of_fold_inflation
from trait_probe.evidence.estimate import Estimate, Unscored
from trait_probe.evidence.shortcuts import (
    ShortcutAudit,
    _folds,
    audit_shortcuts,
    bag_of_words_auc,
    first_token_auc,
    length_auc,
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


def test_features_that_say_nothing_score_like_chance() -> None:
    """Out-of-fold scores vary more than independent ones; the plain interval is the meta-test."""
    results = [
        probe_auc(np.random.default_rng(seed).normal(size=(2 * N, 8)), LABELS, GROUPS)
        for seed in range(100)
    ]
    assert np.mean([value(r) for r in results]) == pytest.approx(0.5, abs=0.03)
    assert sum(r.excludes(0.5) for r in results) <= stats.binom.ppf(0.999, 100, 0.05)
    assert sum(excludes_chance_without_inflation(r) for r in results) > 2 * 0.05 * 100


def excludes_chance_without_inflation(result: Estimate) -> bool:
    centre = special.logit(result.value)
    half = (special.logit(result.high) - centre) / np.sqrt(out_of_fold_inflation(5))
    return bool(abs(centre) > half)


def test_words_that_say_nothing_score_like_chance() -> None:
    results = [bag_of_words_auc(random_texts(seed), LABELS, GROUPS) for seed in range(20)]
    assert np.mean([value(r) for r in results]) == pytest.approx(0.5, abs=0.08)
    assert sum(r.excludes(0.5) for r in results) <= stats.binom.ppf(0.999, 20, 0.05)


def test_words_of_a_held_out_group_cannot_be_memorized() -> None:
    """Each group has its own word and one label; in-sample a perfect rule, out of fold nothing."""
    groups = [f"family-{i // 4}" for i in range(2 * N)]
    labels = np.array([(i // 4) % 2 == 0 for i in range(2 * N)])
    assert value(bag_of_words_auc([f"word{g[7:]}" for g in groups], labels, groups)) < 0.6


def test_no_group_is_on_both_sides_of_a_fold() -> None:
    for train, test in _folds(LABELS, GROUPS):
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


def test_probe_scores_come_from_a_model_that_did_not_see_the_group() -> None:
    rng = np.random.default_rng(2)
    features = rng.normal(size=(2 * N, 5)) + 0.6 * LABELS[:, None]
    scores = np.zeros(2 * N)
    for train, test in _folds(LABELS, GROUPS):
        mean, sd = features[train].mean(0), features[train].std(0)
        model = LogisticRegression(C=0.1).fit((features[train] - mean) / sd, LABELS[train])
        scores[test] = model.decision_function((features[test] - mean) / sd)
    expected = roc_auc_score(LABELS, scores)
    assert value(probe_auc(features, LABELS, GROUPS)) == pytest.approx(expected, abs=0.01)


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
    assert list(written) == ["length", "bag_of_words", "first_token", "embedding"]
    assert written["embedding"] == {"unscored": "no embedding-layer features were given"}


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
