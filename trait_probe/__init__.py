"""Read what a language model is up to from its activations, and say how far the evidence goes.

The public surface, each name loaded on first use, so that importing the package stays light::

    import trait_probe as tp

    model = tp.load_model("organism:backdoored")
    evil = tp.contrast_set("safety/evil", model)
    vectors = tp.extract(model, evil, layers="all")
    scores = tp.project(model, prompts, vectors, position="prompt[-1]")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "BadInputError": "errors",
    "ContrastSet": "prompts.contrast",
    "MismatchError": "errors",
    "ModelIdentity": "basis",
    "PositionRule": "prompts.positions",
    "Projections": "forward.projections",
    "Prompt": "prompts.prompt",
    "PromptSet": "prompts.prompt",
    "Site": "basis",
    "TraitProbeError": "errors",
    "TraitVector": "vectors.vector",
    "VectorSet": "vectors.vector",
    "StoredActivations": "forward.stored",
    "StoredProjections": "forward.stored",
    "capture": "forward.capture",
    "capture_to": "forward.folders",
    "contrast_set": "vectors.contrast_sets",
    "extract": "vectors.extract",
    "generate": "forward.generate",
    "identify": "identity",
    "load_model": "models",
    "load_sae": "hooks.sae",
    "moments": "forward.moments",
    "project": "forward.project",
    "project_to": "forward.folders",
    "sae_features": "forward.features",
    "steering": "vectors.steering",
}

__all__ = ["__version__", *_HOMES]

if TYPE_CHECKING:
    from trait_probe.basis import ModelIdentity as ModelIdentity
    from trait_probe.basis import Site as Site
    from trait_probe.errors import BadInputError as BadInputError
    from trait_probe.errors import MismatchError as MismatchError
    from trait_probe.errors import TraitProbeError as TraitProbeError
    from trait_probe.forward.capture import capture as capture
    from trait_probe.forward.features import sae_features as sae_features
    from trait_probe.forward.folders import capture_to as capture_to
    from trait_probe.forward.folders import project_to as project_to
    from trait_probe.forward.generate import generate as generate
    from trait_probe.forward.moments import moments as moments
    from trait_probe.forward.project import project as project
    from trait_probe.forward.projections import Projections as Projections
    from trait_probe.forward.stored import StoredActivations as StoredActivations
    from trait_probe.forward.stored import StoredProjections as StoredProjections
    from trait_probe.hooks.sae import load_sae as load_sae
    from trait_probe.identity import identify as identify
    from trait_probe.models import load_model as load_model
    from trait_probe.prompts.contrast import ContrastSet as ContrastSet
    from trait_probe.prompts.positions import PositionRule as PositionRule
    from trait_probe.prompts.prompt import Prompt as Prompt
    from trait_probe.prompts.prompt import PromptSet as PromptSet
    from trait_probe.vectors.contrast_sets import contrast_set as contrast_set
    from trait_probe.vectors.extract import extract as extract
    from trait_probe.vectors.steering import steering as steering
    from trait_probe.vectors.vector import TraitVector as TraitVector
    from trait_probe.vectors.vector import VectorSet as VectorSet


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
