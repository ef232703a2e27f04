"""The searches of one trait, each generation kept as it is made, and the choice among finalists."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch

from trait_probe.errors import MismatchError
from trait_probe.experiments._optimization.config import Config
from trait_probe.experiments._optimization.measuring import measured
from trait_probe.runs.rundir import Run
from trait_probe.vectors.objective import Objective
from trait_probe.vectors.panel import Panel
from trait_probe.vectors.search import (
    Bounds,
    Candidates,
    Evaluated,
    Settings,
    Trajectory,
    search,
)

LADDER = (1.0, 0.9, 0.8, 0.7, 0.55, 0.4)
"""Fractions of a finalist's strength that validation may choose; 0 is offered as well."""


def settings_of(config: Config) -> Settings:
    """The search's settings."""
    return Settings(
        popsize=config.popsize,
        iterations=config.iterations,
        strengths=Bounds(config.strengths[0], config.strengths[-1]),
        step=config.step,
        patience=config.patience,
        tolerance=config.tolerance,
    )


def kept_search(
    run: Run,
    name: str,
    method: str,
    objective: Objective,
    start: Candidates,
    settings: Settings,
    *,
    seed: int,
    stop_early: bool = True,
) -> Trajectory:
    """A search whose generations are stages of the run: killed, it goes on as it went.

    Args:
        name: the stages' folder.
    """

    def remember(
        generation: int, candidates: Candidates, compute: Callable[[], Evaluated]
    ) -> Evaluated:
        table = run.stage(f"{name}/{generation:04d}", lambda: _table(candidates, compute()))
        return _evaluated(table, candidates, name)

    return search(
        method, objective, start, settings, seed=seed, remember=remember, stop_early=stop_early
    )


def _table(candidates: Candidates, values: Evaluated) -> pa.Table:
    columns = {
        "coordinates": pa.array(candidates.coordinates.tolist(), pa.list_(pa.float64())),
        "strength": candidates.strengths,
        "fitness": values.fitness,
    }
    return pa.table(columns | {f"part/{name}": found for name, found in values.parts.items()})


def _evaluated(table: pa.Table, candidates: Candidates, name: str) -> Evaluated:
    kept = np.array(table["coordinates"].to_pylist()), table["strength"].to_numpy()
    if not (
        np.array_equal(kept[0], candidates.coordinates)
        and np.array_equal(kept[1], candidates.strengths)
    ):
        raise MismatchError(
            "A resumed search asks for other candidates than the ones that were kept: it was begun "
            "with other versions of numpy or cma, or on another machine.",
            got=name,
            fix="Choose another --out folder and begin anew.",
        )
    parts = {
        column.removeprefix("part/"): table[column].to_numpy()
        for column in table.column_names
        if column.startswith("part/")
    }
    return Evaluated(table["fitness"].to_numpy(), parts)


def finer(bounds: Bounds, n: int) -> tuple[float, ...]:
    """`n` strengths from one bound to the other, evenly in their logs."""
    inner = np.exp(np.linspace(np.log(bounds.low), np.log(bounds.high), n))[1:-1]
    return (bounds.low, *inner.tolist(), bounds.high)


@dataclass(frozen=True)
class Chosen:
    """A candidate as it was chosen on the validation questions.

    Attributes:
        candidate: alone; strength 0 where nothing stayed within the bounds: do not steer.
        score: on the validation questions, which chose it: no evidence.
        kl: likewise.
        within: whether it stayed within the bounds there.
        n_rungs, n_answers, n_tokens: what the choice cost.
    """

    candidate: Candidates
    score: float
    kl: float
    within: bool
    n_rungs: int
    n_answers: int
    n_tokens: int


def choose(
    run: Run, name: str, objective: Objective, panel: Panel, finalists: Candidates
) -> Chosen:
    """The finalist, at one of several fractions of its strength, of highest validation score.

    Within the bounds on divergence and coherence; of equal ones that with the least divergence. Not
    to steer is a candidate too, as it is for the extracted vector.
    """
    rungs = Candidates(
        np.repeat(finalists.coordinates, len(LADDER), axis=0),
        np.outer(finalists.strengths, LADDER).reshape(-1),
    ) + Candidates(finalists.coordinates[:1], np.zeros(1))
    found = measured(run, name, panel, objective.steerings(rungs))
    terms, score = objective.terms, found.mean_score
    within = (found.kl <= terms.most_kl) & (found.coherent_share >= terms.least_coherence)
    if not within.any():
        still = Candidates(finalists.coordinates[:1], np.zeros(1))
        return Chosen(still, 0.0, 0.0, False, len(rungs), found.scored.size, found.tokens)
    order = np.lexsort((found.kl, -score, ~within))
    best = int(order[0])
    return Chosen(
        rungs.one(best),
        float(score[best]),
        float(found.kl[best]),
        True,
        len(rungs),
        found.scored.size,
        found.tokens,
    )


def start_of(
    objective: Objective, direction: torch.Tensor, strength: float, bounds: Bounds
) -> Candidates:
    """The extracted vector, as far as it lies in the subspace, at its best strength."""
    inside = objective.subspace.coordinates(direction).numpy()
    return Candidates(inside[None], np.array([min(max(strength, bounds.low), bounds.high)]))
