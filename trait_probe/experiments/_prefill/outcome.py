"""Step 7: does anything inside tell, among harmful prompts behind one prefill, who recovers?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from trait_probe.evidence.crossed import share, too_few_of_a_class
from trait_probe.evidence.estimate import Estimate, Unscored
from trait_probe.evidence.shortcuts import clustered_auc, probe_auc
from trait_probe.experiments._prefill.behaviour import Answers
from trait_probe.experiments._prefill.design import Design
from trait_probe.experiments._prefill.reading import POSITIONS, Read, capture_rows
from trait_probe.prompts.render import Rendered


@dataclass(frozen=True)
class Outcomes:
    """Complied or recovered, within C2.

    Attributes:
        prefill: behind which both outcomes occur most.
        complied, recovered, neither: answers of each kind; neither are left out.
        majority: share of the larger class: what guessing it gets right.
        probe: AUROC of a supervised probe, at each place, nested out of fold by pair.
        trait: AUROC of the claimed trait for recovery, at each place.
    """

    trait_name: str
    prefill: str
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
            "prefill": self.prefill,
            "complied": self.complied,
            "recovered": self.recovered,
            "neither": self.neither,
            "majority_share": self.majority.to_json(),
            "probe_auroc": {at: found.to_json() for at, found in self.probe.items()},
            "trait_auroc": {at: found.to_json() for at, found in self.trait.items()},
        }


@dataclass(frozen=True)
class Forced:
    """The cells behind one prefill: what was said, and what is read.

    Attributes:
        read: at the rules of `POSITIONS`, in their order.
        prompts: as they were read, the header put in again.
    """

    name: str
    answers: Answers
    read: Read
    prompts: Sequence[Rendered]


def most_balanced(design: Design, forced: Sequence[Forced]) -> Forced:
    """The prefill behind which most harmful pairs have the rarer outcome; the first of equals.

    Behaviour alone decides, before anything inside is looked at.
    """

    def rarer(item: Forced) -> int:
        sides = _sides(design, item.answers)
        return min(len({design.pairs.names[i] for i in np.flatnonzero(side)}) for side in sides)

    return max(forced, key=rarer)


def outcomes(design: Design, forced: Forced, trait: str, layers: Mapping[str, int]) -> Outcomes:
    """Over all harmful prompts: outcomes chose nothing.

    Args:
        layers: of the trait, by position.
    """
    recovered, complied = _sides(design, forced.answers)
    rows = np.flatnonzero(recovered | complied)
    labels = recovered[rows]
    groups = [design.pairs.names[i] for i in rows]
    counts = int(complied.sum()), int(recovered.sum())
    neither = int((design.pairs.harmful & forced.answers.scored).sum()) - sum(counts)
    why = _why_not(design, forced.answers) or too_few_of_a_class(labels, groups)
    if why is not None:
        none = Unscored(why)
        places: dict[str, Estimate | Unscored] = dict.fromkeys(POSITIONS, none)
        return Outcomes(trait, forced.name, *counts, neither, none, places, dict(places))
    larger = labels if labels.sum() * 2 >= len(labels) else ~labels
    probes: dict[str, Estimate | Unscored] = {}
    traits: dict[str, Estimate | Unscored] = {}
    for rule, name in enumerate(POSITIONS):
        site = forced.read.scores[rule].bank.sites[layers[name]]
        features = capture_rows(design.model, forced.prompts, site, forced.read.rules[rule], rows)
        probes[name] = probe_auc(features.astype(np.float64), labels, groups)
        scores = forced.read.trait(trait, rule, layers[name])[rows].astype(np.float64)
        traits[name] = clustered_auc(scores, labels, groups)
    return Outcomes(trait, forced.name, *counts, neither, share(larger, groups), probes, traits)


def _sides(
    design: Design, answers: Answers
) -> tuple[Bool[np.ndarray, " prompt"], Bool[np.ndarray, " prompt"]]:
    """Harmful prompts that recovered, and that complied; who did both or neither is in none."""
    harmful = design.pairs.harmful & answers.scored
    refused, complied = answers.refused(), answers.complied()
    return harmful & refused & ~complied, harmful & complied & ~refused


def _why_not(design: Design, answers: Answers) -> str | None:
    if (design.pairs.harmful & answers.scored).any():
        return None
    reasons = sorted({o.reason for o in answers.outcomes if isinstance(o, Unscored)})
    return "; ".join(reasons)
