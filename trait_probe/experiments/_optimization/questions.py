"""Questions to search, choose and test on; prompts whose answers are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from trait_probe.errors import BadInputError
from trait_probe.evidence.splits import split_by_group
from trait_probe.experiments._optimization.config import Config
from trait_probe.experiments._prompts import without_ending
from trait_probe.forward.rendering import has_chat_template
from trait_probe.identity import HookedModel
from trait_probe.organisms.questions import evaluation_prompts, training_prompts
from trait_probe.prompts.prompt import Message, Prompt, PromptSet
from trait_probe.prompts.traits.schema import Trait, find_trait
from trait_probe.vectors.contrast_sets import has_system_role, language_of

LEAST = 4
"""Fewest questions on each side of a split from which anything can be said."""


@dataclass(frozen=True)
class Questions:
    """One trait's questions; groups of questions lie on one side.

    Attributes:
        train: what candidates are tried on; the vector may have been extracted on the same.
        validation: what strengths and finalists are chosen on.
        test: what is reported; nothing else looks at them.
        kept_choice: other prompts, whose answers are to stay likely, while choosing.
        kept_test: the same for the test.
    """

    trait: Trait
    train: tuple[Prompt, ...]
    validation: tuple[Prompt, ...]
    test: tuple[Prompt, ...]
    kept_choice: tuple[Prompt, ...]
    kept_test: tuple[Prompt, ...]

    def __post_init__(self) -> None:
        for name in ("train", "validation", "test"):
            found = getattr(self, name)
            if len(found) < LEAST:
                raise BadInputError(
                    f"Too few {name} questions for {self.trait.name!r}.",
                    got=len(found),
                    valid=(f"{LEAST} or more",),
                    fix="Give more questions (--questions FILE), in more groups.",
                )
        self._require_apart()

    def _require_apart(self) -> None:
        """Every text once, in one part."""
        seen: dict[str, tuple[str, str]] = {}
        for part, prompts in self.splits().items():
            for prompt in prompts:
                before = seen.setdefault(told_by(prompt), (part, prompt.id))
                if before == (part, prompt.id):
                    continue
                kept = part.startswith("kept") and not before[0].startswith("kept")
                why = "kept prompts are questions as well, whose answers are to change"
                raise BadInputError(
                    f"Of {self.trait.name!r}, {why if kept else 'texts repeat'}: what is reported "
                    "has to be unseen.",
                    got=(f"{before[0]}: {before[1]}", f"{part}: {prompt.id}"),
                    fix="Name other kept prompts (--kept)." if kept else "Leave one of them out.",
                )

    def splits(self) -> dict[str, tuple[Prompt, ...]]:
        """Every prompt by its part."""
        return {
            "train": self.train,
            "validation": self.validation,
            "test": self.test,
            "kept_choice": self.kept_choice,
            "kept_test": self.kept_test,
        }

    def hashes(self) -> dict[str, str]:
        """Of each part, for the manifest."""
        return {name: PromptSet(list(found)).hash for name, found in self.splits().items()}

    def prompts(self) -> PromptSet:
        """All of them, with the label `split`."""
        return PromptSet(
            [
                replace(prompt, id=f"{name}/{prompt.id}", labels={**prompt.labels, "split": name})
                for name, found in self.splits().items()
                for prompt in found
            ]
        )


def told_by(prompt: Prompt) -> str:
    """What a question is told by: its words, blind to case, spacing and how it ends."""
    return without_ending(prompt.messages[-1].content)


def traits_of(config: Config, model: HookedModel) -> tuple[Trait, ...]:
    """The traits' texts in the model's language.

    Raises:
        BadInputError: no chat template, no such trait, two of one name, or one without
            instructions: the prompt baseline asks for the trait in words.
    """
    if not has_chat_template(model):
        raise BadInputError(
            "Steering is compared with asking for the trait, which takes a chat template.",
            got=config.model,
            fix="Name an instruction-tuned model (--model).",
        )
    found = tuple(find_trait(name, language_of(model)) for name in config.traits)
    names = [trait.name for trait in found]
    if len(set(names)) < len(names):
        raise BadInputError("Two of the traits have the same name.", got=names)
    for trait in found:
        if not trait.instructions:
            raise BadInputError(
                f"The trait {trait.name!r} has no instructions that ask for it in words.",
                got=str(trait.source),
                fix="Add 'instructions:' to the trait file.",
            )
    return found


def questions_of(config: Config, model: HookedModel, trait: Trait, file: str | None) -> Questions:
    """The trait's questions, split; the same for the same configuration.

    A file's groups are split in 2/5, 1/5 and 2/5. Else the trait's questions for extraction are
    those of training, and its evaluation questions are split in 1/3 and 2/3.
    """
    kept = _kept(config, model)
    half = len(kept) // 2
    if file is not None:
        prompts = _read(file, "questions")
        train, rest = _split(prompts, 0.4, config.seed)
    elif language_of(model) == "organism":
        train, rest = list(training_prompts(trait.name)), list(evaluation_prompts(trait.name))
    else:
        train = _plain(trait.questions, f"{trait.name}/question")
        rest = _plain(trait.evaluation_questions, f"{trait.name}/evaluation")
    if not rest:
        raise BadInputError(
            f"The trait {trait.name!r} has no evaluation questions to choose and report on.",
            got=str(trait.source),
            fix="Add 'evaluation_questions:' to the trait file, or give --questions FILE.",
        )
    validation, test = _split(rest, 1 / 3, config.seed)
    return Questions(
        trait=trait,
        train=tuple(train),
        validation=tuple(validation),
        test=tuple(test),
        kept_choice=tuple(kept[:half]),
        kept_test=tuple(kept[half:]),
    )


def instructed(model: HookedModel, instruction: str, question: Prompt) -> Prompt:
    """The question under a system prompt (in front of it where the template has no such role)."""
    before, last = question.messages[:-1], question.messages[-1]
    turns: tuple[Message, ...]
    if has_system_role(model):
        given = [message.content for message in before]  # a system message of its own, or none
        turns = (Message("system", "\n\n".join([instruction, *given])), last)
    else:
        turns = (*before, Message("user", f"{instruction}\n\n{last.content}"))
    return replace(question, messages=turns, spans={})


def _split(prompts: Sequence[Prompt], share: float, seed: int) -> tuple[list[Prompt], list[Prompt]]:
    groups = [prompt.group or prompt.id for prompt in prompts]
    split = split_by_group(groups, fraction=share, seed=seed)
    return [prompts[i] for i in split.selection], [prompts[i] for i in split.report]


def _kept(config: Config, model: HookedModel) -> list[Prompt]:
    """Kept prompts, taken in turn from their sources."""
    sources = [_kept_source(name, model) for name in config.kept]
    longest = max(map(len, sources))
    turns = [source[i] for i in range(longest) for source in sources if i < len(source)]
    if len(turns) < config.n_kept:
        raise BadInputError(
            "There are fewer kept prompts than asked for.",
            got=config.n_kept,
            valid=(f"at most {len(turns)}",),
            fix="Lower --n-kept, or name more sources (--kept).",
        )
    return turns[: config.n_kept]


def _kept_source(name: str, model: HookedModel) -> list[Prompt]:
    if Path(name).suffix in (".jsonl", ".parquet"):
        return _read(name, "kept")
    trait = find_trait(name, language_of(model))
    return _plain(trait.evaluation_questions, f"{trait.name}/kept")


def _plain(texts: Sequence[str], name: str) -> list[Prompt]:
    return [
        Prompt(id=f"{name}-{i:03d}", messages=(Message("user", text),))
        for i, text in enumerate(texts)
    ]


def _read(file: str, field: str) -> list[Prompt]:
    path = Path(file)
    load = PromptSet.from_parquet if path.suffix == ".parquet" else PromptSet.from_jsonl
    found = list(load(path))
    wrong = [prompt.id for prompt in found if not _is_question(prompt)]
    if wrong:
        raise BadInputError(
            f"The prompts of --{field} are single questions without an answer: an instruction is "
            "put before them, and a judge reads question and answer.",
            got=wrong[:5],
            fix='Write {"id": ..., "messages": [{"role": "user", "content": ...}]}, with a system '
            "message before it at most.",
        )
    return found


def _is_question(prompt: Prompt) -> bool:
    roles = [message.role for message in prompt.messages]
    return roles in (["user"], ["system", "user"]) and prompt.response is None
