"""What every experiment's run does alike: models by name, one console, the same last files."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import plotly.graph_objects as go
from rich.console import Console

from trait_probe.evidence.claims import Claim, claims_json
from trait_probe.experiments._handed_in import require_named
from trait_probe.identity import HookedModel
from trait_probe.models import load_model
from trait_probe.report.page import Page, write_page
from trait_probe.report.save import find_chrome, save_figures
from trait_probe.runs.rundir import Run

PLAIN_WIDTH = 118  # characters

Found_co = TypeVar("Found_co", covariant=True)


@dataclass(frozen=True)
class Result(Generic[Found_co]):
    """What `run` returns: the findings, `results.json` as data, and where the files are."""

    found: Found_co
    results: Mapping[str, object]
    folder: Path


MakePage = Callable[[Mapping[str, go.Figure], Mapping[str, object]], Page]
"""The report of a run, from its figures and the details at its foot."""


def console_or_stdout(console: Console | None) -> Console:
    """Standard output by default; as wide as the tables need where it is no terminal."""
    if console is not None:
        return console
    return Console() if sys.stdout.isatty() else Console(width=PLAIN_WIDTH)


def load_named(field: str, name: str, dtype: str, **how: Any) -> HookedModel:
    """The model that a field of the configuration names.

    Args:
        how: further arguments of `load_model`.

    Raises:
        BadInputError: no such model, or one that was handed in when the run was made.
    """
    require_named(field, name, f"Name a model (--{field}), or hand it in again.")
    model: HookedModel = load_model(name, dtype=dtype, **how)
    return model


def write_run(
    opened: Run,
    *,
    results: Mapping[str, object],
    claims: Sequence[Claim],
    figures: Mapping[str, go.Figure],
    make_page: MakePage,
    settings: Mapping[str, object],
) -> None:
    """`results.json`, `claims.json`, `figures/` and `report.html`; the run is finished then."""
    opened.write_json("results.json", results)
    opened.write_json("claims.json", claims_json(claims))
    chrome = find_chrome()
    save_figures(figures, opened.path("figures/index").parent, chrome)
    if chrome is None:
        print("No Chrome or Chromium found: figures as HTML only.", file=sys.stderr)
    details = {**settings, "folder": str(opened.folder)}
    write_page(opened.path("report.html"), make_page(figures, details))
    opened.finish()
