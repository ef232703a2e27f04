"""Builders of small studies for tests: planted by default, any part overridden by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jaxtyping
import numpy as np

from trait_probe.evidence.claims import Claim
from trait_probe.evidence.locks import ReportLock
from trait_probe.evidence.splits import Split, split_by_group
from trait_probe.evidence.studies.beyond_text import BeyondText, beyond_text_claims
from trait_probe.evidence.studies.gain import ARMS, EXTRACTED, Gain, gain_claim
from trait_probe.evidence.studies.models import ModelScores, ShiftRows
from trait_probe.evidence.studies.rows import LabelledRows
from trait_probe.evidence.studies.separation import Separation, Wording, separation_claims
from trait_probe.evidence.studies.shift import Models, Shift, shift_claims

PLACES = ("layer 1", "layer 2", "layer 3")
BEST = 1
"""The place where effects are planted."""
N_GROUPS = 64
N_DRAWS = 60
WORDING = Wording("a test model", "harmful", "harmless")
MODELS = Models("variant", "base", "control")
VOCABULARY = tuple(f"word{i}" for i in range(30))


@contextmanager
def without_type_checks() -> Iterator[None]:
    """Users have none: what they see of a wrong shape is the package's own sentence."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


# --- verdicts -------------------------------------------------------------------------------------


def failed(claim: Claim) -> list[str]:
    """Names of the failed checks."""
    return [check.name for check in claim.all_checks if check.status == "failed"]


def missing(claim: Claim) -> list[str]:
    """Names of the missing checks."""
    return [check.name for check in claim.all_checks if check.status == "missing"]


def status(claim: Claim, name: str) -> str:
    """Status of one check."""
    return {check.name: check.status for check in claim.all_checks}[name]


def chosen_places(lock: ReportLock) -> object:
    """What the first opening chose."""
    return lock.openings[0].chosen["places"]


# --- labelled prompts -----------------------------------------------------------------------------


def families(n_groups: int = N_GROUPS, per_group: int = 2) -> tuple[str, ...]:
    """Group names of rows that come in families."""
    return tuple(f"family-{i // per_group:03d}" for i in range(n_groups * per_group))


def unequal_families(giant: int = 60) -> tuple[tuple[str, ...], ReportLock]:
    """Eight families of two to choose on; to report on, seven of two and one of `giant` rows."""
    small = tuple(f"family-{i // 2:03d}" for i in range(30))
    groups = (*small, *("giant",) * giant)
    rows = np.arange(len(groups))
    return groups, ReportLock(Split(rows[:16], rows[16:], 0.5, 0), {"prompts": "ab12"})


def lock_of(groups: Sequence[str], seed: int = 0, fraction: float = 0.5) -> ReportLock:
    return ReportLock(split_by_group(groups, fraction=fraction, seed=seed), {"prompts": "ab12"})


def labelled_rows(
    *, n_groups: int = N_GROUPS, seed: int = 0, paired: bool = False, **changes: Any
) -> LabelledRows:
    """Families of two prompts of one class, or (paired) of one prompt of each."""
    rng = np.random.default_rng([seed, 1])
    groups = families(n_groups)
    n = len(groups)
    lengths = rng.integers(8, 16, n)
    texts = tuple(" ".join(VOCABULARY[i] for i in rng.integers(30, size=k)) for k in lengths)
    fields: dict[str, Any] = {
        "ids": tuple(f"prompt-{i:03d}" for i in range(n)),
        "labels": np.arange(n) // (1 if paired else 2) % 2 == 0,
        "groups": groups,
        "lock": lock_of(groups, seed),
        "fitted_on": frozenset({"contrast-0", "contrast-1"}),
        "lengths": lengths,
        "texts": texts,
    }
    return LabelledRows(**{**fields, **changes})


def noise(rows: LabelledRows, seed: int, *shape: int) -> np.ndarray:
    """Standard normal numbers `[row *shape]`."""
    return np.random.default_rng([seed, 2]).standard_normal((len(rows.labels), *shape))


def planted(rows: LabelledRows, effect: float, seed: int = 0) -> np.ndarray:
    """Noise `[row place]` with the positives `effect` SD higher at the place BEST."""
    scores = noise(rows, seed, len(PLACES))
    scores[:, BEST] += effect * rows.labels
    return scores


def separation(effect: float = 2.5, seed: int = 0, **changes: Any) -> Separation:
    """One trait with a planted effect, and controls that have none."""
    rows = changes.pop("rows", None) or labelled_rows(seed=seed)
    k = len(PLACES)
    fields: dict[str, Any] = {
        "rows": rows,
        "places": PLACES,
        "traits": {"evil": planted(rows, effect, seed)},
        "random": noise(rows, 100 + seed, k, N_DRAWS),
        "foils": {name: noise(rows, 200 + seed + i, k) for i, name in enumerate(("topic", "tone"))},
        "embedding": {"evil": noise(rows, 300 + seed)},
    }
    return Separation(**{**fields, **changes})


def separated(study: Separation, n_permutations: int = 200) -> Claim:
    """The claim on the first trait."""
    return separation_claims(study, WORDING, n_permutations=n_permutations)[0]


def beyond_text(effect: float = 2.5, seed: int = 0, **changes: Any) -> BeyondText:
    """One trait with a planted effect; words, embedding and random directions know nothing."""
    rows = changes.pop("rows", None) or labelled_rows(seed=seed)
    traits = changes.pop("traits", {"evil": planted(rows, effect, seed)})
    fields: dict[str, Any] = {
        "rows": rows,
        "places": PLACES,
        "traits": traits,
        "embedding": noise(rows, 400 + seed, 4),
        "at_embedding": {name: noise(rows, 450 + seed) for name in traits},
        "random": noise(rows, 500 + seed, len(PLACES), 20),
    }
    return BeyondText(**{**fields, **changes})


def beyond(study: BeyondText) -> Claim:
    """The claim on the first trait."""
    return beyond_text_claims(study, WORDING)[0]


def with_leak(
    rows: LabelledRows, share: float, seed: int = 0
) -> tuple[tuple[str, ...], np.ndarray]:
    """Texts in which `share` of the positives start with one telling word, and which do."""
    assert rows.texts is not None
    has = rows.labels & (np.random.default_rng([seed, 3]).random(len(rows.labels)) < share)
    pairs = zip(rows.texts, has, strict=True)
    return tuple(f"secret {text}" if leaks else text for text, leaks in pairs), has


# --- three models ---------------------------------------------------------------------------------


def shift_rows(*, n_groups: int = N_GROUPS, seed: int = 0, **changes: Any) -> ShiftRows:
    groups = families(n_groups)
    fields: dict[str, Any] = {
        "ids": tuple(f"prompt-{i:03d}" for i in range(len(groups))),
        "groups": groups,
        "lock": lock_of(groups, seed),
        "fitted_on": frozenset({"contrast-0"}),
    }
    return ShiftRows(**{**fields, **changes})


def scores_of(
    rows: ShiftRows,
    *,
    variant: float = 0.0,
    controls: Sequence[float] = (0.0,),
    seed: int = 0,
    draws: int | None = None,
    jitter: float = 0.3,
) -> ModelScores:
    """Base noise; every fine-tune adds noise of `jitter`, and its shift at the place BEST."""
    rng = np.random.default_rng([seed, 4])
    shape = (len(rows.ids), len(PLACES)) + (() if draws is None else (draws,))
    base = rng.standard_normal(shape)
    models = [base + jitter * rng.standard_normal(shape) for _ in (variant, *controls)]
    for scores, moved in zip(models, (variant, *controls), strict=True):
        scores[:, BEST] += moved
    return ModelScores(base, models[0], tuple(models[1:]))


def unrelated(rows: ShiftRows, n: int = 8, seed: int = 0, **changes: Any) -> dict[str, ModelScores]:
    """Traits that have nothing to do with the claim."""
    return {f"other-{i}": scores_of(rows, seed=300 + seed + i, **changes) for i in range(n)}


def shift(effect: float = 1.5, seed: int = 0, **changes: Any) -> Shift:
    """One trait that the variant has more of; control and null directions barely move."""
    rows = changes.pop("rows", None) or shift_rows(seed=seed)
    traits = changes.pop("traits", None)
    if traits is None:
        traits = {"evil": scores_of(rows, variant=effect, seed=seed)}
    controls = (0.0,) * max([1, *(len(models.controls) for models in traits.values())])
    fields: dict[str, Any] = {
        "rows": rows,
        "places": PLACES,
        "traits": traits,
        "random": scores_of(rows, controls=controls, seed=100 + seed, draws=N_DRAWS),
        "shuffled": scores_of(rows, controls=controls, seed=200 + seed, draws=N_DRAWS),
        "unrelated": unrelated(rows, seed=seed) if len(controls) == 1 else {},
    }
    return Shift(**{**fields, **changes})


def shifted(study: Shift, n_permutations: int = 200) -> Claim:
    """The claim on the first trait."""
    return shift_claims(study, MODELS, n_permutations=n_permutations)[0]


# --- arms -----------------------------------------------------------------------------------------


def gain(
    effect: float = 1.0, seed: int = 0, *, n: int = 40, seeds: int = 4, **changes: Any
) -> Gain:
    """A searched vector `effect` above arms that are alike but for noise."""
    rng = np.random.default_rng([seed, 5])
    question = rng.standard_normal(n)

    def scores(k: int) -> np.ndarray:
        return question + 0.05 * rng.standard_normal((k, 1)) + 0.5 * rng.standard_normal((k, n))

    fields: dict[str, Any] = {
        "searched": scores(seeds) + effect,
        "arms": {name: scores(1 if name in (EXTRACTED, ARMS[3]) else seeds) for name in ARMS},
        "test": tuple(f"test-{i}" for i in range(n)),
        "chosen_on": tuple(f"train-{i}" for i in range(n)),
        "null": scores(30),
    }
    return Gain(**{**fields, **changes})


def gained(study: Gain, **changes: Any) -> Claim:
    options: dict[str, Any] = {"statement": "The searched vector is better.", "unit": "score"}
    return gain_claim(study, **{**options, **changes})
