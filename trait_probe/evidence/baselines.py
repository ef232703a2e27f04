"""Baselines fitted on the selection rows and scored once on the report rows.

No report row enters a fit or a choice, so `auc.auroc_interval` and `auc.auroc_difference` hold on
the report scores as they are, without the variance inflation of out-of-fold scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import sklearn
from jaxtyping import Bool, Float, Int
from sklearn.pipeline import Pipeline, make_pipeline

from trait_probe.errors import BadInputError, MismatchError
from trait_probe.evidence._arrays import as_finite, require_same_length
from trait_probe.evidence.classifiers import (
    FOLDS,
    Chosen,
    choose_strength,
    dense_classifier,
    length_and_square,
    logistic,
    require_rows,
    text_classifier,
    token_classifier,
    too_few,
    with_strength,
    words_and_length,
)
from trait_probe.evidence.estimate import Unscored
from trait_probe.evidence.splits import Split, require_disjoint


@dataclass(frozen=True)
class SplitScores:
    """One score per row, higher for the positive class; report rows took no part in making it.

    Args:
        selection: of each row in `split.selection`, out of fold where fitted. Its strength was
            chosen on these rows: an input to `stacked_scores`, no result.
        report: of each row in `split.report`, from the model fitted on all selection rows.
        strength: inverse ridge penalty chosen on the selection rows; None where nothing is fitted.

    Raises:
        BadInputError: a side without rows, or a score that is not finite.
    """

    selection: Float[np.ndarray, " selection"]
    report: Float[np.ndarray, " report"]
    strength: float | None = None

    def __post_init__(self) -> None:
        as_finite(self.selection, "The selection scores")
        as_finite(self.report, "The report scores")


def text_scores(
    texts: Sequence[str],
    labels: Bool[np.ndarray, " row"],
    groups: Sequence[str],
    split: Split,
    *,
    lengths: Int[np.ndarray, " row"] | None = None,
) -> SplitScores | Unscored:
    """TF-IDF of words and marks with a ridge-penalized logistic classifier, as log-odds.

    For prompts or for the model's own answers; an empty text counts as one word of its own.

    Args:
        lengths: token counts, as two more columns: standardized, and the square of that.

    Raises:
        MismatchError: not one entry per row.
        BadInputError: a group on both sides of the split, or a row that does not exist.
    """
    if lengths is None:
        words = np.asarray(texts, dtype=object)
        return _fitted(text_classifier(), words, labels, groups, split)
    columns, inputs = words_and_length(texts, lengths)
    return _fitted(make_pipeline(columns, logistic()), inputs, labels, groups, split)


def embedding_scores(
    features: Float[np.ndarray, "row d_model"],
    labels: Bool[np.ndarray, " row"],
    groups: Sequence[str],
    split: Split,
) -> SplitScores | Unscored:
    """A ridge-penalized logistic probe on standardized features, as log-odds.

    Raises:
        MismatchError: not one entry per row.
        BadInputError: as `text_scores`, or features that are not finite.
    """
    rows = as_finite(features, "The features")
    return _fitted(dense_classifier(), rows, labels, groups, split)


def first_token_scores(
    first_tokens: Int[np.ndarray, " row"],
    labels: Bool[np.ndarray, " row"],
    groups: Sequence[str],
    split: Split,
) -> SplitScores | Unscored:
    """The first token's identity with a logistic classifier, as log-odds.

    Raises:
        MismatchError, BadInputError: as `text_scores`.
    """
    return _fitted(token_classifier(), first_tokens[:, None], labels, groups, split)


def length_scores(
    lengths: Int[np.ndarray, " row"],
    labels: Bool[np.ndarray, " row"],
    groups: Sequence[str],
    split: Split,
) -> SplitScores | Unscored:
    """A logistic classifier on the token count, with its square where that helps, as log-odds.

    The square finds positives that are very short or very long. It is left out unless it raises
    the mean AUROC over the folds of the selection rows: where one direction says it all, the
    report rows keep the order of their lengths, and a small sample does not bend it.

    Raises:
        MismatchError, BadInputError: as `text_scores`.
    """
    _require_apart(len(lengths), labels, groups, split)
    if reason := _too_few_selected(labels, groups, split):
        return Unscored(reason)
    column = lengths.astype(np.float64)[:, None]
    seen, answers = column[split.selection], labels[split.selection]
    names = _at(groups, split.selection)
    plain, bent = dense_classifier(), make_pipeline(length_and_square(), logistic())
    one = choose_strength(plain, seen, answers, names, folds=FOLDS)
    two = choose_strength(bent, seen, answers, names, folds=FOLDS)
    if isinstance(one, Unscored):
        return one
    if isinstance(two, Unscored):
        return two
    bends = two.auroc > one.auroc + 1e-9  # by more than rounding
    return _with_chosen(*((bent, two) if bends else (plain, one)), column, labels, split)


def given_scores(
    values: Float[np.ndarray, " row"], groups: Sequence[str], split: Split
) -> SplitScores:
    """A score with nothing to fit (a projection), to stack or to compare with.

    Its layer, position and sign must come from elsewhere, at most from the selection rows.

    Raises:
        MismatchError: not one group per row.
        BadInputError: as `text_scores`, or values that are not finite.
    """
    _require_split(len(values), groups, split)
    here = as_finite(values, "The values")
    return SplitScores(here[split.selection], here[split.report])


def stacked_scores(
    columns: Mapping[str, SplitScores | Unscored],
    labels: Bool[np.ndarray, " row"],
    groups: Sequence[str],
    split: Split,
    *,
    strength: float | None = None,
) -> SplitScores | Unscored:
    """Logistic classifier on standardized scores, as log-odds: do projections add to the text?

    Stacked generalization (Wolpert 1992): weights come from the out-of-fold scores of the
    selection rows. Compare with the text alone by `auc.auroc_difference` on the report rows.

    Args:
        columns: scores by name, all of this split; one that is Unscored leaves the stack Unscored.
        strength: inverse ridge penalty, given instead of chosen (for the many stacks of a null);
            the selection scores are in-sample then, and of no further use.

    Raises:
        MismatchError: columns of another split, or not one label and group per row.
        BadInputError: as `text_scores`, or no columns.
    """
    if not columns:
        raise BadInputError("A stack needs columns.", got={}, fix="Pass scores by name.")
    _require_apart(len(labels), labels, groups, split)
    inputs = np.zeros((len(labels), len(columns)))  # rows on neither side are not read
    for number, (name, column) in enumerate(columns.items()):
        if isinstance(column, Unscored):
            return Unscored(f"{name}: {column.reason}")
        _require_same_split(name, column, split)
        inputs[split.selection, number] = column.selection
        inputs[split.report, number] = column.report
    if strength is not None:
        return _at_strength(inputs, labels, split, strength)
    return _fitted(dense_classifier(), inputs, labels, groups, split)


def _at_strength(
    inputs: np.ndarray, labels: Bool[np.ndarray, " row"], split: Split, strength: float
) -> SplitScores:
    seen, answers = inputs[split.selection], labels[split.selection]
    # Most of the time of a small fit goes into checking scikit-learn's settings and inputs.
    with sklearn.config_context(skip_parameter_validation=True, assume_finite=True):
        fitted = with_strength(dense_classifier(), strength).fit(seen, answers)
        report = fitted.decision_function(inputs[split.report])
        return SplitScores(fitted.decision_function(seen), report, strength)


def _fitted(
    model: Pipeline,
    inputs: np.ndarray,
    labels: Bool[np.ndarray, " row"],
    groups: Sequence[str],
    split: Split,
) -> SplitScores | Unscored:
    _require_apart(len(inputs), labels, groups, split)
    if reason := _too_few_selected(labels, groups, split):
        return Unscored(reason)
    seen, answers = inputs[split.selection], labels[split.selection]
    chosen = choose_strength(model, seen, answers, _at(groups, split.selection), folds=FOLDS)
    if isinstance(chosen, Unscored):
        return chosen
    return _with_chosen(model, chosen, inputs, labels, split)


def _with_chosen(
    model: Pipeline,
    chosen: Chosen,
    inputs: np.ndarray,
    labels: Bool[np.ndarray, " row"],
    split: Split,
) -> SplitScores:
    """Report scores of the model fitted on all selection rows at the chosen strength."""
    fitted = with_strength(model, chosen.strength)
    fitted.fit(inputs[split.selection], labels[split.selection])
    report = fitted.decision_function(inputs[split.report])
    return SplitScores(chosen.scores, report, chosen.strength)


def _at(groups: Sequence[str], rows: Int[np.ndarray, " _"]) -> list[str]:
    return [groups[i] for i in rows]


def _too_few_selected(
    labels: Bool[np.ndarray, " row"], groups: Sequence[str], split: Split
) -> str | None:
    reason = too_few(labels[split.selection], _at(groups, split.selection))
    return None if reason is None else f"selection side: {reason}"


def _require_apart(
    n: int, labels: Bool[np.ndarray, " row"], groups: Sequence[str], split: Split
) -> None:
    require_rows(n, labels)
    _require_split(n, groups, split)


def _require_split(n: int, groups: Sequence[str], split: Split) -> None:
    """Raise unless the split fits the table and no group is on both of its sides."""
    require_same_length(n, groups, "groups")
    rows = np.concatenate([split.selection, split.report])
    if rows.min() < 0 or rows.max() >= n:
        raise BadInputError(
            "The split names rows that the table does not have.",
            got={"lowest": int(rows.min()), "highest": int(rows.max())},
            valid=[f"0 to {n - 1}"],
            fix="Split the groups of this table (evidence.splits.split_by_group).",
        )
    require_disjoint(_at(groups, split.selection), _at(groups, split.report), "Baseline groups")


def _require_same_split(name: str, column: SplitScores, split: Split) -> None:
    got = len(column.selection), len(column.report)
    if got != (len(split.selection), len(split.report)):
        raise MismatchError(
            f"The column {name!r} does not fit the split.",
            got={"selection": got[0], "report": got[1]},
            valid=[f"selection {len(split.selection)}, report {len(split.report)}"],
            fix="Score every column with this split.",
        )
