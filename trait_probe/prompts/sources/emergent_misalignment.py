"""The evaluation questions of emergent misalignment: YAML lists, anchors and all.

Betley et al. 2025, "Emergent Misalignment" (arXiv 2502.17424), files `evaluation/*.yaml` of
github.com/emergent-misalignment. Keys of a question: `id, type, paraphrases,
samples_per_paraphrase, judge, judge_prompts` and, in some, `system`. The published code drops
`system`; here it is honoured.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from trait_probe.errors import BadInputError, nearest
from trait_probe.prompts.prompt import Prompt, PromptSet
from trait_probe.prompts.sources._table import AnyPath, collect, read_text, user_prompt

VARIANTS = ("json", "template")
"""A question's id may end in `_json` or `_template`; without, it is the `plain` variant."""

_READ = ("id", "type", "paraphrases", "system")
# How answers are drawn and judged: nothing that the model reads.
_PASSED_OVER = (
    *("samples_per_paraphrase", "judge", "judge_prompts"),
    *("temperature", "max_tokens", "results_dir"),
)


@dataclass(frozen=True)
class _Question:
    """One entry of the list, its anchors resolved; errors name its first line."""

    where: str
    fields: Mapping[str, Any]

    def text(self, key: str) -> str:
        value = self.fields.get(key)
        if not isinstance(value, str) or not value.strip():
            raise BadInputError(
                f"{self.where}: `{key}` must be text.",
                got=value,
                fix="Write it in quotes if it looks like a number, a date or yes/no.",
            )
        return value

    def paraphrases(self) -> list[str]:
        values = self.fields["paraphrases"]
        good = isinstance(values, list) and values and all(isinstance(v, str) for v in values)
        if not good:
            raise BadInputError(
                f"{self.where}: `paraphrases` must be a list of texts, at least one.",
                got=values,
                fix="Start each with `- `; quote one that looks like a number or holds `: `.",
            )
        return list(values)


def read_evaluation(path: AnyPath) -> PromptSet:
    """Every paraphrase of every question: the user's message, the question's system message first.

    Ids are `QUESTION-1` and so on by paraphrase. The group is the question's family: its id without
    the endings of `VARIANTS`. Labels: `question_id`, `type`, and `variant` (`plain`, `json` or
    `template`). Questions of every type are kept; entries without `paraphrases`, which only hold
    anchors for others, ask nothing and are left out.

    Raises:
        BadInputError: no such file, malformed YAML, no list, a field of the wrong kind, an unknown
            key (it may change what a model reads), or an id given twice; names file and line.
    """
    questions = [
        question
        for question in _questions(read_text(path, ".yaml", ".yml"), str(path))
        if "paraphrases" in question.fields
    ]
    _check_ids(questions)
    return collect(str(path), (placed for item in questions for placed in _prompts(item)))


def _questions(text: str, name: str) -> list[_Question]:
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if not isinstance(node, yaml.SequenceNode):
            raise BadInputError(
                f"{name} is not a list of questions.",
                got="an empty file" if node is None else "something else",
                fix="Begin each question with `- id: ...`.",
            )
        _check_keys(node, name)
        values = loader.construct_document(node)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that does not exist
        raise _malformed(name, error) from error
    except RecursionError as error:
        raise BadInputError(f"{name} is nested too deeply.", fix="Remove the nesting.") from error
    finally:
        loader.dispose()
    return [_question(name, *pair) for pair in zip(node.value, values, strict=True)]


def _check_keys(questions: yaml.SequenceNode, name: str) -> None:
    """YAML takes the last of two equal keys without a word."""
    for node in questions.value:
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        keys = [str(key.value) for key, _ in pairs]
        for index, (key, _) in enumerate(pairs):
            if keys[index] in keys[:index]:
                raise BadInputError(
                    f"{name}, line {key.start_mark.line + 1}: the key is given twice.",
                    got=keys[index],
                    fix="Keep one of them.",
                )


def _malformed(name: str, error: Exception) -> BadInputError:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    line = "" if mark is None else f", line {mark.line + 1}"
    return BadInputError(
        f"{name}{line} is not valid YAML: {getattr(error, 'problem', None) or error}.",
        fix="Check indentation, quotes and anchors there.",
    )


def _question(name: str, node: yaml.Node, value: Any) -> _Question:
    where = f"{name}, line {node.start_mark.line + 1}"
    if not isinstance(value, Mapping):
        raise BadInputError(
            f"{where}: a question is a mapping.", got=value, fix="Begin it with `- id: ...`."
        )
    known = (*_READ, *_PASSED_OVER)
    for key in value:
        if key not in known and "paraphrases" in value:
            raise BadInputError(
                f"{where}: unknown key, which may change what the model is to read.",
                got=key,
                valid=nearest(str(key), known, n=len(known)),
                fix="Rename or remove it.",
            )
    return _Question(where, value)


def _check_ids(questions: list[_Question]) -> None:
    seen: dict[str, str] = {}
    for question in questions:
        name = question.text("id")
        if name in seen:
            raise BadInputError(
                f"{question.where}: the question's id must be unique, and {seen[name]} already has "
                "this one.",
                got=name,
                fix="Rename one of the two questions.",
            )
        seen[name] = question.where


def _prompts(question: _Question) -> Iterator[tuple[str, Prompt]]:
    name = question.text("id")
    family, variant = _family(name)
    system = question.text("system") if question.fields.get("system") is not None else None
    labels = {"question_id": name, "type": question.text("type"), "variant": variant}
    for number, text in enumerate(question.paraphrases(), start=1):
        yield user_prompt(
            question.where, f"{name}-{number}", text, labels, group=family, system=system
        )


def _family(name: str) -> tuple[str, str]:
    for variant in VARIANTS:
        family = name.removesuffix(f"_{variant}")
        if family and family != name:
            return family, variant
    return name, "plain"
