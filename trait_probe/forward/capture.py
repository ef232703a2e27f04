"""Raw activations of prompts at chosen sites and positions, kept in memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, overload

from trait_probe.basis import Site
from trait_probe.forward.engine import Reading, Rows, nothing_selected, read_rules
from trait_probe.forward.rendering import render_for
from trait_probe.hooks.capture import raw
from trait_probe.identity import HookedModel
from trait_probe.prompts.positions import Pooling
from trait_probe.prompts.prompt import Prompt
from trait_probe.prompts.render import Rendered, Truncate


@overload
def capture(
    model: HookedModel,
    prompts: Iterable[Prompt] | Iterable[Rendered],
    sites: Iterable[Site],
    *,
    position: str,
    pooling: Literal["none"] = "none",
    truncate: Truncate | None = None,
    batch_tokens: int | None = None,
) -> Reading: ...
@overload
def capture(
    model: HookedModel,
    prompts: Iterable[Prompt] | Iterable[Rendered],
    sites: Iterable[Site],
    *,
    position: str,
    pooling: Pooling,
    truncate: Truncate | None = None,
    batch_tokens: int | None = None,
) -> Rows: ...
def capture(
    model: HookedModel,
    prompts: Iterable[Prompt] | Iterable[Rendered],
    sites: Iterable[Site],
    *,
    position: str,
    pooling: Pooling = "none",
    truncate: Truncate | None = None,
    batch_tokens: int | None = None,
) -> Rows:
    """Activations `[row d_model]` per site, float32, at the tokens the rule selects.

    Everything is kept in memory: rows x d_model x 4 bytes per site. `capture_to` writes to a
    folder; `project` and `moments` keep no activation.

    Args:
        pooling: `none` gives a `Reading` with a row per token, the others `Rows`, one per prompt
            that has any of the tokens.

    Raises:
        BadInputError: an unknown site or span, or a rule that selects nothing.
    """
    rendered = render_for(model, list(prompts), truncate=truncate)
    (found,) = read_rules(
        model,
        rendered,
        dict.fromkeys(sites, raw),
        positions=[position],
        pooling=pooling,
        batch_tokens=batch_tokens,
        label="capturing",
    )
    if not len(found.prompt):
        raise nothing_selected(position)
    return found
