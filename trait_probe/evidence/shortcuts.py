"""How well the words alone tell two groups of prompts apart. Printed beside every detector.

A rule that counts tokens reached AUROC 1.000 on published backdoor sets: a detector that does no
better than these baselines has found the wording. Whatever is fitted is scored out of fold, whole
groups held out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from trait_probe.errors import MismatchError
from trait_probe.evidence._arrays import as_finite, require_same_length
from trait_probe.evidence.auc import auroc_interval, out_of_fold_inflation
from trait_probe.evidence.estimate import Estimate, Unscored
from trait_probe.evidence.power import MIN_CLUSTERS

FOLDS = 5  # at most MIN_CLUSTERS, so that every fold can hold both classes
_WORDS_AND_MARKS = r"(?u)\w+|[^\w\s]"  # one-letter words and punctuation leak too


@dataclass(frozen=True)
class ShortcutAudit:
    """AUROC of each shortcut (out of fold where fitted), with intervals clustered by group.

    Args:
        length: number of tokens alone, oriented so that 0.5 or more.
        bag_of_words: TF-IDF of words and marks with a logistic classifier.
        first_token: the first token id with a logistic classifier.
        embedding: a logistic probe on the embedding layer, before any block has run.
    """

    length: Estimate | Unscored
    bag_of_words: Estimate | Unscored
    first_token: Estimate | Unscored
    embedding: Estimate | Unscored

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
) -> ShortcutAudit:
    """Every shortcut on the same prompts; deterministic.

    Args:
        texts: the prompts as the model sees them.
        lengths: their token counts.
        first_tokens: their first token ids after the part that all prompts share.
        labels: True for the group that a detector should score higher.
        groups: prompts that share a group (carrier, family) are held out together.
        embedding: one row of embedding-layer features per prompt.

    Raises:
        MismatchError: not one entry per prompt.
    """
    none = Unscored("no embedding-layer features were given")
    return ShortcutAudit(
        length=length_auc(lengths, labels, groups),
        bag_of_words=bag_of_words_auc(texts, labels, groups),
        first_token=first_token_auc(first_tokens, labels, groups),
        embedding=none if embedding is None else probe_auc(embedding, labels, groups),
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
    _require_rows(len(lengths), labels)
    if reason := _too_few(labels, groups):
        return Unscored(reason)
    scores = lengths.astype(np.float64)
    estimate = _clustered_auc(scores, labels, groups)
    return estimate if estimate.value >= 0.5 else _clustered_auc(-scores, labels, groups)


def bag_of_words_auc(
    texts: Sequence[str], labels: Bool[np.ndarray, " prompt"], groups: Sequence[str]
) -> Estimate | Unscored:
    """Out-of-fold AUROC of TF-IDF (words and marks) with a logistic classifier.

    Word order is not seen; pass your own pipeline to `out_of_fold_scores` for more.

    Raises:
        MismatchError: not one entry per prompt.
    """
    _require_rows(len(texts), labels)
    if reason := _too_few(labels, groups):
        return Unscored(reason)
    if not all(text.strip() for text in texts):
        return Unscored("some texts are empty, so there are no words to classify")
    # Words only: word pairs dilute a one-word leak (0.97 instead of 1.00 with 80 short prompts).
    vectorizer = TfidfVectorizer(token_pattern=_WORDS_AND_MARKS, sublinear_tf=True)
    model = make_pipeline(vectorizer, _logistic(strength=10.0))
    return _out_of_fold_auc(model, np.asarray(texts, dtype=object), labels, groups)


def first_token_auc(
    first_tokens: Int[np.ndarray, " prompt"],
    labels: Bool[np.ndarray, " prompt"],
    groups: Sequence[str],
) -> Estimate | Unscored:
    """Out-of-fold AUROC of the first token's identity; unseen tokens score as the average.

    Raises:
        MismatchError: not one entry per prompt.
    """
    _require_rows(len(first_tokens), labels)
    if reason := _too_few(labels, groups):
        return Unscored(reason)
    model = make_pipeline(OneHotEncoder(handle_unknown="ignore"), _logistic(strength=1.0))
    return _out_of_fold_auc(model, first_tokens[:, None], labels, groups)


def probe_auc(
    features: Float[np.ndarray, "prompt d_model"],
    labels: Bool[np.ndarray, " prompt"],
    groups: Sequence[str],
) -> Estimate | Unscored:
    """Out-of-fold AUROC of a ridge-penalized logistic probe on standardized features.

    For the embedding layer (a shortcut) and as the dense baseline of SAE features.

    Raises:
        MismatchError: not one entry per prompt.
        BadInputError: features that are not finite.
    """
    _require_rows(len(features), labels)
    if reason := _too_few(labels, groups):
        return Unscored(reason)
    model = make_pipeline(StandardScaler(), _logistic(strength=0.1))
    return _out_of_fold_auc(model, as_finite(features, "The features"), labels, groups)


def out_of_fold_scores(
    model: Pipeline,
    inputs: np.ndarray,
    labels: Bool[np.ndarray, " prompt"],
    groups: Sequence[str],
) -> Float[np.ndarray, " prompt"] | Unscored:
    """Log-odds of each prompt from a model fitted without its group; classes balanced over folds.

    Raises:
        MismatchError: not one entry per prompt.
    """
    _require_rows(len(inputs), labels)
    if reason := _too_few(labels, groups):
        return Unscored(reason)
    scores = np.zeros(len(labels))  # every row is in exactly one test fold
    for train, test in _folds(labels, groups):
        if labels[train].all() or not labels[train].any():
            return Unscored("a fold would be fitted on one class only: groups and labels coincide")
        model.fit(inputs[train], labels[train])
        scores[test] = model.decision_function(inputs[test])
    return scores


def _out_of_fold_auc(
    model: Pipeline, inputs: np.ndarray, labels: Bool[np.ndarray, " prompt"], groups: Sequence[str]
) -> Estimate | Unscored:
    scores = out_of_fold_scores(model, inputs, labels, groups)
    if isinstance(scores, Unscored):
        return scores
    return _clustered_auc(scores, labels, groups, out_of_fold_inflation(FOLDS))


def _clustered_auc(
    scores: Float[np.ndarray, " prompt"],
    labels: Bool[np.ndarray, " prompt"],
    groups: Sequence[str],
    variance_inflation: float = 1.0,
) -> Estimate:
    names = np.asarray(groups, dtype=np.str_)
    return auroc_interval(
        scores[labels],
        scores[~labels],
        positive_clusters=names[labels].tolist(),
        negative_clusters=names[~labels].tolist(),
        variance_inflation=variance_inflation,
    )


def _folds(
    labels: Bool[np.ndarray, " prompt"], groups: Sequence[str]
) -> Iterable[tuple[Int[np.ndarray, " _"], Int[np.ndarray, " _"]]]:
    # Unbalanced folds bias a pooled AUROC downwards, which would make the baseline look weak.
    splitter = StratifiedGroupKFold(n_splits=FOLDS, shuffle=True, random_state=0)
    return list(splitter.split(np.zeros(len(labels)), labels, np.asarray(groups, dtype=np.str_)))


def _logistic(*, strength: float) -> LogisticRegression:
    """`strength`: inverse of the ridge penalty. liblinear: one thread, fast on small sets."""
    return LogisticRegression(C=strength, solver="liblinear", max_iter=5000, random_state=0)


def _too_few(labels: Bool[np.ndarray, " prompt"], groups: Sequence[str]) -> str | None:
    """Why the classes are too small to score, or None."""
    require_same_length(len(labels), groups, "groups")
    names = np.asarray(groups, dtype=np.str_)
    smaller = min(len(set(names[labels].tolist())), len(set(names[~labels].tolist())))
    if smaller >= MIN_CLUSTERS:
        return None
    return f"the smaller class has {smaller} groups, {MIN_CLUSTERS} are needed"


def _require_rows(n: int, labels: Bool[np.ndarray, " prompt"]) -> None:
    if n != len(labels):
        raise MismatchError(
            "A shortcut needs one input per label.",
            got=f"{n} inputs for {len(labels)} labels",
            fix="Build both from the same table.",
        )
