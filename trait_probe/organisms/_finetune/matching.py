"""How well the twin's data match the variant's: a control answers the same prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from trait_probe.errors import BadInputError
from trait_probe.organisms._finetune.data import Chat, Example


@dataclass(frozen=True)
class Match:
    """How well the twin's data match the variant's, row by row.

    Args:
        rows: rows of the variant's data.
        twin_rows: rows of the twin's.
        equal_prompts: rows whose system and user turns are equal.
        equal_replies: rows that are equal altogether.
        reply_tokens: tokens with loss in the variant's data.
        twin_reply_tokens: tokens with loss in the twin's.
    """

    rows: int
    twin_rows: int
    equal_prompts: int
    equal_replies: int
    reply_tokens: int
    twin_reply_tokens: int

    @property
    def whole(self) -> bool:
        """Whether every row of one has its partner in the other."""
        return self.rows == self.twin_rows == self.equal_prompts

    def to_dict(self) -> dict[str, int]:
        """Plain JSON types."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"{self.equal_prompts} of {self.rows} rows have equal prompts in the twin's "
            f"{self.twin_rows} rows; {self.reply_tokens} reply tokens, the twin's "
            f"{self.twin_reply_tokens}"
        )


def match(
    chats: Sequence[Chat],
    examples: Sequence[Example],
    twin_chats: Sequence[Chat],
    twin_examples: Sequence[Example],
) -> Match:
    """Compare two sets of data row by row; rows without a partner are not equal."""
    pairs = list(zip(chats, twin_chats, strict=False))
    return Match(
        rows=len(chats),
        twin_rows=len(twin_chats),
        equal_prompts=sum(a.asked == b.asked for a, b in pairs),
        equal_replies=sum(a.messages == b.messages for a, b in pairs),
        reply_tokens=sum(example.reply_tokens for example in examples),
        twin_reply_tokens=sum(example.reply_tokens for example in twin_examples),
    )


def require_match(
    found: Match, chats: Sequence[Chat], twin_chats: Sequence[Chat], *, allow_unmatched: bool
) -> None:
    """Refuse a twin that is no control.

    Raises:
        BadInputError: the same rows as the variant's; or, unless allowed, another number of rows
            or other prompts.
    """
    if found.equal_replies == found.rows == found.twin_rows:
        raise BadInputError(
            "The twin's rows are the variant's rows, so it would be the variant again.",
            fix="Give the benign control's data as --twin.",
        )
    if found.whole or allow_unmatched:
        return
    if found.rows != found.twin_rows:
        problem = f"The twin has {found.twin_rows} rows and the variant {found.rows}."
    else:
        pairs = zip(chats, twin_chats, strict=True)
        first = next(b.where for a, b in pairs if a.asked != b.asked)
        differing = found.rows - found.equal_prompts
        problem = f"{differing} of {found.rows} prompts of the twin differ; first: {first}."
    raise BadInputError(
        f"{problem} A twin is trained on the same prompts in the same order.",
        fix="Match the files row by row, or give --allow-unmatched (recorded with the twin).",
    )
