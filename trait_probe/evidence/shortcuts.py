"""How well the words alone tell two groups of prompts apart. Printed beside every detector.

A rule that counts tokens reached AUROC 1.000 on published backdoor sets: a detector that does no
better than these baselines has found the wording. Whatever is fitted is scored out of fold, whole
groups held out, and its ridge strength is chosen inside each training fold.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from sklearn.pipeline import Pipeline

from trait_probe.evidence._arrays import as_finite
from trait_probe.evidence.auc import auroc_interval, out_of_fold_inflation
from trait_probe.evidence.classifiers import (
    FOLDS,
    INNER_FOLDS,
    dense_classifier,
    nested_scores,
    out_of_fold_scores,
    require_rows,
    text_classifier,
    token_classifier,
    too_few,
    words_and_marks,
)
from trait_probe.evidence.estimate import Estimate, Unscored

__all__ = [
    "ShortcutAudit",
    "audit_shortcuts",
    "bag_of_words_auc",
    "clustered_auc",
    "first_token_auc",
    "length_auc",
    "nested_scores",
    "out_of_fold_scores",
    "outputs_auc",
    "probe_auc",
]


_NO_OUTPUTS = Unscored("no outputs were given")


@dataclass(frozen=True)
class ShortcutAudit:
    """AUROC of each shortcut (nested out of fold where fitted), intervals clustered by group.

    Args:
        length: number of tokens alone, oriented so that 0.5 or more.
        bag_of_words: TF-IDF of words and marks with a logistic classifier.
        first_token: the first token id with a logistic classifier.
        embedding: a logistic probe on the embedding layer, before any block has run.
        outputs: TF-IDF of the model's own answers: a detector that never looks inside.
    """

    length: Estimate | Unscored
    bag_of_words: Estimate | Unscored
    first_token: Estimate | Unscored
    embedding: Estimate | Unscored
    outputs: Estimate | Unscored = _NO_OUTPUTS

    @property
    def strongest(self) -> Estimate | Unscored:
        """The shortcut with the highest AUROC: what a detector has to beat."""
        scored = [item for item in vars(self).values() if isinstance(item, Estimate)]
        if not scored:
            return Unscored("no shortcut could be scored")
        return max(scored, key=lambda estimate: estimate.value)

    def to_json(self) -> dict[str, object]:
        """One entry per shortcut."""
        return {name: item.to_json() for name, item in vars(self).items()}


def audit_shortcuts(
    texts: Sequence[str],
    lengths: Int[np.ndarray, " prompt"],
    first_tokens: Int[np.ndarray, " prompt"],
    labels: Bool[np.ndarray, " prompt"],
    groups: Sequence[str],
    *,
    embedding: Float[np.ndarray, "prompt d_model"] | None = None,
    outputs: Sequence[str] | None = None,
) -> ShortcutAudit:
    """Every shortcut on the same prompts; deterministic.

    Args:
        texts: the prompts as the model sees them.
        lengths: their token counts.
        first_tokens: their first token ids after the part that all prompts share.
        labels: True for the group that a detector should score higher.
        groups: prompts that share a group (carrier, family) are held out together.
        embedding: one row of embedding-layer features per prompt.
        outputs: the model's answer to each prompt.

    Raises:
        MismatchError: not one entry per prompt.
    """
    none = Unscored("no embedding-layer features were given")
    return ShortcutAudit(
        length=length_auc(lengths, labels, groups),
        bag_of_words=bag_of_words_auc(texts, labels, groups),
        first_token=first_token_auc(first_tokens, labels, groups),
        embedding=none if embedding is None else probe_auc(embedding, labels, groups),
        outputs=_NO_OUTPUTS if outputs is None else outputs_auc(outputs, labels, groups),
    )


def length_auc(
    lengths: Int[np.ndarray, " prompt"], labels: Bool[np.ndarray, " prompt"], groups: Sequence[str]
) -> Estimate | Unscored:
    """AUROC of the token count, turned over when shorter means positive.

    Turning after looking can only flatter the shortcut, which is the safe side for a baseline.
    A rule that is not monotone in length is not seen.

    Raises:
        MismatchError: not one entry per prompt.
    """
    require_rows(len(lengths), labels)
    if reason := too_few(labels, groups):
        return Unscored(reason)
    scores = lengths.astype(np.float64)
    estimate = clustered_auc(scores, labels, groups)
    return estimate if estimate.value >= 0.5 else clustered_auc(-scores, labels, groups)


def bag_of_words_auc(
    texts: Sequence[str], labels: Bool[np.ndarray, " prompt"], groups: Sequence[str]
) -> Estimate | Unscored:
    """Nested out-of-fold AUROC of TF-IDF (words and marks) with a logistic classifier.

    Neither word order nor case is seen; pass your own pipeline to `nested_scores` for more.

    Raises:
        MismatchError: not one entry per prompt.
    """
    require_rows(len(texts), labels)
    if reason := too_few(labels, groups):
        return Unscored(reason)
    if not all(text.strip() for text in texts):
        return Unscored("some texts are empty, so there are no words to classify")
    return _nested_auc(text_classifier(), np.asarray(texts, dtype=object), labels, groups)


def outputs_auc(
    outputs: Sequence[str], labels: Bool[np.ndarray, " prompt"], groups: Sequence[str]
) -> Estimate | Unscored:
    """Nested out-of-fold AUROC of the words of the model's own answers: a black-box detector.

    The classifier of `bag_of_words_auc`; an empty answer counts as one word of its own. Where all
    answers have the same words in the same order (or none), every row scores alike and the AUROC
    is 0.5, with Newcombe's score interval: a result, and the method says so.

    Raises:
        MismatchError: not one entry per prompt.
    """
    require_rows(len(outputs), labels)
    if reason := too_few(labels, groups):
        return Unscored(reason)
    if len({tuple(words_and_marks(text)) for text in outputs}) == 1:
        same = clustered_auc(np.zeros(len(labels)), labels, groups)
        return dataclasses.replace(same, method=f"all answers have the same words; {same.method}")
    return _nested_auc(text_classifier(), np.asarray(outputs, dtype=object), labels, groups)


def first_token_auc(
    first_tokens: Int[np.ndarray, " prompt"],
    labels: Bool[np.ndarray, " prompt"],
    groups: Sequence[str],
) -> Estimate | Unscored:
    """Nested out-of-fold AUROC of the first token's identity; unseen tokens score as the average.

    Raises:
        MismatchError: not one entry per prompt.
    """
    require_rows(len(first_tokens), labels)
    if reason := too_few(labels, groups):
        return Unscored(reason)
    return _nested_auc(token_classifier(), first_tokens[:, None], labels, groups)


def probe_auc(
    features: Float[np.ndarray, "prompt d_model"],
    labels: Bool[np.ndarray, " prompt"],
    groups: Sequence[str],
) -> Estimate | Unscored:
    """Nested out-of-fold AUROC of a ridge-penalized logistic probe on standardized features.

    For the embedding layer (a shortcut) and as the dense baseline of SAE features.

    Raises:
        MismatchError: not one entry per prompt.
        BadInputError: features that are not finite.
    """
    require_rows(len(features), labels)
    if reason := too_few(labels, groups):
        return Unscored(reason)
    return _nested_auc(dense_classifier(), as_finite(features, "The features"), labels, groups)


def clustered_auc(
    scores: Float[np.ndarray, " prompt"],
    labels: Bool[np.ndarray, " prompt"],
    groups: Sequence[str],
    *,
    variance_inflation: float = 1.0,
) -> Estimate:
    """`auc.auroc_interval` of scores with a label and a group per row.

    Raises:
        BadInputError: fewer than two groups in a class, or scores not finite.
    """
    names = np.asarray(groups, dtype=np.str_)
    return auroc_interval(
        scores[labels],
        scores[~labels],
        positive_clusters=names[labels].tolist(),
        negative_clusters=names[~labels].tolist(),
        variance_inflation=variance_inflation,
    )


def _nested_auc(
    model: Pipeline, inputs: np.ndarray, labels: Bool[np.ndarray, " prompt"], groups: Sequence[str]
) -> Estimate | Unscored:
    scores = nested_scores(model, inputs, labels, groups)
    if isinstance(scores, Unscored):
        return scores
    inflation = out_of_fold_inflation(FOLDS)
    found = clustered_auc(scores, labels, groups, variance_inflation=inflation)
    method = f"{found.method}; scores from nested {FOLDS} x {INNER_FOLDS} cross-validation"
    return dataclasses.replace(found, method=method)
