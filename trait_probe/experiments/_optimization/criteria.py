"""The plan's criteria with their observed values."""

from __future__ import annotations

from trait_probe.evidence.estimate import Estimate, Unscored
from trait_probe.experiments._criteria import Criterion, criteria_json
from trait_probe.experiments._optimization.find import Found, TraitFound

GAIN = 0.2
COSINES = (0.3, 0.7)


def criteria(found: Found) -> list[dict[str, object]]:
    """A number passes nothing without its claim; a cosine is a plain observation."""
    rows: list[Criterion] = []
    for name, one in found.traits.items():
        rows += [_delta(name, one), _cosine(name, one)]
    return criteria_json([*rows, _consistent(found)])


def _delta(name: str, found: TraitFound) -> Criterion:
    one = found.relative
    observed = f"{short(one, percent=True)}; claim: {found.claim.verdict}"
    met = isinstance(one, Estimate) and one.value > GAIN and found.claim.verdict == "supported"
    return f"{name}: optimization adds more than 20 % to the extracted effect", observed, met


def _cosine(name: str, found: TraitFound) -> Criterion:
    asked = f"{name}: cosine of extracted and optimized, within the subspace, lies in 0.3 to 0.7"
    cosines = [value for value in found.geometry.inside if value is not None]
    if not cosines:
        return asked, "no seed came to any steering", False
    between = found.geometry.between_seeds
    seeds = f"; two seeds: {sum(between) / len(between):.2f}" if between else ""
    observed = (
        f"{', '.join(f'{value:.2f}' for value in cosines)} (seeds){seeds}; 1 in 20 random "
        f"directions exceed {found.geometry.random:.2f}; cosine of the extracted vector with its "
        f"part in the subspace: {found.geometry.start_inside**0.5:.2f}"
    )
    return asked, observed, all(COSINES[0] <= value <= COSINES[1] for value in cosines)


def _consistent(found: Found) -> Criterion:
    held = [name for name, one in found.traits.items() if one.claim.verdict == "supported"]
    observed = f"a gain is supported for {len(held)} of {len(found.traits)} traits"
    met = len(held) >= 2 and len(held) == len(found.traits)
    return "the pattern is the same for several traits", observed, met


def short(one: Estimate | Unscored, *, percent: bool = False) -> str:
    """An estimate in a table's cell."""
    if isinstance(one, Unscored):
        return f"unscored: {one.reason}"
    if percent:
        return f"{100 * one.value:+.0f} % [{100 * one.low:.0f}, {100 * one.high:.0f}]"
    return f"{one.value:.2f} [{one.low:.2f}, {one.high:.2f}]"
