"""Leave out what TransformerLens computes for hooks that nobody attached.

A bridge computes each norm twice: once for its hook points (`hook_scale`, `hook_normalized`), and
once as Hugging Face does, which is what goes on. Where nothing is attached to these points, the
first is of no use to anyone; leaving it out changes no bit, and saves some 2 % of a forward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from trait_probe.identity import HookedModel

NATIVE = "_hf_autograd_forward_with_hooks"
"""The bridge's method that does both; where a version has none of that name, nothing is changed."""
POINTS = ("hook_scale", "hook_normalized")


@contextmanager
def lean_norms(model: HookedModel) -> Iterator[None]:
    """Within the block, norms without hooks of their own are Hugging Face's alone."""
    changed = [norm for norm in _modules(model) if _is_plain(norm)]
    for norm in changed:
        vars(norm)[NATIVE] = _only_hugging_face(norm.original_component)
    try:
        yield
    finally:
        for norm in changed:
            del vars(norm)[NATIVE]


def _modules(model: Any) -> list[Any]:
    return list(model.modules()) if hasattr(model, "modules") else []


def _is_plain(module: Any) -> bool:
    """A norm's bridge that is as its class made it, with nothing at the two points."""
    points: list[Any] = [getattr(module, name, None) for name in POINTS]
    return (
        hasattr(type(module), NATIVE)
        and NATIVE not in vars(module)
        and all(point is not None for point in points)
        and not any(point.fwd_hooks or point.bwd_hooks for point in points)
    )


def _only_hugging_face(component: Any) -> Callable[[Tensor], Tensor]:
    def forward(x: Tensor) -> Tensor:
        result: Tensor = component(x)
        return result.to(x.dtype)

    return forward
