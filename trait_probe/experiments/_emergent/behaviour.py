"""What the replies show, by rule or by judge, and where behaviour looks the same.

Families of prompts in which the variant's replies look like the base's are picked on the selection
rows; that they are alike is then claimed, and may fail, on the report rows of these families.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from trait_probe.errors import BadInputError
from trait_probe.evidence.checks import missing_check
from trait_probe.evidence.claims import Claim
from trait_probe.evidence.crossed import share
from trait_probe.evidence.estimate import Estimate, Unscored
from trait_probe.evidence.means import clustered_mean
from trait_probe.evidence.splits import Split
from trait_probe.evidence.studies.parts import untestable
from trait_probe.evidence.studies.same_behaviour import families_alike, same_behaviour_claim
from trait_probe.experiments._emergent.config import Config
from trait_probe.experiments._emergent.models import BASE, VARIANT
from trait_probe.experiments._emergent.texts import Texts, words_of
from trait_probe.identity import HookedModel
from trait_probe.judges.judge import Judge, Scored
from trait_probe.organisms.prompt_sets import OrganismJudge, judges_trait, request_of
from trait_probe.prompts.prompt import Prompt
from trait_probe.vectors.contrast_sets import language_of

FAMILY = "family"
"""Label of a prompt that names the family it is drawn from."""

Rates = Float[np.ndarray, " row"]


@dataclass(frozen=True)
class Behaviour:
    """How much of each claimed trait the replies show.

    Attributes:
        rates: by trait and role, per prompt in [0, 1]; Unscored where nobody judged.
        families: per prompt; None where prompts name none.
        judged_by: "rule", "judge" or "nobody", by trait.
    """

    rates: Mapping[str, Mapping[str, Rates] | Unscored]
    families: tuple[str, ...] | None
    judged_by: Mapping[str, str]

    def rate(self, trait: str, role: str, groups: Sequence[str]) -> Estimate | Unscored:
        """Share of replies that show the trait (mean where scores are grades), by group."""
        found = self.rates[trait]
        if isinstance(found, Unscored):
            return found
        scores = found[role]
        if np.isin(scores, (0.0, 1.0)).all():  # an interval that none of 300 does not close to 0
            return share(scores == 1.0, groups)
        return clustered_mean(scores, groups, unit="rate")


def check_judges(judges: Mapping[str, Judge], claimed: Sequence[str]) -> None:
    """Refuse judges of what is not claimed, before a model is read.

    Raises:
        BadInputError: such a judge.
    """
    if unknown := sorted(set(judges) - set(claimed)):
        raise BadInputError(
            "A judge is handed in for a trait that is not claimed.",
            got=unknown,
            valid=claimed,
            fix="Name judges by the claimed traits' full names.",
        )


def judge_replies(
    config: Config,
    base: HookedModel,
    texts: Texts,
    claimed: Sequence[str],
    judges: Mapping[str, Judge],
) -> Behaviour:
    """Score every model's replies for each claimed trait.

    Args:
        judges: by trait; organisms are judged by their exact rules where there is none.
    """
    check_judges(judges, claimed)
    prompts = list(texts.prompts)
    rates: dict[str, Mapping[str, Rates] | Unscored] = {}
    judged_by = {}
    for trait in claimed:
        judge, judged_by[trait] = judges.get(trait), "judge"
        if judge is None:
            judge, judged_by[trait] = _rules(base, trait, prompts), "rule"
        if judge is None:
            judged_by[trait] = "nobody"
            rates[trait] = Unscored("no judge was given, and no exact rule fits these prompts")
        else:
            rates[trait] = _rates(judge, texts)
    return Behaviour(rates, _families(prompts), judged_by)


def _rules(base: HookedModel, trait: str, prompts: Sequence[Prompt]) -> Judge | None:
    known = all(request_of(prompt) is not None for prompt in prompts)
    if language_of(base) != "organism" or not judges_trait(trait) or not known:
        return None
    return OrganismJudge(trait, prompts)


def _rates(judge: Judge, texts: Texts) -> Mapping[str, Rates] | Unscored:
    """Of all roles; one reply without a score leaves nothing to compare, and says so."""
    out = {}
    for role, replies in texts.replies.items():
        found = [
            judge(words_of(prompt), reply)
            for prompt, reply in zip(texts.prompts, replies.texts, strict=True)
        ]
        unscored = [one for one in found if isinstance(one, Unscored)]
        if unscored:
            return Unscored(
                f"{len(unscored)} of {len(found)} replies of the {role} have no score "
                f"({unscored[0].reason})"
            )
        scores = [one.score for one in found if isinstance(one, Scored)]
        out[role] = np.array(scores) / 100.0
    return out


def _families(prompts: Sequence[Prompt]) -> tuple[str, ...] | None:
    if not all(prompt.labels.get(FAMILY) for prompt in prompts):
        return None
    return tuple(str(prompt.labels[FAMILY]) for prompt in prompts)


@dataclass(frozen=True)
class Unchanged:
    """Prompts of the families in which behaviour looked the same on the selection rows.

    Attributes:
        rows: their numbers, both sides of the split.
        families: their names.
        changed: names of the others.
    """

    rows: Int[np.ndarray, " _kept"]
    families: tuple[str, ...]
    changed: tuple[str, ...]


def unchanged_families(
    behaviour: Behaviour, trait: str, split: Split, groups: Sequence[str]
) -> Unchanged | Unscored:
    """Families whose mean score moves by less than the equivalence bound on the selection rows."""
    rates = behaviour.rates[trait]
    if isinstance(rates, Unscored):
        return rates
    if behaviour.families is None:
        return Unscored(f"the prompts name no families (label {FAMILY!r})")
    names = np.array(behaviour.families)
    chosen = split.selection
    alike = families_alike(rates[VARIANT][chosen], rates[BASE][chosen], names[chosen].tolist())
    kept: Bool[np.ndarray, " row"] = np.isin(names, alike)
    others = tuple(sorted(set(names.tolist()) - set(alike)))
    if not alike:
        return Unscored("behaviour changed in every family on the selection rows")
    sides = (int(kept[chosen].sum()), int(kept[split.report].sum()))
    in_report = {groups[i] for i in split.report if kept[i]}
    if min(sides) < 2 or len(in_report) < 2:
        return Unscored(
            f"the families whose replies look the same have {sides[0]} selection and {sides[1]} "
            f"report prompts in {len(in_report)} groups: too few"
        )
    return Unchanged(np.flatnonzero(kept), alike, others)


def behaviour_claim(
    trait: str,
    found: Unchanged | Unscored,
    behaviour: Behaviour,
    split: Split,
    groups: Sequence[str],
    names: tuple[str, str],
    *,
    looks: int,
    seed: int,
) -> Claim:
    """That base and variant behave alike on the report rows of these families.

    Args:
        names: of base and variant, for the sentence.
    """
    name = f"same_behaviour:{trait}"
    where = "of the families that looked unchanged on the selection rows"
    statement = f"{names[1]} shows as much {trait} as {names[0]} in its replies to prompts {where}."
    rates = behaviour.rates[trait]
    if isinstance(found, Unscored) or isinstance(rates, Unscored):
        reason = found.reason if isinstance(found, Unscored) else "no scores"
        why = missing_check("judged replies", reason, "replies judged in known families")
        return untestable("same behaviour", name, statement, why, looks)
    report = split.report[np.isin(split.report, found.rows)]
    return same_behaviour_claim(
        rates[VARIANT][report],
        rates[BASE][report],
        [f"prompt-{i}" for i in report],
        families=[groups[i] for i in report],
        statement=statement,
        split=f"report rows of the families {', '.join(found.families)}",
        looks=looks,
        seed=seed,
        id=name,
    )
