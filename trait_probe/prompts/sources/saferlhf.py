"""PKU-SafeRLHF: prompts with two answers each, with 19 harm categories and a severity.

Ji et al. 2024, "PKU-SafeRLHF: Towards Multi-Level Safety Alignment for LLMs with Human Preference"
(arXiv 2406.15513), on the hub as `PKU-Alignment/PKU-SafeRLHF`. Columns read of each answer 0 and 1:
`response_0`, `is_response_0_safe`, `response_0_harm_category` (an object of 19 booleans) and
`response_0_severity_level` (0, no harm, to 3, severe).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from trait_probe.errors import BadInputError
from trait_probe.prompts.prompt import Prompt
from trait_probe.prompts.sources import _answers
from trait_probe.prompts.sources._answers import AnswerFormat, Cells, PlacedRow, Skipped

CONFIGS = ("default", "alpaca-7b", "alpaca2-7b", "alpaca3-8b")
SPLITS = ("train", "test")
DEFAULT_SPLIT = "test"
REVISION = "d79b19b2043c4b168d8d64c61ef4ba4ed1ffe2c0"
CATEGORIES = (
    "Endangering National Security",
    "Insulting Behavior",
    "Discriminatory Behavior",
    "Endangering Public Health",
    "Copyright Issues",
    "Violence",
    "Drugs",
    "Privacy Violation",
    "Economic Crime",
    "Mental Manipulation",
    "Human Trafficking",
    "Physical Harm",
    "Sexual Content",
    "Cybercrime",
    "Disrupting Public Order",
    "Environmental Damage",
    "Psychological Harm",
    "White-Collar Crime",
    "Animal Abuse",
)
SEVERITIES = (0, 1, 2, 3)
_SIDES = (0, 1)
_COLUMNS = (
    "prompt",
    *(f"response_{side}" for side in _SIDES),
    *(f"is_response_{side}_safe" for side in _SIDES),
    *(f"response_{side}_harm_category" for side in _SIDES),
    *(f"response_{side}_severity_level" for side in _SIDES),
)


def prompts(rows: Iterable[PlacedRow], skipped: Skipped) -> Iterator[Prompt]:
    """Each of the two answers as the response to the user's message, one row at a time.

    Ids are `saferlhf-0000001-0` and `saferlhf-0000001-1` by row. Labels: `harmful` (the answer is
    not safe), `categories` (those flagged, in the order of `CATEGORIES`, joined by " | "; empty
    where none is), `n_categories` and `severity`. Answers to one prompt form a group. Answers
    without text are counted and left out.

    Raises:
        BadInputError: while iterating: a missing column, a category that is unknown or missing, or
            a cell of the wrong kind; names the row.
    """
    for number, (where, row) in enumerate(rows, start=1):
        cells = _answers.cells_of(where, row, _COLUMNS)
        for side in _SIDES:
            found = _answer(where, cells, f"saferlhf-{number:07d}-{side}", side, skipped)
            if found is not None:
                yield found


def _answer(where: str, row: Cells, name: str, side: int, skipped: Skipped) -> Prompt | None:
    facts = _answers.labels(
        safe=_answers.boolean(where, row, f"is_response_{side}_safe"),
        categories=_answers.flagged(where, row, f"response_{side}_harm_category", CATEGORIES),
    )
    facts["severity"] = _severity(where, row, f"response_{side}_severity_level")
    return _answers.answered(where, row, ("prompt", f"response_{side}"), name, facts, skipped)


def _severity(where: str, row: Cells, column: str) -> int:
    value = row[column]
    if isinstance(value, bool) or not isinstance(value, int) or value not in SEVERITIES:
        raise BadInputError(
            f"{where}: the column {column!r} must be a whole number from 0 to 3.",
            got=value,
            valid=SEVERITIES,
            fix="Correct the row.",
        )
    return value


FORMAT = AnswerFormat("pku-saferlhf", _COLUMNS, prompts)
