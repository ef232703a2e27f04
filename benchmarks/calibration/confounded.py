"""Studies whose effect comes from somewhere else: caught means not supported, or refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from benchmarks.calibration import labelled, shifts
from benchmarks.calibration.activations import TRAITS, Space, project
from benchmarks.calibration.rates import Outcome
from trait_probe.errors import BadInputError
from trait_probe.evidence.auc import auroc, auroc_interval
from trait_probe.evidence.claims import INTERVAL_CHECK, PREDICTED_CHECK
from trait_probe.evidence.estimate import Estimate
from trait_probe.evidence.locks import ReportLock
from trait_probe.evidence.means import clustered_mean
from trait_probe.evidence.splits import Split, text_id
from trait_probe.evidence.studies.separation import Separation, separation_claims


@dataclass(frozen=True)
class Confounded:
    """One confound.

    Attributes:
        name: in words.
        kind: of claim.
        guards: checks that are there for it; "supported without" ignores them.
        run: seed -> (what the tool says, whether it would be supported without the guards).
    """

    name: str
    kind: str
    guards: tuple[str, ...]
    run: Callable[[int], tuple[Outcome, bool]]


def _checked(
    name: str, kind: str, guards: tuple[str, ...], outcome: Callable[[int], Outcome]
) -> Confounded:
    def run(seed: int) -> tuple[Outcome, bool]:
        said = outcome(seed)
        return said, said.supported_without(guards)

    return Confounded(name, kind, guards, run)


def confounded_studies() -> list[Confounded]:
    """Every confound."""
    nulls = ("random directions", "unrelated directions", "fine-tuning variation")
    offsets = ("control model", *nulls)
    words = ("embedding layer", PREDICTED_CHECK)
    return [
        _checked(
            "length leak: positives 2 SD longer, the trait reads length",
            "separation",
            ("length",),
            lambda seed: _separation(labelled.Plan(longer=2.0), seed),
        ),
        _checked(
            "vocabulary leak: a word in 90 % against 10 %, the trait reads it",
            "separation",
            ("embedding layer",),
            lambda seed: _separation(labelled.Plan(leak=0.9), seed),
        ),
        _checked(
            "vocabulary leak: the same word",
            "beyond the text",
            (*words, INTERVAL_CHECK["beyond the text"], "text-only classifier", "multiplicity"),
            lambda seed: _beyond(labelled.Plan(leak=0.9), seed),
        ),
        _checked(
            "vocabulary leak: forty synonyms",
            "beyond the text",
            words,
            lambda seed: _beyond(labelled.Plan(leak=0.9, synonyms=40), seed),
        ),
        _checked(
            "fine-tuning offset of 3 SD, the control has it too",
            "shift",
            offsets,
            lambda seed: _shift(shifts.Plan(common=3.0), seed),
        ),
        _checked(
            "fine-tuning offset of 3 SD, half of it in the control",
            "shift",
            nulls,
            lambda seed: _shift(shifts.Plan(common=1.5, excess=2.0), seed),
        ),
        _checked(
            "fine-tuning offset of 3 SD, no control model and no null",
            "shift",
            (*offsets, "controls shown", "nulls shown"),
            lambda seed: _shift(shifts.Plan(common=3.0), seed, control=False),
        ),
        Confounded(
            "layer peeking: the report split read once per layer",
            "separation",
            ("report split opened once",),
            _peeking,
        ),
        Confounded("layer peeking: chosen on the reported rows", "separation", (), _same_rows),
        Confounded("same-set fitting: direction from the tested prompts", "separation", (), _fit),
        Confounded("same-set centering: mean of the tested prompts", "shift", (), _centre),
    ]


def _separation(plan: labelled.Plan, seed: int) -> Outcome:
    return Outcome.of(labelled.separation(labelled.world(plan, seed), seed=seed)[:1])


def _beyond(plan: labelled.Plan, seed: int) -> Outcome:
    return Outcome.of(labelled.beyond_text(labelled.world(plan, seed), seed=seed)[:1])


def _shift(plan: shifts.Plan, seed: int, *, control: bool = True) -> Outcome:
    found = shifts.study(plan, seed)
    if not control:
        traits = {name: replace(models, controls=()) for name, models in found.traits.items()}
        found = replace(found, traits=traits, random=None, shuffled=None, unrelated={})
    return Outcome.of(shifts.claims(found, seed=seed)[:1])


def _peeking(seed: int) -> tuple[Outcome, bool]:
    """Every layer is reported in turn on the same split, and the best is kept.

    Without any guard: the best interval of twelve excludes chance.
    """
    drawn = labelled.world(labelled.Plan(n=100), seed)
    claims = []
    for place, name in enumerate(labelled.PLACES):
        one = slice(place, place + 1)
        study = Separation(
            rows=drawn.rows,
            places=(name,),
            traits={trait: scores[:, one] for trait, scores in drawn.traits.items()},
            random=drawn.random[:, one],
            foils={foil: scores[:, one] for foil, scores in drawn.foils.items()},
            embedding=drawn.at_embedding,
        )
        claims += separation_claims(
            study, labelled.WORDING, n_permutations=labelled.N_PERMUTATIONS, seed=seed
        )
    naive = any(isinstance(claim.effect, Estimate) and _finds(claim.effect) for claim in claims)
    return Outcome.of(claims), naive


def _refused(attempt: Callable[[], object]) -> Outcome:
    try:
        attempt()
    except BadInputError as error:
        return Outcome((), (), refused=str(error))
    raise AssertionError("the guard let it pass")


def _finds(effect: Estimate) -> bool:
    null = 0.5 if effect.unit == "AUROC" else 0.0
    return effect.low > null


def _same_rows(seed: int) -> tuple[Outcome, bool]:
    """The best of three traits and four layers, chosen on the rows that report it."""
    drawn = labelled.world(labelled.Plan(n=100), seed)
    labels = drawn.rows.labels
    every = np.arange(len(labels))
    columns = [scores[:, i] for scores in drawn.traits.values() for i in range(scores.shape[1])]
    best = max(columns, key=lambda column: auroc(column[labels], column[~labels]))
    outcome = _refused(lambda: ReportLock(Split(every, every, 0.5, seed), {"seed": seed}))
    return outcome, _finds(_interval(best, drawn))


def _interval(scores: Float[np.ndarray, " row"], drawn: labelled.World) -> Estimate:
    labels, groups = drawn.rows.labels, np.array(drawn.rows.groups)
    return auroc_interval(
        scores[labels],
        scores[~labels],
        positive_clusters=groups[labels].tolist(),
        negative_clusters=groups[~labels].tolist(),
    )


def _fit(seed: int) -> tuple[Outcome, bool]:
    """A mean difference of the tested prompts separates them, whatever they are."""
    drawn = labelled.world(labelled.Plan(n=100), seed)
    rng = np.random.default_rng(seed)
    space = Space.draw(rng)
    rows = space.rows(np.arange(len(drawn.rows.labels)), rng)
    labels = drawn.rows.labels
    direction = rows[labels].mean(axis=0) - rows[~labels].mean(axis=0)
    scores = project(rows, direction)[:, 0]
    assert drawn.rows.texts is not None
    fitted = frozenset(text_id(text) for text in drawn.rows.texts)
    renamed = tuple(f"other-{i}" for i in range(len(labels)))
    outcome = _refused(lambda: replace(drawn.rows, ids=renamed, fitted_on=fitted))
    return outcome, _finds(_interval(scores, drawn))


def _centre(seed: int) -> tuple[Outcome, bool]:
    """Centred on their own mean, the variant's prompts show no shift, however large it is."""
    found = shifts.study(shifts.Plan(effect=2.0), seed)
    models = found.traits[TRAITS[0]]
    shift = models.shift()[:, -1]
    centred = shift - shift.mean()
    rows = found.rows
    outcome = _refused(lambda: replace(rows, fitted_on=frozenset(rows.ids)))
    missed = not _finds(clustered_mean(centred, list(rows.groups), unit="SD"))
    return outcome, missed
