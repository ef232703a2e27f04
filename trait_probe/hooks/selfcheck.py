"""The check at load: are a model's hook points what they say they are?"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from trait_probe.basis import Site
from trait_probe.errors import MismatchError
from trait_probe.hooks.capture import capture_sites
from trait_probe.hooks.sites import Residual, attached
from trait_probe.identity import HookedModel, device_of

TOKENS = 8
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.1, torch.float16: 0.02}
"""Largest difference, as a share of the largest value."""


@torch.inference_mode()
def self_check(model: HookedModel) -> None:
    """Refuse a model whose hook points are not what they say.

    Every layer's `resid_post` must fire. Changing the first must change the logits; putting the
    last into a run over other tokens must bring its own logits back, and changing one token of it
    must leave the others' logits alone. Where the Hugging Face
    model is at hand, the value must equal `hidden_states[layer + 1]` for every layer but the last
    (whose hidden state Hugging Face gives after the final norm).

    Raises:
        MismatchError: with the site, and the largest difference.
    """
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, int(model.cfg.d_vocab), (1, TOKENS), generator=generator)
    ids = ids.to(device_of(model))
    sites = [Site(layer) for layer in range(int(model.cfg.n_layers))]
    values, logits = capture_sites(model, ids, sites)
    silent = [str(site) for site in sites if site not in values]
    if silent:
        raise _unwired("hook points do not fire", silent)
    _check_writes(model, ids, values, logits)
    _check_hidden_states(model, ids, values)


def _check_writes(
    model: HookedModel,
    ids: Int[Tensor, "batch pos"],
    values: Mapping[Site, Float[Tensor, "batch pos d_model"]],
    logits: Float[Tensor, "batch pos d_vocab"],
) -> None:
    first, last = min(values), max(values)
    with attached(model, [(first, _rotated)]):
        changed = model(ids, return_type="logits")
    if torch.equal(changed, logits):
        raise _unwired("changing the residual stream does not change the logits", first.hook_name)
    with attached(model, [(last, lambda _: values[last])]):
        restored = model(ids.flip(-1), return_type="logits")
    _require_close(f"the logits from a given {last} differ from the model's", restored, logits)
    with attached(model, [(last, _first_token_rotated)]):
        changed = model(ids, return_type="logits")
    problem = f"a token's {last} reaches other tokens, so that it is not the last layer's: they"
    _require_close(f"{problem} differ", changed[:, 1:], logits[:, 1:])


def _rotated(activation: Residual) -> Residual:
    """Norms would undo a constant shift, or a change of scale; not a rotation of dimensions."""
    return activation + activation.roll(1, dims=-1)


def _first_token_rotated(activation: Residual) -> Residual:
    return torch.cat([_rotated(activation[:, :1]), activation[:, 1:]], dim=1)


def _check_hidden_states(
    model: HookedModel,
    ids: Int[Tensor, "batch pos"],
    values: Mapping[Site, Float[Tensor, "batch pos d_model"]],
) -> None:
    original = getattr(model, "original_model", None)
    if original is None or getattr(model, "compatibility_mode", False):
        return
    hidden = original(ids, output_hidden_states=True).hidden_states
    for site in sorted(values)[:-1]:
        name = f"{site} differs from Hugging Face's hidden_states[{site.layer + 1}]"
        _require_close(name, values[site], hidden[site.layer + 1])


def _require_close(
    problem: str, value: Float[Tensor, "batch pos _n"], oracle: Float[Tensor, "batch pos _n"]
) -> None:
    scale = max(float(oracle.abs().max()), 1.0)
    difference = float((value - oracle.to(value.device)).abs().max())
    if not difference <= TOLERANCE[value.dtype] * scale:  # also true of nan
        raise _unwired(f"{problem} by {difference:.3g} (scale {scale:.3g})")


def _unwired(problem: str, got: object = None) -> MismatchError:
    return MismatchError(
        f"Self-check: {problem}.",
        got=got,
        fix="TransformerLens does not read this architecture correctly: try a newer version, and "
        "report it with the model's id. (Values that are not finite: load in bfloat16 or float32.)",
    )
