"""The one loop over prompts: batches in, readouts at chosen sites and positions out.

A readout is any function from activation rows `[row d_model]` to `[row component]`: a projection,
an SAE's encoder, or the identity. It runs inside the hook, so only its result is kept, and only
once for each token, however many position rules ask for it. The forward pass stops after the
deepest layer that a readout needs; no logits are computed.
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
from trait_probe.forward.batching import Batch, batches, run_halving
from trait_probe.forward.budget import BatchBudget, as_budget
from trait_probe.forward.progress import Progress
from trait_probe.forward.rendering import check_context
from trait_probe.forward.selection import BatchRows, Selection, pool_segments, rows_of_batch
from trait_probe.forward.threads import fitting_threads
from trait_probe.hooks.rows import is_edited, running
from trait_probe.hooks.run import run_hooks
from trait_probe.hooks.sites import SiteHook, attached
from trait_probe.identity import HookedModel, device_of
from trait_probe.prompts.positions import Pooling, PositionRule
from trait_probe.prompts.render import Rendered

Readout = Callable[[Float[Tensor, "row d_model"]], Float[Tensor, "row component"]]
Take = Callable[[Site, int, Float[Tensor, "_row _component"], BatchRows], None]
"""Takes what one site gave for one rule (by its number) in one batch, rows on the CPU or not."""


@dataclass(frozen=True)
class Rows:
    """What every site's readout gave, one row per prompt that has any of the tokens.

    Attributes:
        prompt: `[row]` index into the prompts that were read, ascending.
        values: per site, `[row component]` float32.
    """

    prompt: Int[np.ndarray, " row"]
    values: Mapping[Site, Float[np.ndarray, "row _column"]]


@dataclass(frozen=True)
class Reading(Rows):
    """What every site's readout gave at the selected tokens, ordered by prompt, then position.

    Attributes:
        prompt: `[row]` index into the prompts that were read.
        values: per site, `[row component]` float32.
        position: `[row]` absolute token position.
        offset: `[row]` place of the token within the position rule's selection, from 0.
    """

    position: Int[np.ndarray, " row"]
    offset: Int[np.ndarray, " row"]

    def rows_of_prompts(self) -> list[slice]:
        """Per prompt that has any rows, the slice of its rows."""
        if not len(self.prompt):
            return []
        starts = [0, *(np.flatnonzero(np.diff(self.prompt)) + 1).tolist(), len(self.prompt)]
        return [slice(*pair) for pair in pairwise(starts)]


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


def read(
    model: HookedModel,
    prompts: Sequence[Rendered],
    readouts: Mapping[Site, Readout],
    *,
    position: str | PositionRule,
    batch_tokens: int | BatchBudget | None = None,
    label: str = "reading",
) -> Reading:
    """Run the prompts and read each site with its readout, at the rule's positions.

    Args:
        batch_tokens: most tokens of a batch, padding included; None chooses for the device.

    Raises:
        BadInputError: no prompts, prompts longer than the context, no site, a site the model
            lacks, a rule that selects no token in any prompt, or a span that a prompt does not
            have.
        RunError: a readout gave numbers that are not finite.
    """
    (found,) = read_rules(
        model, prompts, readouts, positions=[position], batch_tokens=batch_tokens, label=label
    )
    if not len(found.prompt):
        raise nothing_selected(position)
    assert isinstance(found, Reading)
    return found


def read_rules(
    model: HookedModel,
    prompts: Sequence[Rendered],
    readouts: Mapping[Site, Readout],
    *,
    positions: Sequence[str | PositionRule],
    pooling: Pooling = "none",
    batch_tokens: int | BatchBudget | None = None,
    part: Part | None = None,
    label: str | None = "reading",
) -> tuple[Rows, ...]:
    """`read` for several position rules in one pass, each pooled (`Rows`) or not (`Reading`).

    A rule may select nothing. Pooling happens on the device, before anything is copied from it.
    """
    selections = select(prompts, positions)
    sink = _Arrays([selection.n_rows(pooling) for selection in selections])
    drive(
        model,
        prompts,
        readouts,
        selections,
        sink.take,
        pooling=pooling,
        budget=as_budget(model, batch_tokens),
        part=part,
        label=label,
    )
    return tuple(
        _assembled(selection, pooling, values)
        for selection, values in zip(selections, sink.values, strict=True)
    )


def select(prompts: Sequence[Rendered], positions: Sequence[str | PositionRule]) -> list[Selection]:
    """Each rule applied to the prompts.

    Raises:
        BadInputError: no prompts, no rule, a malformed one, or a span that a prompt lacks.
    """
    if not prompts:
        raise BadInputError("There are no prompts to read.", fix="Give at least one.")
    if not positions:
        raise BadInputError("There is no position to read.", fix='Give one, such as "prompt[-1]".')
    rules = [
        rule if isinstance(rule, PositionRule) else PositionRule.parse(rule) for rule in positions
    ]
    return [Selection.of(rule, prompts) for rule in rules]


def drive(
    model: HookedModel,
    prompts: Sequence[Rendered],
    readouts: Mapping[Site, Readout],
    selections: Sequence[Selection],
    take: Take,
    *,
    pooling: Pooling,
    budget: BatchBudget,
    part: Part | None = None,
    label: str | None = None,
) -> None:
    """Run the prompts in batches and hand over what the readouts give; the loop itself.

    `take` is called once a batch has run to its end, so that nothing comes twice when memory runs
    out on the way.

    Args:
        part: where `prompts` belong within the user's whole call; None: they are all of it.
        label: of the progress bar; None for no bar.
    """
    if not readouts:
        raise BadInputError("There is no site to read.", fix="Give at least one site or vector.")
    check_context(model, prompts)
    reader = _Reader(model, readouts, selections, pooling, part or Part(0, len(prompts)))
    found = batches(prompts, budget, merge=not is_edited(model))
    total = sum(len(prompt.token_ids) for prompt in prompts)
    with fitting_threads(model), attached(model, reader.hooks()), Progress(label, total) as bar:
        for batch, (values, rows) in run_halving(found, budget, reader.run):
            for site, per_rule in values.items():
                for number, value in enumerate(per_rule):
                    take(site, number, value, rows[number])
            bar.advance(batch.tokens)


def _assembled(
    selection: Selection, pooling: Pooling, values: Mapping[Site, Float[np.ndarray, "row _column"]]
) -> Rows:
    prompt = selection.prompts(pooling)
    if pooling != "none":
        return Rows(prompt, values)
    return Reading(prompt, values, selection.positions, selection.offsets())


def nothing_selected(position: str | PositionRule) -> BadInputError:
    """The error for a rule that selects no token anywhere."""
    return BadInputError(
        "The position rule selects no token in any prompt.",
        got=str(position),
        fix="Check the spans of the prompts (Rendered.spans) against the rule.",
    )


class _AllRead(Exception):  # noqa: N818  # a signal, not an error
    """Stops a forward pass once every readout has its value: no deeper layer, no logits."""


class _Arrays:
    """Result arrays of each rule, allocated once the width of each readout is known."""

    def __init__(self, n_rows: Sequence[int]) -> None:
        self._n_rows = n_rows
        self.values: list[dict[Site, Float[np.ndarray, "row _column"]]] = [{} for _ in n_rows]

    def take(
        self, site: Site, rule: int, value: Float[Tensor, "_row _component"], rows: BatchRows
    ) -> None:
        arrays = self.values[rule]
        if site not in arrays:
            arrays[site] = np.zeros((self._n_rows[rule], value.shape[1]), dtype=np.float32)
        arrays[site][rows.target] = finite(value.cpu(), site).numpy()


class _Reader:
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


def finite(values: Float[Tensor, "row _column"], site: Site) -> Float[Tensor, "row _column"]:
    """The values, once it is sure that all are finite numbers.

    Raises:
        RunError: some are not.
    """
    if not bool(values.isfinite().all()):
        raise RunError(
            f"What was read at {site} is not all finite.",
            got=f"{int((~values.isfinite()).sum())} values inf or nan",
            fix="float16 overflows: load the model in bfloat16 or float32.",
        )
    return values
