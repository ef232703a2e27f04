"""Step 9: what a run found, in the terminal."""

from __future__ import annotations

from rich.console import Console

from trait_probe.experiments._criteria import print_criteria
from trait_probe.experiments._prefill.criteria import criteria
from trait_probe.experiments._prefill.find import Found
from trait_probe.experiments._prefill.page import (
    apart,
    behaviour_rows,
    effect_words,
    notices_of,
    parting_words,
)
from trait_probe.experiments._prefill.reading import POSITIONS
from trait_probe.experiments._prefill.results import notes, verdict_line
from trait_probe.report import terminal


def print_found(found: Found, console: Console) -> None:
    """The terminal's account."""
    console.rule("Prefill attack")
    for note in notes(found).values():
        console.print(note, markup=False, highlight=False)
    rows = [
        (str(row[0]), str(row[2]), str(row[3]), str(row[5]))
        for row in behaviour_rows((*found.conditions, *found.lengths[1:-1]))
    ]
    columns = ("prefill", "harmful refused", "harmful complied", "benign complied")
    terminal.print_table(columns, rows, console, "Behaviour, all pairs")
    for trait, item in found.traits.items():
        where = "; ".join(f"{at}: {site}" for at, site in item.sites.items())
        terminal.print_table(
            ("direction", "last token, d", "AUROC", "header, d", "AUROC", "interaction, SD"),
            [
                (
                    row.direction,
                    *(text for at in POSITIONS for text in apart(row.at[at])),
                    effect_words(row.crossed.interaction),
                )
                for row in item.compared
            ],
            console,
            f"{trait}: C2 against C4, report pairs ({where})",
        )
        console.print(parting_words(item), markup=False, highlight=False)
    print_criteria(criteria(found), console)
    terminal.print_claims([claim.to_json() for claim in found.claims], console)
    console.print(verdict_line(found), style="bold", markup=False)
    for notice in notices_of(found):
        terminal.print_notice(notice, console)
