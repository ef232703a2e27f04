"""Ridge classifiers that are scored on groups they never saw, their strength chosen without them.

A strength chosen on the rows that it is scored on flatters the score (Cawley & Talbot 2010). Here
each training fold chooses its own, by a grouped, stratified cross-validation inside it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import sklearn
from jaxtyping import Bool, Float, Int
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, PolynomialFeatures, StandardScaler

from trait_probe.errors import MismatchError
from trait_probe.evidence._arrays import require_same_length
from trait_probe.evidence.auc import auroc
from trait_probe.evidence.estimate import Unscored
from trait_probe.evidence.power import MIN_CLUSTERS

FOLDS = 5  # at most MIN_CLUSTERS, so that every fold can hold both classes
INNER_FOLDS = 3  # of a training fold: 8 groups a class leave about 6, two for each inner fold
STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0)
"""Inverse ridge penalties (scikit-learn's `C`) to choose from, the strongest penalty first."""
_WORDS_AND_MARKS = re.compile(r"(?u)\w+|[^\w\s]")  # one-letter words and punctuation leak too
_NO_WORDS = "<no words>"


@dataclass(frozen=True)
class Chosen:
    """A ridge strength and what models of that strength say of rows they did not see.

    Args:
        strength: one of `STRENGTHS`.
        auroc: mean AUROC over the folds at that strength, in [0, 1]. The best of several, so it
            flatters: it is no result.
        scores: out-of-fold log-odds of each row at that strength.
    """

    strength: float
    auroc: float
    scores: Float[np.ndarray, " row"]


def words_and_marks(text: str) -> list[str]:
    """Lower-case words and single punctuation marks; a text without any has one term saying so."""
    return _WORDS_AND_MARKS.findall(text.lower()) or [_NO_WORDS]


def text_vectorizer() -> TfidfVectorizer:
    """TF-IDF of words and marks; neither word order nor case is seen."""
    # Words only: word pairs dilute a one-word leak (0.97 instead of 1.00 with 80 short prompts).
    return TfidfVectorizer(analyzer=words_and_marks, sublinear_tf=True)


def words_and_length(
    texts: Sequence[str], lengths: Int[np.ndarray, " row"]
) -> tuple[ColumnTransformer, np.ndarray]:
    """What turns texts with their token counts into columns, and its input, one row per text.

    Raises:
        MismatchError: not one length per text.
    """
    require_same_length(len(lengths), texts, "texts")
    # The columns are named by number: words at 0, as one text per row, and the length at 1.
    columns = ColumnTransformer(
        [("words", text_vectorizer(), 0), ("length", length_and_square(), [1])]
    )
    words = np.asarray(texts, dtype=object)
    return columns, np.stack([words, lengths.astype(object)], axis=1)


def length_and_square() -> Pipeline:
    """Standardized length and its standardized square.

    Squared after centring: raw lengths and their squares are all but collinear, and a ridge
    penalty would take the square away.
    """
    square = PolynomialFeatures(degree=2, include_bias=False)
    return make_pipeline(StandardScaler(), square, StandardScaler())


def text_classifier() -> Pipeline:
    """TF-IDF of words and marks with a logistic classifier; inputs are an array of texts."""
    return make_pipeline(text_vectorizer(), logistic())


def token_classifier() -> Pipeline:
    """Token identity with a logistic classifier; a token not seen in fitting says nothing."""
    return make_pipeline(OneHotEncoder(handle_unknown="ignore"), logistic())


def dense_classifier() -> Pipeline:
    """Standardized columns with a logistic classifier."""
    return make_pipeline(StandardScaler(), logistic())


def logistic() -> LogisticRegression:
    """Ridge-penalized; classes weigh alike, so that 0 means the same in folds of any class share.

    Without it the intercept follows the class share of the training fold, against that of its
    test fold, and scores pooled over folds fall below chance on noise.
    """
    return LogisticRegression(class_weight="balanced", max_iter=5000, random_state=0)


def with_strength(model: Pipeline, strength: float) -> Pipeline:
    """An unfitted copy of `model` whose last step has this inverse ridge penalty `C`."""
    return clone(model).set_params(**{f"{model.steps[-1][0]}__C": strength})


def choose_strength(
    model: Pipeline,
    inputs: np.ndarray,
    labels: Bool[np.ndarray, " row"],
    groups: Sequence[str],
    *,
    folds: int = INNER_FOLDS,
) -> Chosen | Unscored:
    """The strength with the best mean AUROC over grouped, stratified folds of these rows.

    Equal AUROCs go to the stronger penalty. As scikit-learn's `GridSearchCV` with these folds;
    what comes before the classifier is fitted once a fold. Unscored where a fold would be fitted
    or scored on one class only.

    Raises:
        MismatchError: not one entry per row.
    """
    require_rows(len(inputs), labels)
    require_same_length(len(labels), groups, "groups")
    if reason := _cannot_fold(labels, groups, folds):
        return Unscored(reason)
    aurocs = np.zeros((folds, len(STRENGTHS)))
    scores = np.zeros((len(STRENGTHS), len(labels)))
    for number, (train, test) in enumerate(grouped_folds(labels, groups, folds)):
        if _one_class(labels[train]) or _one_class(labels[test]):
            return Unscored("no ridge strength: a fold to choose it on would hold one class only")
        # Half the time of a small fit goes into checking scikit-learn's own settings.
        with sklearn.config_context(skip_parameter_validation=True):
            scores[:, test] = _at_each_strength(model, inputs, labels, train, test)
        aurocs[number] = [
            auroc(row[test][labels[test]], row[test][~labels[test]]) for row in scores
        ]
    means = aurocs.mean(axis=0)
    best = int(np.argmax(means > means.max() - 1e-12))  # equal up to the order of summation
    return Chosen(STRENGTHS[best], float(means[best]), scores[best])


def nested_scores(
    model: Pipeline,
    inputs: np.ndarray,
    labels: Bool[np.ndarray, " row"],
    groups: Sequence[str],
) -> Float[np.ndarray, " row"] | Unscored:
    """Score of each row from a model fitted, and its strength chosen, without its group.

    Nested cross-validation (Varma & Simon 2006): `FOLDS` outer folds, and inside each training
    fold `choose_strength`. Nothing of a test fold enters its own model or scale. Scores are
    log-odds over their root mean square out of fold within the training rows: a strong penalty
    shrinks log-odds, and folds that chose differently would not be comparable (pooled AUROC
    0.77 instead of 0.79).

    Args:
        model: its last step has the penalty `C`; it is copied, not fitted.

    Raises:
        MismatchError: not one entry per row.
    """
    require_rows(len(inputs), labels)
    if reason := too_few(labels, groups):
        return Unscored(reason)
    names = np.asarray(groups, dtype=np.str_)
    scores = np.zeros(len(labels))
    for train, test in grouped_folds(labels, groups, FOLDS):
        if _one_class(labels[train]):
            return Unscored(_COINCIDE)
        chosen = choose_strength(model, inputs[train], labels[train], names[train].tolist())
        if isinstance(chosen, Unscored):
            return chosen
        fitted = with_strength(model, chosen.strength).fit(inputs[train], labels[train])
        scores[test] = fitted.decision_function(inputs[test]) / _size(chosen.scores)
    return scores


def out_of_fold_scores(
    model: Pipeline,
    inputs: np.ndarray,
    labels: Bool[np.ndarray, " row"],
    groups: Sequence[str],
) -> Float[np.ndarray, " row"] | Unscored:
    """Log-odds of each row from `model` as it is, fitted without the row's group.

    For a model with nothing left to choose; otherwise `nested_scores`.

    Raises:
        MismatchError: not one entry per row.
    """
    require_rows(len(inputs), labels)
    if reason := too_few(labels, groups):
        return Unscored(reason)
    scores = np.zeros(len(labels))  # every row is in exactly one test fold
    for train, test in grouped_folds(labels, groups, FOLDS):
        if _one_class(labels[train]):
            return Unscored(_COINCIDE)
        fitted = clone(model).fit(inputs[train], labels[train])
        scores[test] = fitted.decision_function(inputs[test])
    return scores


Folds = list[tuple[Int[np.ndarray, " _"], Int[np.ndarray, " _"]]]
_KEPT = 64
"""Foldings that are remembered: with ten thousand groups each takes seconds, and several
classifiers are compared on the same one."""


def grouped_folds(labels: Bool[np.ndarray, " row"], groups: Sequence[str], n_folds: int) -> Folds:
    """(train rows, test rows) of each fold: whole groups, classes balanced over the folds."""
    names = "\0".join(groups).encode()
    key = hashlib.sha256(labels.tobytes() + names).digest(), len(labels), n_folds
    if key not in _FOLDINGS:
        # Unbalanced folds bias a pooled AUROC downwards, which would make the baseline look weak.
        splitter = StratifiedGroupKFold(n_splits=n_folds, shuffle=True, random_state=0)
        codes = np.asarray(groups, dtype=np.str_)
        found = list(splitter.split(np.zeros(len(labels)), labels, codes))
        while len(_FOLDINGS) >= _KEPT:
            _FOLDINGS.pop(next(iter(_FOLDINGS)))
        _FOLDINGS[key] = found
    return [(train.copy(), test.copy()) for train, test in _FOLDINGS[key]]


_FOLDINGS: dict[tuple[bytes, int, int], Folds] = {}


def too_few(labels: Bool[np.ndarray, " row"], groups: Sequence[str]) -> str | None:
    """Why the classes are too small to score (`MIN_CLUSTERS` groups each), or None.

    Raises:
        MismatchError: not one group per row.
    """
    require_same_length(len(labels), groups, "groups")
    smaller = _smaller_class(labels, groups)
    if smaller >= MIN_CLUSTERS:
        return None
    return f"the smaller class has {smaller} groups, {MIN_CLUSTERS} are needed"


def require_rows(n: int, labels: Bool[np.ndarray, " row"]) -> None:
    """Raise MismatchError unless there is one input per label."""
    if n != len(labels):
        raise MismatchError(
            "A shortcut needs one input per label.",
            got=f"{n} inputs for {len(labels)} labels",
            fix="Build both from the same table.",
        )


_COINCIDE = "a fold would be fitted on one class only: groups and labels coincide"


def _at_each_strength(
    model: Pipeline,
    inputs: np.ndarray,
    labels: Bool[np.ndarray, " row"],
    train: Int[np.ndarray, " _"],
    test: Int[np.ndarray, " _"],
) -> Float[np.ndarray, "strength _"]:
    """Log-odds of the test rows; the steps before the classifier see the training rows alone."""
    before, classifier = clone(model[:-1]), clone(model[-1])
    seen, unseen = before.fit_transform(inputs[train]), before.transform(inputs[test])
    scores = [
        classifier.set_params(C=strength).fit(seen, labels[train]).decision_function(unseen)
        for strength in STRENGTHS
    ]
    return np.stack(scores)


def _size(scores: Float[np.ndarray, " row"]) -> float:
    """Root mean square; 1 where inputs are constant and scores are rounding around zero."""
    size = float(np.sqrt(np.mean(scores**2)))
    return size if size > 1e-9 else 1.0


def _cannot_fold(labels: Bool[np.ndarray, " row"], groups: Sequence[str], folds: int) -> str | None:
    smaller = _smaller_class(labels, groups)
    if smaller >= folds:
        return None
    return f"no ridge strength: the smaller class has {smaller} groups for {folds} folds"


def _smaller_class(labels: Bool[np.ndarray, " row"], groups: Sequence[str]) -> int:
    names = np.asarray(groups, dtype=np.str_)
    return min(len(set(names[labels].tolist())), len(set(names[~labels].tolist())))


def _one_class(labels: Bool[np.ndarray, " row"]) -> bool:
    return bool(labels.all() or not labels.any())
