"""Builders of trait vectors for tests: valid by default, any part overridden by name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from trait_probe.basis import ModelIdentity, Site
from trait_probe.vectors.vector import Basis, Reference, Reliability, TraitVector, VectorSet

IDENTITY = ModelIdentity(
    id="organism:base",
    revision="main",
    weights_hash="aa11",
    d_model=8,
    n_layers=4,
    d_vocab=50,
    dtype="float32",
    weight_processing="none",
    adapter="lora-a",
    quantization="none",
    tokenizer_hash="bb22",
    chat_template_hash="cc33",
    thinking=False,
)
SITE = Site(2)
REFERENCE = Reference(mean=0.25, std=1.5, n=64, source="reference texts")
RELIABILITY = Reliability(
    split_half_cosine=0.9,
    bootstrap_angle_deg=12.5,
    held_out_auc=0.95,
    n_pairs=16,
    energy_share_top1=0.3,
)


def identity(**changes: Any) -> ModelIdentity:
    return replace(IDENTITY, **changes)


def basis(site: Site = SITE, model: ModelIdentity = IDENTITY, **changes: Any) -> Basis:
    texts = {
        "position": "response[:]",
        "pooling": "mean",
        "method": "mean_difference",
        "contrast_hash": "dd44",
        "split": "every fourth pair held out",
    }
    return Basis(model=model, site=site, **(texts | changes))


def vector(
    trait: str = "safety/evil",
    layer: int = 2,
    *,
    seed: int = 0,
    site: Site | None = None,
    model: ModelIdentity = IDENTITY,
    scale: float = 3.0,
) -> TraitVector:
    generator = torch.Generator().manual_seed(1000 * seed + layer)
    return TraitVector.normalized(
        trait=trait,
        direction=scale * torch.randn(model.d_model, generator=generator),
        basis=basis(site or Site(layer), model),
        reference=REFERENCE,
        reliability=RELIABILITY,
    )


def vector_set(*, model: ModelIdentity = IDENTITY) -> VectorSet:
    """Two traits at layers 1 and 2."""
    traits = ("safety/evil", "style/formal")
    return VectorSet(
        vector(trait, layer, seed=seed, model=model)
        for seed, trait in enumerate(traits)
        for layer in (1, 2)
    )
