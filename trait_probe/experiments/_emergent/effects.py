"""The numbers beside the claims: every trait, layer and reading, on the report rows.

Shifts are in SD of the base's selection rows. Bands hold for all traits and layers of a reading
together. Beside each number of the variant stands the controls': a fine-tune moves everything, so
that p values alone tell a benign one from a harmful one no better than a coin.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from trait_probe.basis import Site
from trait_probe.evidence.distribution import InputShifts, input_shifts
from trait_probe.evidence.estimate import Estimate, Unscored
from trait_probe.evidence.means import clustered_mean
from trait_probe.evidence.ratios import ratio_of_means
from trait_probe.evidence.significance import Significance, paired_t, sign_flip
from trait_probe.evidence.simultaneous import Simultaneous, simultaneous_means
from trait_probe.evidence.standardized import standardized_paired
from trait_probe.evidence.studies.models import ModelScores
from trait_probe.evidence.studies.shift import UNIT
from trait_probe.experiments._emergent.models import BASE, VARIANT
from trait_probe.experiments._emergent.readings import OWN, PROMPT, REPLAY, REPLAY_VARIANT, Scores
from trait_probe.experiments._emergent.study import Design

SHOWN_READINGS = (PROMPT, REPLAY, OWN)


@dataclass(frozen=True)
class Profile:
    """One reading: mean shifts of every trait at every layer, with simultaneous bands.

    Attributes:
        sites: of the layers.
        traits: names, in the order of the bands' looks (trait by trait, layer by layer).
        variant, control, beyond: variant minus base; the controls' mean minus base; their
            difference. None without a control.
    """

    sites: tuple[Site, ...]
    traits: tuple[str, ...]
    variant: Simultaneous
    control: Simultaneous | None
    beyond: Simultaneous | None


@dataclass(frozen=True)
class TraitEffect:
    """One trait in one reading, at the layer where the selection rows differ most.

    Attributes:
        shift, control, beyond: in SD of the base, with intervals clustered by group.
        standardized: d_z of variant minus base, which grows as rows resemble each other.
        paired_t, flips: two-sided tests of variant minus base.
        control_t: the same test of the controls' mean minus base.
        each_control_t: the same of every control by itself.
        specific: share of the shift that the controls do not make.
        inputs: how single prompts move, with the share that moves the other way.
        samples: report rows' shifts of the variant and of the controls' mean, for the figure.
    """

    trait: str
    reading: str
    site: Site
    shift: Estimate
    control: Estimate | Unscored
    beyond: Estimate | Unscored
    standardized: Estimate | Unscored
    paired_t: Significance | Unscored
    flips: Significance
    control_t: Significance | Unscored
    each_control_t: tuple[Significance | Unscored, ...]
    specific: Estimate | Unscored
    inputs: InputShifts
    samples: tuple[Float[np.ndarray, " report"], Float[np.ndarray, " report"] | None]


@dataclass(frozen=True)
class TwoByTwo:
    """Text (whose reply) by model (who reads), one trait at one layer, in SD of the base.

    Attributes:
        cells: mean of text and reader, less that of base reading its own.
        model: the reader's effect, mean of both texts; text: of the text, mean of both readers.
        interaction: how much the two together differ from their sum.
    """

    trait: str
    site: Site
    cells: Mapping[str, Estimate]
    model: Estimate
    text: Estimate
    interaction: Estimate


def profiles(design: Design, scores: Scores) -> dict[str, Profile]:
    """Every reading."""
    return {reading: _profile(design, scores, reading) for reading in SHOWN_READINGS}


def _profile(design: Design, scores: Scores, reading: str) -> Profile:
    bank = scores.bank(reading)
    traits = tuple(bank.traits)
    found = [scores.models(reading, trait) for trait in traits]
    some = [_Shifts.of(models, design) for models in found]
    controlled = bool(scores.controls)
    return Profile(
        sites=bank.sites,
        traits=traits,
        variant=_bands([one.variant for one in some], design),
        control=_bands([one.control for one in some], design) if controlled else None,
        beyond=_bands([one.beyond for one in some], design) if controlled else None,
    )


def _bands(some: Sequence[Float[np.ndarray, "report layer"]], design: Design) -> Simultaneous:
    return simultaneous_means(
        np.concatenate(some, axis=1),
        _report_groups(design),
        n=design.config.n_permutations,
        seed=design.config.seed,
    )


def _report_groups(design: Design) -> list[str]:
    return [design.groups[i] for i in design.split.report]


@dataclass(frozen=True)
class _Shifts:
    """Report rows at every layer, in SD of the base's selection rows."""

    variant: Float[np.ndarray, "report layer"]
    control: Float[np.ndarray, "report layer"]
    beyond: Float[np.ndarray, "report layer"]
    controls: tuple[Float[np.ndarray, "report layer"], ...]
    layer: int

    @classmethod
    def of(cls, models: ModelScores, design: Design) -> _Shifts:
        split = design.split
        unit = models.unit(split.selection)
        beyond = models.beyond_controls() / unit
        variant = models.shift() / unit
        rows, layer = split.report, models.best_place(split.selection)
        each = tuple(
            ((one.astype(np.float64) - models.base) / unit)[rows] for one in models.controls
        )
        return cls(variant[rows], (variant - beyond)[rows], beyond[rows], each, layer)


def trait_effects(design: Design, scores: Scores) -> list[TraitEffect]:
    """Every reading and trait."""
    return [
        _effect(design, scores, reading, trait)
        for reading in SHOWN_READINGS
        for trait in scores.bank(reading).traits
    ]


def _effect(design: Design, scores: Scores, reading: str, trait: str) -> TraitEffect:
    config, groups = design.config, _report_groups(design)
    found = _Shifts.of(scores.models(reading, trait), design)
    variant, control, beyond = (
        np.ascontiguousarray(one[:, found.layer])
        for one in (found.variant, found.control, found.beyond)
    )
    alone = None if scores.controls else Unscored("no control model was given")
    return TraitEffect(
        trait=trait,
        reading=reading,
        site=scores.bank(reading).sites[found.layer],
        shift=clustered_mean(variant, groups, unit=UNIT),
        control=alone or clustered_mean(control, groups, unit=UNIT),
        beyond=alone or clustered_mean(beyond, groups, unit=UNIT),
        standardized=_standardized(variant, groups, design),
        paired_t=paired_t(variant, groups, alternative="two-sided"),
        flips=sign_flip(
            variant,
            groups,
            n=config.n_permutations,
            seed=config.seed,
            alternative="two-sided",
        ),
        control_t=alone or paired_t(control, groups, alternative="two-sided"),
        each_control_t=tuple(
            paired_t(np.ascontiguousarray(one[:, found.layer]), groups, alternative="two-sided")
            for one in found.controls
        ),
        specific=alone or _specific(variant, beyond, groups, design),
        inputs=input_shifts(variant),
        samples=(variant, None if alone else control),
    )


def _standardized(
    values: Float[np.ndarray, " report"], groups: Sequence[str], design: Design
) -> Estimate | Unscored:
    if float(np.ptp(values)) == 0.0:
        return Unscored("the shift is the same for every prompt: there is no SD to divide by")
    n, seed = design.config.n_permutations, design.config.seed
    return standardized_paired(values, groups, corrected=False, n_boot=n, seed=seed)


def _specific(
    variant: Float[np.ndarray, " report"],
    beyond: Float[np.ndarray, " report"],
    groups: Sequence[str],
    design: Design,
) -> Estimate | Unscored:
    """(shift - controls' shift) / shift; the rest is the offset that any such fine-tune makes."""
    n, seed = design.config.n_permutations, design.config.seed
    return ratio_of_means(beyond, variant, groups, n_boot=n, seed=seed, unit="share of the shift")


def two_by_two(design: Design, scores: Scores) -> list[TwoByTwo]:
    """Whose text and who reads it, for each claimed trait."""
    return [_two_by_two(design, scores, trait) for trait in design.claimed]


def _two_by_two(design: Design, scores: Scores, trait: str) -> TwoByTwo:
    split, groups = design.split, _report_groups(design)
    replayed = scores.models(REPLAY, trait)
    layer = _Shifts.of(replayed, design).layer
    unit = replayed.unit(split.selection)[layer]

    def cell(reading: str, role: str) -> Float[np.ndarray, " report"]:
        values = scores.by_reading[reading][role].trait(trait)[split.report, layer]
        return np.asarray(values.astype(np.float64) / unit)

    texts, readers = (REPLAY, REPLAY_VARIANT), (BASE, VARIANT)
    found = {(text, reader): cell(text, reader) for text in texts for reader in readers}
    origin = found[REPLAY, BASE]
    bb, bv = found[REPLAY, BASE], found[REPLAY, VARIANT]
    vb, vv = found[REPLAY_VARIANT, BASE], found[REPLAY_VARIANT, VARIANT]

    def along(values: Float[np.ndarray, " report"]) -> Estimate:
        return clustered_mean(values, groups, unit=UNIT)

    return TwoByTwo(
        trait=trait,
        site=scores.bank(REPLAY).sites[layer],
        cells={
            "base's replies, base reads": along(bb - origin),
            "base's replies, variant reads": along(bv - origin),
            "variant's replies, base reads": along(vb - origin),
            "variant's replies, variant reads": along(vv - origin),
        },
        model=along((bv - bb + vv - vb) / 2),
        text=along((vb - bb + vv - bv) / 2),
        interaction=along(vv - vb - bv + bb),
    )
