"""What a run found, in the terminal."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console

from trait_probe.experiments._criteria import print_criteria
from trait_probe.experiments._optimization.criteria import criteria
from trait_probe.experiments._optimization.find import Found
from trait_probe.experiments._optimization.page import (
    ARM_COLUMNS,
    COST_COLUMNS,
    arm_rows,
    cost_rows,
)
from trait_probe.experiments._optimization.results import notes, verdict_line
from trait_probe.report import terminal


def print_found(found: Found, spent: Mapping[str, float], console: Console) -> None:
    """The terminal's account."""
    console.rule("Vector optimization")
    for name, one in found.traits.items():
        console.print(notes(found)[name], markup=False, highlight=False)
        terminal.print_table(ARM_COLUMNS, arm_rows(one), console, f"{name}: test questions")
        terminal.print_table(COST_COLUMNS, cost_rows(one, spent), console, f"{name}: cost")
    print_criteria(criteria(found), console)
    terminal.print_claims([claim.to_json() for claim in found.claims], console)
    console.print(verdict_line(found), style="bold", markup=False)
