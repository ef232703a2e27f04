"""Mean and covariance of activations in one pass, summed on the device: no row is stored."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from trait_probe.basis import Site
from trait_probe.errors import BadInputError, nearest
from trait_probe.forward.budget import BatchBudget, as_budget
from trait_probe.forward.engine import drive, finite, nothing_selected, select
from trait_probe.forward.pipeline import stream
from trait_probe.forward.reader import Part
from trait_probe.forward.selection import BatchRows
from trait_probe.hooks.capture import raw
from trait_probe.identity import HookedModel
from trait_probe.prompts.positions import Pooling
from trait_probe.prompts.prompt import Prompt, Scalar
from trait_probe.prompts.render import Rendered, Truncate
from trait_probe.prompts.stream import PromptSource
from trait_probe.vectors.moments import Moments

ClassOf = Callable[[Prompt], Scalar]
"""The class that a prompt's rows count towards."""


def moments(
    model: HookedModel,
    prompts: PromptSource,
    sites: Iterable[Site],
    *,
    position: str,
    pooling: Pooling = "none",
    by: str | ClassOf | None = None,
    truncate: Truncate | None = None,
    batch_tokens: int | None = None,
) -> dict[Scalar, dict[Site, Moments]]:
    """Count, mean and covariance of activations, per class and site.

    What is needed for mean-difference and whitened vectors (`vectors.fit`), z-references, null
    directions of the same covariance and PCA (`vectors.moments.Moments`), from any number of
    prompts: memory is `d_model**2` numbers of 8 bytes for each class and site.

    Args:
        prompts: a file, or prompts or rows in their JSON form; read once, chunk by chunk.
        position: the position rule.
        pooling: `none` counts every token as a row, the others every prompt.
        by: a label's name, or a function of the prompt; None puts all into the class None. Equal
            labels are one class (True, 1 and 1.0 are equal).

    Returns:
        By class, in the order they came, then by site. A class without any row is not there.

    Raises:
        BadInputError: a prompt lacks the label, no row at all, and as for `read`.
        RunError: an activation is not a finite number.
    """
    budget = as_budget(model, batch_tokens)
    class_of = _class_of(by)
    places = list(sites)
    sums: dict[Scalar, dict[Site, Moments]] = defaultdict(dict)
    for part, chunk, rendered in stream(model, prompts, [position], truncate):
        classes = [class_of(prompt) for prompt in chunk]
        add_moments(sums, model, rendered, classes, places, position, pooling, budget, part)
    if not sums:
        raise nothing_selected(position)
    return dict(sums)


def add_moments(
    sums: dict[Scalar, dict[Site, Moments]],
    model: HookedModel,
    rendered: list[Rendered],
    classes: list[Scalar],
    sites: list[Site],
    position: str,
    pooling: Pooling,
    budget: BatchBudget,
    part: Part,
) -> None:
    """Add the rows of one chunk to `sums`; `classes` has one entry per prompt."""
    (selection,) = select(rendered, [position])
    prompt_of_row = selection.prompts(pooling)
    names = list(dict.fromkeys(classes))
    codes = np.array([names.index(name) for name in classes])[prompt_of_row]

    def take(site: Site, _: int, values: Float[Tensor, "_row d_model"], rows: BatchRows) -> None:
        wide = finite(values.cpu() if values.device.type == "mps" else values, site)
        for code, members in _classes(codes[rows.target]):
            known = sums[names[code]].get(site)
            new = Moments.of(wide[torch.from_numpy(members).to(wide.device)])
            sums[names[code]][site] = new if known is None else known.merge(new)

    readouts = dict.fromkeys(sites, raw)
    drive(
        model,
        rendered,
        readouts,
        [selection],
        take,
        pooling=pooling,
        budget=budget,
        part=part,
        label="moments" + part.name,
    )


def _classes(codes: Int[np.ndarray, " row"]) -> list[tuple[int, Int[np.ndarray, " _n"]]]:
    """Each class that occurs, and the rows that belong to it."""
    return [(int(code), np.flatnonzero(codes == code)) for code in np.unique(codes)]


def _class_of(by: str | ClassOf | None) -> ClassOf:
    if by is None:
        return lambda _: None
    if not isinstance(by, str):
        return by

    def label(prompt: Prompt) -> Scalar:
        if by not in prompt.labels:
            raise BadInputError(
                f"The prompt {prompt.id!r} lacks the label by which moments are kept apart.",
                got=by,
                valid=nearest(by, prompt.labels),
                fix="Give every prompt the label, or a function of the prompt as 'by'.",
            )
        return prompt.labels[by]

    return label
