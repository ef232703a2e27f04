"""Project prompts onto trait vectors, inside the hook: no activation is kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from trait_probe.basis import Site
from trait_probe.forward.batching import DEFAULT_BATCH_TOKENS
from trait_probe.forward.engine import Reading, Readout, read
from trait_probe.forward.projections import Projections, require_unique
from trait_probe.forward.rendering import render_for
from trait_probe.hooks.projection import Projection
from trait_probe.identity import HookedModel, identify, tokenizer_of
from trait_probe.prompts.positions import Pooling
from trait_probe.prompts.prompt import Prompt
from trait_probe.prompts.render import Rendered, Truncate
from trait_probe.vectors.vector import VectorSet


def project(
    model: HookedModel,
    prompts: Iterable[Prompt] | Iterable[Rendered],
    vectors: VectorSet,
    *,
    position: str,
    pooling: Pooling = "none",
    lineage_ok: bool = False,
    truncate: Truncate | None = None,
    batch_tokens: int = DEFAULT_BATCH_TOKENS,
    label: str = "projecting",
) -> Projections:
    """Projections of `prompts` onto `vectors` at the tokens that the position rule selects.

    All vectors, of however many sites, are read in one forward pass per prompt, which stops after
    the deepest of them.

    Raises:
        MismatchError: the vectors were not made in this model's basis; `lineage_ok=True` states
            that the model is a fine-tune of theirs.
        BadInputError: no vectors, two prompts with one id, and as for `read`.
    """
    vectors.check(identify(model), lineage_ok=lineage_ok)
    rendered = render_for(model, list(prompts), truncate=truncate)
    require_unique([item.prompt_id for item in rendered])
    readouts: Mapping[Site, Readout] = {
        site: Projection(vectors.matrix(site)) for site in vectors.sites
    }
    reading = read(
        model, rendered, readouts, position=position, batch_tokens=batch_tokens, label=label
    )
    projections = _assemble(model, rendered, vectors, reading, position)
    return projections if pooling == "none" else projections.pooled(pooling)


def _assemble(
    model: HookedModel,
    rendered: list[Rendered],
    vectors: VectorSet,
    reading: Reading,
    position: str,
) -> Projections:
    ordered = [vector for site in vectors.sites for vector in vectors.at(site)]
    dot = np.concatenate([reading.values[site] for site in vectors.sites], axis=1)
    mean = np.array([vector.reference.mean for vector in ordered])
    std = np.array([vector.reference.std for vector in ordered])
    ids = [
        rendered[prompt].token_ids[place]
        for prompt, place in zip(reading.prompt, reading.position, strict=True)
    ]
    return Projections(
        prompt_ids=tuple(item.prompt_id for item in rendered),
        columns=tuple((vector.trait, vector.site) for vector in ordered),
        span=position,
        pooling="none",
        prompt=reading.prompt,
        position=reading.position,
        offset=reading.offset,
        token=tuple(tokenizer_of(model).convert_ids_to_tokens(ids)),
        dot=dot,
        z=((dot - mean) / std).astype(np.float32),
    )
