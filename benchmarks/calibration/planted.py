"""Power: how often a planted effect of d SD is found, over d and the number of prompts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.calibration import gains, labelled, shifts, triggers
from trait_probe.evidence.claims import Claim

EFFECTS = (0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0)


@dataclass(frozen=True)
class PowerStudy:
    """One kind of claim with an effect planted in its first trait.

    Attributes:
        kind: of claim, with the design.
        n_is: what n counts.
        sizes: the n of the curves.
        run: (d, n, seed) -> claims; the first is the planted trait's.
        clean: whether little else moves: such a study at d = 1, n = 200 is held to the bar.
    """

    kind: str
    n_is: str
    sizes: tuple[int, ...]
    run: Callable[[float, int, int], list[Claim]]
    clean: bool = True


def power_studies() -> list[PowerStudy]:
    """Every kind that predicts an effect."""

    def separation(d: float, n: int, seed: int, *, paired: bool = False) -> list[Claim]:
        drawn = labelled.world(labelled.Plan(n=n, effect=d, paired=paired), seed)
        return labelled.separation(drawn, seed=seed)

    def beyond(d: float, n: int, seed: int) -> list[Claim]:
        drawn = labelled.world(labelled.Plan(n=n, effect=d), seed)
        return labelled.beyond_text(drawn, seed=seed)

    def shift(own: float) -> Callable[[float, int, int], list[Claim]]:
        def run(d: float, n: int, seed: int) -> list[Claim]:
            found = shifts.study(shifts.Plan(n=n, effect=d, own=own), seed)
            return shifts.claims(found, seed=seed)

        return run

    def trigger(prefix_sd: float) -> Callable[[float, int, int], list[Claim]]:
        def run(d: float, n: int, seed: int) -> list[Claim]:
            return triggers.study(triggers.Plan(n=n, effect=d, prefix_sd=prefix_sd), seed)

        return run

    return [
        PowerStudy("shift (fine-tunes 0.1 SD apart)", "prompts", (50, 100, 200), shift(0.1)),
        PowerStudy("shift (fine-tunes 0.5 SD apart)", "prompts", (200,), shift(0.5), False),
        PowerStudy("trigger (prefixes 0.1 SD apart)", "carriers", (100, 200), trigger(0.1)),
        PowerStudy("trigger (prefixes 0.3 SD apart)", "carriers", (200,), trigger(0.3), False),
        PowerStudy("separation", "prompts a group", (50, 100, 200), separation),
        PowerStudy(
            "separation, matched pairs",
            "pairs",
            (100, 200),
            lambda d, n, seed: separation(d, n, seed, paired=True),
        ),
        PowerStudy("beyond the text", "prompts a group", (200,), beyond),
        PowerStudy(
            "gain, 5 seeds",
            "test questions",
            (50, 100, 200),
            lambda d, n, seed: gains.gain(d, seed, n=n),
        ),
    ]
