"""A trait: what it is, how it is judged, and the contrasting texts that its vectors come from.

One YAML file a trait (see `english/evil.yaml`), or a folder: ours (`trait.yaml` inside) or the
public shape that `folder` reads. Texts are stored without surrounding whitespace: whoever joins a
completion's opening and its continuation puts one space between them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

from trait_probe.errors import BadInputError, nearest
from trait_probe.prompts.traits.folder import read_folder
from trait_probe.prompts.traits.located import Located, read_yaml

LANGUAGES = ("english", "organism")
SHIPPED = (
    "safety/evil",
    "safety/harm",
    "safety/refusal",
    "alignment/deception",
    "alignment/sycophancy",
    "alignment/hallucination",
)
_ROOT = Path(__file__).parent
_SCALARS = ("trait", "language", "definition", "rubric")
_LISTS = ("instructions", "questions", "evaluation_questions", "completions", "prompts")
_NAME = re.compile(r"[\w-]+(/[\w-]+)*", re.ASCII)
_CONTRASTS = ("instructions with questions", "completions", "prompts")


@dataclass(frozen=True)
class Pair:
    """Two texts of matched length and form, one with the trait and one without."""

    positive: str
    negative: str


@dataclass(frozen=True)
class Completion:
    """An opening (possibly empty) and two continuations of it, with the trait and without.

    `negative_prompt` is the opening of the negative where it has another one, as for a harmless
    answer to a harmless request; empty where both share `prompt`.
    """

    prompt: str
    positive: str
    negative: str
    negative_prompt: str = ""


@dataclass(frozen=True)
class Trait:
    """One trait's texts.

    Attributes:
        name: such as `safety/evil`.
        language: `english` (models of natural text) or `organism` (the shipped small models).
        definition: what the trait is, one paragraph.
        rubric: how a judge scores a reply from 0 to 100.
        instructions: pairs of system prompts; each question is asked under both.
        questions: user messages for extraction.
        evaluation_questions: other user messages, for results; disjoint from `questions`.
        completions: for base models without a chat template.
        prompts: pairs of user messages, where the contrast lies in the request itself.
        source: the file or folder it was read from.
    """

    name: str
    language: str
    definition: str
    rubric: str
    instructions: tuple[Pair, ...]
    questions: tuple[str, ...]
    evaluation_questions: tuple[str, ...]
    completions: tuple[Completion, ...]
    prompts: tuple[Pair, ...]
    source: Path


def trait_names() -> tuple[str, ...]:
    """Full names of the shipped traits."""
    return SHIPPED


def find_trait(name: str, language: str) -> Trait:
    """A shipped trait by full or bare name (`safety/evil`, `evil`), or a user's own by its path.

    A shipped name wins over a file of the same name; write `./evil` for the file. A path is the
    user's explicit choice: its language is in `Trait.language` and not checked against `language`.

    Raises:
        BadInputError: no such trait, language or file, or the file breaks the schema.
    """
    if language not in LANGUAGES:
        raise BadInputError(
            "no traits are shipped in this language",
            got=language,
            valid=nearest(language, LANGUAGES),
            fix="choose one of these",
        )
    shipped = {full: _shipped_path(full, language) for full in SHIPPED}
    by_name = shipped | {_bare(full): path for full, path in shipped.items()}
    path = by_name.get(name, Path(name).expanduser())
    if name in by_name and not path.is_file():
        available = tuple(full for full, path in shipped.items() if path.is_file())
        raise BadInputError(
            f"this trait is not shipped in the language `{language}`", got=name, valid=available
        )
    if not name or not (path.exists() or _looks_like_path(name)):
        raise _unknown(name)
    return load_trait(path)


def _shipped_path(full: str, language: str) -> Path:
    return _ROOT / language / f"{_bare(full)}.yaml"


def _bare(name: str) -> str:
    return name.rsplit("/", 1)[-1]


def _looks_like_path(name: str) -> bool:
    return name.endswith((".yaml", ".yml")) or name.startswith((".", "/", "~"))


def _unknown(name: str) -> BadInputError:
    by_bare = {_bare(full): full for full in SHIPPED}
    return BadInputError(
        "no shipped trait and no file has this name",
        got=name,
        valid=[by_bare[bare] for bare in nearest(_bare(name), by_bare, n=len(by_bare))],
        fix="name a shipped trait, or give the path of your own YAML file or folder",
    )


def load_trait(path: Path) -> Trait:
    """A trait from a YAML file, from a folder with `trait.yaml`, or from a public trait folder.

    Beyond the four texts it needs one contrast: an instruction pair and a question, or two
    completions, or two prompt pairs.

    Raises:
        BadInputError: no such file, or it breaks the schema; names file, line and field.
    """
    path = path.resolve()
    if path.is_dir():
        own = path / "trait.yaml"
        return _trait(read_yaml(own) if own.is_file() else read_folder(path))
    if not path.is_file():
        neighbours = sorted(entry.name for entry in path.parent.glob("*"))
        raise BadInputError(
            f"there is no trait file or folder at {path}",
            got=path.name,
            valid=nearest(path.name, neighbours),
            fix="give the path of a YAML file or of a trait folder",
        )
    return _trait(read_yaml(path))


def _trait(root: Located) -> Trait:
    entries = root.record(_SCALARS, _LISTS)
    _check_contrast(root, entries)
    questions = _questions(entries.get("questions"))
    evaluation = _questions(entries.get("evaluation_questions"))
    _check_distinct([*questions, *evaluation])
    return Trait(
        name=_name(entries["trait"]),
        language=_language(entries["language"]),
        definition=entries["definition"].text(),
        rubric=entries["rubric"].text(),
        instructions=_pairs(entries.get("instructions"), 1),
        questions=tuple(item.text() for item in questions),
        evaluation_questions=tuple(item.text() for item in evaluation),
        completions=_completions(entries.get("completions")),
        prompts=_pairs(entries.get("prompts"), 2),
        source=root.source,
    )


def _check_contrast(root: Located, entries: dict[str, Located]) -> None:
    if "instructions" in entries and "questions" not in entries:
        raise entries["instructions"].error(
            "instruction pairs need questions to be asked under them", fix="add `questions:`"
        )
    if not {"instructions", "completions", "prompts"} & entries.keys():
        raise root.error(
            "a trait needs at least one contrast",
            got=", ".join(entries),
            valid=_CONTRASTS,
            fix="add one of these",
        )


def _name(entry: Located) -> str:
    name = entry.text()
    if not _NAME.fullmatch(name):
        raise entry.error(
            "a trait's name has letters, digits, `_` and `-`, with `/` between its parts",
            got=name,
            fix="write it like `safety/evil`",
        )
    return name


def _language(entry: Located) -> str:
    language = entry.text()
    if language not in LANGUAGES:
        raise entry.error(
            "unknown language",
            got=language,
            valid=nearest(language, LANGUAGES),
            fix="write english for models of natural text, organism for the shipped organisms",
        )
    return language


def _questions(entry: Located | None) -> list[Located]:
    return [] if entry is None else entry.items(1)


def _pairs(entry: Located | None, at_least: int) -> tuple[Pair, ...]:
    rows = [] if entry is None else _contrasts(entry, Pair, at_least)
    return tuple(Pair(**row) for row in rows)


def _completions(entry: Located | None) -> tuple[Completion, ...]:
    rows = [] if entry is None else _contrasts(entry, Completion, 2, ("negative_prompt",))
    return tuple(Completion(**row) for row in rows)


def _contrasts(
    entry: Located,
    shape: type[Pair] | type[Completion],
    at_least: int,
    optional: tuple[str, ...] = (),
) -> list[dict[str, str]]:
    keys = tuple(field.name for field in fields(shape))
    required = tuple(key for key in keys if key not in optional)
    seen: dict[tuple[str, ...], Located] = {}
    for item in entry.items(at_least):
        texts = dict.fromkeys(optional, "") | {
            key: value.text(may_be_empty=key == "prompt")
            for key, value in item.record(required, optional).items()
        }
        if texts["positive"] == texts["negative"]:
            raise item.error("positive and negative are the same text", got=texts["positive"])
        _refuse_repeat(item, tuple(texts[key] for key in keys), seen)
    return [dict(zip(keys, texts, strict=True)) for texts in seen]


def _check_distinct(questions: Iterable[Located]) -> None:
    seen: dict[tuple[str, ...], Located] = {}
    for question in questions:
        _refuse_repeat(question, (" ".join(question.text().casefold().split()),), seen)


def _refuse_repeat(
    item: Located, texts: tuple[str, ...], seen: dict[tuple[str, ...], Located]
) -> None:
    if texts in seen:
        first = seen[texts]
        where = first.field if first.line is None else f"{first.field} on line {first.line}"
        raise item.error(
            f"repeats {where}", got=texts[-1], fix="reword it or remove it; every text counts once"
        )
    seen[texts] = item
