"""The settings of a LoRA fine-tune, with the published defaults, and the layers it updates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import torch
import transformers

from trait_probe.errors import BadInputError, nearest

PUBLISHED_TARGETS = (
    *("q_proj", "k_proj", "v_proj", "o_proj"),
    *("gate_proj", "up_proj", "down_proj"),
)
ALL_LINEAR = "all-linear"
CONV1D = transformers.pytorch_utils.Conv1D
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# What no flag changes; written beside the settings.
FIXED = {
    "optimizer": "adamw_torch",
    "schedule": "linear",
    "max_grad_norm": 1.0,
    "bias": "none",
    "use_rslora": True,
    "loss": "assistant replies and their end-of-turn tokens",
}


def _number(
    default: Any, about: str, *, kind: type, least: int | float, below: int | float = math.inf
) -> Any:
    """A field with its help and its range, `least` <= value < `below`."""
    about_it = {"help": about, "kind": kind, "least": least, "below": below}
    return field(default=default, metadata=about_it)


@dataclass(frozen=True)
class Settings:
    """How an adapter is trained; the defaults are those of Betley et al. 2025, arXiv 2502.17424.

    Their open models were trained with `adamw_8bit`, which needs CUDA; here the optimizer is
    torch's AdamW.

    Args:
        target_modules: layers that get an update, by the last part of their names, or
            `("all-linear",)`. None: the published seven (q, k, v, o, gate, up and down
            projections) where the model has them all, else every linear layer but the head.
        dtype: of the frozen weights, `float32` or `bfloat16`; the update is float32.
        (all others): see their `help`; out of range raises `BadInputError`.
    """

    rank: int = _number(32, "rank of the update", kind=int, least=1)
    alpha: float = _number(
        64.0, "the update is scaled by alpha / sqrt(rank) (rsLoRA)", kind=float, least=0
    )
    dropout: float = _number(
        0.0, "share of the update's inputs dropped", kind=float, least=0, below=1
    )
    epochs: int = _number(1, "passes over the data", kind=int, least=1)
    max_steps: int | None = _number(None, "optimizer steps, instead of --epochs", kind=int, least=1)
    learning_rate: float = _number(
        1e-5, "peak, reached after the warm-up; then linear to 0", kind=float, least=0
    )
    warmup_steps: int = _number(5, "steps to the peak", kind=int, least=0)
    weight_decay: float = _number(0.01, "of AdamW", kind=float, least=0)
    batch_size: int = _number(2, "sequences of one forward pass", kind=int, least=1)
    accumulation: int = _number(8, "forward passes of one optimizer step", kind=int, least=1)
    max_length: int = _number(
        2048, "most tokens of a sequence; longer ones are refused", kind=int, least=1
    )
    seed: int = _number(
        0, "of the update's start and the order of the data", kind=int, least=0, below=2**32
    )
    dtype: str = "float32"
    target_modules: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for item in fields(self):
            if item.metadata:
                check_number(item.name, getattr(self, item.name), **item.metadata)
        if self.dtype not in DTYPES:
            raise BadInputError(
                "The dtype of training is unknown.",
                got=self.dtype,
                valid=nearest(self.dtype, DTYPES),
            )
        if self.target_modules == ():
            raise BadInputError("target_modules names at least one layer.", fix="Leave it out.")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self) | {"target_modules": self.target_modules and [*self.target_modules]}


def check_number(
    name: str, value: Any, *, kind: type, least: int | float, below: int | float, **_: Any
) -> None:
    """Refuse a value of another kind (a float for a count, a bool) or out of range."""
    if value is None and name == "max_steps":
        return
    right_type = isinstance(value, int) if kind is int else isinstance(value, int | float)
    if not right_type or isinstance(value, bool) or not least <= value < below:
        noun = "a whole number" if kind is int else "a number"
        upper = "" if below == math.inf else f" and below {below:g}"
        raise BadInputError(
            f"The setting {name} must be {noun}, at least {least:g}{upper}.", got=value
        )


def targets_of(model: torch.nn.Module, asked: Sequence[str] | None) -> list[str] | str:
    """The layers to update, as PEFT takes them.

    Raises:
        BadInputError: a name that no linear layer of the model has.
    """
    linear = (torch.nn.Linear, CONV1D)
    found = {
        name.rsplit(".", 1)[-1] for name, part in model.named_modules() if isinstance(part, linear)
    }
    if asked is None:
        return list(PUBLISHED_TARGETS) if found.issuperset(PUBLISHED_TARGETS) else ALL_LINEAR
    if tuple(asked) == (ALL_LINEAR,):
        return ALL_LINEAR
    for name in asked:
        if name not in found:
            raise BadInputError(
                "The model has no linear layer of this name.",
                got=name,
                valid=(*nearest(name, sorted(found), len(found)), ALL_LINEAR),
            )
    return sorted(asked)
