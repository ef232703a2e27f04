"""What is fixed before anything of the sample is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from trait_probe.evidence.auc import auroc_columns
from trait_probe.evidence.detectors import Detector, Labelled, Places, crossed, crossed_places
from trait_probe.evidence.splits import Split
from trait_probe.experiments._external.config import Config
from trait_probe.experiments._external.directions import Directions
from trait_probe.experiments._external.levels import Level
from trait_probe.experiments._external.rows import Rows, Source
from trait_probe.identity import HookedModel, identify
from trait_probe.prompts.prompt import PromptSet
from trait_probe.vectors.bank import BankScores


@dataclass(frozen=True)
class Design:
    """One data set, one model.

    Attributes:
        about: provenance of the data set, as `Source.provenance` gives it.
        source: gives all its rows again.
        rows: what is known of them.
        sampled: numbers of the rows in the sample.
        levels: what is read, by name; the first is the main one.
        left_out: levels that are not read, by name, and why.
        directions: by level.
        benign: unrelated benign prompts by the name of their set.
        splits: by level; groups for choosing and for reporting, the same at both levels.
    """

    config: Config
    model: HookedModel
    about: Mapping[str, object]
    source: Source
    rows: Rows
    sampled: Int[np.ndarray, " sampled"]
    levels: Mapping[str, Level]
    left_out: Mapping[str, str]
    directions: Mapping[str, Directions]
    benign: Mapping[str, PromptSet]
    splits: Mapping[str, Split]

    @property
    def main(self) -> Level:
        """Answers where there are any, else prompts."""
        return next(iter(self.levels.values()))

    @property
    def model_id(self) -> str:
        """How statements name the model."""
        return identify(self.model).id

    @property
    def unknown(self) -> tuple[str, ...]:
        """Traits whose texts are not known here, so that tested rows may be among them."""
        every = [(one, name) for one in self.directions.values() for name in one.names]
        return tuple(sorted({name for one, name in every if name not in one.contrasts}))

    @property
    def data_id(self) -> str:
        """How statements name the data set."""
        name, split = self.about["source"], self.about.get("split")
        return f"{name} ({split})" if split else str(name)


@dataclass(frozen=True)
class Scored:
    """One level's projections.

    Attributes:
        level: the rows.
        scores: on all directions, `dot`.
        lengths: `[row]` tokens that are read.
        z: by trait and foil `[row layer]`, in SD of each vector's reference.
        places: by trait and foil, the layer (by number) at which each half of the groups is read.
        split: the halves.
    """

    level: Level
    scores: BankScores
    lengths: Int[np.ndarray, " row"]
    z: Mapping[str, Float[np.ndarray, "row layer"]]
    places: Mapping[str, Places]
    split: Split

    @property
    def data(self) -> Labelled:
        """Labels and groups."""
        return Labelled(self.level.harmful, self.level.groups)

    def detector(self, trait: str) -> Detector:
        """The trait's projection, each half at the layer that the other chose."""
        return crossed(self.z[trait], self.places[trait], self.split)

    def columns(self) -> Float[np.ndarray, "row trait"]:
        """`detector` of every trait, side by side."""
        return np.stack([self.detector(trait).scores for trait in self.z], axis=1)

    def random(self) -> Float[np.ndarray, "row draw"]:
        """Random directions, each half of the groups at the layer that the other half chose."""
        null, labels, split = self.scores.random, self.level.harmful, self.split
        draws = np.arange(null.shape[2])
        scores = np.empty((len(labels), len(draws)))
        for chosen, read in ((split.selection, split.report), (split.report, split.selection)):
            own = labels[chosen]
            flat = null[chosen].reshape(len(chosen), -1)
            areas = auroc_columns(flat[own], flat[~own]).reshape(null.shape[1:])
            scores[read] = null[read][:, areas.argmax(axis=0), draws]
        return scores

    def layers(self, trait: str) -> tuple[str, ...]:
        """Names of the layers at which a trait is read."""
        places, sites = self.places[trait], self.scores.bank.sites
        both = dict.fromkeys((places.report, places.selection))
        return tuple(f"layer {sites[place].layer}" for place in both)


def scored(
    level: Level,
    scores: BankScores,
    lengths: Int[np.ndarray, " row"],
    directions: Directions,
    split: Split,
) -> Scored:
    """Projections of one level with the layers that each half chooses for the other."""
    z = {name: standardized(scores, directions, name) for name in directions.names}
    places = {name: crossed_places(found, level.harmful, split) for name, found in z.items()}
    return Scored(level, scores, lengths, z, places, split)


def standardized(
    scores: BankScores, directions: Directions, trait: str
) -> Float[np.ndarray, "row layer"]:
    """A trait's dots in SD of its vectors' references, layer by layer."""
    references = [directions.vectors[trait, site].reference for site in scores.bank.sites]
    mean = np.array([reference.mean for reference in references])
    std = np.array([reference.std for reference in references])
    return np.asarray((scores.trait(trait) - mean) / std)
