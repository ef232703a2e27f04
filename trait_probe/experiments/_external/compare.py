"""Step 7: projections, alone and together, beside detectors that see no activations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from trait_probe.evidence.detectors import (
    Detector,
    Rated,
    advantage,
    combined_detector,
    length_detector,
    rate,
    roc,
    words_detector,
)
from trait_probe.evidence.estimate import Estimate, Unscored
from trait_probe.experiments._external.config import Config
from trait_probe.experiments._external.design import Scored

COMBINED, WORDS, LENGTH = "all traits together", "words (TF-IDF with length)", "length"
Curve = tuple[Float[np.ndarray, " point"], Float[np.ndarray, " point"]]


@dataclass(frozen=True)
class Compared:
    """One detector, on all rows of a level.

    Attributes:
        rated: how well it does; Unscored where it could not be fitted.
        over_words: its AUROC minus that of the words' classifier.
        curve: false and true positive rates; None where it could not be fitted.
    """

    name: str
    detector: Detector | Unscored
    rated: Rated | Unscored
    over_words: Estimate | Unscored
    curve: Curve | None


def compare(found: Scored, config: Config) -> dict[str, Compared]:
    """Every trait at its layer, all traits and layers in one classifier, words, and length.

    Traits are read where the other half of the groups chose; classifiers are scored on groups that
    they were not fitted on.
    """
    data = found.data
    grid = np.concatenate(list(found.z.values()), axis=1)
    detectors: dict[str, Detector | Unscored] = {name: found.detector(name) for name in found.z}
    detectors[COMBINED] = combined_detector(grid, data)
    detectors[WORDS] = words_detector(found.level.texts, found.lengths, data)
    detectors[LENGTH] = length_detector(found.lengths, data)
    words = detectors[WORDS]
    return {
        name: _compared(name, detector, words, found, config)
        for name, detector in detectors.items()
    }


def _compared(
    name: str,
    detector: Detector | Unscored,
    words: Detector | Unscored,
    found: Scored,
    config: Config,
) -> Compared:
    if isinstance(detector, Unscored):
        return Compared(name, detector, detector, detector, None)
    rated = rate(detector, found.data, n_boot=config.n_boot, seed=config.seed)
    over: Estimate | Unscored
    if name == WORDS:
        over = Unscored("it is the classifier of words itself")
    elif isinstance(words, Unscored):
        over = words
    else:
        over = advantage(detector, words, found.data)
    return Compared(name, detector, rated, over, roc(detector, found.data))
