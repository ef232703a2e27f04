"""Step 12, with --full: the rest of the data set, at the layers that the sample chose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from trait_probe.basis import Site
from trait_probe.evidence.detectors import Detector, Labelled, Rated, area, rate
from trait_probe.evidence.estimate import Estimate, Unscored
from trait_probe.experiments._external.banks import at_sites
from trait_probe.experiments._external.design import Design, Scored, standardized
from trait_probe.experiments._external.levels import chosen, group_names, rest_of
from trait_probe.experiments._external.reading import read_shards
from trait_probe.prompts._files import write_jsonl
from trait_probe.runs.rundir import Run

_BOOT = 200
"""Resamples for rates over all rows: their intervals are narrow, and each resample is long."""


@dataclass(frozen=True)
class Whole:
    """Estimates over all usable rows, sample and rest; no claims are made for them.

    Attributes:
        n: rows; n_rest: of them outside the sample; n_groups: groups.
        rated: by trait, unsafe against safe rows.
        categories: by category and claimed trait, AUROC of flagged rows against all safe rows.
    """

    n: int
    n_rest: int
    n_groups: int
    rated: Mapping[str, Rated]
    categories: Mapping[str, Mapping[str, Estimate | Unscored]]


def read_whole(run: Run, design: Design, found: Scored) -> Whole | None:
    """The rest projected, and everything estimated; None where the sample is the whole.

    Groups of the sample's halves are read where the other half chose, new ones where the
    selection half did.
    """
    rest = rest_of(design.rows, design.sampled)
    if not len(rest):
        return None
    path = run.path("prompts/rest.jsonl")
    write_jsonl(path, (prompt.to_dict() for prompt in chosen(design.source, rest)))
    z, sites = _rest(run, design, found, path)
    numbers = np.concatenate([design.sampled, rest])
    detectors = {
        trait: Detector(
            np.concatenate(
                [found.detector(trait).scores, _at(design, found, trait, rest, z, sites)]
            )
        )
        for trait in found.z
    }
    return _estimates(design, numbers, len(rest), detectors)


def _rest(
    run: Run, design: Design, found: Scored, path: Path
) -> tuple[dict[str, Float[np.ndarray, "row site"]], tuple[Site, ...]]:
    """By trait, the rest in SD at every site that some trait was read at; shard by shard."""
    bank = found.scores.bank
    read_at = {k for places in found.places.values() for k in (places.report, places.selection)}
    sites = tuple(bank.sites[k] for k in sorted(read_at))
    some = at_sites(bank, sites)
    directions = design.directions[found.level.name]
    shards = read_shards(run, "rest", design.model, design.config, some, path, directions.rule)
    parts: dict[str, list[Float[np.ndarray, "row site"]]] = {trait: [] for trait in found.z}
    for scores, _ in shards.parts():
        for trait, kept in parts.items():
            kept.append(standardized(scores, directions, trait).astype(np.float32))
    return {trait: np.concatenate(kept) for trait, kept in parts.items()}, sites


def _at(
    design: Design,
    found: Scored,
    trait: str,
    rest: Int[np.ndarray, " rest"],
    z: Mapping[str, Float[np.ndarray, "rest site"]],
    sites: tuple[Site, ...],
) -> Float[np.ndarray, " rest"]:
    """Each row at the site that its half of the groups is read at."""
    groups = design.rows.group
    selected = np.unique(groups[design.sampled[found.split.selection]])
    places, every = found.places[trait], found.scores.bank.sites
    first = z[trait][:, sites.index(every[places.report])]
    second = z[trait][:, sites.index(every[places.selection])]
    of_selection: Bool[np.ndarray, " rest"] = np.isin(groups[rest], selected)
    return np.where(of_selection, second, first).astype(np.float64)


def _estimates(
    design: Design,
    numbers: Int[np.ndarray, " row"],
    n_rest: int,
    detectors: Mapping[str, Detector],
) -> Whole:
    rows, main = design.rows, design.main
    harmful = rows.harmful[numbers]
    groups = group_names(rows.group[numbers].tolist())
    data = Labelled(harmful, groups)
    claimed = design.directions[main.name].claimed
    categories: dict[str, dict[str, Estimate | Unscored]] = {}
    for category in rows.categories:
        flagged = rows.flagged(category)[numbers]
        kept = flagged | ~harmful
        against = Labelled(flagged[kept], data.where(kept).groups)
        categories[category] = {t: area(detectors[t].where(kept), against) for t in claimed}
    return Whole(
        n=len(numbers),
        n_rest=n_rest,
        n_groups=len(set(groups)),
        rated={
            trait: rate(detector, data, n_boot=_BOOT, seed=design.config.seed)
            for trait, detector in detectors.items()
        },
        categories=categories,
    )
