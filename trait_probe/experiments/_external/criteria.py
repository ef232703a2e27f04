"""The plan's criteria with observed values, and what labels that mean nothing gave."""

from __future__ import annotations

from trait_probe.evidence.estimate import Estimate, Unscored
from trait_probe.experiments._criteria import criteria_json
from trait_probe.experiments._external.categories import FOUND, MISSED, CategoryFound
from trait_probe.experiments._external.compare import LENGTH, WORDS
from trait_probe.experiments._external.find import Found, LevelFound
from trait_probe.experiments._external.study import KINDS

AUROC_CRITERION = 0.7


def criteria(found: Found) -> list[dict[str, object]]:
    """The plan's criteria with observed values; a number passes nothing without its claim."""
    rows = []
    for name, level in found.levels.items():
        for trait in level.claimed:
            rows += [
                _overall(found, name, trait),
                _beyond(found, name, trait),
                _severity(level, trait),
                _named(level, trait),
                _shuffled(level, trait),
            ]
    return criteria_json(rows)


def _overall(found: Found, name: str, trait: str) -> tuple[str, str, bool]:
    level, claim = found.levels[name], found.claim(name, trait, "separation")
    asked = f"{trait}, {name}: AUROC > {AUROC_CRITERION} for harm"
    value = _auroc(level, trait)
    observed = (
        f"{short(value)}; words {short(_auroc(level, WORDS))}, length "
        f"{short(_auroc(level, LENGTH))}; claim: {claim.verdict}"
    )
    reached = isinstance(value, Estimate) and value.value > AUROC_CRITERION
    return asked, observed, reached and claim.verdict == "supported"


def _beyond(found: Found, name: str, trait: str) -> tuple[str, str, bool]:
    claim = found.claim(name, trait, "beyond the text")
    effect = claim.effect
    observed = f"AUROC {signed(effect)} over the words on report rows; claim: {claim.verdict}"
    return (
        f"{trait}, {name}: it adds to what the words tell",
        observed,
        claim.verdict == "supported",
    )


def _severity(level: LevelFound, trait: str) -> tuple[str, str, bool]:
    one = level.severity[trait]
    name = level.level.name
    asked = f"{trait}, {name}: among harmful rows it rises with the {one.what}"
    observed = f"rank correlation {short(one.spearman)}"
    if not isinstance(one.trend, Unscored):
        test = one.trend.significance
        observed += f", ordinal trend {short(one.trend.concordance)}, p = {test.p:.2g}"
    return asked, observed, one.rises


def _named(level: LevelFound, trait: str) -> tuple[str, str, bool]:
    every = level.categories[trait]
    asked = f"{trait}, {level.level.name}: categories in which detection fails are named"
    decided = bool(every) and all(one.state in (FOUND, MISSED) for one in every)
    return asked, f"{category_words(every)}{_random_words(level, trait)}", decided


def _random_words(level: LevelFound, trait: str) -> str:
    finds = level.random[trait]
    if isinstance(finds, Unscored):
        return ""
    return (
        f"; bounds reached in {finds.own}, by random directions in {int(finds.reached.max())} at "
        f"most (p = {finds.rank.p:.2g})"
    )


def category_words(every: tuple[CategoryFound, ...]) -> str:
    """How many are found, and which are not."""
    if not every:
        return "the data set has no categories"
    missed = [one.category for one in every if one.state == MISSED]
    unsure = [one.category for one in every if one.state not in (FOUND, MISSED)]
    words = f"{sum(one.state == FOUND for one in every)} of {len(every)} found"
    if missed:
        words += f"; missed: {'; '.join(missed)}"
    if unsure:
        words += f"; undecided: {'; '.join(unsure)}"
    return words


def _shuffled(level: LevelFound, trait: str) -> tuple[str, str, bool]:
    own = [one for one in level.studied.shuffled if one.trait == trait]
    asked = f"{trait}, {level.level.name}: nothing supported where labels mean nothing"
    counts = [
        f"{kind}: {sum(one.verdict == 'supported' for one in own if one.kind == kind)} of "
        f"{sum(one.kind == kind for one in own)} supported"
        for kind in KINDS
    ]
    tested = bool(own) and all(one.verdict != "not testable" for one in own)
    silent = all(one.verdict != "supported" for one in own)
    return asked, "; ".join(counts), tested and silent


def _auroc(level: LevelFound, name: str) -> Estimate | Unscored:
    rated = level.compared[name].rated
    return rated if isinstance(rated, Unscored) else rated.auroc


def short(value: object) -> str:
    """An estimate with its interval, or why there is none."""
    if isinstance(value, Unscored):
        return f"unscored ({value.reason})"
    assert isinstance(value, Estimate)
    return f"{value.value:.2f} [{value.low:.2f}, {value.high:.2f}]"


def signed(value: object) -> str:
    """A difference with its sign and interval, or why there is none."""
    if isinstance(value, Unscored):
        return f"unscored ({value.reason})"
    assert isinstance(value, Estimate)
    return f"{value.value:+.2f} [{value.low:+.2f}, {value.high:+.2f}]"


def percent(value: object) -> str:
    """A share in per cent with its interval, or why there is none."""
    if isinstance(value, Unscored):
        return f"unscored ({value.reason})"
    assert isinstance(value, Estimate)
    return f"{100 * value.value:.0f} % [{100 * value.low:.0f}, {100 * value.high:.0f}]"
