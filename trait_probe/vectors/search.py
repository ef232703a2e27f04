"""Search for a direction and a strength: CMA-ES, or random draws with the same budget.

A candidate is a point `[component + 1]`: coordinates of a direction in a subspace, whose length
does not count, and the strength, on a scale of its own. Each generation is evaluated in one call,
and with it once more the best candidate so far (the incumbent) and the start. Where generations see
other questions or judges are noisy, the value that made a candidate the best was partly luck: what
counts is what it gets when it is evaluated again, over what the start gets on the same questions,
which may be easy or hard ones. Every evaluation can be remembered, so that a killed search,
started again, goes the same way: nothing but the seed and the remembered values decides it.
(Hansen 2016, "The CMA evolution strategy: a tutorial", arXiv 1604.00772; package `cma`.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float64

from trait_probe.errors import BadInputError
from trait_probe.vectors.samplers import METHODS, Points


@dataclass(frozen=True)
class Bounds:
    """Strengths that a search may try, above 0."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0.0 < self.low < self.high < np.inf:
            raise BadInputError(
                "Strengths of a search lie between two bounds above 0.", got=(self.low, self.high)
            )


@dataclass(frozen=True)
class Settings:
    """How a search goes.

    Args:
        popsize: new candidates of a generation, at least 4.
        iterations: most generations.
        step: expected distance of the first candidates' coordinates from the unit start vector.
        strength_step: standard deviation of the first candidates' log strength.
        strengths: bounds; candidates beyond are put on them.
        patience: generations; the search stops where the incumbents of the last `patience`,
            evaluated again, were no better above the start than those of the `patience` before.
        tolerance: by less than this, in units of the fitness.
    """

    popsize: int
    iterations: int
    strengths: Bounds
    step: float = 0.5
    strength_step: float = 0.3
    patience: int = 10
    tolerance: float = 0.005

    def __post_init__(self) -> None:
        least = {"popsize": 4, "iterations": 1, "patience": 1}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise BadInputError(f"{name} is at least {low}.", got=getattr(self, name))
        for name in ("step", "strength_step"):
            if not 0.0 < getattr(self, name) < np.inf:
                raise BadInputError(f"{name} is finite and above 0.", got=getattr(self, name))


@dataclass(frozen=True)
class Candidates:
    """Directions, as coordinates in a subspace, with a strength each."""

    coordinates: Float64[np.ndarray, "candidate component"]
    strengths: Float64[np.ndarray, " candidate"]

    def __len__(self) -> int:
        return len(self.strengths)

    def one(self, index: int) -> Candidates:
        """The candidate of that number, alone."""
        return Candidates(self.coordinates[[index]], self.strengths[[index]])

    def __add__(self, other: Candidates) -> Candidates:
        return Candidates(
            np.concatenate([self.coordinates, other.coordinates]),
            np.concatenate([self.strengths, other.strengths]),
        )


@dataclass(frozen=True)
class Evaluated:
    """What candidates achieved.

    Attributes:
        fitness: larger is better; finite.
        parts: what it is made of, by name, for the report.
    """

    fitness: Float64[np.ndarray, " candidate"]
    parts: Mapping[str, Float64[np.ndarray, " candidate"]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not np.isfinite(self.fitness).all():
            raise BadInputError("A fitness is a finite number.", got=self.fitness.tolist())


Evaluate = Callable[[int, Candidates], Evaluated]
"""The fitness of candidates in the generation of that number: all in one call."""
Remember = Callable[[int, Candidates, Callable[[], Evaluated]], Evaluated]
"""Gives the generation's values, computed (and kept) or as they were kept."""


@dataclass(frozen=True)
class Generation:
    """One generation: new candidates, then the incumbent once more (after the first one), then the
    start."""

    candidates: Candidates
    evaluated: Evaluated
    has_incumbent: bool

    @property
    def n_new(self) -> int:
        """How many candidates are new."""
        return len(self.candidates) - self.has_incumbent - 1

    @property
    def best(self) -> int:
        """Number of the best new candidate."""
        return int(self.evaluated.fitness[: self.n_new].argmax())

    @property
    def again(self) -> float | None:
        """The incumbent's fitness when evaluated again, above the start's; None without one yet."""
        fitness = self.evaluated.fitness
        return float(fitness[-2] - fitness[-1]) if self.has_incumbent else None


@dataclass(frozen=True)
class Incumbent:
    """A candidate that was the best for some generations.

    Attributes:
        since: the generation that it came from.
        again: its fitness above the start's, each time it was evaluated again.
    """

    candidate: Candidates
    since: int
    again: tuple[float, ...]

    @property
    def fitness(self) -> float:
        """Mean of what it got after it was chosen; minus infinity where it was replaced at once."""
        return sum(self.again) / len(self.again) if self.again else -np.inf


@dataclass(frozen=True)
class Trajectory:
    """A whole search.

    Attributes:
        start: where it began.
        incumbents: in order.
        centre: where the search stood at its end (CMA-ES: the mean; random: the start).
        stopped: `plateau` or `iterations`.
    """

    start: Candidates
    generations: tuple[Generation, ...]
    incumbents: tuple[Incumbent, ...]
    centre: Candidates
    stopped: str

    @property
    def n_evaluations(self) -> int:
        return sum(len(one.candidates) for one in self.generations)

    def finalists(self, n: int) -> Candidates:
        """Start, centre, and the `n` best incumbents by what they got when evaluated again (one
        more where the centre is the start: every search has as many to choose from).

        The last incumbent is among them though it may never have been evaluated again: whoever
        takes the finalists on evaluates all of them anew.
        """
        *before, last = self.incumbents
        ranked = sorted(before, key=lambda one: one.fitness, reverse=True)
        still = np.array_equal(self.start.coordinates, self.centre.coordinates)
        found = self.start + (last.candidate if still else self.centre + last.candidate)
        for one in ranked[: n if still else n - 1]:
            found = found + one.candidate
        return found


def search(
    method: str,
    evaluate: Evaluate,
    start: Candidates,
    settings: Settings,
    *,
    seed: int,
    remember: Remember = lambda generation, candidates, compute: compute(),
    stop_early: bool = True,
) -> Trajectory:
    """Look for the candidate of largest fitness.

    Args:
        method: a name of `samplers.METHODS`.
        start: one candidate.
        remember: keeps each generation's values; a search that finds its values there asks for
            none anew.
        stop_early: False runs all iterations, as a search with the budget of another does.

    Raises:
        BadInputError: an unknown method, not one start, or a negative seed.
    """
    if method not in METHODS:
        raise BadInputError("There is no such search.", got=method, valid=METHODS)
    if len(start) != 1 or seed < 0:
        raise BadInputError("A search has one start and a seed from 0 on.", got=(len(start), seed))
    scale = _Scale.of(start, settings)
    sampler = METHODS[method](scale.start, scale.sigma, settings.popsize, seed)
    begin = scale.candidates(scale.start[None])
    progress = _Progress(settings, begin)
    while (stopped := progress.stopped(stop_early)) is None:
        points = sampler.ask()
        found = progress.evaluate(scale.candidates(points), evaluate, remember)
        sampler.tell(points, found.evaluated.fitness[: found.n_new])
    return Trajectory(
        start=begin,
        generations=tuple(progress.generations),
        incumbents=tuple(progress.incumbents()),
        centre=scale.candidates(sampler.centre[None]),
        stopped=stopped,
    )


@dataclass(frozen=True)
class _Scale:
    """Between points of the sampler, isotropic around its start, and candidates."""

    start: Float64[np.ndarray, " dimension"]
    sigma: float
    base: float  # log strength at the start
    unit: float  # of log strength, per unit of the last coordinate
    bounds: Bounds

    @classmethod
    def of(cls, start: Candidates, settings: Settings) -> _Scale:
        coordinates = start.coordinates[0]
        unit = coordinates / np.linalg.norm(coordinates)
        sigma = settings.step / np.sqrt(len(unit))
        return cls(
            start=np.append(unit, 0.0),
            sigma=float(sigma),
            base=float(np.log(start.strengths[0])),
            unit=float(settings.strength_step / sigma),
            bounds=settings.strengths,
        )

    def candidates(self, points: Points) -> Candidates:
        logs = self.base + self.unit * points[:, -1]
        limits = np.log([self.bounds.low, self.bounds.high])
        return Candidates(points[:, :-1].copy(), np.exp(np.clip(logs, *limits)))


class _Progress:
    """The generations so far, who the incumbent is, and whether it still gets better."""

    def __init__(self, settings: Settings, start: Candidates) -> None:
        self._settings = settings
        self._start = start
        self.generations: list[Generation] = []
        self._kings: list[tuple[Candidates, int, list[float]]] = []

    def evaluate(self, new: Candidates, evaluate: Evaluate, remember: Remember) -> Generation:
        number = len(self.generations)
        again = new + self._kings[-1][0] if self._kings else new
        asked = again + self._start
        values = remember(number, asked, lambda: evaluate(number, asked))
        found = Generation(asked, values, bool(self._kings))
        self.generations.append(found)
        self._crown(found, number)
        return found

    def _crown(self, found: Generation, number: int) -> None:
        """A new candidate takes over where it beats the incumbent on the same questions."""
        fitness, again = found.evaluated.fitness, found.again
        if again is not None:
            self._kings[-1][2].append(again)
        if again is None or fitness[found.best] > fitness[found.n_new]:
            self._kings.append((found.candidates.one(found.best), number, []))

    def incumbents(self) -> list[Incumbent]:
        return [Incumbent(one, since, tuple(again)) for one, since, again in self._kings]

    def stopped(self, early: bool) -> str | None:
        if len(self.generations) >= self._settings.iterations:
            return "iterations"
        values = [one.again for one in self.generations if one.again is not None]
        span = self._settings.patience
        if not early or len(values) < 2 * span:
            return None
        gained = sum(values[-span:]) - sum(values[-2 * span : -span])
        return "plateau" if gained < span * self._settings.tolerance else None
