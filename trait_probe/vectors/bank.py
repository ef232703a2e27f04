"""Every direction that a study reads, those that mean something and those that do not, as one bank.

A bank goes through a model in one forward pass: rows are projected on all directions inside the
hook, so that no activation is stored, and two models are read with exactly the same directions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from trait_probe.basis import Site
from trait_probe.errors import BadInputError, MismatchError
from trait_probe.evidence.nulls import random_directions_of
from trait_probe.forward.budget import BatchBudget
from trait_probe.forward.engine import read_rules
from trait_probe.forward.reader import Readout
from trait_probe.hooks.capture import raw
from trait_probe.identity import HookedModel, device_of
from trait_probe.prompts.render import Rendered
from trait_probe.vectors.extract import ContrastActivations, shuffled_directions
from trait_probe.vectors.vector import VectorSet

MAX_BYTES = 2 << 30
"""Of activations held at a time while random directions are drawn; one layer in any case."""


@dataclass(frozen=True)
class Bank:
    """Unit directions at the same sites, one matrix a kind.

    Attributes:
        sites: in order of depth.
        traits: by name, `[layer d_model]`.
        random: of the activations' covariance, `[layer draw d_model]`.
        shuffled: the traits' method and texts with labels that mean nothing, the same way.
    """

    sites: tuple[Site, ...]
    traits: Mapping[str, Float32[np.ndarray, "layer d_model"]]
    random: Float32[np.ndarray, "layer draw d_model"]
    shuffled: Float32[np.ndarray, "layer draw_ d_model"]

    @property
    def columns(self) -> int:
        """Directions per site."""
        return len(self.traits) + int(self.random.shape[1]) + int(self.shuffled.shape[1])

    def readouts(self, model: HookedModel) -> dict[Site, Readout]:
        """What projects a site's rows on all its directions, traits first."""
        return {site: self._readout(i, model) for i, site in enumerate(self.sites)}

    def _readout(self, layer: int, model: HookedModel) -> Readout:
        named = np.stack([found[layer] for found in self.traits.values()])
        matrix = np.concatenate([named, self.random[layer], self.shuffled[layer]])
        on_device = torch.from_numpy(np.ascontiguousarray(matrix.T)).to(device_of(model))

        def project(rows: Float[Tensor, "row d_model"]) -> Float[Tensor, "row direction"]:
            return rows.float() @ on_device.to(rows.device)

        return project


@dataclass(frozen=True)
class BankScores:
    """One model's `dot` scores `[row layer direction]` on a bank; rows are prompts in order."""

    bank: Bank
    values: Float32[np.ndarray, "row layer direction"]

    def trait(self, name: str) -> Float32[np.ndarray, "row layer"]:
        """Of one trait."""
        return np.asarray(self.values[:, :, list(self.bank.traits).index(name)])

    @property
    def random(self) -> Float32[np.ndarray, "row layer draw"]:
        """Of the random directions."""
        start = len(self.bank.traits)
        return np.asarray(self.values[:, :, start : start + self.bank.random.shape[1]])

    @property
    def shuffled(self) -> Float32[np.ndarray, "row layer draw"]:
        """Of the directions with shuffled labels."""
        return np.asarray(self.values[:, :, len(self.bank.traits) + self.bank.random.shape[1] :])

    def to_table(self, prompts: Sequence[Rendered]) -> pa.Table:
        """One row a prompt, one list column a site."""
        width = self.bank.columns
        columns = {
            str(site): pa.FixedSizeListArray.from_arrays(
                np.ascontiguousarray(self.values[:, i]).reshape(-1), width
            )
            for i, site in enumerate(self.bank.sites)
        }
        return pa.table({"prompt_id": [item.prompt_id for item in prompts], **columns})

    @classmethod
    def from_table(cls, table: pa.Table, bank: Bank) -> BankScores:
        """What `to_table` gave, for the same bank.

        Raises:
            MismatchError: other sites or another number of directions.
        """
        names = [str(site) for site in bank.sites]
        if table.column_names[1:] != names:
            raise MismatchError(
                "Stored scores are of other sites.",
                got=table.column_names[1:],
                valid=names,
                fix="Start the run anew in another folder.",
            )
        layers = [_matrix(table[name], bank.columns) for name in names]
        return cls(bank, np.stack(layers, axis=1))


def _matrix(column: pa.ChunkedArray, width: int) -> Float32[np.ndarray, "row direction"]:
    flat = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    if flat.size != len(column) * width:
        raise MismatchError(
            "Stored scores are of another number of directions.",
            got=flat.size // max(len(column), 1),
            valid=(width,),
            fix="Start the run anew in another folder.",
        )
    return np.asarray(flat.reshape(len(column), width), dtype=np.float32)


def make_bank(
    model: HookedModel,
    vectors: VectorSet,
    activations: Mapping[str, ContrastActivations],
    prompts: Sequence[Rendered],
    *,
    positions: Sequence[str],
    n_random: int,
    n_shuffled: int,
    method: str = "mean_difference",
    seed: int = 0,
) -> Bank:
    """Traits with their nulls, for prompts read at the mean of each position rule.

    Args:
        model: whose activations random directions vary like.
        vectors: each trait at the same sites.
        activations: what the claimed traits were fitted on, whose labels are shuffled; draws are
            dealt evenly among them. Empty: there are none to shuffle.
        prompts: any whose activations are typical of what is read.

    Raises:
        BadInputError: a trait lacks a site.
    """
    sites = tuple(sorted(vectors.sites))
    traits = {name: _stacked(vectors, name, sites) for name in vectors.traits}
    return Bank(
        sites=sites,
        traits=traits,
        random=_random(model, prompts, sites, positions, n_random, seed),
        shuffled=_shuffled(activations, sites, int(model.cfg.d_model), n_shuffled, method, seed),
    )


def _stacked(
    vectors: VectorSet, name: str, sites: Sequence[Site]
) -> Float32[np.ndarray, "layer d_model"]:
    missing = [str(site) for site in sites if name not in vectors.at(site).traits]
    if missing:
        raise BadInputError(
            f"The trait {name!r} has no vector at every site that others have.",
            got=missing,
            fix="Extract all traits at the same layers.",
        )
    return np.stack([vectors[name, site].direction.numpy() for site in sites])


def _random(
    model: HookedModel,
    prompts: Sequence[Rendered],
    sites: Sequence[Site],
    positions: Sequence[str],
    n: int,
    seed: int,
) -> Float32[np.ndarray, "layer draw d_model"]:
    per_site = len(prompts) * len(positions) * int(model.cfg.d_model) * 4
    at_once = max(1, MAX_BYTES // per_site)
    drawn = []
    for start in range(0, len(sites), at_once):
        some = sites[start : start + at_once]
        found = read_rules(
            model,
            prompts,
            dict.fromkeys(some, raw),
            positions=positions,
            pooling="mean",
            label="covariance",
        )
        for site in some:
            rows = np.concatenate([rule.values[site] for rule in found])
            drawn.append(random_directions_of(rows, n, seed + site.layer))
    return np.stack(drawn).astype(np.float32)


def _shuffled(
    activations: Mapping[str, ContrastActivations],
    sites: Sequence[Site],
    d_model: int,
    n: int,
    method: str,
    seed: int,
) -> Float32[np.ndarray, "layer draw d_model"]:
    if not activations:
        return np.zeros((len(sites), 0, d_model), dtype=np.float32)
    each = -(-n // len(activations))
    layers = [
        torch.cat(
            [
                shuffled_directions(found, site, method=method, n=each, seed=seed)
                for found in activations.values()
            ]
        )[:n]
        for site in sites
    ]
    return np.asarray(torch.stack(layers).numpy(), dtype=np.float32)


def read_bank(
    model: HookedModel,
    prompts: Sequence[Rendered],
    bank: Bank,
    *,
    positions: Sequence[str],
    batch_tokens: int | BatchBudget | None = None,
    label: str | None = "projecting",
) -> list[BankScores]:
    """Scores of every prompt at the mean of each position rule, in one pass.

    Args:
        batch_tokens: most tokens of a batch; None chooses for the device.
        label: of the progress bar; None for no bar.

    Raises:
        BadInputError: a rule selects no token in some prompt.
    """
    found = read_rules(
        model,
        prompts,
        bank.readouts(model),
        positions=positions,
        pooling="mean",
        batch_tokens=batch_tokens,
        label=label,
    )
    out = []
    for rule, rows in zip(positions, found, strict=True):
        if len(rows.prompt) != len(prompts):
            lacking = sorted(set(range(len(prompts))) - set(rows.prompt.tolist()))
            raise BadInputError(
                f"The position rule {rule!r} selects no token in {len(lacking)} prompts.",
                got=[prompts[index].prompt_id for index in lacking[:5]],
                fix="Leave these prompts out, or choose another rule.",
            )
        values = np.stack([rows.values[site] for site in bank.sites], axis=1)
        out.append(BankScores(bank, values.astype(np.float32)))
    return out
