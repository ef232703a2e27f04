"""How much of a projection its words predict: ridge regressions fitted on the selection rows.

A classifier learns a telling word from labels, one bit a row. A projection that reads that word
says how much of it every row holds, so a regression of the projection on the words finds it with
far fewer rows. Where such a prediction does as well as the projection, the words suffice.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from sklearn.base import TransformerMixin, clone
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from trait_probe.errors import MismatchError
from trait_probe.evidence._arrays import as_finite, require_same_length
from trait_probe.evidence.baselines import SplitScores, given_scores
from trait_probe.evidence.classifiers import FOLDS, words_and_length
from trait_probe.evidence.estimate import Unscored
from trait_probe.evidence.splits import Split

PENALTIES = (1000.0, 100.0, 10.0, 1.0, 0.1, 0.01)
"""Ridge penalties (scikit-learn's `alpha`) to choose from, the strongest first."""


def predicted_from_texts(
    values: Float[np.ndarray, " row"],
    texts: Sequence[str],
    groups: Sequence[str],
    split: Split,
    *,
    lengths: Int[np.ndarray, " row"],
) -> SplitScores | Unscored:
    """What TF-IDF of words and marks, the length and its square say of `values`, in their unit.

    Selection rows are predicted out of fold, report rows by the regression on all selection rows.
    Unscored where the selection rows have fewer than `FOLDS` groups.

    Raises:
        MismatchError: not one entry per row.
        BadInputError: a group on both sides of the split, a row that does not exist, or values
            that are not finite.
    """
    require_same_length(len(values), texts, "texts")
    columns, inputs = words_and_length(texts, lengths)
    return _predicted(columns, inputs, values, groups, split)


def predicted_from_features(
    values: Float[np.ndarray, " row"],
    features: Float[np.ndarray, "row d_model"],
    groups: Sequence[str],
    split: Split,
) -> SplitScores | Unscored:
    """What a linear map of standardized features says of `values`; as `predicted_from_texts`."""
    rows = as_finite(features, "The features")
    return _predicted(StandardScaler(), rows, values, groups, split)


def _predicted(
    before: TransformerMixin,
    inputs: np.ndarray,
    values: Float[np.ndarray, " row"],
    groups: Sequence[str],
    split: Split,
) -> SplitScores | Unscored:
    """At the penalty with the least squared error out of fold; the strongest of equals."""
    if len(inputs) != len(values):
        raise MismatchError(
            "A projection is predicted from one row of features per value.",
            got=f"{len(inputs)} rows of features for {len(values)} values",
            fix="Build both from the same table.",
        )
    target = given_scores(values, groups, split)
    names = [groups[i] for i in split.selection]
    if len(set(names)) < FOLDS:
        return Unscored(f"{len(set(names))} selection groups for {FOLDS} folds of a regression")
    seen, answers = inputs[split.selection], target.selection
    predicted = np.zeros((len(PENALTIES), len(seen)))
    for train, test in GroupKFold(FOLDS).split(seen, groups=names):
        columns = clone(before)
        known, unknown = columns.fit_transform(seen[train]), columns.transform(seen[test])
        for row, penalty in zip(predicted, PENALTIES, strict=True):
            row[test] = Ridge(alpha=penalty).fit(known, answers[train]).predict(unknown)
        # The intercept is the mean of the other folds: where words say nothing, out-of-fold
        # predictions would run against the values (correlation -0.2).
        predicted[:, test] += answers.mean() - answers[train].mean()
    best = int(((predicted - answers) ** 2).mean(axis=1).argmin())
    fitted = make_pipeline(clone(before), Ridge(alpha=PENALTIES[best])).fit(seen, answers)
    return SplitScores(predicted[best], fitted.predict(inputs[split.report]))
