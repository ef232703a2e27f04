"""What `project` and `capture` are asked to do; light to import, so that --help is quick."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic

from trait_probe.errors import BadInputError
from trait_probe.experiments._cli import ExperimentConfig
from trait_probe.prompts.positions import Pooling

EXECUTION = ("engine", "workers", "ray_address", "device", "batch_tokens")
"""How it is computed, not what: a run may be resumed with others. (It keeps its batch size.)"""
FILES = ("prompts", "vectors", "activations")
"""Known by where they are, however that was spelled."""


class ShardsConfig(ExperimentConfig):
    """Fields that both commands have."""

    model: str | None = None
    """Hub id, local folder, or organism:NAME."""
    revision: str | None = None
    """Commit, tag or branch on the hub."""
    adapter: str | None = None
    """PEFT adapter, merged into the weights at load."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of weights and activations."""
    device: str | None = None
    """cpu, cuda, cuda:1 or mps; default CUDA where there is one."""
    prompts: str | None = None
    """A .jsonl or .parquet file: {"id", "text"} or {"id", "messages", "prefill", ...}."""
    pooling: Literal["none", "mean", "last", "max"] | None = None
    """How a prompt's tokens become one row; default none: one row per token."""
    truncate: Literal["left", "right"] | None = None
    """What to cut from prompts longer than the context; default: refuse them."""
    batch_tokens: Annotated[int, pydantic.Field(ge=1)] | None = None
    """Most tokens of a batch, padding included; default: chosen for the device."""
    shard_prompts: Annotated[int, pydantic.Field(ge=1)] = 2048
    """Most prompts of a shard, the unit of resuming."""

    @property
    def pool(self) -> Pooling:
        """The pooling, by default none."""
        return self.pooling or "none"

    def stored(self) -> dict[str, Any]:
        """What decides the results: the configuration that the run's folder keeps."""
        dump: dict[str, Any] = self.model_dump(mode="json")
        dump |= {"pooling": self.pool}
        kept = {name: value for name, value in dump.items() if name not in EXECUTION}
        paths = {name: str(Path(kept[name]).resolve()) for name in FILES if kept.get(name)}
        return kept | paths


class ProjectConfig(ShardsConfig):
    """Flags of `python -m trait_probe.project`."""

    vectors: str | None = None
    """File of trait vectors (VectorSet.save)."""
    activations: str | None = None
    """Folder that the capture command wrote, in place of model and prompts."""
    position: tuple[str, ...] | None = None
    """Position rules, all read in one pass: "response[:]" "after(trigger)[:8]"; default
    "prompt[-1]"."""
    lineage_ok: bool = False
    """State that the model is a fine-tune of the vectors' model."""
    dtype_sample: Annotated[int, pydantic.Field(ge=0)] = 32
    """With another dtype than float32: prompts on which its error is measured (by the local
    engine); 0 for none."""
    engine: Literal["local", "ray"] = "local"
    """ray: one model replica per worker, through Ray Data (extra `cluster`)."""
    workers: Annotated[int, pydantic.Field(ge=1)] = 1
    """Replicas of the ray engine."""
    ray_address: str | None = None
    """A cluster that this machine is a node of (auto, or HOST:PORT); default: Ray here."""

    @property
    def rules(self) -> list[str]:
        """The position rules, by default the last token of the prompt."""
        return ["prompt[-1]"] if self.position is None else list(self.position)

    def stored(self) -> dict[str, Any]:
        """As for both commands, with the rules that are read."""
        return super().stored() | {"position": self.rules}


class CaptureConfig(ShardsConfig):
    """Flags of `python -m trait_probe.capture`."""

    layers: str = "all"
    """all, 3, 0,4,8 or 4:12."""
    point: Literal["resid_pre", "resid_mid", "resid_post"] = "resid_post"
    """Where in each layer's block."""
    position: str = "prompt[-1]"
    """The position rule."""


def refuse_unused(config: ProjectConfig, names: Iterable[str], where: str) -> None:
    """Refuse flags that would be ignored.

    Raises:
        BadInputError: names those that were given.
    """
    plain = ProjectConfig()
    given = [
        f"--{name.replace('_', '-')}"
        for name in names
        if getattr(config, name) != getattr(plain, name)
    ]
    if given:
        raise BadInputError(
            f"{where} would ignore what was given.", got=", ".join(given), fix="Leave it out."
        )


def require(config: ShardsConfig, names: Iterable[str]) -> None:
    """Refuse a configuration without one of these fields.

    Raises:
        BadInputError: names the missing flags.
    """
    missing = [f"--{name}" for name in names if getattr(config, name) is None]
    if missing:
        raise BadInputError(
            f"The command needs {' and '.join(missing)}.", fix="See --help for each flag."
        )
