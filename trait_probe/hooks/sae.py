"""Sparse-autoencoder features at a site, through sae-lens: encode only, never spliced in.

An SAE belongs to one site of one model in one weight processing; what its own configuration says
is checked against the model before anything is read.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from torch import Tensor

from trait_probe.basis import Site
from trait_probe.errors import BadInputError, MismatchError, nearest
from trait_probe.hooks.sites import resolve
from trait_probe.identity import HookedModel, identify
from trait_probe.organisms import registry

# Of TransformerLens' weight processing, only this step changes the residual stream's values.
CENTERING = "center_writing_weights"


@dataclass(frozen=True)
class SparseFeatures:
    """An SAE at the site it was trained on; callable as a readout.

    Attributes:
        name: as the user asked for it.
        site: where it reads.
        d_sae: number of features.
        neuronpedia_id: `MODEL/LAYER-SAE` where the release has pages, else None.
    """

    name: str
    site: Site
    d_sae: int
    neuronpedia_id: str | None
    sae: Any

    def __call__(self, rows: Float[Tensor, "row d_model"]) -> Float[Tensor, "row d_sae"]:
        """Feature activations, non-negative, in the SAE's own units, float32."""
        weights = next(self.sae.parameters())
        if weights.device != rows.device:
            self.sae.to(rows.device)
        with torch.inference_mode():
            return self.sae.encode(rows.to(weights.dtype)).float()

    def feature_url(self, feature: int) -> str | None:
        """The feature's Neuronpedia page, where there is one."""
        if self.neuronpedia_id is None:
            return None
        return f"https://www.neuronpedia.org/{self.neuronpedia_id}/{feature}"


def load_sae(name: str, model: HookedModel, *, device: str = "cpu") -> SparseFeatures:
    """Load an SAE and check that it fits the model.

    Args:
        name: `organism:backdoored-sae`, a folder that sae-lens saved, or `RELEASE/ID` of the
            sae-lens hub list (`gemma-scope-2b-pt-res-canonical/layer_20/width_16k/canonical`).

    Raises:
        BadInputError: no such SAE, or its hook is not a residual-stream site.
        MismatchError: wrong width, a layer the model lacks, or another weight processing.
    """
    sae = _load(name, device)
    site = Site.parse(str(_metadata(sae, "hook_name")))
    width = int(sae.cfg.d_in)
    _check_fit(name, sae, site, width, model)
    neuronpedia = _metadata(sae, "neuronpedia_id")
    return SparseFeatures(name, site, int(sae.cfg.d_sae), neuronpedia, sae.eval())


def _load(name: str, device: str) -> Any:
    from sae_lens import SAE  # takes seconds to import, and only SAE users need it

    folder = _folder(name)
    if folder is not None:
        try:
            return SAE.load_from_disk(str(folder), device=device)
        except (OSError, KeyError, ValueError, SafetensorError, json.JSONDecodeError) as error:
            raise BadInputError(
                "sae-lens could not load the folder: " + str(error).strip().split("\n")[0],
                got=name,
                fix="Point to a folder written by sae.save_model: cfg.json, sae_weights.safetensors.",
            ) from error
    release, _, sae_id = name.partition("/")
    _check_listed(name, release, sae_id)
    try:
        return SAE.from_pretrained(release, sae_id, device=device)
    except OSError as error:
        raise BadInputError(
            "The hub did not give the SAE: " + str(error).strip().split("\n")[0], got=name
        ) from error


def _folder(name: str) -> Path | None:
    if name.startswith("organism:"):
        return registry.sae_path(name)
    path = Path(name).expanduser()
    if path.is_dir() or name.startswith((".", "/", "~")):
        if not (path / "cfg.json").is_file():
            raise BadInputError("The folder holds no SAE (no cfg.json).", got=name)
        return path
    return None


def _check_listed(name: str, release: str, sae_id: str) -> None:
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    releases = get_pretrained_saes_directory()
    if release not in releases:
        raise BadInputError(
            "The SAE is neither a folder nor RELEASE/ID with a release that sae-lens lists.",
            got=name,
            valid=nearest(release, releases),
        )
    ids = releases[release].saes_map
    if sae_id not in ids:
        raise BadInputError(
            "The release has no SAE of this id.", got=sae_id, valid=nearest(sae_id, ids)
        )


def _metadata(sae: Any, key: str) -> Any:
    """A metadata value, None when absent (its attribute access hides typing errors: use `in`)."""
    metadata = sae.cfg.metadata
    return metadata[key] if key in metadata else None


def _check_fit(name: str, sae: Any, site: Site, width: int, model: HookedModel) -> None:
    resolve(model, site)
    identity = identify(model)
    if width != identity.d_model:
        raise MismatchError(
            "The SAE was trained on another width than the model's residual stream.",
            got=f"{name}: d_in {width}, model d_model {identity.d_model}",
            fix="Give an SAE of this model, or the model of this SAE.",
        )
    kwargs = _metadata(sae, "model_from_pretrained_kwargs") or {}
    wanted = "folded" if kwargs.get(CENTERING) else "none"
    if wanted != identity.weight_processing:
        raise MismatchError(
            "The SAE reads another weight processing than the model has.",
            got=f"{name}: {wanted} ({CENTERING}={bool(kwargs.get(CENTERING))}), "
            f"model: {identity.weight_processing}",
            fix="Load the model as the SAE's training did.",
        )
