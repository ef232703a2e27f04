"""Steps 5 to 12, from a design to everything that is found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from trait_probe.evidence.claims import Claim
from trait_probe.evidence.estimate import Unscored
from trait_probe.experiments._external.banks import level_bank
from trait_probe.experiments._external.categories import CategoryFound, Cell, by_category, matrix
from trait_probe.experiments._external.compare import Compared, compare
from trait_probe.experiments._external.data import answered, unanswered
from trait_probe.experiments._external.design import Design, Scored, scored
from trait_probe.experiments._external.failures import Failure, failures
from trait_probe.experiments._external.levels import RESPONSE, Level
from trait_probe.experiments._external.random_finds import (
    RandomFinds,
    held_to,
    random_finds,
    why_not_found,
)
from trait_probe.experiments._external.reading import read_shards
from trait_probe.experiments._external.severity import Severity, severity
from trait_probe.experiments._external.study import Kind, Studied, study, words_of
from trait_probe.experiments._external.thresholds import Calibrated, calibrate
from trait_probe.experiments._external.whole import Whole, read_whole
from trait_probe.prompts.prompt import PromptSet
from trait_probe.runs.openings import OpenedSplit, record_openings
from trait_probe.runs.rundir import Run


@dataclass(frozen=True)
class LevelFound:
    """Everything about one level; by trait where it is about claimed traits."""

    scored: Scored
    studied: Studied
    compared: Mapping[str, Compared]
    cells: Mapping[str, Mapping[str, Cell]]
    categories: Mapping[str, tuple[CategoryFound, ...]]
    random: Mapping[str, RandomFinds | Unscored]
    thresholds: Mapping[str, tuple[Calibrated, ...]]
    severity: Mapping[str, Severity]
    failures: Mapping[str, tuple[Failure, ...]]

    @property
    def level(self) -> Level:
        """The rows."""
        return self.scored.level

    @property
    def claimed(self) -> tuple[str, ...]:
        """Claimed traits."""
        return tuple(self.categories)


@dataclass(frozen=True)
class Found:
    """What a run found.

    Attributes:
        levels: by name, the main one first.
        whole: over all rows, with --full.
        opened: how often each level's report rows were opened.
    """

    design: Design
    levels: Mapping[str, LevelFound]
    whole: Whole | None
    opened: tuple[OpenedSplit, ...]

    @property
    def main(self) -> LevelFound:
        """Answers where there are any, else prompts."""
        return next(iter(self.levels.values()))

    @property
    def claims(self) -> list[Claim]:
        """Level by level, separation first."""
        return [claim for level in self.levels.values() for claim in level.studied.claims.values()]

    def claim(self, level: str, trait: str, kind: Kind) -> Claim:
        """One of them."""
        return self.levels[level].studied.claims[trait, kind]


def find(run: Run, design: Design) -> Found:
    """Read every level, study it, and with `full` read the rest."""
    levels, opened = {}, []
    for name, level in design.levels.items():
        found = read_level(run, design, level)
        levels[name] = find_level(design, found)
        opened.append(record_openings(run, levels[name].studied.lock))
    main = next(iter(levels.values()))
    whole = read_whole(run, design, main.scored) if design.config.full else None
    return Found(design, levels, whole, tuple(opened))


def read_level(run: Run, design: Design, level: Level) -> Scored:
    """One level's rows on all directions, in shards; and where each trait is read."""
    config, directions = design.config, design.directions[level.name]
    split = design.splits[level.name]
    bank = level_bank(run, design.model, config, directions, level, split.selection.tolist())
    path = run.path(f"prompts/{level.name}.jsonl")
    level.prompts.to_jsonl(path)
    shards = read_shards(run, level.name, design.model, config, bank, path, directions.rule)
    return scored(level, *shards.load(), directions, split)


def find_level(design: Design, found: Scored) -> LevelFound:
    """Everything about one level."""
    config, level = design.config, found.level
    directions = design.directions[level.name]
    claimed = directions.claimed
    words = words_of(design, found)
    compared, studied = compare(found, config), study(design, found, words)
    cells = matrix(found, config)
    categories = {t: by_category(found, t, compared, config, words.scores.get(t)) for t in claimed}
    random = {t: random_finds(found, every) for t, every in categories.items()}
    for trait in claimed:
        why_not = why_not_found(random[trait], texts_known=trait in directions.contrasts)
        categories[trait] = held_to(categories[trait], why_not)
    benign = {name: _as_read(design, level, some) for name, some in design.benign.items()}
    return LevelFound(
        scored=found,
        studied=studied,
        compared=compared,
        cells=cells,
        categories=categories,
        random=random,
        thresholds={t: calibrate(design, found, t, benign) for t in claimed},
        severity={t: severity(found, t, config) for t in claimed},
        failures={t: failures(found, t, config.n_failures) for t in claimed},
    )


def _as_read(design: Design, level: Level, prompts: PromptSet) -> PromptSet:
    """Benign prompts with answers where those are read, else without."""
    if level.name == RESPONSE:
        return answered(design.model, prompts, design.config.max_new_tokens)
    return unanswered(prompts)
