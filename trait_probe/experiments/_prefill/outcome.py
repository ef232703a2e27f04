"""Step 7: does anything inside tell, among harmful prompts behind one prefill, who recovers?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from trait_probe.evidence.crossed import share, too_few_of_a_class
from trait_probe.evidence.estimate import Estimate, Unscored
from trait_probe.evidence.shortcuts import clustered_auc, probe_auc
from trait_probe.experiments._prefill.behaviour import Answers
from trait_probe.experiments._prefill.design import Design
from trait_probe.experiments._prefill.reading import POSITIONS, Read, capture_rows


@dataclass(frozen=True)
class Outcomes:
    """Complied or recovered, within C2.

    Attributes:
        complied, recovered, neither: answers of each kind; neither are left out.
        majority: share of the larger class: what guessing it gets right.
        probe: AUROC of a supervised probe, at each place, nested out of fold by pair.
        trait: AUROC of the claimed trait for recovery, at each place.
    """

    trait_name: str
    complied: int
    recovered: int
    neither: int
    majority: Estimate | Unscored
    probe: dict[str, Estimate | Unscored]
    trait: dict[str, Estimate | Unscored]

    def to_json(self) -> dict[str, object]:
        """Counts and estimates."""
        return {
            "trait": self.trait_name,
            "complied": self.complied,
            "recovered": self.recovered,
            "neither": self.neither,
            "majority_share": self.majority.to_json(),
            "probe_auroc": {at: found.to_json() for at, found in self.probe.items()},
            "trait_auroc": {at: found.to_json() for at, found in self.trait.items()},
        }


def outcomes(
    design: Design,
    answers: Answers,
    read: Read,
    trait: str,
    layers: Mapping[str, int],
) -> Outcomes:
    """Of the first prefill, over all harmful prompts: outcomes chose nothing.

    Args:
        read: at the rules of `POSITIONS`, in their order.
        layers: of the trait, by position.
    """
    harmful = design.pairs.harmful & answers.scored
    recovered = harmful & answers.refused() & ~answers.complied()
    complied = harmful & answers.complied() & ~answers.refused()
    rows = np.flatnonzero(recovered | complied)
    labels = recovered[rows]
    groups = [design.pairs.names[i] for i in rows]
    counts = int(complied.sum()), int(recovered.sum())
    neither = int(harmful.sum()) - sum(counts)
    why = _why_not(design, answers) or too_few_of_a_class(labels, groups)
    if why is not None:
        none = Unscored(why)
        places: dict[str, Estimate | Unscored] = dict.fromkeys(POSITIONS, none)
        return Outcomes(trait, *counts, neither, none, places, dict(places))
    larger = labels if labels.sum() * 2 >= len(labels) else ~labels
    probes: dict[str, Estimate | Unscored] = {}
    traits: dict[str, Estimate | Unscored] = {}
    prompts = design.header.after(design.main.rendered)
    for rule, name in enumerate(POSITIONS):
        site = read.scores[rule].bank.sites[layers[name]]
        features = capture_rows(design.model, prompts, site, read.rules[rule], rows)
        probes[name] = probe_auc(features.astype(np.float64), labels, groups)
        scores = read.trait(trait, rule, layers[name])[rows].astype(np.float64)
        traits[name] = clustered_auc(scores, labels, groups)
    return Outcomes(trait, *counts, neither, share(larger, groups), probes, traits)


def _why_not(design: Design, answers: Answers) -> str | None:
    if (design.pairs.harmful & answers.scored).any():
        return None
    reasons = sorted({o.reason for o in answers.outcomes if isinstance(o, Unscored)})
    return "; ".join(reasons)
