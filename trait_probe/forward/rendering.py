"""Render prompts with a model's own tokenizer, context and thinking mode."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from trait_probe.errors import BadInputError
from trait_probe.identity import HookedModel, context_length, identify, tokenizer_of
from trait_probe.prompts.prompt import Prompt
from trait_probe.prompts.render import Rendered, Truncate, render_all


def has_chat_template(model: HookedModel) -> bool:
    """Whether conversations can be put to the model; else its prompts are plain texts."""
    return getattr(tokenizer_of(model), "chat_template", None) is not None


def render_for(
    model: HookedModel,
    prompts: Iterable[Prompt | Rendered],
    *,
    truncate: Truncate | None = None,
    reserve: int = 0,
) -> list[Rendered]:
    """Token ids and spans of each prompt for this model; rendered prompts pass through.

    Args:
        prompts: all to be rendered, or all rendered.
        truncate: what to cut from prompts longer than the context; None refuses them.
        reserve: tokens of the context to leave free, for generation.

    Raises:
        BadInputError: something that is no prompt, a mixture, and as
            `trait_probe.prompts.render.render_all`.
    """
    items = list(prompts)
    rendered = [item for item in items if isinstance(item, Rendered)]
    if len(rendered) == len(items):
        return rendered
    unrendered = [item for item in items if isinstance(item, Prompt)]
    if len(unrendered) < len(items):
        raise BadInputError(
            "Prompts are all Prompt objects (such as a PromptSet), or all rendered ones.",
            got=sorted({type(item).__name__ for item in items}),
            fix='Use Prompt(id="a", text="...") or PromptSet.from_dicts([{"id": ...}]).',
        )
    return render_all(
        tokenizer_of(model),
        unrendered,
        max_length=_free_context(model, reserve),
        truncate=truncate,
        thinking=identify(model).thinking,
    )


def _free_context(model: HookedModel, reserve: int) -> int:
    limit = context_length(model)
    if reserve >= limit:
        raise BadInputError(
            f"{reserve} new tokens leave no room for a prompt in the context of {limit}.",
            got=reserve,
            fix="Lower max_new_tokens.",
        )
    return limit - reserve


def check_context(model: HookedModel, prompts: Sequence[Rendered], *, reserve: int = 0) -> None:
    """Refuse rendered prompts that do not fit the model's context.

    Raises:
        BadInputError: with how many do not, and the length of the longest.
    """
    limit = context_length(model)
    long = [item for item in prompts if len(item.token_ids) + reserve > limit]
    if long:
        longest = max(long, key=lambda item: len(item.token_ids))
        room = f"leave no room for {reserve} new tokens in" if reserve else "are longer than"
        raise BadInputError(
            f"{len(long)} of {len(prompts)} prompts {room} the context of {limit} tokens; longest: "
            f"{longest.prompt_id!r} with {len(longest.token_ids)}.",
            got=[item.prompt_id for item in long[:5]],
            fix="Leave them out, render them with truncate='left' or 'right'"
            + (", or lower max_new_tokens." if reserve else "."),
        )
