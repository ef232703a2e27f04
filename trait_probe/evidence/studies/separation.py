"""Claims that a direction tells two groups of prompts apart in one model.

Place (layer and position) is chosen per trait on the selection rows by AUROC; everything else is
read on the report rows, once. The projection must have an AUROC whose interval excludes chance and
that permuted labels do not reach; it must stand out among random directions of the same covariance,
each read where it chose to be; and it must beat the best foil direction, the same kind of direction
at the embedding layer, and length, by a paired interval. How well a text-only classifier does is
printed beside it, and does not decide: that is the claim "beyond the text".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from trait_probe.errors import MismatchError
from trait_probe.evidence.auc import auroc, auroc_interval
from trait_probe.evidence.baselines import length_scores, text_scores
from trait_probe.evidence.checks import (
    Check,
    beats_check,
    interval_check,
    missing_check,
    p_value_check,
)
from trait_probe.evidence.claims import TEXT_BASELINE, Claim
from trait_probe.evidence.detection import rates
from trait_probe.evidence.estimate import Estimate, Unscored
from trait_probe.evidence.power import detectable_auroc
from trait_probe.evidence.significance import Significance, permutation
from trait_probe.evidence.simultaneous import simultaneous_aurocs
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
    null_aurocs,
    too_small,
    words_of,
)
from trait_probe.evidence.studies.vacuous import constant, distinct

SMALLEST_AUROC = 0.1
"""Above chance; a detector below AUROC 0.6 is of no use (0.36 SD between normal groups)."""


@dataclass(frozen=True)
class Wording:
    """How the statements name things."""

    model: str
    positive: str
    negative: str

    def separates(self, trait: str) -> str:
        """The sentence of a separation, without its end."""
        return f"The {trait} projection tells {self.positive} from {self.negative} in {self.model}"

    def adds(self, trait: str) -> str:
        """The sentence of a gain over the words, without its end."""
        return (
            f"The {trait} projection adds to what the words tell about {self.positive} against "
            f"{self.negative} in {self.model}"
        )


@dataclass(frozen=True)
class Separation:
    """Projections of labelled prompts, and the same for everything they are compared with.

    Args:
        rows: labels, groups, split, lengths, texts.
        places: what each column of scores reads, such as "layer 8, response mean".
        traits: per trait, scores `[row place]`; larger means more of the trait.
        random: scores of random directions of the activations' covariance, `[row place draw]`.
        foils: per foil (a topic, an unrelated trait), scores `[row place]`.
        embedding: per trait, scores `[row]` of the direction that the same contrast set gives at
            the embedding layer, both averaged over all tokens up to the place read: one token
            that is the same in every prompt says nothing, and counts as missing.
        tokens: the token id that is read, `[row place]`, where each place reads one. Where every
            prompt has the same token, its embedding tells nothing by construction (AUROC 0.5), and
            that is what the projection must beat there; how well the embeddings of the whole text
            do is shown beside it, as the text-only classifier is.

    Raises:
        MismatchError: shapes that do not fit.
    """

    rows: LabelledRows
    places: tuple[str, ...]
    traits: Mapping[str, Scores]
    random: NullScores | None = None
    foils: Mapping[str, Scores] | None = None
    embedding: Mapping[str, Float[np.ndarray, " row"]] | None = None
    tokens: Int[np.ndarray, "row place"] | None = None

    def __post_init__(self) -> None:
        n = len(self.rows.labels)
        require_shapes(self.traits, n, len(self.places))
        if self.foils:
            require_shapes(self.foils, n, len(self.places))
        require_null(self.random, n, len(self.places))
        require_rows_of(self.embedding or {}, n, ndim=1)
        if self.tokens is not None and self.tokens.shape != (n, len(self.places)):
            raise MismatchError(
                "Tokens have one id per row and place.",
                got=self.tokens.shape,
                valid=((n, len(self.places)),),
                fix="Give the token that each place reads, or None where it reads several.",
            )

    def same_token(self, place: str) -> bool:
        """Whether every prompt is read at the same token there."""
        if self.tokens is None:
            return False
        column = self.tokens[:, self.places.index(place)]
        return bool((column == column[0]).all())


@dataclass(frozen=True)
class _Read:
    """One trait at its place, on the report rows."""

    trait: str
    place: str
    scores: Float[np.ndarray, " report"]
    effect: Estimate
    labels: Significance
    random: NullRank | Unscored


def separation_claims(
    study: Separation,
    wording: Wording,
    *,
    alpha: float = 0.05,
    n_permutations: int = 2000,
    seed: int = 0,
) -> list[Claim]:
    """One claim per trait; p values adjusted over the traits.

    Args:
        n_permutations: relabelings of the report rows, at least 1 / alpha.
    """
    require_rates(alpha, n_permutations)
    places = {trait: int(best_place(scores, study.rows)) for trait, scores in study.traits.items()}
    _open(study, places, (alpha, n_permutations, seed))
    if small := too_small(study.rows):
        return [
            untestable(
                "separation",
                f"separation:{trait}",
                f"{wording.separates(trait)}.",
                small,
                len(study.traits),
            )
            for trait in study.traits
        ]
    random = None if study.random is None else distinct(study.random)
    read = [_read(study, random, *chosen, n_permutations, seed) for chosen in places.items()]
    stacked = np.stack([item.scores for item in read], axis=1)
    together = simultaneous_aurocs(
        stacked,
        study.rows.report_labels,
        study.rows.report_groups,
        n=n_permutations,
        seed=seed,
        blocks=study.rows.report_blocks,
    )
    random_p = holm_ranks([item.random for item in read])
    shared = _Shared.of(study)
    return [
        _claim(study, wording, item, shared, float(together.p[i]), random_p[i], alpha)
        for i, item in enumerate(read)
    ]


def _open(study: Separation, places: Mapping[str, int], settings: tuple[float, int, int]) -> None:
    rows = study.rows
    against = {
        "random": study.random,
        "foils": study.foils or {},
        "embedding": study.embedding or {},
        "tokens": study.tokens,
        "lengths": rows.lengths,
        "blocks": rows.blocks,
        "texts": rows.texts,
        "settings": settings,
    }
    open_lock(
        rows.lock,
        "separation",
        study.places,
        places,
        study.traits,
        labels=rows.labels,
        against=against,
    )


def _read(
    study: Separation,
    random: NullScores | None,
    trait: str,
    place: int,
    n_permutations: int,
    seed: int,
) -> _Read:
    rows = study.rows
    scores = study.traits[trait][rows.split.report, place].astype(np.float64)
    pair = AurocPair(rows)
    positive, negative = pair.clusters
    effect = auroc_interval(
        *pair.sides(scores), positive_clusters=positive, negative_clusters=negative
    )
    labels = permutation(
        scores,
        rows.report_labels,
        rows.report_groups,
        statistic="auroc",
        n=n_permutations,
        seed=seed,
        blocks=rows.report_blocks,
    )
    rank: NullRank | Unscored = Unscored("no random directions were handed in")
    if random is not None:
        rank = ranked(effect.value, null_aurocs(random, rows))
    return _Read(trait, study.places[place], scores, effect, labels, rank)


@dataclass(frozen=True)
class _Shared:
    """Comparisons that are the same for every trait, as scores of the report rows."""

    length: Float[np.ndarray, " report"] | Unscored
    text: Estimate | Unscored
    foil: tuple[str, Float[np.ndarray, " report"]] | Unscored

    @classmethod
    def of(cls, study: Separation) -> _Shared:
        rows, pair = study.rows, AurocPair(study.rows)
        length = length_scores(rows.lengths, rows.labels, rows.groups, rows.split)
        return cls(
            length=length if isinstance(length, Unscored) else length.report,
            text=_text_auroc(rows, pair),
            foil=_best_foil(study),
        )


def _text_auroc(rows: LabelledRows, pair: AurocPair) -> Estimate | Unscored:
    words = words_of(rows)
    if isinstance(words, Unscored):
        return words
    found = text_scores(words, rows.labels, rows.groups, rows.split)
    if isinstance(found, Unscored):
        return found
    positive, negative = pair.clusters
    return auroc_interval(
        *pair.sides(found.report), positive_clusters=positive, negative_clusters=negative
    )


def _best_foil(study: Separation) -> tuple[str, Float[np.ndarray, " report"]] | Unscored:
    """The foil and place that tell the selection rows apart best, on the report rows.

    What separates in reverse separates as well: each foil points where its selection rows do.
    """
    if not study.foils:
        return Unscored("no foil direction was handed in")
    rows = study.rows
    columns = [
        (name, column.astype(np.float64))
        for name, scores in study.foils.items()
        for column in scores.T
        if not constant(column[rows.lock.selection])
    ]
    if not columns:
        return Unscored("every foil scores all selection rows alike")
    oriented = [(name, *_oriented(column, rows)) for name, column in columns]
    name, _, report = max(oriented, key=lambda item: item[1])
    return name, report


def _oriented(
    values: Float[np.ndarray, " row"], rows: LabelledRows
) -> tuple[float, Float[np.ndarray, " report"]]:
    """AUROC on the selection rows, 0.5 or more, and the report rows with the sign that gives it."""
    chosen = rows.lock.selection
    labels = rows.labels[chosen]
    area = auroc(values[chosen][labels], values[chosen][~labels])
    report = values[rows.split.report].astype(np.float64)
    return (area, report) if area >= 0.5 else (1.0 - area, -report)


def _claim(
    study: Separation,
    wording: Wording,
    read: _Read,
    shared: _Shared,
    adjusted_p: float,
    random_p: float,
    alpha: float,
) -> Claim:
    pair = AurocPair(study.rows)
    whole_text = _at_embedding(study, read.trait)
    same_token = study.same_token(read.place)
    at_embedding = np.zeros_like(read.scores) if same_token else whole_text
    foil = shared.foil if isinstance(shared.foil, Unscored) else shared.foil[1]
    checks = [
        interval_check("separation", read.effect),
        p_value_check("label permutation", read.labels.p, alpha=alpha),
        null_check("random directions", read.random, random_p, alpha, len(study.traits)),
        _beats(pair, "foil directions", read.scores, foil),
        _beats(pair, "embedding layer", read.scores, at_embedding),
        _beats(pair, "length", read.scores, shared.length),
        p_value_check("multiplicity", adjusted_p, alpha=alpha),
    ]
    return Claim(
        id=f"separation:{read.trait}",
        kind="separation",
        statement=f"{wording.separates(read.trait)}, at {read.place}.",
        effect=read.effect,
        checks=tuple(checks),
        controls={"foil": shared.foil if isinstance(shared.foil, Unscored) else shared.foil[0]},
        nulls={"label permutation": read.labels, "random directions": read.random},
        shortcuts={
            TEXT_BASELINE: shared.text,
            "length": _auroc_of(pair, shared.length),
            "embedding layer": _auroc_of(pair, at_embedding),
            **({"embeddings of the whole text": _auroc_of(pair, whole_text)} if same_token else {}),
            "foil": _auroc_of(pair, foil),
            "true positive rates": rates(*pair.sides(read.scores)),
        },
        split="report rows; place chosen on the selection rows",
        looks=len(study.traits),
        smallest_effect_of_interest=SMALLEST_AUROC,
        trigger_involved=False,
        lock=study.rows.lock,
        detectable=detectable_auroc(*study.rows.clusters(), alpha=alpha / len(study.traits)),
        notes=_notes(study, read, shared),
    )


def _at_embedding(study: Separation, trait: str) -> Float[np.ndarray, " report"] | Unscored:
    found = None if study.embedding is None else study.embedding.get(trait)
    if found is None:
        return Unscored("no scores at the embedding layer were handed in")
    if constant(found[study.rows.lock.selection]):
        return Unscored("the embedding layer scores all selection rows alike: read more tokens")
    return _oriented(found, study.rows)[1]


def _beats(
    pair: AurocPair,
    name: str,
    scores: Float[np.ndarray, " report"],
    other: Float[np.ndarray, " report"] | Unscored,
) -> Check:
    if isinstance(other, Unscored):
        return missing_check(name, other.reason, "an advantage of the projection over it")
    return beats_check(name, pair.advantage(scores, other))


def _auroc_of(pair: AurocPair, scores: Float[np.ndarray, " report"] | Unscored) -> float | Unscored:
    return scores if isinstance(scores, Unscored) else auroc(*pair.sides(scores))


def _notes(study: Separation, read: _Read, shared: _Shared) -> tuple[str, ...]:
    notes = [f"chosen among {len(study.places)} places per trait on the selection rows"]
    if study.same_token(read.place):
        notes.append("every prompt is read at the same token, whose embedding tells nothing")
        whole = _auroc_of(AurocPair(study.rows), _at_embedding(study, read.trait))
        if isinstance(whole, float) and whole >= read.effect.value:
            notes.append(
                f"the words that were read do as well: their embeddings, averaged over the text, "
                f"reach AUROC {whole:.3f} along the trait's own direction there"
            )
    if isinstance(shared.text, Estimate) and shared.text.value >= read.effect.value:
        notes.append(
            f"the words alone do as well: a text-only classifier reaches AUROC "
            f"{shared.text.value:.3f} (see the claim 'beyond the text')"
        )
    return tuple(notes)
