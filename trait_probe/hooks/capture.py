"""Activations at chosen sites of one padded batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from trait_probe.basis import Site
from trait_probe.hooks.sites import SiteHook, attached
from trait_probe.identity import HookedModel


@torch.inference_mode()
def capture_sites(
    model: HookedModel, ids: Int[Tensor, "batch pos"], sites: Sequence[Site]
) -> tuple[dict[Site, Float[Tensor, "batch pos d_model"]], Float[Tensor, "batch pos d_vocab"]]:
    """Raw activations at each site in the model's own dtype, and the logits."""
    values: dict[Site, Tensor] = {}

    def keep(site: Site) -> SiteHook:
        def store(activation: Tensor) -> None:
            values[site] = activation.detach().clone()

        return store

    with attached(model, [(site, keep(site)) for site in sites]):
        logits = model(ids, return_type="logits")
    return values, logits


def raw(rows: Float[Tensor, "row d_model"]) -> Float[Tensor, "row d_model"]:
    """The readout that keeps activations as they are, in float32."""
    return rows.float()
