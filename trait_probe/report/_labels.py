"""Long names in figures, and what every figure asks of its names and shares."""

from __future__ import annotations

import re
from collections.abc import Sequence

from trait_probe.errors import BadInputError
from trait_probe.report._marks import plain

_LINE = 30  # characters of a name in one line


def long_label(name: str, unscored: bool = False, width: int = _LINE) -> str:
    """The whole name, broken into lines after underscores, commas and the like."""
    lines = [""]
    for piece in re.findall(rf"[^_,/\s-]{{1,{width}}}[_,/\s-]?|[_,/\s-]", name):
        if lines[-1] and len(lines[-1]) + len(piece) > width:
            lines.append("")
        lines[-1] += piece
    return "<br>".join(map(plain, lines)) + (" (unscored)" if unscored else "")


def require_distinct(names: Sequence[str], figure: str) -> None:
    if not names:
        raise BadInputError(f"{figure} needs something to draw.", fix="Leave the figure out.")
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise BadInputError(
            f"{figure} draws each name once.", got=doubled, fix="Give each its own name."
        )


def require_share(value: float, what: str) -> None:
    if not 0.0 <= value <= 1.0:
        raise BadInputError(
            f"{what} must lie between 0 and 1.", got=value, fix="Use None where there is no number."
        )
