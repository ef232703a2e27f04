"""The one loop over prompts: batches in, readouts at chosen sites and positions out.

A readout is any function from activation rows `[row d_model]` to `[row component]`: a projection,
an SAE's encoder, or the identity. It runs inside the hook, so only its result leaves the device.
The forward pass stops after the deepest layer that a readout needs; no logits are computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from trait_probe.basis import Site
from trait_probe.errors import BadInputError, TraitProbeError
from trait_probe.forward.batching import DEFAULT_BATCH_TOKENS, Batch, batches
from trait_probe.forward.progress import Progress
from trait_probe.hooks.sites import SiteHook, attached, resolve
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
    values: Mapping[Site, Float[np.ndarray, "row _component"]]


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
        BadInputError: a site the model lacks, a rule that selects no token in any prompt,
            or a span that a prompt does not have.
    """
    for site in readouts:
        resolve(model, site)
    rule = position if isinstance(position, PositionRule) else PositionRule.parse(position)
    selected = [rule.positions(prompt.spans) for prompt in prompts]
    if not any(selected):
        raise BadInputError(
            "The position rule selects no token in any prompt.",
            got=str(rule),
            fix="Check the spans of the prompts (Rendered.spans) against the rule.",
        )
    first_row = np.concatenate([[0], np.cumsum([len(chosen) for chosen in selected])])
    sink = _Sink(int(first_row[-1]))
    with Progress(label, sum(len(prompt.token_ids) for prompt in prompts)) as progress:
        for batch in batches(prompts, batch_tokens=batch_tokens):
            for part, values in _forward_halving(model, batch, readouts, selected):
                sink.store(part, values, selected, first_row)
            progress.advance(sum(len(prompts[i].token_ids) for row in batch.members for i in row))
    return Reading(
        prompt=np.repeat(np.arange(len(prompts)), [len(chosen) for chosen in selected]),
        position=np.array([p for chosen in selected for p in chosen], dtype=np.int64),
        offset=np.array([k for chosen in selected for k in range(len(chosen))], dtype=np.int64),
        values=sink.values,
    )


class _AllRead(Exception):  # noqa: N818  # a signal, not an error
    """Stops a forward pass once every readout has its value: no deeper layer, no logits."""


class _Sink:
    """Result arrays, allocated once the width of each readout is known."""

    def __init__(self, n_rows: int) -> None:
        self._n_rows = n_rows
        self.values: dict[Site, Float[np.ndarray, "row _component"]] = {}

    def store(
        self,
        batch: Batch,
        values: Mapping[Site, Tensor],
        selected: Sequence[tuple[int, ...]],
        first_row: Int[np.ndarray, " prompts"],
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


def _forward_halving(
    model: HookedModel,
    batch: Batch,
    readouts: Mapping[Site, Readout],
    selected: Sequence[tuple[int, ...]],
) -> Iterator[tuple[Batch, dict[Site, Tensor]]]:
    """One batch, or its halves where the device has not enough memory for it."""
    try:
        values = _forward(model, batch, readouts, selected)
    except torch.OutOfMemoryError:
        if len(batch.members) == 1:
            raise
        torch.cuda.empty_cache()
        for half in batch.halves():
            yield from _forward_halving(model, half, readouts, selected)
    else:
        yield batch, values


@torch.inference_mode()
def _forward(
    model: HookedModel,
    batch: Batch,
    readouts: Mapping[Site, Readout],
    selected: Sequence[tuple[int, ...]],
) -> dict[Site, Float[Tensor, "row _component"]]:
    """Readouts of one batch on the CPU, rows ordered by batch row, member, position."""
    index = [
        (row, position)
        for row, members in enumerate(batch.members)
        for member in members
        for position in selected[member]
    ]
    if not index:
        return {}
    device = device_of(model)
    rows, positions = torch.tensor(index, dtype=torch.long).T
    values: dict[Site, Tensor] = {}

    def reader(site: Site, readout: Readout) -> SiteHook:
        def hook(activation: Tensor) -> None:
            chosen = activation[rows.to(activation.device), positions.to(activation.device)]
            values[site] = readout(chosen).cpu()
            if len(values) == len(readouts):
                raise _AllRead

        return hook

    with attached(model, [(site, reader(site, readout)) for site, readout in readouts.items()]):
        try:
            model(batch.ids.to(device), attention_mask=batch.mask.to(device), return_type=None)
        except _AllRead:
            return values
    raise TraitProbeError(
        "A hook point did not fire in the forward pass.",
        got=[str(site) for site in readouts if site not in values],
        fix="This architecture does not run the hook; read another point.",
    )
