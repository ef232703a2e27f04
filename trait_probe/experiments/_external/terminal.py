"""What a run found, in the terminal."""

from __future__ import annotations

from rich.console import Console

from trait_probe.experiments._criteria import print_criteria
from trait_probe.experiments._external.criteria import criteria, percent, short
from trait_probe.experiments._external.find import Found, LevelFound
from trait_probe.experiments._external.page import (
    DETECTOR_COLUMNS,
    detector_rows,
    notices_of,
    threshold_columns,
    threshold_rows,
)
from trait_probe.experiments._external.results import notes, verdict_line
from trait_probe.report import terminal


def print_found(found: Found, console: Console) -> None:
    """The terminal's account."""
    console.rule("External data sets")
    for note in notes(found).values():
        console.print(note, markup=False, highlight=False)
    for name, level in found.levels.items():
        title = f"Level {name}: all rows of the sample"
        terminal.print_table(DETECTOR_COLUMNS, detector_rows(level.compared), console, title)
        _print_traits(level, console)
    if found.whole is not None:
        rows = [(trait, short(rated.auroc)) for trait, rated in found.whole.rated.items()]
        title = f"The whole data set: {found.whole.n} rows"
        terminal.print_table(("trait", "AUROC"), rows, console, title)
    print_criteria(criteria(found), console)
    terminal.print_claims([claim.to_json() for claim in found.claims], console)
    console.print(verdict_line(found), style="bold", markup=False)
    for notice in notices_of(found):
        terminal.print_notice(notice, console)


def _print_traits(level: LevelFound, console: Console) -> None:
    for trait in level.claimed:
        rows = [
            (
                one.category,
                one.state,
                str(one.n),
                short(one.rated.auroc),
                short(one.words),
                percent(one.rated.tpr["0.05"]),
            )
            for one in level.categories[trait]
        ]
        columns = ("category", "state", "flagged", "AUROC", "words", "caught at 5 %")
        if rows:
            terminal.print_table(columns, rows, console, f"{trait}: flagged against all safe rows")
        terminal.print_table(
            threshold_columns(level, trait)[:4],
            [row[:4] for row in threshold_rows(level, trait)],
            console,
            f"{trait}: calibrated thresholds, report rows",
        )
