"""Figures on disk: HTML that needs no network, and PNG where a browser is found."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import kaleido
import plotly.graph_objects as go
from kaleido.errors import (
    BrowserClosedError,
    BrowserFailedError,
    ChromeNotFoundError,
    JavascriptError,
    KaleidoError,
)

from trait_probe.runs.files import write_bytes

BROWSERS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
)

_LOG = logging.getLogger(__name__)
_SECONDS_PER_BROWSER = 90.0
_SECONDS_TO_CLOSE = 5.0
_PIXELS_PER_POINT = 2
# plotly.js 4 shows a "Share chart" button that sends the data to a server, unless told not to.
_PLOTLY_CONFIG = {
    "displaylogo": False,
    "showSendToCloud": False,
    "plotlyServerURL": "",
    "modeBarButtonsToRemove": ["select2d", "lasso2d"],
}
_BROWSER_FAILURES = (
    BrowserClosedError,
    BrowserFailedError,
    ChromeNotFoundError,
    JavascriptError,
    KaleidoError,
    TimeoutError,
    OSError,
)


def find_chrome() -> Path | None:
    """A Chrome or Chromium: `BROWSER_PATH` if set, else the first on PATH; None if there is none.

    A `BROWSER_PATH` that is no executable file is not replaced by another browser: None.
    """
    named = os.environ.get("BROWSER_PATH")
    for name in (named,) if named else BROWSERS:
        if found := shutil.which(name):
            return Path(found)
    return None


def figure_html(figure: go.Figure, div_id: str, *, whole_page: bool) -> str:
    """A figure as HTML; the same figure gives the same text.

    Args:
        div_id: id of its element, unique in the page.
        whole_page: a page of its own with plotly.js inside, else only the element.
    """
    html: str = figure.to_html(
        full_html=whole_page,
        include_plotlyjs=whole_page,
        div_id=div_id,
        config=_PLOTLY_CONFIG,
    )
    return html


def save_figure(figure: go.Figure, path_without_suffix: Path, chrome: Path | None) -> list[Path]:
    """Write one figure: see `save_figures`."""
    return save_figures({path_without_suffix.name: figure}, path_without_suffix.parent, chrome)


def save_figures(figures: Mapping[str, go.Figure], folder: Path, chrome: Path | None) -> list[Path]:
    """Write `<folder>/<name>.html` for each figure, and `.png` when `chrome` is given and works.

    A browser that fails or hangs costs the PNGs and one logged line, never the HTML. One browser
    draws all figures, since starting it takes longer than drawing.

    Returns:
        The files written, HTML first.

    Raises:
        RunError: the disk is full, or the place cannot be written.
    """
    files = {}
    for name, figure in figures.items():
        page = figure_html(figure, f"figure-{name}", whole_page=True)
        files[folder / f"{name}.html"] = page.encode()
    pictures = _pngs(list(figures.values()), chrome) if chrome is not None else []
    for name, picture in zip(figures, pictures, strict=False):
        files[folder / f"{name}.png"] = picture
    for path, data in files.items():
        write_bytes(path, data)
    return list(files)


def _pngs(figures: Sequence[go.Figure], chrome: Path) -> list[bytes]:
    """PNGs of all figures, or none and a logged line if the browser fails."""
    try:
        # A thread of its own, since a notebook already runs an event loop in this one.
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(asyncio.run, _draw_in_time(figures, chrome)).result()
    except _BROWSER_FAILURES as error:
        reason = " ".join(str(error).split())
        _LOG.warning("No PNG figures: %s failed (%s: %s)", chrome, type(error).__name__, reason)
        return []


async def _draw_in_time(figures: Sequence[go.Figure], chrome: Path) -> list[bytes]:
    # mathjax=False: kaleido would fetch it from the network, and no label holds a formula.
    browser = kaleido.Kaleido(path=str(chrome), mathjax=False)
    try:
        # kaleido's own timeout does not cover a browser that starts and then says nothing.
        return await asyncio.wait_for(_draw(browser, figures), _SECONDS_PER_BROWSER)
    finally:
        with contextlib.suppress(*_BROWSER_FAILURES):
            await asyncio.wait_for(browser.close(), _SECONDS_TO_CLOSE)


async def _draw(browser: kaleido.Kaleido, figures: Sequence[go.Figure]) -> list[bytes]:
    await browser.open()
    return [await browser.calc_fig(figure.to_dict(), _options(figure)) for figure in figures]


def _options(figure: go.Figure) -> dict[str, object]:
    size = {"width": figure.layout.width, "height": figure.layout.height}
    return {"format": "png", "scale": _PIXELS_PER_POINT, **size}
