"""How often a run's report rows were opened, and for what else, in words."""

from __future__ import annotations

from collections.abc import Sequence

from trait_probe.evidence.locks import Opening, differences, opened_note
from trait_probe.report.text import Notice
from trait_probe.runs.openings import OpenedSplit

_SHOWN = 5


def lock_notice(opened: OpenedSplit) -> Notice:
    """For `Page.notices` and `terminal.print_notice`: a warning unless opened once, ever."""
    own = f"Report split: {opened_note(len(opened.openings))}"
    others = [item for item in opened.openings if item.selection != opened.current.selection]
    if others:
        own += f" (before: {_listed([_changed(item, opened.current) for item in others], '; ')})"
    if not opened.earlier:
        return Notice(f"{own}.", warning=bool(others))
    n = len(opened.earlier)
    times = "once" if n == 1 else f"{n} times"
    seen = f"These data were opened {times} before with other choices ({_by_choice(opened)})"
    meaning = "intervals and p values do not account for that"
    return Notice(f"{own}. {seen}: {meaning}.", warning=True)


def _by_choice(opened: OpenedSplit) -> str:
    """ "runs a1, b2: layer 3 instead of 2; run c3: seed 1 instead of 0"."""
    runs: dict[str, list[str]] = {}
    for item in opened.earlier:
        runs.setdefault(_changed(item.opening, opened.current), []).append(item.run)
    groups = [
        f"run{'' if len(names) == 1 else 's'} {_listed(names, ', ')}: {changed}"
        for changed, names in runs.items()
    ]
    return _listed(groups, "; ")


def _changed(other: Opening, current: Opening) -> str:
    return _listed(differences(other, current), ", ")


def _listed(items: Sequence[str], between: str) -> str:
    rest = len(items) - _SHOWN
    return between.join(items[:_SHOWN]) + (f"{between}and {rest} more" if rest > 0 else "")
