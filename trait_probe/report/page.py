"""One self-contained report.html: claims first, then figures, tables and prompts.

Everything that comes from a user or a model (prompts, outputs, names) is escaped by the template;
the only markup passed through is plotly's own.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import jinja2
import plotly.graph_objects as go
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from trait_probe.errors import BadInputError
from trait_probe.report import text
from trait_probe.report.save import figure_html
from trait_probe.runs.files import write_bytes

VERDICT_MARKS: Mapping[str, str] = {
    "supported": "✓",
    "not supported": "✗",
    "inconclusive": "~",
    "not testable": "?",
}


@dataclass(frozen=True)
class Paragraph:
    """A paragraph of plain text."""

    text: str


@dataclass(frozen=True)
class Table:
    """A table of text and numbers.

    Raises:
        BadInputError: a row with another number of cells than there are columns.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str | int | float | None, ...], ...]
    caption: str

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise BadInputError(
                    f"Each row of the table {self.caption!r} needs {len(self.columns)} cells.",
                    got=row,
                    valid=self.columns,
                    fix="Give every column a value; None where there is none.",
                )

    def is_numeric(self, index: int) -> bool:
        """Whether a column holds numbers (and empty cells) only; such columns align right."""
        cells = [row[index] for row in self.rows]
        return any(cell is not None for cell in cells) and all(
            isinstance(cell, int | float | None) for cell in cells
        )


@dataclass(frozen=True)
class Figure:
    """A plotly figure."""

    figure: go.Figure
    caption: str


@dataclass(frozen=True)
class PromptRecord:
    """A prompt and what models answered: (who answered, the answer)."""

    id: str
    text: str
    outputs: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Prompts:
    """Prompts with their outputs, folded away until clicked."""

    records: tuple[PromptRecord, ...]
    caption: str


Block: TypeAlias = Paragraph | Table | Figure | Prompts


@dataclass(frozen=True)
class Section:
    """A heading with its blocks."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Page:
    """A whole report.

    Args:
        title, subtitle: what was run, on what.
        verdict_line: the answer in one sentence.
        claims: claims as in claims.json, strongest message first.
        sections: everything else, in order.
        details: provenance for the foot of the page, name -> value.
        notices: shown in boxes before the claims, such as `locks.lock_notice`.
    """

    title: str
    subtitle: str
    verdict_line: str
    claims: tuple[Mapping[str, Any], ...] = ()
    sections: tuple[Section, ...] = ()
    details: Mapping[str, Any] | None = None
    notices: tuple[text.Notice, ...] = ()


def render(page: Page) -> str:
    """The page as one HTML document that needs no network; equal pages give equal text."""
    numbers = itertools.count(1)

    def figure_markup(block: Figure) -> Markup:
        div_id = f"figure-{next(numbers)}"
        return Markup(figure_html(block.figure, div_id, whole_page=False))

    blocks = [block for section in page.sections for block in section.blocks]
    has_figure = any(isinstance(block, Figure) for block in blocks)
    return _template().render(
        page=page,
        kind_of=lambda block: type(block).__name__,
        figure_markup=figure_markup,
        plotlyjs=Markup(get_plotlyjs()) if has_figure else None,
    )


def write_page(path: Path, page: Page) -> None:
    """Write the page atomically.

    Raises:
        RunError: the disk is full, or the place cannot be written.
    """
    write_bytes(path, render(page).encode())


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("trait_probe.report", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "claim_notes": text.claim_notes,
        "describe": text.describe,
        "estimate": text.estimate,
        "estimate_source": text.estimate_source,
        "looks": text.looks,
        "verdict_counts": text.verdict_counts,
    }
    environment.globals |= {"verdict_marks": VERDICT_MARKS}
    return environment.get_template("template.html")
