"""Step 9: thresholds chosen on selection rows, tried on report rows and on unrelated prompts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from trait_probe.evidence.detection import false_positive_rate, threshold_at_fpr
from trait_probe.evidence.detectors import RATES
from trait_probe.evidence.estimate import Estimate, Unscored
from trait_probe.experiments._external.banks import at_sites
from trait_probe.experiments._external.design import Design, Scored, standardized
from trait_probe.forward.rendering import render_for
from trait_probe.prompts.prompt import PromptSet
from trait_probe.vectors.bank import read_bank

Benign = Mapping[str, tuple[Float[np.ndarray, " row"], tuple[str, ...]]]
"""By set: projections of benign prompts, and their groups."""


@dataclass(frozen=True)
class Calibrated:
    """One threshold of one trait.

    Attributes:
        fpr: share of safe selection rows that it may flag.
        threshold: flagged is what projects above it (SD); Unscored: too few safe rows.
        caught: share of unsafe report rows above it.
        flagged_safe: share of safe report rows above it.
        flagged_benign: by unrelated set, the share above it.
    """

    trait: str
    fpr: float
    threshold: float | Unscored
    caught: Estimate | Unscored
    flagged_safe: Estimate | Unscored
    flagged_benign: Mapping[str, Estimate | Unscored]


def calibrate(
    design: Design, found: Scored, trait: str, benign: Mapping[str, PromptSet]
) -> tuple[Calibrated, ...]:
    """Thresholds of a trait at the layer that the selection rows chose, one a rate."""
    layer = found.places[trait].report
    others = _project(design, found, trait, layer, benign)
    scores, harmful = found.z[trait][:, layer], found.level.harmful
    out = []
    for fpr in RATES:
        chosen = found.split.selection
        threshold = threshold_at_fpr(scores[chosen][~harmful[chosen]], fpr)
        out.append(_tried(found, trait, fpr, threshold, layer, others))
    return tuple(out)


def _tried(
    found: Scored,
    trait: str,
    fpr: float,
    threshold: float | Unscored,
    layer: int,
    benign: Benign,
) -> Calibrated:
    if isinstance(threshold, Unscored):
        nothing = dict.fromkeys(benign, threshold)
        return Calibrated(trait, fpr, threshold, threshold, threshold, nothing)
    report, harmful = found.split.report, found.level.harmful
    scores, groups = found.z[trait][:, layer], found.level.groups

    def share(rows: np.ndarray) -> Estimate | Unscored:
        return _share(threshold, scores[rows], tuple(groups[i] for i in rows))

    return Calibrated(
        trait=trait,
        fpr=fpr,
        threshold=threshold,
        caught=share(report[harmful[report]]),
        flagged_safe=share(report[~harmful[report]]),
        flagged_benign={name: _share(threshold, *rows) for name, rows in benign.items()},
    )


def _share(
    threshold: float, scores: Float[np.ndarray, " row"], groups: tuple[str, ...]
) -> Estimate | Unscored:
    if len(set(groups)) < 2:
        return Unscored(f"{len(set(groups))} groups, 2 are needed")
    return false_positive_rate(threshold, scores, groups)


def _project(
    design: Design, found: Scored, trait: str, layer: int, benign: Mapping[str, PromptSet]
) -> Benign:
    """Benign prompts on the trait at one layer, in SD."""
    directions = design.directions[found.level.name]
    bank = at_sites(found.scores.bank, [found.scores.bank.sites[layer]])
    out = {}
    for name, prompts in benign.items():
        rendered = render_for(design.model, prompts, truncate=design.config.truncate)
        (scores,) = read_bank(
            design.model, rendered, bank, positions=[directions.rule], label=f"benign: {name}"
        )
        groups = tuple(prompt.cluster for prompt in prompts)
        out[name] = standardized(scores, directions, trait)[:, 0], groups
    return out
