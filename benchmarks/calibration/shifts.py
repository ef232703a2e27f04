"""Studies of a fine-tuned model against its base and a control, on synthetic activations.

Every fine-tune moves all prompts by one offset of its own, plus a little noise.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from benchmarks.calibration.activations import N_RANDOM, TRAITS, Space, project, project_many
from trait_probe.evidence.claims import Claim
from trait_probe.evidence.locks import ReportLock
from trait_probe.evidence.splits import split_by_group
from trait_probe.evidence.studies.models import ModelScores, ShiftRows
from trait_probe.evidence.studies.shift import Models, Shift, shift_claims

MODELS = Models("variant", "base", "control")
N_PERMUTATIONS = 400
N_SHUFFLED = 100
N_UNRELATED = 8


@dataclass(frozen=True)
class Plan:
    """What is planted in the first trait of the variant.

    Attributes:
        n: prompts, in families of two.
        effect: shift along the trait from the second layer on, in SD of the base.
        own: size of each fine-tune's own random offset, in SD of the activations.
        common: size of an offset that both fine-tunes share, in SD of the first trait's
            projection, which it raises; the variant has `excess` times as much as the control.
    """

    n: int = 200
    effect: float = 0.0
    own: float = 0.5
    common: float = 0.0
    excess: float = 1.0


def study(plan: Plan, seed: int) -> Shift:
    """Draw prompts, three models and directions."""
    rng = np.random.default_rng(seed)
    space = Space.draw(rng)
    families = np.arange(plan.n) // 2
    base = space.rows(families, rng)
    directions = {name: space.fitted(rng) for name in TRAITS}
    offset = _common(plan, space, base, directions[TRAITS[0]], rng)
    variant, control = (
        base
        + 0.3 * space.rows(np.arange(plan.n), rng)
        + plan.own * space.rows([0], rng)
        + k * offset
        for k in (plan.excess, 1.0)
    )
    first = directions[TRAITS[0]]
    sd = project(base, first).std(axis=0, ddof=1)
    late = np.arange(len(sd)) >= 1
    variant = variant + plan.effect * (sd * late)[:, None] * first
    shuffled = np.stack([space.fitted(rng) for _ in range(N_SHUFFLED)], axis=1)
    others = {f"other-{i}": space.fitted(rng) for i in range(N_UNRELATED)}
    groups = tuple(f"family-{i:04d}" for i in families)
    rows = ShiftRows(
        ids=tuple(f"prompt-{i:04d}" for i in range(plan.n)),
        groups=groups,
        lock=ReportLock(split_by_group(groups, seed=seed), {"seed": seed}),
        fitted_on=frozenset({"contrast set"}),
    )

    def many(found: Float[np.ndarray, "layer draw d_model"]) -> ModelScores:
        return _scores(project_many(rows, found) for rows in (base, variant, control))

    def one(found: Float[np.ndarray, "layer d_model"]) -> ModelScores:
        return _scores(project(rows, found) for rows in (base, variant, control))

    return Shift(
        rows=rows,
        places=tuple(f"layer {i}" for i in range(len(sd))),
        traits={name: one(found) for name, found in directions.items()},
        random=many(space.null(N_RANDOM, seed)),
        shuffled=many(shuffled),
        unrelated={name: one(found) for name, found in others.items()},
        directions={**directions, **others},
    )


def _scores(grids: Iterable[np.ndarray]) -> ModelScores:
    base, variant, control = grids
    return ModelScores(base, variant, (control,))


def _common(
    plan: Plan,
    space: Space,
    base: Float[np.ndarray, "row layer d_model"],
    trait: Float[np.ndarray, "layer d_model"],
    rng: np.random.Generator,
) -> Float[np.ndarray, "one layer d_model"]:
    """A direction drawn like any activation, at the size and sign that raise the trait."""
    drawn = space.rows([0], rng)
    reached = project(drawn, trait) / project(base, trait).std(axis=0, ddof=1)
    return np.asarray(plan.common * drawn / reached[..., None])


def claims(found: Shift, *, seed: int) -> list[Claim]:
    """The whole study, as an experiment calls it."""
    return shift_claims(found, MODELS, n_permutations=N_PERMUTATIONS, seed=seed)
