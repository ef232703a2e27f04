"""Resolve sites against a model's hook points, and attach functions to them for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from jaxtyping import Float
from torch import Tensor

from trait_probe.basis import Point, Site
from trait_probe.errors import BadInputError, nearest
from trait_probe.identity import HookedModel

Residual = Float[Tensor, "batch pos d_model"]
SiteHook = Callable[[Residual], Residual | None]
"""Sees the activation; a returned tensor replaces it, `None` leaves it alone."""


def resolve(model: HookedModel, site: Site) -> Any:
    """The model's hook point at `site`.

    Raises:
        BadInputError: layer out of range, or a point this architecture does not have.
            (TransformerBridge itself ignores an unknown name in silence.)
    """
    n_layers = int(model.cfg.n_layers)
    if site.layer >= n_layers:
        raise BadInputError(
            f"The layer is outside the model, which has {n_layers} layers.",
            got=site.layer,
            valid=(f"0 to {n_layers - 1}",),
        )
    hooks = model.hook_dict
    if site.hook_name not in hooks:
        raise BadInputError(
            "The model has no such hook point.",
            got=site.hook_name,
            valid=nearest(site.hook_name, hooks),
        )
    return hooks[site.hook_name]


def parse_layers(layers: str | Iterable[int], model: HookedModel) -> tuple[int, ...]:
    """`"all"`, `"3"`, `"0,4,8"`, `"4:12"` (Python's half-open range) or integers -> sorted layers.

    Raises:
        BadInputError: not such a form, or a layer outside the model.
    """
    n_layers = int(model.cfg.n_layers)
    wanted = _layer_numbers(layers, n_layers) if isinstance(layers, str) else list(layers)
    outside = [layer for layer in wanted if not 0 <= layer < n_layers]
    if outside or not wanted:
        raise BadInputError(
            f"A layer is outside the model, which has {n_layers} layers.",
            got=layers,
            valid=(f"0 to {n_layers - 1}", "all"),
        )
    return tuple(sorted(set(wanted)))


def _layer_numbers(layers: str, n_layers: int) -> list[int]:
    if layers == "all":
        return list(range(n_layers))
    try:
        if ":" in layers:
            start, stop = (int(part) if part.strip() else None for part in layers.split(":"))
            return list(range(start or 0, n_layers if stop is None else stop))
        return [int(part) for part in layers.split(",")]
    except ValueError as error:
        raise BadInputError(
            "The layers are not in a form that can be read.",
            got=layers,
            valid=("all", "3", "0,4,8", "4:12"),
        ) from error


def sites_at(layers: Iterable[int], point: Point = "resid_post") -> tuple[Site, ...]:
    """The same point of several layers."""
    return tuple(Site(layer, point) for layer in layers)


@contextmanager
def attached(model: HookedModel, hooks: Sequence[tuple[Site, SiteHook]]) -> Iterator[None]:
    """Run with `hooks` attached, in order; remove exactly these on exit, also after an error.

    The handles are this context's own: leaving another context, in whatever order, touches
    neither theirs nor ours. All sites are resolved before the first hook is attached.
    """
    points = [(resolve(model, site), function) for site, function in hooks]
    owned: list[tuple[Any, Any]] = []
    try:
        for point, function in points:
            point.add_hook(_with_hook_argument(function))
            owned.append((point, point.fwd_hooks[-1]))
        yield
    finally:
        for point, handle in owned:
            handle.hook.remove()
            # By identity: TransformerLens' handles compare by value, and two could be equal.
            point.fwd_hooks[:] = [kept for kept in point.fwd_hooks if kept is not handle]


def _with_hook_argument(function: SiteHook) -> Callable[..., Tensor | None]:
    def hook_function(activation: Tensor, hook: Any) -> Tensor | None:
        return function(activation)

    return hook_function
