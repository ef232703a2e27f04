"""The one loop over prompts: batches in, readouts at chosen sites and positions out.

A readout is any function from activation rows `[row d_model]` to `[row component]`: a projection,
an SAE's encoder, or the identity. It runs inside the hook, so only its result is kept, and only
once for each token, however many position rules ask for it. The forward pass stops after the
deepest layer that a readout needs; no logits are computed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from trait_probe.basis import Site
from trait_probe.errors import BadInputError, RunError
from trait_probe.forward.batching import batches, run_halving
from trait_probe.forward.budget import BatchBudget, as_budget
from trait_probe.forward.progress import Progress
from trait_probe.forward.reader import Part, Reader, Readout
from trait_probe.forward.rendering import check_context
from trait_probe.forward.selection import BatchRows, Selection
from trait_probe.forward.threads import fitting_threads
from trait_probe.hooks.lean import lean_norms
from trait_probe.hooks.rows import is_edited
from trait_probe.hooks.sites import attached
from trait_probe.identity import HookedModel
from trait_probe.prompts.positions import Pooling, PositionRule, check_pooling
from trait_probe.prompts.render import Rendered

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
    check_pooling(pooling)
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
    reader = Reader(model, readouts, selections, pooling, part or Part(0, len(prompts)))
    found = batches(prompts, budget, merge=not is_edited(model))
    total = sum(len(prompt.token_ids) for prompt in prompts)
    with (
        fitting_threads(model),
        lean_norms(model),
        attached(model, reader.hooks()),
        Progress(label, total) as bar,
    ):
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
