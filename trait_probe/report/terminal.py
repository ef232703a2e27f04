"""Claims and tables in the terminal. Names and prompts are text, never terminal markup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from trait_probe.report import text

_VERDICT_STYLE = {
    "supported": "bold green",
    "not supported": "bold red",
    "inconclusive": "bold yellow",
    "not testable": "bold magenta",
}
_STATUS_STYLE = {"passed": "green", "failed": "red", "missing": "magenta"}


def print_claims(claims: Sequence[Mapping[str, Any]], console: Console) -> None:
    """Each claim of claims.json: verdict, statement, effect, notes, then its criteria."""
    for claim in claims:
        verdict = claim["verdict"]
        head = (verdict.upper(), _VERDICT_STYLE[verdict])
        console.print(Text.assemble(head, ": ", _visible(claim["statement"])))
        console.print(Text(f"  effect: {_visible(text.estimate(claim['effect']))}"))
        source = text.estimate_source(claim["effect"])
        lines = [source] if source else []
        for line in (*lines, *text.claim_notes(claim), text.looks(claim)):
            console.print(Text(f"  {_visible(line)}", style="dim"))
        console.print(_criteria(claim["checks"]))
    console.print(Text(f"{len(claims)} claims: {text.verdict_counts(claims)}"))


def print_notice(notice: text.Notice, console: Console) -> None:
    """One sentence, marked when it is a warning."""
    mark = ("Warning: ", "bold yellow") if notice.warning else ""
    console.print(Text.assemble(mark, _visible(notice.text)))


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str | int | float | None]],
    console: Console,
    title: str | None = None,
) -> None:
    """A table; numbers are right-aligned, None is an empty cell."""
    table = Table(title=None if title is None else Text(_visible(title)), title_justify="left")
    for index, column in enumerate(columns):
        numeric = all(isinstance(row[index], int | float | None) for row in rows)
        table.add_column(Text(_visible(column)), justify="right" if numeric else "left")
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    console.print(table)


def _criteria(checks: Sequence[Mapping[str, Any]]) -> Table:
    table = Table("check", "result", "observed", "required", box=None, padding=(0, 2))
    for check in checks:
        status = Text(check["status"], style=_STATUS_STYLE[check["status"]])
        cells = (Text(_visible(check[name])) for name in ("observed", "required"))
        table.add_row(Text(_visible(check["name"])), status, *cells)
    return table


def _cell(value: str | int | float | None) -> Text:
    return Text("" if value is None else _visible(text.describe(value)))


def _visible(value: str) -> str:
    """Control characters shown as escapes: a model's output must not drive the terminal."""
    return "".join(
        char if char.isprintable() or char == "\n" else repr(char)[1:-1] for char in value
    )
