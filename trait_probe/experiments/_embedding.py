"""What the embedding layer alone tells: the words that stand in a text, before any computation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32

from trait_probe.basis import Site
from trait_probe.forward.engine import read_rules
from trait_probe.forward.rendering import render_for
from trait_probe.hooks.capture import raw
from trait_probe.identity import HookedModel
from trait_probe.prompts.contrast import ContrastSet
from trait_probe.prompts.render import Rendered

EMBEDDING = Site(0, "resid_pre")


def mean_embeddings(
    model: HookedModel, prompts: Sequence[Rendered], rule: str
) -> Float32[np.ndarray, "prompt d_model"]:
    """Activations of the embedding layer, averaged over the tokens that the rule selects."""
    (words,) = read_rules(
        model, prompts, {EMBEDDING: raw}, positions=[rule], pooling="mean", label="words"
    )
    return np.asarray(words.values[EMBEDDING], dtype=np.float32)


def embedding_direction(
    model: HookedModel, contrast: ContrastSet
) -> Float32[np.ndarray, " d_model"]:
    """Unit mean difference of the contrast set's embeddings, averaged over all its tokens."""
    rule = "all[:]" if contrast.source == "completions" else "prompt[:]"
    sides = []
    for prompts in (contrast.positive, contrast.negative):
        rows = mean_embeddings(model, render_for(model, prompts), rule)
        sides.append(rows.sum(axis=0) / len(rows))
    difference = sides[0] - sides[1]
    size = float(np.linalg.norm(difference))
    return np.asarray(difference / size if size > 0 else difference, dtype=np.float32)
