"""Claims that projections add to what the words already tell.

A text-only classifier (TF-IDF with length) and the same classifier with the projection as one more
column are both fitted on the selection rows and scored on report rows of groups that neither has
seen. The effect is the difference of their AUROCs. Three more comparisons must come out for it:

- against text, a probe on the embedding layer and the trait's own direction there: words that the
  classifier has not met are no discovery;
- against text, that direction, and what regressions of the projection on words and embeddings
  predict of it: a projection that reads a telling word adds to a classifier that has not learned
  that word, and next to nothing to its own prediction;
- against random directions of the same covariance: where any direction adds, it is not the trait
  that does.

A classifier fitted on finite rows falls short of what the words tell, and a projection that only
reads words makes up for some of that. The gain over text, embedding and prediction therefore has to
exceed `SMALLEST_GAIN` by its interval, not zero (a minimum-effect test, Murphy & Myors 1999).

Words are a bag here: what their order, case or formatting tells counts as beyond the text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from trait_probe.evidence.auc import auroc
from trait_probe.evidence.baselines import (
    SplitScores,
    embedding_scores,
    given_scores,
    stacked_scores,
    text_scores,
)
from trait_probe.evidence.checks import Check, beats_check, interval_check, missing_check
from trait_probe.evidence.claims import PREDICTED_CHECK, Claim
from trait_probe.evidence.estimate import Estimate, Unscored
from trait_probe.evidence.power import Detectable, detectable_of
from trait_probe.evidence.studies.parts import (
    NullRank,
    NullScores,
    Scores,
    holm_ranks,
    null_check,
    open_lock,
    ranked,
    require_null,
    require_rates,
    require_rows_of,
    require_shapes,
    untestable,
)
from trait_probe.evidence.studies.rows import (
    AurocPair,
    LabelledRows,
    best_place,
    too_small,
    words_of,
)
from trait_probe.evidence.studies.separation import Wording
from trait_probe.evidence.studies.vacuous import constant, distinct
from trait_probe.evidence.words import predicted_from_features, predicted_from_texts

SMALLEST_GAIN = 0.02
"""AUROC that an audit would care to gain over the words."""

NO_EMBEDDING = "no activations of the embedding layer were handed in"


@dataclass(frozen=True)
class BeyondText:
    """Projections of labelled prompts, to be compared with their words.

    Args:
        rows: labels, groups, split, lengths, texts.
        places: what each column of scores reads.
        traits: per trait, scores `[row place]`.
        embedding: activations of the embedding layer, mean over the tokens that the texts hold.
        at_embedding: per trait, scores of those means along the direction that the trait's own
            contrast set gives at the embedding layer.
        random: scores of random directions of the activations' covariance, `[row place draw]`.
    """

    rows: LabelledRows
    places: tuple[str, ...]
    traits: Mapping[str, Scores]
    embedding: Float[np.ndarray, "row d_model"] | None = None
    at_embedding: Mapping[str, Float[np.ndarray, " row"]] | None = None
    random: NullScores | None = None

    def __post_init__(self) -> None:
        n = len(self.rows.labels)
        require_shapes(self.traits, n, len(self.places))
        require_null(self.random, n, len(self.places))
        require_rows_of({} if self.embedding is None else {"embedding": self.embedding}, n, ndim=2)
        require_rows_of(self.at_embedding or {}, n, ndim=1)


def beyond_text_claims(study: BeyondText, wording: Wording, *, alpha: float = 0.05) -> list[Claim]:
    """One claim per trait; intervals widened (Bonferroni) for the multiplicity check."""
    require_rates(alpha)
    rows = study.rows
    places = {trait: int(best_place(scores, rows)) for trait, scores in study.traits.items()}
    _open(study, places, alpha)
    text = _text(rows)
    small = too_small(rows)
    if small is None and isinstance(text, Unscored):
        small = missing_check("text-only classifier", text.reason)
    if small is not None or isinstance(text, Unscored):
        assert small is not None
        return [
            untestable(
                "beyond the text",
                f"beyond_text:{trait}",
                f"{wording.adds(trait)}.",
                small,
                len(study.traits),
            )
            for trait in study.traits
        ]
    probe = _probe(study)
    null = None if study.random is None else distinct(study.random)
    read = [_read(study, null, trait, place, text) for trait, place in places.items()]
    random_p = holm_ranks([item.random for item in read])
    return [
        _claim(study, wording, item, _words_gains(study, item, text, probe), p, alpha)
        for item, p in zip(read, random_p, strict=True)
    ]


def _open(study: BeyondText, places: Mapping[str, int], alpha: float) -> None:
    rows = study.rows
    against = {
        "random": study.random,
        "embedding": study.embedding,
        "at_embedding": study.at_embedding or {},
        "lengths": rows.lengths,
        "texts": rows.texts,
        "settings": alpha,
    }
    open_lock(
        rows.lock,
        "beyond the text",
        study.places,
        places,
        study.traits,
        labels=rows.labels,
        against=against,
    )


def _text(rows: LabelledRows) -> SplitScores | Unscored:
    words = words_of(rows)
    if isinstance(words, Unscored):
        return words
    return text_scores(words, rows.labels, rows.groups, rows.split, lengths=rows.lengths)


def _probe(study: BeyondText) -> SplitScores | Unscored:
    if study.embedding is None:
        return Unscored(NO_EMBEDDING)
    rows = study.rows
    if all(constant(column) for column in study.embedding[rows.split.selection].T):
        return Unscored("the activations of the embedding layer do not vary over selection rows")
    return embedding_scores(study.embedding, rows.labels, rows.groups, rows.split)


def _stack(
    rows: LabelledRows, columns: Mapping[str, SplitScores], strength: float | None = None
) -> SplitScores:
    found = stacked_scores(columns, rows.labels, rows.groups, rows.split, strength=strength)
    if isinstance(found, Unscored):  # `too_small` and `text_scores` have let these rows pass
        raise AssertionError(found.reason)
    return found


@dataclass(frozen=True)
class _Read:
    """One trait at its place: its scores, and what they add to the text."""

    trait: str
    place: int
    text: SplitScores
    projection: SplitScores
    both: SplitScores
    effect: Estimate
    random: NullRank | Unscored


def _read(
    study: BeyondText, null: NullScores | None, trait: str, place: int, text: SplitScores
) -> _Read:
    rows = study.rows
    projection = given_scores(study.traits[trait][:, place], rows.groups, rows.split)
    both = _stack(rows, {"text": text, "projection": projection})
    effect = AurocPair(rows).advantage(both.report, text.report)
    assert both.strength is not None
    rank = _random_rank(rows, null, text, effect, both.strength)
    return _Read(trait, place, text, projection, both, effect, rank)


@dataclass(frozen=True)
class _Gain:
    """What the projection adds to other columns: AUROC with it minus `without` it."""

    advantage: Estimate | Unscored
    without: float | Unscored


def _gain(
    rows: LabelledRows, columns: Mapping[str, SplitScores | Unscored], projection: SplitScores
) -> _Gain:
    scored: dict[str, SplitScores] = {}
    for name, column in columns.items():
        if isinstance(column, Unscored):
            return _Gain(column, column)
        scored[name] = column
    pair = AurocPair(rows)
    without = _stack(rows, scored)
    with_it = _stack(rows, {**scored, "projection": projection})
    advantage = pair.advantage(with_it.report, without.report)
    return _Gain(advantage, auroc(*pair.sides(without.report)))


def _words_gains(
    study: BeyondText, read: _Read, text: SplitScores, probe: SplitScores | Unscored
) -> tuple[_Gain, _Gain]:
    """Over text and the embedding layer, and over text and what predicts the projection."""
    rows, values = study.rows, study.traits[read.trait][:, read.place]
    assert rows.texts is not None
    columns = {"text": text, "own direction": _own_direction(study, read.trait)}
    predicted = {
        "predicted from text": predicted_from_texts(
            values, rows.texts, rows.groups, rows.split, lengths=rows.lengths
        ),
        "predicted from embedding": Unscored(NO_EMBEDDING)
        if study.embedding is None
        else predicted_from_features(values, study.embedding, rows.groups, rows.split),
    }
    return (
        _gain(rows, {**columns, "probe": probe}, read.projection),
        _gain(rows, {**columns, **predicted}, read.projection),
    )


def _own_direction(study: BeyondText, trait: str) -> SplitScores | Unscored:
    rows = study.rows
    values = (study.at_embedding or {}).get(trait)
    if values is None:
        return Unscored("the trait's own scores at the embedding layer were not handed in")
    if constant(values[rows.split.selection]):
        return Unscored("the embedding layer scores all selection rows alike: read more tokens")
    return given_scores(values, rows.groups, rows.split)


def _claim(
    study: BeyondText,
    wording: Wording,
    read: _Read,
    gains: tuple[_Gain, _Gain],
    random_p: float,
    alpha: float,
) -> Claim:
    pair, looks = AurocPair(study.rows), len(study.traits)
    over_layer, over_predicted = gains
    return Claim(
        id=f"beyond_text:{read.trait}",
        kind="beyond the text",
        statement=f"{wording.adds(read.trait)}, at {study.places[read.place]}.",
        effect=read.effect,
        checks=(
            *_gain_checks(pair, read, gains, looks, alpha),
            null_check("random directions", read.random, random_p, alpha, looks),
            *_split_checks(study.rows),
        ),
        controls={
            "AUROC of text and projection": auroc(*pair.sides(read.both.report)),
            "AUROC of the text": auroc(*pair.sides(read.text.report)),
        },
        nulls={"random directions": read.random},
        shortcuts={
            "AUROC of the projection": auroc(*pair.sides(read.projection.report)),
            "AUROC of text and embedding layer": over_layer.without,
            "AUROC of text and predicted projection": over_predicted.without,
        },
        split="report rows; classifiers fitted and place chosen on the selection rows",
        looks=looks,
        smallest_effect_of_interest=SMALLEST_GAIN,
        trigger_involved=False,
        lock=study.rows.lock,
        detectable=_detectable(read.effect),
        notes=(
            f"chosen among {len(study.places)} places per trait on the selection rows",
            "words are a bag: their order, case and formatting count as beyond the text",
        ),
    )


def _gain_checks(
    pair: AurocPair, read: _Read, gains: tuple[_Gain, _Gain], looks: int, alpha: float
) -> tuple[Check, ...]:
    """Every gain is to exceed `SMALLEST_GAIN`, that over the text for all traits together."""
    over_layer, over_predicted = gains
    adjusted = pair.advantage(read.both.report, read.text.report, level=1.0 - alpha / looks)
    every = beats_check("multiplicity", adjusted, margin=SMALLEST_GAIN)
    required = f"the interval adjusted for {looks} traits wholly above {SMALLEST_GAIN:g}"
    return (
        interval_check("beyond the text", read.effect, bound=SMALLEST_GAIN),
        beats_check("text-only classifier", read.effect, margin=SMALLEST_GAIN),
        beats_check("embedding layer", over_layer.advantage, margin=SMALLEST_GAIN),
        beats_check(PREDICTED_CHECK, over_predicted.advantage, margin=SMALLEST_GAIN),
        replace(every, required=required),
    )


def _split_checks(rows: LabelledRows) -> tuple[Check, ...]:
    n = len(set(rows.report_groups))
    return (
        _passed("same locked splits", "both fitted on the selection rows, read on the report rows"),
        _passed("unseen groups", f"{n} report groups, none in selection"),
    )


def _detectable(effect: Estimate) -> Detectable:
    """The gain that is told from `SMALLEST_GAIN`, not from none."""
    from_none = detectable_of(effect)
    return replace(from_none, effect=from_none.effect + SMALLEST_GAIN)


def _passed(name: str, observed: str) -> Check:
    return Check(name, "passed", observed, "so by construction; a shared group is refused")


def _random_rank(
    rows: LabelledRows,
    null: NullScores | None,
    text: SplitScores,
    effect: Estimate,
    strength: float,
) -> NullRank | Unscored:
    """Where the gain lies among what random directions add in the projection's stead."""
    if null is None:
        return Unscored("no random directions were handed in")
    pair = AurocPair(rows)
    places = best_place(null, rows)
    base = auroc(*pair.sides(text.report))
    gains = []
    for draw, place in enumerate(places):
        column = given_scores(null[:, place, draw], rows.groups, rows.split)
        both = _stack(rows, {"text": text, "projection": column}, strength)
        gains.append(auroc(*pair.sides(both.report)) - base)
    return ranked(effect.value, np.array(gains))
