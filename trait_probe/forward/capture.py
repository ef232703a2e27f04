"""Raw activations of prompts at chosen sites and positions, kept in memory."""

from __future__ import annotations

from collections.abc import Iterable

from trait_probe.basis import Site
from trait_probe.forward.batching import DEFAULT_BATCH_TOKENS
from trait_probe.forward.engine import Reading, read
from trait_probe.forward.rendering import render_for
from trait_probe.hooks.capture import raw
from trait_probe.identity import HookedModel
from trait_probe.prompts.prompt import Prompt
from trait_probe.prompts.render import Rendered, Truncate


def capture(
    model: HookedModel,
    prompts: Iterable[Prompt] | Iterable[Rendered],
    sites: Iterable[Site],
    *,
    position: str,
    truncate: Truncate | None = None,
    batch_tokens: int = DEFAULT_BATCH_TOKENS,
) -> Reading:
    """Activations `[row d_model]` per site, float32, at the tokens the rule selects.

    Everything is kept in memory: rows x d_model x 4 bytes per site. To project, use `project`,
    which keeps no activation.

    Raises:
        BadInputError: an unknown site or span, or a rule that selects nothing.
    """
    rendered = render_for(model, list(prompts), truncate=truncate)
    readouts = dict.fromkeys(sites, raw)
    return read(
        model, rendered, readouts, position=position, batch_tokens=batch_tokens, label="capturing"
    )
