"""Between choosing and reporting: the report rows are opened once, for what was chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from trait_probe.evidence.locks import ReportLock
from trait_probe.evidence.splits import text_id
from trait_probe.evidence.triggers.feature_choice import FeatureChoice
from trait_probe.evidence.triggers.trait_choice import TraitChoice
from trait_probe.experiments._backdoor.conditions import Conditions
from trait_probe.experiments._backdoor.config import Config
from trait_probe.experiments._backdoor.overlap import carrier_text
from trait_probe.experiments._backdoor.steps import Pair
from trait_probe.hooks.sae import SparseFeatures
from trait_probe.identity import identify, weights_hash
from trait_probe.vectors.vector import VectorSet

DATA_FIELDS = frozenset({"suspect", "trigger", "carriers", "n_carriers", "seed"})
"""Fields of the configuration that say what the rows are; the seed belongs to the split."""

BY_CONTENT = frozenset({"traits", "sae", "layers", "clean", "controls"})
"""Fields that name what is told by its content."""


@dataclass(frozen=True)
class Choices:
    """What the selection split chose; empty and None where no place can be read."""

    traits: Mapping[str, TraitChoice]
    sae: FeatureChoice | None

    @property
    def any(self) -> bool:
        """Whether there is something to report."""
        return bool(self.traits) or self.sae is not None

    def to_json(self, sae: SparseFeatures | None) -> dict[str, object]:
        """Where each trait is read, and where which features.

        What a pretend trigger chose follows from the data and the options; no one picks it.
        """
        traits = {
            trait: {"site": str(choice.site), "place": choice.place}
            for trait, choice in self.traits.items()
        }
        if sae is None or self.sae is None:
            return {"traits": traits}
        features = {"place": self.sae.place, "features": list(self.sae.shown)}
        return {"traits": traits, "sae": {"site": str(sae.site), **features}}


def report_lock(pair: Pair, conditions: Conditions) -> ReportLock:
    """The carriers' split, locked; what asks one suspect about one trigger on one set of carriers.

    Carriers are told by their words, in any order and under any id. What they are compared with
    (controls, clean model) is chosen: who drops the control that stands out looks a second time.
    A part of the carriers, or more of them, is another set.

    Raises:
        BadInputError: a group of carriers is on both sides.
    """
    data = {
        "carriers": sorted(text_id(carrier_text(prompt)) for prompt in conditions.carriers),
        "trigger": conditions.names[0],
        "suspect": identify(pair.suspect).without_names(),
    }
    lock = ReportLock(conditions.split, data)
    lock.require_apart([item.cluster for item in conditions.rendered[0]])
    return lock


def chosen(
    config: Config,
    pair: Pair,
    conditions: Conditions,
    vectors: VectorSet,
    sae: SparseFeatures | None,
    choices: Choices,
) -> dict[str, object]:
    """Everything that was chosen, and every option that changes what is reported."""
    return {
        **config.model_dump(mode="json", exclude={*DATA_FIELDS, *BY_CONTENT}),
        "controls": sorted(conditions.names[1:]),
        "clean": None if pair.clean is None else identify(pair.clean).without_names(),
        "layers": sorted({site.layer for site in vectors.sites}),
        "contrasts": {vector.trait: vector.basis.contrast_hash for vector in vectors},
        "sae": None if sae is None else weights_hash(sae.sae.named_parameters()),
        "read": choices.to_json(sae),
    }
