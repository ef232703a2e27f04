"""SAE features of prompts at chosen positions."""

from __future__ import annotations

from collections.abc import Iterable

from trait_probe.forward.engine import Reading, read
from trait_probe.forward.rendering import render_for
from trait_probe.hooks.sae import SparseFeatures, check_fit, load_sae
from trait_probe.identity import HookedModel
from trait_probe.prompts.prompt import Prompt
from trait_probe.prompts.render import Rendered, Truncate


def sae_features(
    model: HookedModel,
    prompts: Iterable[Prompt] | Iterable[Rendered],
    sae: str | SparseFeatures,
    *,
    position: str,
    truncate: Truncate | None = None,
    batch_tokens: int | None = None,
) -> Reading:
    """Feature activations `[row d_sae]` at the SAE's own site, float32, non-negative.

    Args:
        sae: a name for `load_sae`, or an SAE already loaded.

    Returns:
        A `Reading` whose `values` have one entry, the SAE's site.

    Raises:
        BadInputError: no such SAE, an unknown span, or a rule that selects nothing.
        MismatchError: the SAE does not fit the model.
    """
    if isinstance(sae, str):
        loaded = load_sae(sae, model)
    else:
        loaded = sae
        check_fit(loaded, model)  # it may have been loaded for another model
    rendered = render_for(model, list(prompts), truncate=truncate)
    return read(
        model,
        rendered,
        {loaded.site: loaded},
        position=position,
        batch_tokens=batch_tokens,
        label="features",
    )
