"""Labelled answers: what BeaverTails and PKU-SafeRLHF share, row by row, checked.

A row tells what was asked, one or two answers, and for each whether it is safe and which harm
categories are flagged. Rows are streamed: an error names its row, and none before it is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from trait_probe.errors import BadInputError, nearest
from trait_probe.evidence.splits import text_id
from trait_probe.prompts import _record
from trait_probe.prompts.prompt import Message, Prompt, Scalar

JOIN = " | "
"""Stands between flagged categories in the label `categories`; no category's name holds it."""

Cells = Mapping[str, object]
PlacedRow = tuple[str, object]
"""Where a row stands, such as "file.jsonl, line 3", and what the file holds there."""


@dataclass
class Skipped:
    """What one pass over the rows left out, counted so that nothing goes without a word.

    Attributes:
        empty: answers that are blank or whose prompt is: there is no token to read.
    """

    empty: int = 0


@dataclass(frozen=True)
class AnswerFormat:
    """A public format of labelled answers.

    Attributes:
        name: as in provenance.
        columns: those that every row needs; others are passed over.
        prompts: the prompts of rows; what it leaves out is added to the count.
    """

    name: str
    columns: tuple[str, ...]
    prompts: Callable[[Iterable[PlacedRow], Skipped], Iterator[Prompt]]


def require_columns(name: str, got: Iterable[str], needed: Sequence[str]) -> None:
    """Refuse rows that lack one of these columns.

    Raises:
        BadInputError: names those missing, those there and those needed.
    """
    there = list(got)
    missing = [column for column in needed if column not in there]
    if missing:
        raise BadInputError(
            f"{name} lacks the column{'s' * (len(missing) > 1)} {', '.join(map(repr, missing))}.",
            got=", ".join(there),
            valid=needed,
            fix="Give the public file unchanged.",
        )


def cells_of(where: str, row: object, needed: Sequence[str]) -> Cells:
    """A row that is an object with at least these columns.

    Raises:
        BadInputError: it is not; begins with the place.
    """
    if not isinstance(row, Mapping):
        raise BadInputError(
            f"{where} is not an object with columns.", got=row, valid=needed, fix="Correct the row."
        )
    require_columns(where, map(str, row), needed)
    return row


def boolean(where: str, row: Cells, column: str) -> bool:
    """A cell that is true or false; numbers and text are not taken for one.

    Raises:
        BadInputError: it is something else.
    """
    value = row[column]
    if not isinstance(value, bool):
        raise BadInputError(
            f"{where}: the column {column!r} must be true or false.",
            got=value,
            valid=("true", "false"),
            fix="Write true or false, without quotes.",
        )
    return value


def flagged(where: str, row: Cells, column: str, categories: Sequence[str]) -> list[str]:
    """The categories that are true, in the schema's order.

    Raises:
        BadInputError: the cell is no object of exactly these categories, each true or false; lists
            the categories.
    """
    value = row[column]
    if not isinstance(value, Mapping):
        raise BadInputError(
            f"{where}: the column {column!r} must be an object of harm categories.",
            got=value,
            valid=categories,
            fix="Give each category true or false.",
        )
    _check_categories(f"{where}, column {column!r}", value, categories)
    return [name for name in categories if boolean(f"{where}, column {column!r}", value, name)]


def _check_categories(where: str, value: Cells, categories: Sequence[str]) -> None:
    unknown = [str(name) for name in value if name not in categories]
    if unknown:
        raise BadInputError(
            f"{where}: there is no harm category of this name.",
            got=unknown[0],
            valid=nearest(unknown[0], categories, n=len(categories)),
            fix="Rename or remove it.",
        )
    missing = [name for name in categories if name not in value]
    if missing:
        raise BadInputError(
            f"{where} lacks the harm categor{'y' if len(missing) == 1 else 'ies'} "
            f"{', '.join(map(repr, missing))}.",
            got=", ".join(value),
            valid=categories,
            fix="Give every category true or false.",
        )


def labels(*, safe: bool, categories: Sequence[str]) -> dict[str, Scalar]:
    """`harmful`, the flagged `categories` as one text, and `n_categories`."""
    return {
        "harmful": not safe,
        "categories": JOIN.join(categories),
        "n_categories": len(categories),
    }


def answered(
    where: str,
    row: Cells,
    columns: tuple[str, str],
    name: str,
    facts: Mapping[str, Scalar],
    skipped: Skipped,
) -> Prompt | None:
    """What was asked with the answer; None, and counted, where one of them is blank.

    Prompts with the same words (but for case and spacing) share a group: they recur with many
    answers, which are not independent.

    Args:
        columns: of what was asked, and of the answer.
        name: the prompt's id.

    Raises:
        BadInputError: a cell is no text, or breaks a rule of prompts; begins with the place.
    """
    asked, answer = (_text(where, row, column) for column in columns)
    if not (asked.strip() and answer.strip()):
        skipped.empty += 1
        return None
    try:
        return Prompt(
            id=name,
            messages=(Message("user", asked),),
            response=answer,
            labels=facts,
            group=f"prompt-{text_id(asked)[:16]}",
        )
    except BadInputError as error:
        raise _record.located(where, error) from error


def _text(where: str, row: Cells, column: str) -> str:
    value = row[column]
    if not isinstance(value, str):
        raise BadInputError(
            f"{where}: the column {column!r} must be text.", got=value, fix="Correct the row."
        )
    return value
