"""The report side of a split is opened for one selection; each further selection is recorded.

Layer, position, sign, strength, threshold and features are chosen on the selection side. An
interval or p value of the report side holds for a choice made without having seen it: who looks,
chooses anew and looks again fits the report side too, and no formula here accounts for that (Dwork
et al. 2015, "The reusable holdout", Science 349). So a lock does not forbid a second look; it makes
it visible.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from trait_probe.errors import BadInputError, MismatchError
from trait_probe.evidence.estimate import strict_json
from trait_probe.evidence.splits import Split, require_disjoint

_LOG = logging.getLogger(__name__)
_ABSENT = "absent"
_LONGEST = 40  # characters of a value that a sentence shows


@dataclass(frozen=True)
class Opening:
    """What the report side was opened for.

    Args:
        chosen: what was chosen, strict JSON: settings such as a layer, not measurements, whose
            last digits differ between machines.
        fraction, seed: of the split; another split of the same rows reports rows that chose.
    """

    chosen: Mapping[str, object]
    fraction: float
    seed: int

    @property
    def selection(self) -> str:
        """SHA-256 (hex) of what was chosen and of the split's fraction and seed."""
        split = {"fraction": self.fraction, "seed": self.seed}
        return _sha256({"chosen": self.chosen, "split": split})

    def to_json(self) -> dict[str, object]:
        """The fields and the hash."""
        return {
            "selection": self.selection,
            "chosen": strict_json(self.chosen),
            "fraction": self.fraction,
            "seed": self.seed,
        }


class ReportLock:
    """A split whose report rows are handed out for a recorded selection only.

    Args:
        split: the rows of each side.
        data: what the rows are, strict JSON: hashes of prompts, identities of models. Runs on the
            same data have the same lock, however they split it.

    Raises:
        BadInputError: `data` is empty, so that all data would be the same, or is no strict JSON.
    """

    def __init__(self, split: Split, data: Mapping[str, object]) -> None:
        if not data:
            raise BadInputError(
                "A lock must know what its rows are, or it would take all data for the same.",
                got=dict(data),
                fix="Pass the hash of the prompts and the identity of each model.",
            )
        self._split = split
        self._id = _sha256(data)
        self._openings: dict[str, Opening] = {}
        self._compared: dict[str, Mapping[str, str]] = {}

    @property
    def id(self) -> str:
        """SHA-256 (hex) of the data."""
        return self._id

    @property
    def selection(self) -> Int[np.ndarray, " _selection"]:
        """Rows to choose on, freely."""
        return self._split.selection.copy()

    def report(self, chosen: Mapping[str, object]) -> Int[np.ndarray, " _report"]:
        """Open the report side for what was chosen; a changed choice is recorded and warned of.

        Args:
            chosen: everything that was chosen, and every option that changes what is reported.

        Returns:
            The report rows. The same choice again is no new opening.

        Raises:
            BadInputError: `chosen` is no strict JSON.
        """
        opening = Opening(_plain(chosen), self._split.fraction, self._split.seed)
        if opening.selection not in self._openings:
            before = self.openings
            self._openings[opening.selection] = opening
            if before:
                changed = "; ".join(differences(opening, before[-1]))
                _LOG.warning("Report split %s (now %s).", self.note(), changed)
        return self._split.report.copy()

    def compare(self, kind: str, against: Mapping[str, str]) -> None:
        """Record what a kind of claim is compared with; other controls later are a second look.

        Who drops the control that was not beaten has seen the report rows. Kinds differ in what
        they need, so each is held to its own first comparison.

        Args:
            against: what tells each control, by name.

        Raises:
            BadInputError: the report side was not opened.
        """
        if not self._openings:
            raise BadInputError(
                "Comparisons are recorded for what was chosen.",
                got="a locked report side",
                fix="Call report(chosen) first.",
            )
        first = self._compared.setdefault(kind, dict(against))
        names = sorted({*first, *against})
        changed = [name for name in names if first.get(name) != against.get(name)]
        if changed:
            told = {f"{kind}: {name}": against.get(name, _ABSENT) for name in changed}
            self.report({**self.openings[-1].chosen, **told})

    @property
    def split(self) -> Split:
        """Both sides, for what needs them once the report side is open.

        Raises:
            BadInputError: it was not opened.
        """
        if not self._openings:
            raise BadInputError(
                "The report rows are read after `report(chosen)` has said what was chosen.",
                got="a locked report side",
                fix="Choose on `lock.selection`, then open it once.",
            )
        return self._split

    def require_apart(self, groups: Sequence[str], what: str = "Groups") -> None:
        """Raise when a group has rows on both sides, or rows are named that are not there.

        Args:
            groups: group of each row, or the prompt that it comes from.
            what: what they are, for the message.
        """
        sides = (self._split.selection, self._split.report)
        if max(int(side.max()) for side in sides) >= len(groups):
            raise MismatchError(
                "The split names rows that are not there.",
                got=f"{len(groups)} rows",
                fix="Split the rows that are studied.",
            )
        chosen, reported = ({groups[i] for i in side} for side in sides)
        require_disjoint(chosen, reported, f"{what} of a split")

    @property
    def openings(self) -> tuple[Opening, ...]:
        """The distinct openings, first one first."""
        return tuple(self._openings.values())

    @property
    def reopened(self) -> bool:
        """Whether it was opened with more than one selection."""
        return len(self._openings) > 1

    def to_json(self) -> dict[str, object]:
        """Id, split and openings."""
        return {
            "id": self.id,
            "split": self._split.to_json(),
            "openings": [opening.to_json() for opening in self.openings],
        }

    def note(self) -> str:
        """How often it was opened, in words."""
        return opened_note(len(self._openings))


def opened_note(n: int) -> str:
    """`n` distinct openings in words, and what more than one means."""
    if n < 2:
        return ("not opened", "opened once")[n]
    return (
        f"opened {n} times with different selections: intervals and p values do not account "
        "for that"
    )


def differences(one: Opening, other: Opening) -> tuple[str, ...]:
    """What `one` has otherwise than `other`: "layer 3 instead of 2"; long values are not shown."""
    mine, theirs = _worded(one), _worded(other)
    return tuple(
        _difference(name, mine.get(name, _ABSENT), theirs.get(name, _ABSENT))
        for name in sorted({*mine, *theirs})
        if mine.get(name) != theirs.get(name)
    )


def _difference(name: str, value: str, other: str) -> str:
    if max(len(value), len(other)) > _LONGEST:
        return f"another {name}"
    return f"{name} {value} instead of {other}"


def _worded(opening: Opening) -> dict[str, str]:
    """Each setting as JSON text under its dotted name, so that 1 and true differ."""
    split = {"split fraction": opening.fraction, "split seed": opening.seed}
    return {name: json.dumps(value) for name, value in {**_flat(opening.chosen), **split}.items()}


def _flat(value: Mapping[str, object], within: str = "") -> dict[str, object]:
    out: dict[str, object] = {}
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            out |= _flat(item, f"{within}{key}.")
        else:
            out[f"{within}{key}"] = item
    return out


def _plain(value: Mapping[str, object]) -> dict[str, object]:
    plain = strict_json(value)
    assert isinstance(plain, dict)
    return plain


def _sha256(value: Mapping[str, object]) -> str:
    """Of the JSON, whatever the order of its keys."""
    text = json.dumps(strict_json(value), allow_nan=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
