"""The plan's criteria with their observed values: as data, in the report, in the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console

from trait_probe.report import page, terminal

Criterion = tuple[str, str, bool]
"""What was asked, what was observed, and whether it is met; what rests on a claim, only with it."""

COLUMNS = ("criterion", "observed", "met")


def criteria_json(criteria: Iterable[Criterion]) -> list[dict[str, object]]:
    """The rows of `results.json`."""
    return [dict(zip(COLUMNS, row, strict=True)) for row in criteria]


def criteria_section(rows: Sequence[Mapping[str, object]]) -> page.Section:
    """The report's section."""
    caption = "What rests on a claim is met only where the claim holds."
    table = page.Table(COLUMNS, _words(rows), caption)
    return page.Section("What the plan asked for", (table,))


def print_criteria(rows: Sequence[Mapping[str, object]], console: Console) -> None:
    """The terminal's table."""
    terminal.print_table(COLUMNS, _words(rows), console, "Criteria of the plan")


def _words(rows: Sequence[Mapping[str, object]]) -> tuple[tuple[str, ...], ...]:
    return tuple(
        (str(row["criterion"]), str(row["observed"]), "yes" if row["met"] else "no") for row in rows
    )
