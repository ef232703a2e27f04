"""BeaverTails: question-answer pairs, each with 14 harm categories and a verdict.

Ji et al. 2023, "BeaverTails: Towards Improved Safety Alignment of LLM via a Human-Preference
Dataset" (arXiv 2307.04657), on the hub as `PKU-Alignment/BeaverTails`: columns `prompt, response,
category, is_safe`, where `category` is an object of 14 booleans. Labels are of the pair, not of the
prompt: a harmful prompt with a refusal is safe. No severity is given; the number of flagged
categories stands in for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from trait_probe.prompts.prompt import Prompt
from trait_probe.prompts.sources import _answers
from trait_probe.prompts.sources._answers import JOIN, AnswerFormat, PlacedRow, Skipped

__all__ = ["CATEGORIES", "CONFIGS", "DEFAULT_SPLIT", "FORMAT", "JOIN", "REVISION", "SPLITS"]

CONFIGS = ("default",)
SPLITS = ("330k_train", "330k_test", "30k_train", "30k_test")
DEFAULT_SPLIT = "330k_test"
"""33.4 thousand pairs: the larger of the two test splits."""
REVISION = "8401fe609d288129cc684a9b3be6a93e41cfe678"
CATEGORIES = (
    "animal_abuse",
    "child_abuse",
    "controversial_topics,politics",
    "discrimination,stereotype,injustice",
    "drug_abuse,weapons,banned_substance",
    "financial_crime,property_crime,theft",
    "hate_speech,offensive_language",
    "misinformation_regarding_ethics,laws_and_safety",
    "non_violent_unethical_behavior",
    "privacy_violation",
    "self_harm",
    "sexually_explicit,adult_content",
    "terrorism,organized_crime",
    "violence,aiding_and_abetting,incitement",
)
_COLUMNS = ("prompt", "response", "category", "is_safe")


def prompts(rows: Iterable[PlacedRow], skipped: Skipped) -> Iterator[Prompt]:
    """Each pair as a user's message with its response, one row at a time.

    Ids are `beavertails-0000001` and so on by row. Labels: `harmful` (it is not safe), `categories`
    (those flagged, in the order of `CATEGORIES`, joined by " | "; empty where none is) and
    `n_categories`. Pairs of one prompt form a group. Pairs without text are counted and left out.

    Raises:
        BadInputError: while iterating: a missing column, a category that is unknown or missing, or
            a cell of the wrong kind; names the row.
    """
    for number, (where, row) in enumerate(rows, start=1):
        cells = _answers.cells_of(where, row, _COLUMNS)
        facts = _answers.labels(
            safe=_answers.boolean(where, cells, "is_safe"),
            categories=_answers.flagged(where, cells, "category", CATEGORIES),
        )
        name = f"beavertails-{number:07d}"
        found = _answers.answered(where, cells, ("prompt", "response"), name, facts, skipped)
        if found is not None:
            yield found


FORMAT = AnswerFormat("beavertails", _COLUMNS, prompts)
