"""Resolve sites against a model's hook points, and attach functions to them for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

from jaxtyping import Float
from torch import Tensor

from trait_probe.basis import Point, Site
from trait_probe.errors import BadInputError, RunError, nearest
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
    return resolve_all(model, [site])[0]


def resolve_all(model: HookedModel, sites: Iterable[Site]) -> list[Any]:
    """`resolve` for many sites: the table of hook points, which is slow to build, is built once."""
    hooks: Mapping[str, Any] = cast(Any, model).hook_dict
    n_layers = int(model.cfg.n_layers)
    return [_resolve(hooks, n_layers, site) for site in sites]


def _resolve(hooks: Mapping[str, Any], n_layers: int, site: Site) -> Any:
    if site.layer >= n_layers:
        raise BadInputError(
            f"The layer is outside the model, which has {n_layers} layers.",
            got=site.layer,
            valid=(f"0 to {n_layers - 1}",),
        )
    if site.hook_name not in hooks:
        raise BadInputError(
            "The model has no such hook point.",
            got=site.hook_name,
            valid=nearest(site.hook_name, hooks),
        )
    return hooks[site.hook_name]


def parse_layers(layers: str | int | Iterable[int], model: HookedModel) -> tuple[int, ...]:
    """`"all"`, `"3"`, `"0,4,8"`, `"4:12"` (Python's half-open range) or integers -> sorted layers.

    Raises:
        BadInputError: not such a form, or a layer outside the model.
    """
    n_layers = int(model.cfg.n_layers)
    if isinstance(layers, str):
        wanted = _layer_numbers(layers, n_layers)
    else:
        wanted = [layers] if isinstance(layers, int) else [int(layer) for layer in layers]
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
    neither theirs nor ours, and `model.reset_hooks()` leaves ours alone. All sites are resolved
    before the first hook is attached.

    Raises:
        BadInputError: a site that the model does not have.
        RunError: on exit, where someone took our hooks off by force: what ran since is not what
            was asked for.
    """
    points = resolve_all(model, [site for site, _ in hooks])
    owned: list[tuple[Any, Any]] = []
    try:
        for point, (_, function) in zip(points, hooks, strict=True):
            # Permanent, in TransformerLens' sense: until we remove it.
            point.add_hook(_with_hook_argument(function), is_permanent=True)
            owned.append((point, point.fwd_hooks[-1]))
        yield
        _require_attached(owned)
    finally:
        for point, handle in owned:
            handle.hook.remove()
            # The list may be another one by now (a reset makes a new one), or lack ours already.
            point.fwd_hooks[:] = [kept for kept in point.fwd_hooks if kept is not handle]


def _require_attached(owned: Sequence[tuple[Any, Any]]) -> None:
    lost = [p.name for p, handle in owned if not any(kept is handle for kept in p.fwd_hooks)]
    if lost:
        raise RunError(
            "Hooks were removed from the model while they were needed.",
            got=lost,
            fix="Do not call reset_hooks(including_permanent=True) within the block.",
        )


def _with_hook_argument(function: SiteHook) -> Callable[..., Tensor | None]:
    def hook_function(activation: Tensor, hook: Any) -> Tensor | None:
        return function(activation)

    return hook_function
