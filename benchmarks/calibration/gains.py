"""Studies of a searched vector against what costs less, and of behaviour that does not differ."""

from __future__ import annotations

import numpy as np

from trait_probe.evidence.claims import Claim
from trait_probe.evidence.studies.gain import ARMS, EXTRACTED, Gain, gain_claim
from trait_probe.evidence.studies.same_behaviour import BOUND, same_behaviour_claim


def gain(
    effect: float, seed: int, *, n: int = 200, seeds: int = 5, others: float = 0.0
) -> list[Claim]:
    """All arms equal but for `effect`, in SD of a question's difference; one search a seed.

    With `others` below 0 all arms but the extracted vector are worse by that much: one comparison
    decides, and four that must be won at once hide no error rate.

    A search adds something of its own to every question (SD 0.1), each answer is noisy. An arm
    without seeds is as it is: nothing of its own, or there would be a true difference.
    """
    rng = np.random.default_rng(seed)
    question = rng.standard_normal(n)

    def scores(k: int) -> np.ndarray:
        own = 0.1 * rng.standard_normal((k, 1)) if k > 1 else 0.0
        return question + own + 0.7 * rng.standard_normal((k, n))

    searched = scores(seeds) + effect
    arms = {name: scores(1 if name in (EXTRACTED, ARMS[3]) else seeds) for name in ARMS}
    arms |= {name: arms[name] + others for name in ARMS if name != EXTRACTED}
    study = Gain(
        searched=searched,
        arms=arms,
        test=tuple(f"test-{i}" for i in range(n)),
        chosen_on=tuple(f"train-{i}" for i in range(n)),
    )
    return [gain_claim(study, statement="The searched vector is better.", unit="score")]


def same_behaviour(difference: float, seed: int, *, n: int = 200) -> list[Claim]:
    """Two models' outcomes (0 or 1) whose rates differ by `difference`; half of the rest varies."""
    rng = np.random.default_rng(seed)
    first = rng.random(n) < 0.3
    flips = rng.random(n)
    # Rates differ by `difference`; 2 % of prompts change either way besides.
    up = ~first & (flips < 0.02 + difference / 0.7)
    down = first & (flips < 0.02 * 0.7 / 0.3)
    second = (first | up) & ~down
    return [
        same_behaviour_claim(
            second.astype(np.float64),
            first.astype(np.float64),
            [f"prompt-{i}" for i in range(n)],
            statement="The answers do not differ.",
            split="all prompts",
            bound=BOUND,
            n_permutations=200,
            seed=seed,
        )
    ]
