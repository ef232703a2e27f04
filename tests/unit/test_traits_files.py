"""Own traits, as YAML or as a folder: what is read, and what every refusal says and where."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest

from trait_probe.errors import BadInputError
from trait_probe.prompts.traits.schema import Completion, Pair, Trait, find_trait, load_trait

# A checkout of the public trait folders (github.com/ewernn/trait-interp, datasets/traits), if any.
PUBLIC = os.environ.get("TRAIT_PROBE_PUBLIC_TRAITS")
KINDS = ("instructions", "completions", "prompts")
OWN = """\
trait: mine/grumpy
language: english
definition: Bad temper.
rubric: 0 is sunny, 100 is a storm.
instructions:
  - positive: Be grumpy.
    negative: Be cheerful.
questions:
  - How are you?
  - What is up?
evaluation_questions:
  - How was work?
completions:
  - prompt: "He said:"
    positive: Go away.
    negative: Come here.
  - prompt: ""
    positive: I hate it.
    negative: I like it.
"""


@pytest.fixture
def own(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "own.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_an_own_yaml_is_read(own: Callable[[str], Path]) -> None:
    path = own(OWN)
    assert find_trait(str(path), "english") == Trait(
        name="mine/grumpy",
        language="english",
        definition="Bad temper.",
        rubric="0 is sunny, 100 is a storm.",
        instructions=(Pair("Be grumpy.", "Be cheerful."),),
        questions=("How are you?", "What is up?"),
        evaluation_questions=("How was work?",),
        completions=(
            Completion("He said:", "Go away.", "Come here."),
            Completion("", "I hate it.", "I like it."),
        ),
        prompts=(),
        source=path.resolve(),
    )


def test_own_folder_holds_the_same_trait(own: Callable[[str], Path], tmp_path: Path) -> None:
    folder = tmp_path / "grumpy"
    folder.mkdir()
    (folder / "trait.yaml").write_text("\ufeff" + OWN, encoding="utf-8")
    from_folder, from_file = load_trait(folder), load_trait(own(OWN))
    assert from_folder.source == folder.resolve() / "trait.yaml"
    assert from_folder.completions == from_file.completions
    assert from_folder.name == from_file.name


REFUSED = [
    ("rubric: 0 is sunny, 100 is a storm.\n", "", 1, None, "required key `rubric` is missing"),
    ("  - How are you?\n", "  - 7\n", 9, "questions[0]", "must be text\n  got:   '7'"),
    ("  - What is up?\n", "  - No\n", 10, "questions[1]", "put it in quotes"),
    ("Bad temper.", "", 3, "definition", "must be text\n  got:   'nothing'"),
    ("Bad temper.", "''", 3, "definition", "the text is empty"),
    ("questions:\n  - How are you?\n  - What is up?\n", "questions: a\n", 8, "questions", "a list"),
    ("  - How are you?\n  - What is up?\n", "  []\n", 8, "questions", "needs at least 1 item\n"),
    ("Be grumpy.\n    negative: Be cheerful.", "x", 6, "instructions[0]", "`negative` is missing"),
    ("- positive: Be grumpy.\n    negative: Be cheerful.", "- a", 6, "instructions[0]", "mapping"),
    ("    negative: Come here.\n", "    negativ: a\n", 16, "completions[0].negativ", "unknown key"),
    ("rubric:", "rubrik:", 4, "rubrik", "valid: rubric, "),
    ("How was work?", "how  ARE you?", 12, "evaluation_questions[0]", "questions[0] on line 9"),
    ("Come here.", "Go away.", 14, "completions[0]", "positive and negative are the same text"),
    ('"He said:"', "[a]", 14, "completions[0].prompt", "must be text\n  got:   'a list'"),
    ("rubric:", "trait: x\nrubric:", 4, "trait", "given twice, first on line 1"),
    ("mine/grumpy", "../grumpy", 1, "trait", "write it like `safety/evil`"),
    ("english", "englsh", 2, "language", "valid: english, organism"),
    ("trait: mine", "trait: [mine", 2, None, "malformed YAML"),
    ("sunny", "sun\x07ny", 4, None, "malformed YAML"),
]


@pytest.mark.parametrize(("old", "new", "line", "field", "words"), REFUSED)
def test_a_broken_file_is_refused_with_its_place(
    own: Callable[[str], Path], old: str, new: str, line: int, field: str | None, words: str
) -> None:
    assert OWN.count(old) == 1 or old == "rubric:"
    path = own(OWN.replace(old, new, 1))
    place = f"{path.resolve()}, line {line}" + (f", field `{field}`: " if field else ": ")
    with pytest.raises(BadInputError) as error:
        load_trait(path)
    assert str(error.value).startswith(place)
    assert words in str(error.value)


HEAD = OWN[: OWN.index("instructions:")]
TOO_FEW = [
    ("", "a trait needs at least one contrast"),
    ("questions: [a]", "valid: instructions with questions, completions, prompts"),
    ("instructions: [{positive: a, negative: b}]", "need questions to be asked under them"),
    ("instructions: []\nquestions: [a]", "line 5, field `instructions`: needs at least 1 item\n"),
    ("prompts: [{positive: a, negative: b}]", "line 5, field `prompts`: needs at least 2 items"),
    ("completions: [{prompt: p, positive: a, negative: b}]", "`completions`: needs at least 2"),
    ("prompts:\n  - &p {positive: a, negative: b}\n  - *p", "repeats prompts[0] on line 6"),
]


@pytest.mark.parametrize(("body", "words"), TOO_FEW)
def test_a_trait_without_a_contrast_is_refused(
    own: Callable[[str], Path], body: str, words: str
) -> None:
    with pytest.raises(BadInputError) as error:
        load_trait(own(HEAD + body))
    assert words in str(error.value)


@pytest.mark.parametrize(
    "body",
    [
        "instructions: [{positive: a, negative: b}]\nquestions: [q]",
        "completions:\n"
        "- {prompt: p, positive: a, negative: b}\n- {prompt: '', positive: a, negative: b}",
        "prompts: [{positive: a, negative: b}, {positive: c, negative: d}]",
    ],
)
def test_the_smallest_own_traits_are_accepted(own: Callable[[str], Path], body: str) -> None:
    trait = load_trait(own(HEAD + body))
    assert sum(bool(getattr(trait, kind)) for kind in KINDS) == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "line 1: the file is empty"),
        (b"a: \xff", "not a UTF-8 text file\n  got:   'byte 0xff at offset 3'"),
        (b"&a [*a]", "nested too deeply"),
        (b"[" * 1500, "nested too deeply"),
        (b"- a", "must be a mapping\n  got:   'a list'"),
    ],
)
def test_a_file_that_is_no_trait_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "own.yml"
    path.write_bytes(content)
    with pytest.raises(BadInputError) as error:
        load_trait(path)
    assert words in str(error.value)


# Public folders


def write_folder(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "definition.txt").write_text("Score gloom.\n\nHIGH: gloom\n")
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


def jsonl(*rows: dict[str, object]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def crossed(side: str) -> list[dict[str, object]]:
    cells = product(("Be {} now.", "Stay {}."), ("How?", "Why?"))
    return [{"prompt": question, "system_prompt": frame.format(side)} for frame, question in cells]


def test_prefix_folder(tmp_path: Path) -> None:
    folder = write_folder(
        tmp_path / "mood" / "gloom",
        positive__txt="Rain fell on\n\nNo one came to\n",
        negative__txt="Sun shone on\nAll of us came to\n",
        steering__json=json.dumps({"questions": ["How so?"], "eval_prompt": "x", "more": 1}),
    )
    trait = find_trait(str(folder), "english")
    assert trait.name == "mood/gloom"
    assert (trait.definition, trait.rubric) == ("Score gloom.", "Score gloom.\n\nHIGH: gloom")
    assert trait.completions[1] == Completion("", "No one came to", "All of us came to")
    assert trait.evaluation_questions == ("How so?",)
    assert (len(trait.completions), trait.instructions, trait.prompts) == (2, (), ())


def test_folder_of_instructions_and_folder_of_prompts(tmp_path: Path) -> None:
    sides = {
        f"{s}__jsonl": jsonl(*crossed(t)) for s, t in [("positive", "sad"), ("negative", "glad")]
    }
    trait = load_trait(write_folder(tmp_path / "a", **sides))
    assert trait.instructions == (
        Pair("Be sad now.", "Be glad now."),
        Pair("Stay sad.", "Stay glad."),
    )
    assert trait.questions == ("How?", "Why?")
    bad, good = ([{"prompt": f"{word} {i}"} for i in range(2)] for word in ("Harm", "Help"))
    folder = write_folder(tmp_path / "b", positive__jsonl=jsonl(*bad), negative__jsonl=jsonl(*good))
    assert load_trait(folder).prompts == (Pair("Harm 0", "Help 0"), Pair("Harm 1", "Help 1"))


A, B = {"prompt": "a"}, {"prompt": "b"}
FOLDERS = [
    ({}, r"no contrasting texts in this folder\n  got:   'definition.txt'\n  valid: trait.yaml"),
    ({"positive__txt": "a"}, r"negative.txt is missing"),
    ({"positive__txt": "a\nb", "negative__txt": "c"}, r"'2 in positive.txt, 1 in negative.txt'"),
    ({"positive__txt": "a\nb", "negative__txt": "c\nb"}, r"positive.txt, line 2: .*same text"),
    (
        {"positive__jsonl": "\n{", "negative__jsonl": "{}"},
        r"positive.jsonl, line 2: malformed JSON",
    ),
    ({"positive__jsonl": "[]", "negative__jsonl": "{}"}, r"line 1: must be a mapping"),
    (
        {"positive__jsonl": jsonl(A), "negative__jsonl": "{}"},
        r"negative.jsonl, .* `prompt` is miss",
    ),
    ({"positive__jsonl": jsonl(A), "negative__jsonl": jsonl({"prompt": 1})}, r"must be text"),
    ({"positive__jsonl": jsonl(A), "negative__jsonl": jsonl(A)}, r"no `system_prompt` to contrast"),
    ({"positive__jsonl": jsonl(A, A), "negative__jsonl": jsonl(A, B)}, r"either the system prompt"),
    (
        {f"{s}__jsonl": jsonl(*crossed(s)[:3]) for s in ("positive", "negative")},
        r"got:   '3 rows, 2 pairs, 2 questions'",
    ),
    (
        {"positive__txt": "a\nb", "negative__txt": "c\nd", "steering__json": '{\n"questions": 3}'},
        r"steering.json, field `questions`: must be a list",
    ),
    (
        {"positive__txt": "a\nb", "negative__txt": "c\nd", "steering__json": "{\n3"},
        r"steering.json, line 2: malformed JSON",
    ),
]


@pytest.mark.parametrize(("files", "words"), FOLDERS)
def test_a_broken_folder_is_refused(tmp_path: Path, files: dict[str, str], words: str) -> None:
    folder = write_folder(tmp_path / "gloom", **files)
    with pytest.raises(BadInputError, match=words):
        load_trait(folder)


def test_a_folder_without_its_definition_is_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "gloom", positive__txt="a\nb", negative__txt="c\nd")
    (folder / "definition.txt").unlink()
    with pytest.raises(BadInputError, match=r"definition\.txt is missing"):
        load_trait(folder)


@pytest.mark.skipif(PUBLIC is None, reason="TRAIT_PROBE_PUBLIC_TRAITS names no folder")
def test_the_public_folders_load() -> None:
    counts = {}
    for definition in sorted(Path(str(PUBLIC)).glob("*/*/definition.txt")):
        trait = load_trait(definition.parent)
        counts[trait.name] = [len(getattr(trait, kind)) for kind in KINDS]
        assert trait.evaluation_questions
    assert counts["alignment/deception"] == [0, 77, 0]
    assert counts["starter/evil"] == [5, 0, 0]
