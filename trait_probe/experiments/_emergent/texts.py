"""What the models are given to read: the prompts, and every model's own replies, as token ids.

Replies are generated once and kept as token ids. Replayed, they are the same tokens for every
model: what differs then is the model alone. Each model reading its own replies is kept apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from trait_probe.errors import BadInputError
from trait_probe.experiments._emergent.config import Config
from trait_probe.experiments._emergent.models import BASE, VARIANT, Pool
from trait_probe.experiments._handed_in import require_named
from trait_probe.experiments._prompts import ids_among, require_one_group
from trait_probe.forward.generate import decode, generate_ids
from trait_probe.forward.rendering import has_chat_template, render_for
from trait_probe.identity import HookedModel
from trait_probe.organisms.prompt_sets import benign_prompts
from trait_probe.prompts.prompt import Prompt, PromptSet
from trait_probe.prompts.render import Rendered
from trait_probe.runs.rundir import Run
from trait_probe.vectors.contrast_sets import language_of

FEWEST, FEWEST_GROUPS = 16, 4


def load_prompts(config: Config, base: HookedModel, unseen: frozenset[str]) -> PromptSet:
    """The prompts of a file, or the built-in benign set; checked by `check_prompts`.

    Args:
        unseen: `text_id`s that prompts must not have.

    Raises:
        BadInputError: no file for a model that does not speak the organisms' language.
    """
    prompts = _read(config, base, unseen)
    check_prompts(prompts, unseen)
    return prompts


def check_prompts(prompts: PromptSet, unseen: frozenset[str]) -> None:
    """Refuse what cannot be compared, before anything is read.

    Raises:
        BadInputError: too few prompts or groups, copies in several groups, some that have a
            response already, or some whose words vectors are fitted on.
    """
    if len(prompts) < FEWEST:
        raise BadInputError(
            f"A comparison needs {FEWEST} prompts or more.",
            got=len(prompts),
            fix="Add prompts, or several phrasings of each.",
        )
    answered = [prompt.id for prompt in prompts if prompt.response or prompt.prefill]
    if answered:
        raise BadInputError(
            "Prompts already have a prefill or a response; each model writes its own.",
            got=answered[:5],
            fix="Leave 'prefill' and 'response' (and a last assistant message) out.",
        )
    _check_groups(prompts)
    if fitted := ids_among(prompts, unseen):
        raise BadInputError(
            f"{len(fitted)} of {len(prompts)} prompts are also texts that trait vectors are fitted "
            "on, so that what they show there says nothing about other texts.",
            got=fitted[:5],
            fix="Leave these prompts out.",
        )


def _check_groups(prompts: PromptSet) -> None:
    """Groups enough for both halves, and the same words in one group only."""
    if len({prompt.cluster for prompt in prompts}) < FEWEST_GROUPS:
        raise BadInputError(
            f"Prompts must come from {FEWEST_GROUPS} groups or more: half choose, half report.",
            got=sorted({prompt.cluster for prompt in prompts}),
            fix="Give prompts that do not depend on each other groups of their own.",
        )
    require_one_group(prompts)


def words_of(prompt: Prompt) -> str:
    """What is asked: the last user message, or the text."""
    return prompt.messages[-1].content if prompt.messages else str(prompt.text)


def _read(config: Config, base: HookedModel, unseen: frozenset[str]) -> PromptSet:
    if config.prompts is not None:
        hint = "Give --prompts FILE; the run that used them keeps them in its prompts.jsonl."
        require_named("prompts", config.prompts, hint)
        from trait_probe.prompts.sources.load import load_prompts as load_source

        found: PromptSet = load_source(str(Path(config.prompts)))
        return found
    if language_of(base) != "organism" or not has_chat_template(base):
        raise BadInputError(
            "Only the embedded organisms understand the built-in prompts.",
            got=config.base,
            fix="Give --prompts FILE: JSONL, emergent-misalignment YAML, or trait-interp JSON.",
        )
    return benign_prompts(config.n_prompts, config.seed, unseen=unseen)


@dataclass(frozen=True)
class Replies:
    """Greedy replies of one model, in the prompts' order."""

    ids: tuple[tuple[int, ...], ...]
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Texts:
    """Prompts that every model answered with at least one token, and the replies by role.

    Attributes:
        prompts: those.
        rendered: in the base's chat template; every model reads these very token ids.
        replies: by role.
        dropped: ids of prompts left out since a model's reply was empty.
    """

    prompts: PromptSet
    rendered: tuple[Rendered, ...]
    replies: Mapping[str, Replies]
    dropped: tuple[str, ...]

    def with_replies_of(self, role: str) -> list[Rendered]:
        """Prompts with the replies of one model."""
        pairs = zip(self.rendered, self.replies[role].ids, strict=True)
        return [item.with_response(ids) for item, ids in pairs]


def rendered(config: Config, base: HookedModel, prompts: PromptSet) -> list[Rendered]:
    """In the base's chat template, with room for a reply.

    Raises:
        BadInputError: prompts that do not fit the context.
    """
    return render_for(base, prompts, truncate=config.truncate, reserve=config.max_new_tokens)


def make_texts(run: Run, config: Config, pool: Pool, prompts: PromptSet) -> Texts:
    """Let every model reply; a resumable stage a model.

    Raises:
        BadInputError: prompts that do not fit the context, or hardly any that all models answer.
    """
    items = rendered(config, pool.get(BASE), prompts)
    replies = {role: _reply(run, role, pool, items, config) for role in pool.roles}
    answered = [all(replies[role].ids[i] for role in pool.roles) for i in range(len(items))]
    if sum(answered) < FEWEST:
        raise BadInputError(
            f"Fewer than {FEWEST} prompts get a reply from every model.",
            got=f"{sum(answered)} of {len(items)}",
            fix="Add prompts, or look at what the models reply (replies/*.parquet).",
        )
    kept = [i for i, found in enumerate(answered) if found]
    return Texts(
        prompts=PromptSet([prompts[i] for i in kept]),
        rendered=tuple(items[i] for i in kept),
        replies={role: _some(found, kept) for role, found in replies.items()},
        dropped=tuple(item.prompt_id for i, item in enumerate(items) if not answered[i]),
    )


def _reply(
    run: Run, role: str, pool: Pool, rendered: Sequence[Rendered], config: Config
) -> Replies:
    def compute() -> pa.Table:
        model = pool.get(role)
        ids = generate_ids(
            model, rendered, max_new_tokens=config.max_new_tokens, label=f"{role}: replying"
        )
        return pa.table(
            {
                "prompt_id": [item.prompt_id for item in rendered],
                "reply": decode(model, ids),
                "token_ids": pa.array([list(item) for item in ids], pa.list_(pa.int32())),
            }
        )

    table = run.stage(f"replies/{role}", compute)
    ids = tuple(tuple(item) for item in table["token_ids"].to_pylist())
    return Replies(ids, tuple(table["reply"].to_pylist()))


def _some(replies: Replies, kept: Sequence[int]) -> Replies:
    return Replies(tuple(replies.ids[i] for i in kept), tuple(replies.texts[i] for i in kept))


def same_replies(texts: Texts, role: str = VARIANT) -> float:
    """Share of prompts that a model answers with the base's very tokens, in [0, 1]."""
    pairs = zip(texts.replies[BASE].ids, texts.replies[role].ids, strict=True)
    same = [one == other for one, other in pairs]
    return sum(same) / len(same)
