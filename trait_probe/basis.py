"""What the meaning of a direction depends on: the site it lives at, and the model of that site.

Both are plain data below every other room, so that vector files can be read and checked without
loading a model.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from functools import total_ordering
from typing import Any, Literal, get_args

from trait_probe.errors import BadInputError, nearest

Point = Literal["resid_pre", "resid_mid", "resid_post"]
POINTS: tuple[str, ...] = get_args(Point)


@total_ordering
@dataclass(frozen=True)
class Site:
    """A place in the residual stream; ordered from the embedding upwards.

    `Site(8, "resid_post")` is TransformerLens' `blocks.8.hook_resid_post` and Hugging Face's
    `hidden_states[9]`. `layer` is 0-based; `resid_pre` of layer 0 is the embedding output.
    """

    layer: int
    point: Point = "resid_post"

    def __post_init__(self) -> None:
        if self.point not in POINTS:
            raise BadInputError(
                "A site's point is not one of the residual-stream points.",
                got=self.point,
                valid=nearest(self.point, POINTS),
            )
        if self.layer < 0:
            raise BadInputError(
                "A site's layer counts from 0.",
                got=self.layer,
                fix="Count layers from the bottom: the last of n layers is n - 1.",
            )

    def __lt__(self, other: Site) -> bool:
        return self._depth < other._depth

    @property
    def _depth(self) -> tuple[int, int]:
        return self.layer, POINTS.index(self.point)

    @property
    def hook_name(self) -> str:
        """The TransformerLens hook point, e.g. `blocks.8.hook_resid_post`."""
        return f"blocks.{self.layer}.hook_{self.point}"

    @property
    def needs_layers(self) -> int:
        """How many blocks must run before the site has its value."""
        return self.layer if self.point == "resid_pre" else self.layer + 1

    def __str__(self) -> str:
        return self.hook_name

    @classmethod
    def parse(cls, name: str) -> Site:
        """Read `blocks.8.hook_resid_post`, the form that vector files and SAE configs use."""
        match = re.fullmatch(r"blocks\.(\d+)\.hook_(\w+)", name)
        if match is None or match[2] not in POINTS:
            raise BadInputError(
                "The hook name is not a residual-stream site.",
                got=name,
                valid=[f"blocks.LAYER.hook_{point}" for point in POINTS],
            )
        return cls(int(match[1]), match[2])  # type: ignore[arg-type]  # checked against POINTS above


# Fields of an identity that say where weights came from: equal weights are equal models.
_NAMES = frozenset({"id", "revision", "adapter"})


@dataclass(frozen=True)
class ModelIdentity:
    """Which model, in which basis, an activation came from.

    Whether two models share a lineage cannot be read off their weights: that a model is a
    fine-tune of the same base is the user's statement (`lineage_ok=True`).
    """

    id: str
    revision: str | None
    weights_hash: str
    d_model: int
    n_layers: int
    d_vocab: int
    dtype: str
    weight_processing: str
    adapter: str | None
    quantization: str | None
    tokenizer_hash: str
    chat_template_hash: str | None
    thinking: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)

    def without_names(self) -> dict[str, Any]:
        """What tells models apart, for a lock: a copy in another folder is the same model."""
        return {name: value for name, value in self.to_dict().items() if name not in _NAMES}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ModelIdentity:
        """The inverse of `to_dict`; unknown or missing keys raise `TypeError`."""
        return cls(**data)

    def differences(self, other: ModelIdentity, *, lineage_ok: bool = False) -> Iterator[str]:
        """Names of the fields that make a direction of one model meaningless in the other.

        With `lineage_ok` the weights (and with them adapter and revision) may differ: the other
        model is stated to be a fine-tune of the same base. `id` and the folder it was loaded
        from never matter by themselves: equal weights are equal models.
        """
        ignored = _NAMES
        if lineage_ok:
            ignored = ignored | {"weights_hash", "quantization", "dtype"}
        for field in fields(self):
            if field.name in ignored:
                continue
            if getattr(self, field.name) != getattr(other, field.name):
                yield field.name
