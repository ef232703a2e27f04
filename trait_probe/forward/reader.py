"""One batch through the model: readouts as hooks, each token read once, no deeper layer run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from trait_probe.basis import Site
from trait_probe.errors import TraitProbeError
from trait_probe.forward.batching import Batch
from trait_probe.forward.selection import BatchRows, Selection, pool_segments, rows_of_batch
from trait_probe.hooks.rows import running
from trait_probe.hooks.run import run_hooks
from trait_probe.hooks.sites import SiteHook
from trait_probe.identity import HookedModel, device_of
from trait_probe.prompts.positions import Pooling

Readout = Callable[[Float[Tensor, "row d_model"]], Float[Tensor, "row component"]]


@dataclass(frozen=True)
class Part:
    """Which part of a longer list of prompts is being read.

    Attributes:
        first: index of its first prompt in the whole list.
        total: prompts of the whole list: edits may be given one for each.
        name: what to add to a progress bar's label.
    """

    first: int
    total: int
    name: str = ""


class _AllRead(Exception):  # noqa: N818  # a signal, not an error
    """Stops a forward pass once every readout has its value: no deeper layer, no logits."""


class Reader:
    """The readouts as hooks that stay on the model, and the batch that runs through them."""

    def __init__(
        self,
        model: HookedModel,
        readouts: Mapping[Site, Readout],
        selections: Sequence[Selection],
        pooling: Pooling,
        part: Part,
    ) -> None:
        self._model = model
        self._readouts = readouts
        self._selections = selections
        self._pooling: Pooling = pooling
        self._part = part
        self._tokens = _Tokens.of([])
        self._rows: list[BatchRows] = []
        self._values: dict[Site, list[Tensor]] = {}

    def hooks(self) -> list[tuple[Site, SiteHook]]:
        return [(site, self._hook(site, readout)) for site, readout in self._readouts.items()]

    def _hook(self, site: Site, readout: Readout) -> SiteHook:
        def hook(activation: Tensor) -> None:
            values = readout(self._tokens.of_activation(activation))
            self._values[site] = [
                pool_segments(self._tokens.of_rule(number, values), rows.lengths, self._pooling)
                for number, rows in enumerate(self._rows)
            ]
            if len(self._values) == len(self._readouts):
                raise _AllRead

        return hook

    @torch.inference_mode()
    def run(self, batch: Batch) -> tuple[dict[Site, list[Tensor]], list[BatchRows]]:
        """Values of one batch per site and rule, and the rows they belong to."""
        self._rows = [rows_of_batch(one, batch, self._pooling) for one in self._selections]
        self._tokens, self._values = _Tokens.of(self._rows), {}
        if not self._tokens:
            return {}, self._rows
        device = device_of(self._model)
        prompts = [self._part.first + index for index in batch.first_members]
        try:
            with running(prompts, self._part.total):
                run_hooks(self._model, batch.ids.to(device), batch.mask.to(device))
        except _AllRead:
            return self._values, self._rows
        raise TraitProbeError(
            "A hook point did not fire in the forward pass.",
            got=[str(site) for site in self._readouts if site not in self._values],
            fix="This architecture does not run the hook; read another point.",
        )


class _Tokens:
    """The tokens that any rule selects in a batch, each once, and where each rule finds its own."""

    def __init__(self, where: Int[np.ndarray, "2 token"], places: list[np.ndarray] | None) -> None:
        self._where = where
        self._places = places
        self._on_device: dict[torch.device, Tensor] = {}

    @classmethod
    def of(cls, rows: Sequence[BatchRows]) -> _Tokens:
        if len(rows) == 1:
            return cls(np.stack([rows[0].row, rows[0].position]), None)
        pairs = [np.stack([one.row, one.position]) for one in rows]
        every = np.concatenate([np.zeros((2, 0), np.int64), *pairs], axis=1)
        where, inverse = np.unique(every, axis=1, return_inverse=True)
        ends = np.cumsum([pair.shape[1] for pair in pairs])
        return cls(where, np.split(inverse.reshape(-1), ends[:-1]) if pairs else [])

    def __bool__(self) -> bool:
        return len(self._where[0]) > 0

    def of_activation(
        self, activation: Float[Tensor, "batch pos d_model"]
    ) -> Float[Tensor, "token d_model"]:
        if activation.device not in self._on_device:
            self._on_device[activation.device] = torch.from_numpy(self._where).to(activation.device)
        rows, positions = self._on_device[activation.device]
        return activation[rows, positions]

    def of_rule(
        self, number: int, values: Float[Tensor, "token component"]
    ) -> Float[Tensor, "_ component"]:
        if self._places is None:
            return values
        return values[torch.from_numpy(self._places[number]).to(values.device)]
