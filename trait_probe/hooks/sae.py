"""Sparse-autoencoder features at a site, through sae-lens: encode only, never spliced in.

An SAE belongs to one site of one model in one weight processing; what its own configuration says
is checked against the model before anything is read.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from torch import Tensor

from trait_probe.basis import Site
from trait_probe.errors import BadInputError, MismatchError, first_line, nearest
from trait_probe.hooks.sites import resolve
from trait_probe.identity import HookedModel, weight_processing
from trait_probe.organisms import registry

# Of TransformerLens' weight processing, only this step changes the residual stream's values.
CENTERING = "center_writing_weights"
# Normalizations that sae-lens computes from each activation. The others need constants, which it
# folds into the weights when it has them, and leaves out of `encode` when it has not.
SELF_CONTAINED = ("none", "layer_norm", "constant_norm_rescale")
UNREADABLE = (OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError)


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
            features: Tensor = self.sae.encode(rows.to(weights.dtype))
        return features.float()

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
    with warnings.catch_warnings():
        # How its model was loaded is checked below, instead of warned about.
        warnings.filterwarnings("ignore", message=r"\s*This SAE has non-empty model_from")
        sae = _load(name, device)
    features = SparseFeatures(
        name=name,
        site=_site(name, sae),
        d_sae=int(sae.cfg.d_sae),
        neuronpedia_id=_metadata(sae, "neuronpedia_id"),
        sae=sae.eval(),
    )
    check_fit(features, model)
    return features


def _load(name: str, device: str) -> Any:
    folder = _folder(name)
    from sae_lens import SAE  # takes seconds to import, and only SAE users need it

    if folder is not None:
        try:
            return SAE.load_from_disk(str(folder), device=device)
        except UNREADABLE as error:
            raise BadInputError(
                f"sae-lens could not load the folder: {type(error).__name__}: {first_line(error)}",
                got=name,
                fix="Point to a folder that sae.save_model wrote (cfg.json and "
                "sae_weights.safetensors).",
            ) from error
    release, _, sae_id = name.partition("/")
    _check_listed(name, release, sae_id)
    try:
        return SAE.from_pretrained(release, sae_id, device=device)
    except OSError as error:
        raise BadInputError(
            f"The hub did not give the SAE: {type(error).__name__}: {first_line(error)}",
            got=name,
            fix="Check the network and your access to the hub, or give a folder.",
        ) from error


def _site(name: str, sae: Any) -> Site:
    hook = _metadata(sae, "hook_name")
    if not isinstance(hook, str):
        raise BadInputError(
            "The SAE does not say at which hook point it reads (hook_name in its metadata).",
            got=name,
            fix='Set it: sae.cfg.metadata["hook_name"] = "blocks.8.hook_resid_post"; save again.',
        )
    return Site.parse(hook)


def _folder(name: str) -> Path | None:
    if name.startswith("organism:"):
        return registry.sae_path(name)
    path = Path(name).expanduser()
    if path.is_dir() or name.startswith((".", "/", "~")):
        if not (path / "cfg.json").is_file():
            raise BadInputError(
                "The folder holds no SAE (no cfg.json).",
                got=name,
                valid=registry.sae_names(),
                fix="Point to a folder that sae.save_model wrote.",
            )
        return path
    return None


def _check_listed(name: str, release: str, sae_id: str) -> None:
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    releases = get_pretrained_saes_directory()
    if release not in releases:
        raise BadInputError(
            "The SAE is neither a folder nor RELEASE/ID with a release that sae-lens lists.",
            got=name,
            valid=(*registry.sae_names(), *nearest(release, releases)),
            fix="Give a folder, organism:NAME, or RELEASE/ID.",
        )
    ids = releases[release].saes_map
    if sae_id not in ids:
        raise BadInputError(
            "The release has no SAE of this id.", got=sae_id, valid=nearest(sae_id, ids)
        )


def _metadata(sae: Any, key: str) -> Any:
    """A metadata value, None when absent."""
    return sae.cfg.metadata.to_dict().get(key)


def check_fit(features: SparseFeatures, model: HookedModel) -> None:
    """Refuse a model whose residual stream is not the one that the SAE reads.

    Raises:
        BadInputError: the model has no such layer.
        MismatchError: wrong width, another weight processing, or a normalization that is lost.
    """
    resolve(model, features.site)
    width, d_model = int(features.sae.cfg.d_in), int(model.cfg.d_model)
    if width != d_model:
        raise MismatchError(
            "The SAE was trained on another width than the model's residual stream.",
            got=f"{features.name}: d_in {width}, model d_model {d_model}",
            fix="Give an SAE of this model, or the model of this SAE.",
        )
    _check_processing(features, model)
    normalization = str(features.sae.cfg.normalize_activations)
    if normalization not in SELF_CONTAINED:
        raise MismatchError(
            "The SAE was trained on activations in other units, and does not hold the factor.",
            got=f"{features.name}: normalize_activations={normalization}",
            valid=SELF_CONTAINED,
            fix="Fold it in and save again: sae.fold_activation_norm_scaling_factor(...).",
        )


def _check_processing(features: SparseFeatures, model: HookedModel) -> None:
    kwargs = _metadata(features.sae, "model_from_pretrained_kwargs") or {}
    # Without means to subtract, as with RMS norms, TransformerLens centers nothing.
    centers = not str(getattr(model.cfg, "normalization_type", "")).startswith("RMS")
    wanted = "centered" if kwargs.get(CENTERING) and centers else "none"
    found = weight_processing(model)
    if wanted != found:
        raise MismatchError(
            "The SAE reads another weight processing than the model has.",
            got=f"{features.name}: {wanted} ({CENTERING}={bool(kwargs.get(CENTERING))}), "
            f"model: {found}",
            fix="Load the model as the SAE's training did; model.enable_compatibility_mode() "
            "centers one that load_model gave."
            if wanted == "centered"
            else "Load the model with trait_probe.load_model, which changes no weights.",
        )
