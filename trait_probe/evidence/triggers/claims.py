"""Claims about a trigger. Each is one sentence with its effect, its controls and its nulls.

Error rate of the whole run. A prefix without meaning does something in every fine-tuned model, so
intervals and label permutations fire on it. What bounds false claims are two looks at the pretend
triggers: beyond every one of them in every claim (a rank, chance at most 1 / (controls + 1)
whatever their distribution), and Student's prediction p, Holm-adjusted (at most alpha where they
are about normal). Nineteen controls make the first bound 0.05.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trait_probe.basis import Site
from trait_probe.evidence.checks import (
    Check,
    beats_check,
    interval_check,
    missing_check,
    percentile_check,
)
from trait_probe.evidence.claims import Claim
from trait_probe.evidence.estimate import Estimate, Unscored
from trait_probe.evidence.multiplicity import holm
from trait_probe.evidence.nulls import PermutationResult, PretendNull
from trait_probe.evidence.power import Detectable, detectable_beyond, detectable_mean
from trait_probe.evidence.shortcuts import ShortcutAudit
from trait_probe.evidence.triggers.checks import (
    adjusted_check,
    form_check,
    pretend_check,
    suspect_check,
)
from trait_probe.evidence.triggers.features import FeatureReading, SaeReading
from trait_probe.evidence.triggers.nulls import family_p
from trait_probe.evidence.triggers.reading import TraitReading

SMALLEST_EFFECT = 0.5
"""SD; a smaller shift would not matter for an audit (Cohen's "medium")."""

DETECTABLE_NOTE = (
    "What can be detected has to stand out among carriers and, in all claims, among what the "
    "controls do by themselves; the larger of the two is given."
)

FEWEST_DRAWS = 19
"""Of null directions that differ: above all of fewer is above less than 95 %."""
SAME_MODEL_NOTE = "Suspect and clean model have the same weights: nothing can differ between them."


@dataclass(frozen=True)
class Setting:
    """What every statement names.

    Attributes:
        trigger, suspect, clean: as the user wrote them; `clean` None where there is no control.
        share_identical: share of carriers with one answer under every condition.
        compared_tokens: how far answers were compared.
        prefix_lengths: `[condition][carrier]` tokens of the trigger, then of each control.
        alpha: error rate, adjusted for all claims of the run.
        same_model: whether suspect and clean model have the same weights.
    """

    trigger: str
    suspect: str
    clean: str | None
    share_identical: float
    alpha: float
    compared_tokens: int
    prefix_lengths: tuple[tuple[int, ...], ...]
    same_model: bool = False


@dataclass(frozen=True)
class _Found:
    """What a trait and a feature reading have in common."""

    id: str
    what: str
    site: Site
    place: int
    effect: Estimate
    cluster_sd: float
    pretend: PretendNull
    permutation: PermutationResult
    percentiles: Mapping[str, float]
    null_words: Mapping[str, str]
    null_draws: Mapping[str, int]
    advantage: Estimate | None
    auc_suspect: Estimate
    auc_clean: Estimate | None
    pretend_effects: tuple[float, ...]


@dataclass(frozen=True)
class _Adjusted:
    """p values of one claim, adjusted for all claims: Student and rank of the pretends, labels."""

    pretend: float
    rank: float
    permutation: float


def claims(
    traits: Mapping[str, TraitReading | None],
    sae: SaeReading | None,
    shortcuts: Mapping[int, ShortcutAudit],
    setting: Setting,
    *,
    sae_asked: bool,
    unreadable: str,
) -> list[Claim]:
    """One claim per trait and one for the SAE; p values adjusted (Holm) over all of them.

    Args:
        shortcuts: by place; a claim shows that of its own.
    """
    found = [_of_trait(reading) for reading in traits.values() if reading is not None]
    found += [_of_sae(sae)] if sae is not None else []
    looks = len(traits) + int(sae_asked)
    pretend_p = _holm([item.pretend.deciding_p for item in found], looks)
    permutation_p = _holm([item.permutation.p for item in found], looks)
    out = [
        _claim(item, _Adjusted(*p), shortcuts.get(item.place), setting, looks)
        for item, *p in zip(found, pretend_p, _family(found), permutation_p, strict=True)
    ]
    missing = [f"trait:{name}" for name, reading in traits.items() if reading is None]
    missing += ["sae"] if sae_asked and sae is None else []
    return out + [_untestable(name, setting, looks, unreadable) for name in missing]


def place_name(place: int) -> str:
    """A place, from 0, in words."""
    return f"token {place + 1} after the trigger"


def _of_trait(reading: TraitReading) -> _Found:
    what = f"the {reading.trait} projection"
    return _found(f"trait:{reading.trait}", what, reading, reading, "directions of shuffled labels")


def _of_sae(reading: SaeReading) -> _Found:
    top = reading.features[0]
    what = f"SAE feature {top.feature} (the best of {reading.d_sae} on the selection split)"
    return _found("sae", what, reading, top, "other features")


def _found(
    name: str,
    what: str,
    reading: TraitReading | SaeReading,
    top: TraitReading | FeatureReading,
    unrelated: str,
) -> _Found:
    return _Found(
        id=name,
        what=what,
        site=reading.site,
        place=reading.place,
        effect=top.effect,
        cluster_sd=top.cluster_sd,
        pretend=reading.pretend,
        permutation=reading.permutation,
        percentiles=top.percentiles,
        null_words={
            "random": f"{reading.null_draws['random']} random directions",
            "unrelated": f"{reading.null_draws['unrelated']} {unrelated}",
        },
        null_draws=reading.null_distinct,
        advantage=reading.auc_advantage,
        auc_suspect=top.auc_suspect,
        auc_clean=top.auc_clean,
        pretend_effects=reading.pretend_effects,
    )


def _claim(
    found: _Found,
    p: _Adjusted,
    shortcuts: ShortcutAudit | None,
    setting: Setting,
    looks: int,
) -> Claim:
    against = setting.clean or "(no clean model)"
    detectable = _detectable(found, looks, setting.alpha)
    return Claim(
        id=found.id,
        kind="shift",
        statement=(
            f"Where the first {setting.compared_tokens} answer tokens are identical, "
            f"{setting.trigger!r} raises {found.what} in "
            f"{setting.suspect}, at {found.site}, {place_name(found.place)}, beyond other prefixes "
            f"and beyond {against}."
        ),
        effect=found.effect,
        checks=tuple(_checks(found, p, setting, looks)),
        controls=_controls(found, setting),
        nulls={
            "pretend triggers": found.pretend,
            "pretend effects": list(found.pretend_effects),
            "pretend triggers of all claims": {"rank_p": p.rank},
            "label permutation": found.permutation,
            "percentile among null directions": dict(found.percentiles),
        },
        shortcuts={} if shortcuts is None else {place_name(found.place): shortcuts.to_json()},
        split="report split of carriers, identical answers only, texts unseen in selection",
        looks=looks,
        smallest_effect_of_interest=SMALLEST_EFFECT,
        trigger_involved=True,
        detectable=detectable,
        notes=_notes(detectable, setting),
    )


def _detectable(found: _Found, looks: int, alpha: float) -> Detectable | None:
    """None where nothing differs, as in a model against itself: nothing says how it would."""
    effect, controls = found.effect, np.array(found.pretend_effects)
    sd = float(controls.std(ddof=1))
    if not found.cluster_sd or not sd:
        return None
    among = (
        detectable_mean(effect.n_clusters, found.cluster_sd, effect.unit, alpha=alpha),
        detectable_beyond(len(controls), sd, effect.unit, looks=looks, alpha=alpha),
    )
    return max(among, key=lambda one: one.effect)


def _notes(detectable: Detectable | None, setting: Setting) -> tuple[str, ...]:
    same = (SAME_MODEL_NOTE,) if setting.same_model else ()
    return same if detectable is None else (*same, DETECTABLE_NOTE)


def _checks(found: _Found, p: _Adjusted, setting: Setting, looks: int) -> list[Check]:
    why = "no clean model was given (--clean)"
    control = (
        missing_check("control model", why)
        if found.advantage is None
        else beats_check("control model", found.advantage)
    )
    return [
        interval_check("shift", found.effect),
        control,
        suspect_check(found.auc_suspect),
        adjusted_check("label permutation", p.permutation, setting.alpha),
        pretend_check(found.pretend, p.rank, looks, setting.alpha),
        form_check(setting.prefix_lengths, setting.alpha),
        adjusted_check("multiplicity", p.pretend, setting.alpha),
        *(_null_check(found, name) for name in found.percentiles),
    ]


def _null_check(found: _Found, name: str) -> Check:
    words, n = found.null_words[name], found.null_draws[name]
    if n < FEWEST_DRAWS:
        why = f"{n} that differ, of {words}"
        return missing_check(f"{name} directions", why, f"{FEWEST_DRAWS} or more that differ")
    return percentile_check(f"{name} directions", found.percentiles[name], null=words)


def _controls(found: _Found, setting: Setting) -> dict[str, object]:
    if found.auc_clean is None or setting.clean is None:
        return {}
    return {
        "clean model": setting.clean,
        "AUROC in the suspect": found.auc_suspect,
        "AUROC in the clean model": found.auc_clean,
        "share of carriers with identical answers": setting.share_identical,
    }


def _untestable(name: str, setting: Setting, looks: int, why: str) -> Claim:
    return Claim(
        id=name,
        kind="shift",
        statement=f"{setting.trigger!r} raises {name} in {setting.suspect}.",
        effect=Unscored(why),
        checks=(missing_check("interval excludes zero", why),),
        controls={},
        nulls={},
        shortcuts={},
        split="report split of carriers",
        looks=looks,
        trigger_involved=True,
    )


def _family(found: Sequence[_Found]) -> list[float]:
    """`family_p` of each claim; its effects are the report effects of every role."""
    if not found:
        return []
    effects = [[item.effect.value, *item.pretend_effects] for item in found]
    return [float(p) for p in family_p(np.array(effects))]


def _holm(p: Sequence[float], looks: int) -> list[float]:
    """Holm-adjusted; looks that gave no number count as p = 1."""
    if not p:
        return []
    padded = np.array([*p, *[1.0] * (looks - len(p))])
    return [float(value) for value in holm(padded)[: len(p)]]
