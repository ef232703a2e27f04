"""Render prompts with a model's own tokenizer, context and thinking mode."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from trait_probe.identity import HookedModel, context_length, identify, tokenizer_of
from trait_probe.prompts.prompt import Prompt
from trait_probe.prompts.render import Rendered, Truncate, render_all


def has_chat_template(model: HookedModel) -> bool:
    """Whether conversations can be put to the model; else its prompts are plain texts."""
    return getattr(tokenizer_of(model), "chat_template", None) is not None


def render_for(
    model: HookedModel,
    prompts: Iterable[Prompt] | Sequence[Rendered],
    *,
    truncate: Truncate | None = None,
    reserve: int = 0,
) -> list[Rendered]:
    """Token ids and spans of each prompt for this model; rendered prompts pass through.

    Args:
        truncate: what to cut from prompts longer than the context; None refuses them.
        reserve: tokens of the context to leave free, for generation.

    Raises:
        BadInputError: as `trait_probe.prompts.render.render_all`.
    """
    items = list(prompts)
    if all(isinstance(item, Rendered) for item in items):
        return [item for item in items if isinstance(item, Rendered)]
    return render_all(
        tokenizer_of(model),
        [item for item in items if isinstance(item, Prompt)],
        max_length=context_length(model) - reserve,
        truncate=truncate,
        thinking=identify(model).thinking,
    )
