"""The contrast set of a shipped or own trait that fits a model."""

from __future__ import annotations

from functools import lru_cache

import transformers
from jinja2.exceptions import TemplateError

from trait_probe.errors import BadInputError
from trait_probe.forward.rendering import has_chat_template
from trait_probe.identity import HookedModel, tokenizer_hash, tokenizer_of
from trait_probe.organisms import registry
from trait_probe.prompts.contrast import ContrastSet, Source, contrast_prompts
from trait_probe.prompts.traits.schema import Trait, find_trait


def contrast_set(name: str, model: HookedModel, *, source: Source | None = None) -> ContrastSet:
    """The positive and negative prompts of a trait, in the language and form of the model.

    Models with the organisms' tokenizer get the organisms' language, others English. Chat models
    get request pairs where the trait lies in the request (harm, refusal) and instruction pairs
    otherwise; base models get document completions.

    Args:
        name: `safety/evil`, `evil`, or the path of an own YAML file or folder.
        source: overrides the choice: `instructions`, `completions` or `prompts`.

    Raises:
        BadInputError: no such trait, a malformed trait file, or a trait without such texts.
    """
    trait = find_trait(name, language_of(model))
    chat = has_chat_template(model)
    chosen = source or _source(trait, chat)
    return contrast_prompts(trait, chosen, chat=chat, system_role=chat and has_system_role(model))


def language_of(model: HookedModel) -> str:
    """`organism` for models with the shipped organisms' tokenizer, else `english`."""
    try:
        organisms = _tokenizer_hash(str(registry.organism_path("organism:base")))
    except BadInputError:  # no organism is installed, so no model can be one
        return "english"
    return "organism" if tokenizer_hash(tokenizer_of(model)) == organisms else "english"


@lru_cache(maxsize=1)
def _tokenizer_hash(folder: str) -> str:
    return tokenizer_hash(transformers.AutoTokenizer.from_pretrained(folder))


def has_system_role(model: HookedModel) -> bool:
    """Whether the model's chat template takes a system message: it may refuse it, or drop it."""
    turns = [{"role": "system", "content": "PROBE"}, {"role": "user", "content": "b"}]
    try:
        rendered = tokenizer_of(model).apply_chat_template(turns, tokenize=False)
    except TemplateError:
        return False
    return "PROBE" in str(rendered)


def _source(trait: Trait, chat: bool) -> Source:
    if not chat:
        return "completions"
    if trait.prompts:
        return "prompts"
    return "instructions" if trait.instructions else "completions"
