"""What a run of shards left in its folder, read back whole or shard by shard."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from trait_probe.basis import ModelIdentity, Site
from trait_probe.errors import BadInputError, nearest
from trait_probe.forward.projections import Projections
from trait_probe.forward.shard_files import ACTIVATIONS_SCHEMA, load_shard, require_intact
from trait_probe.prompts.positions import Pooling
from trait_probe.runs.files import read_json
from trait_probe.runs.folder import CONFIG, MANIFEST
from trait_probe.runs.manifest import Manifest, manifest_from_json
from trait_probe.runs.tables import read_table


@dataclass(frozen=True)
class _Stored:
    """A finished run's folder and its manifest."""

    folder: Path
    manifest: Manifest

    def shards(self) -> list[Path]:
        """The files in the order of the prompts.

        Raises:
            BadInputError: one is missing or damaged.
        """
        stages = sorted(self.manifest.stages.items())
        return [require_intact(self.folder, name, record.sha256) for name, record in stages]

    @property
    def model(self) -> ModelIdentity:
        """The model that was read."""
        return ModelIdentity.from_dict(dict(self.manifest.facts["model"]))


@dataclass(frozen=True)
class StoredProjections(_Stored):
    """Projections in Parquet shards, as `project_to` and `python -m trait_probe.project` write."""

    @classmethod
    def open(cls, folder: str | Path) -> StoredProjections:
        """A folder whose run is finished.

        Raises:
            BadInputError: no such folder, another kind of run, or one that is not finished.
        """
        return cls(Path(folder), _finished(Path(folder), "project"))

    def tables(self) -> Iterator[pa.Table]:
        """One table a shard (`trait_probe.forward.tables.SCHEMA`), without loading the others."""
        for path in self.shards():
            yield read_table(path)

    def load(self, position: str | None = None) -> Projections:
        """All projections at one position rule, in memory.

        Args:
            position: one of the rules that were read; None where there is only one.

        Raises:
            BadInputError: a rule that was not read, or none named where there are several.
        """
        config = read_json(self.folder / CONFIG)
        rule = _one_of(config["position"], position)
        parts = [load_shard(path, rule, config["pooling"]) for path in self.shards()]
        return Projections.concatenate(parts)


@dataclass(frozen=True)
class StoredActivations(_Stored):
    """Raw activations in safetensors shards, as `capture_to` and the capture command write."""

    @classmethod
    def open(cls, folder: str | Path) -> StoredActivations:
        """A folder whose run is finished; raises as `StoredProjections.open`."""
        return cls(Path(folder), _finished(Path(folder), "capture"))

    @property
    def sites(self) -> tuple[Site, ...]:
        """The sites that were read."""
        return tuple(Site.parse(name) for name in self.manifest.facts["sites"])

    @property
    def position(self) -> str:
        """The position rule."""
        return str(self._config["position"])

    @property
    def pooling(self) -> Pooling:
        """How tokens became rows."""
        pooling: Pooling = self._config["pooling"]
        return pooling

    @property
    def _config(self) -> dict[str, Any]:
        config: dict[str, Any] = read_json(self.folder / CONFIG)
        return config

    def load(self, path: Path) -> ActivationShard:
        """One of `shards()`.

        Raises:
            BadInputError: the file is damaged or no shard of activations.
        """
        try:
            with safe_open(path, "pt") as file:
                about = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise BadInputError(
                f"{path} is not a readable safetensors file; it may be truncated.",
                got=str(error),
                fix="Delete the file and run the same capture again.",
            ) from error
        if about.get("schema") != ACTIVATIONS_SCHEMA:
            raise BadInputError(
                f"{path} is no shard of activations.",
                got=about.get("schema"),
                valid=(ACTIVATIONS_SCHEMA,),
            )
        words = json.loads(about["tokens"]) if "tokens" in about else None
        return ActivationShard(
            first=int(about["first"]),
            sha256=about["sha256"],
            prompt_ids=tuple(json.loads(about["prompt_ids"])),
            tensors=tensors,
            token=None if words is None else tuple(words[int(i)] for i in tensors["token"]),
        )


@dataclass(frozen=True)
class ActivationShard:
    """Activations of one chunk of prompts.

    Attributes:
        first: index of its first prompt among all.
        sha256: hash of its prompts.
        prompt_ids: its prompts.
        tensors: per site's name `[row d_model]`; `prompt` (index into `prompt_ids`) and, where
            there is a row per token, `position` and `offset`, `[row]` each.
        token: each row's token as the vocabulary writes it; None when pooled.
    """

    first: int
    sha256: str
    prompt_ids: tuple[str, ...]
    tensors: dict[str, Tensor]
    token: tuple[str, ...] | None

    def rows(self, site: Site) -> Tensor:
        """`[row d_model]` at the site, float32."""
        return self.tensors[str(site)].to(torch.float32)

    def numbers(self, name: str) -> np.ndarray | None:
        """`prompt`, `position` or `offset` of each row; None where there is none."""
        found = self.tensors.get(name)
        return None if found is None else found.numpy()


def _finished(folder: Path, experiment: str) -> Manifest:
    path = folder / MANIFEST
    if not path.is_file():
        raise BadInputError(
            "The folder holds no run.", got=str(folder), fix="Give the --out folder of a run."
        )
    manifest = manifest_from_json(read_json(path), path)
    if manifest.experiment != experiment:
        raise BadInputError(
            f"The folder holds a run of {manifest.experiment!r}, not of {experiment!r}.",
            got=str(folder),
        )
    if not manifest.finished:
        raise BadInputError(
            f"The run in {folder} is not finished: {len(manifest.stages)} shards are there.",
            fix="Give its command again; it goes on where it stopped.",
        )
    return manifest


def _one_of(rules: list[str], position: str | None) -> str:
    if position is None and len(rules) == 1:
        return rules[0]
    if position not in rules:
        raise BadInputError(
            "The run did not read this position rule."
            if position
            else "The run read several position rules; name one.",
            got=position,
            valid=nearest(position, rules) if position else rules,
        )
    return position
