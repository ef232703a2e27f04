"""The one loop over prompts: batches in, readouts at chosen sites and positions out.

A readout is any function from activation rows `[row d_model]` to `[row component]`: a projection,
an SAE's encoder, or the identity. It runs inside the hook, so only its result leaves the device.
The forward pass stops after the deepest layer that a readout needs; no logits are computed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from trait_probe.basis import Site
from trait_probe.errors import BadInputError, RunError, TraitProbeError
from trait_probe.forward.batching import DEFAULT_BATCH_TOKENS, Batch, batches, run_halving
from trait_probe.forward.progress import Progress
from trait_probe.forward.rendering import check_context
from trait_probe.forward.threads import fitting_threads
from trait_probe.hooks.rows import is_edited, running
from trait_probe.hooks.run import run_hooks
from trait_probe.hooks.sites import SiteHook, attached
from trait_probe.identity import HookedModel, device_of
from trait_probe.prompts.positions import PositionRule
from trait_probe.prompts.render import Rendered

Readout = Callable[[Float[Tensor, "row d_model"]], Float[Tensor, "row component"]]


@dataclass(frozen=True)
class Reading:
    """What every site's readout gave at the selected tokens, ordered by prompt, then position.

    Attributes:
        prompt: `[row]` index into the prompts that were read.
        position: `[row]` absolute token position.
        offset: `[row]` place of the token within the position rule's selection, from 0.
        values: per site, `[row component]` float32.
    """

    prompt: Int[np.ndarray, " row"]
    position: Int[np.ndarray, " row"]
    offset: Int[np.ndarray, " row"]
    values: Mapping[Site, Float[np.ndarray, "row _column"]]

    def rows_of_prompts(self) -> list[slice]:
        """Per prompt that has any rows, the slice of its rows."""
        if not len(self.prompt):
            return []
        starts = [0, *(np.flatnonzero(np.diff(self.prompt)) + 1).tolist(), len(self.prompt)]
        return [slice(*pair) for pair in pairwise(starts)]


def read(
    model: HookedModel,
    prompts: Sequence[Rendered],
    readouts: Mapping[Site, Readout],
    *,
    position: str | PositionRule,
    batch_tokens: int = DEFAULT_BATCH_TOKENS,
    label: str = "reading",
) -> Reading:
    """Run the prompts and read each site with its readout, at the rule's positions.

    Raises:
        BadInputError: no prompts, prompts longer than the context, no site, a site the model
            lacks, a rule that selects no token in any prompt, or a span that a prompt does not
            have.
        RunError: a readout gave numbers that are not finite.
    """
    selected = _selected(model, prompts, readouts, position)
    first_row = np.concatenate([[0], np.cumsum([len(chosen) for chosen in selected])])
    sink = _Sink(int(first_row[-1]))
    reader = _Reader(model, readouts, selected)
    found = batches(prompts, batch_tokens=batch_tokens, merge=not is_edited(model))
    total = sum(len(prompt.token_ids) for prompt in prompts)
    with fitting_threads(model), attached(model, reader.hooks()), Progress(label, total) as bar:
        for batch, values in run_halving(found, reader.run):
            sink.store(batch, values, selected, first_row)
            bar.advance(batch.tokens)
    return Reading(
        prompt=np.repeat(np.arange(len(prompts)), [len(chosen) for chosen in selected]),
        position=np.array([p for chosen in selected for p in chosen], dtype=np.int64),
        offset=np.array([k for chosen in selected for k in range(len(chosen))], dtype=np.int64),
        values=sink.values,
    )


def _selected(
    model: HookedModel,
    prompts: Sequence[Rendered],
    readouts: Mapping[Site, Readout],
    position: str | PositionRule,
) -> list[tuple[int, ...]]:
    """The rule's positions in each prompt, once all that can be refused is refused."""
    rule = position if isinstance(position, PositionRule) else PositionRule.parse(position)
    if not prompts:
        raise BadInputError("There are no prompts to read.", fix="Give at least one.")
    if not readouts:
        raise BadInputError("There is no site to read.", fix="Give at least one site or vector.")
    check_context(model, prompts)
    selected = [rule.positions(prompt.spans) for prompt in prompts]
    if not any(selected):
        raise BadInputError(
            "The position rule selects no token in any prompt.",
            got=str(rule),
            fix="Check the spans of the prompts (Rendered.spans) against the rule.",
        )
    return selected


class _AllRead(Exception):  # noqa: N818  # a signal, not an error
    """Stops a forward pass once every readout has its value: no deeper layer, no logits."""


class _Sink:
    """Result arrays, allocated once the width of each readout is known."""

    def __init__(self, n_rows: int) -> None:
        self._n_rows = n_rows
        self.values: dict[Site, Float[np.ndarray, "row _column"]] = {}

    def store(
        self,
        batch: Batch,
        values: Mapping[Site, Float[Tensor, "row _column"]],
        selected: Sequence[tuple[int, ...]],
        first_row: Int[np.ndarray, " _n"],
    ) -> None:
        for site, value in values.items():
            if site not in self.values:
                self.values[site] = np.zeros((self._n_rows, value.shape[1]), dtype=np.float32)
            start = 0
            array = value.numpy()
            for members in batch.members:
                # Prompts of one row share their tokens, not their spans: each has its own rows.
                for index in members:
                    count = len(selected[index])
                    target = first_row[index]
                    self.values[site][target : target + count] = array[start : start + count]
                    start += count


class _Reader:
    """The readouts as hooks that stay on the model, and the batch that runs through them."""

    def __init__(
        self,
        model: HookedModel,
        readouts: Mapping[Site, Readout],
        selected: Sequence[tuple[int, ...]],
    ) -> None:
        self._model = model
        self._readouts = readouts
        self._selected = selected
        self._where: Int[Tensor, "2 row"] = torch.zeros(2, 0, dtype=torch.long)
        self._values: dict[Site, Tensor] = {}

    def hooks(self) -> list[tuple[Site, SiteHook]]:
        return [(site, self._hook(site, readout)) for site, readout in self._readouts.items()]

    def _hook(self, site: Site, readout: Readout) -> SiteHook:
        def hook(activation: Tensor) -> None:
            rows, positions = self._where.to(activation.device)
            self._values[site] = _finite(readout(activation[rows, positions]).cpu(), site)
            if len(self._values) == len(self._readouts):
                raise _AllRead

        return hook

    @torch.inference_mode()
    def run(self, batch: Batch) -> dict[Site, Float[Tensor, "row _column"]]:
        """Readouts of one batch on the CPU, rows ordered by batch row, member, position."""
        index = [
            (row, position)
            for row, members in enumerate(batch.members)
            for member in members
            for position in self._selected[member]
        ]
        if not index:
            return {}
        self._where, self._values = torch.tensor(index, dtype=torch.long).T, {}
        device = device_of(self._model)
        try:
            with running(batch.first_members, len(self._selected)):
                run_hooks(self._model, batch.ids.to(device), batch.mask.to(device))
        except _AllRead:
            return self._values
        raise TraitProbeError(
            "A hook point did not fire in the forward pass.",
            got=[str(site) for site in self._readouts if site not in self._values],
            fix="This architecture does not run the hook; read another point.",
        )


def _finite(values: Float[Tensor, "row _column"], site: Site) -> Float[Tensor, "row _column"]:
    if not bool(values.isfinite().all()):
        raise RunError(
            f"What was read at {site} is not all finite.",
            got=f"{int((~values.isfinite()).sum())} values inf or nan",
            fix="float16 overflows: load the model in bfloat16 or float32.",
        )
    return values
