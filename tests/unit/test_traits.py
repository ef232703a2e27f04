"""The shipped traits keep their promises (counts, matched lengths), and names find them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from statistics import median

import pytest
import yaml
from sklearn.metrics import roc_auc_score

from trait_probe.errors import BadInputError
from trait_probe.prompts.traits import schema
from trait_probe.prompts.traits.schema import Trait, find_trait, load_trait, trait_names

KINDS = ("instructions", "completions", "prompts")


@pytest.fixture(params=trait_names())
def shipped(request: pytest.FixtureRequest) -> Trait:
    return find_trait(request.param, "english")


def test_shipped_traits_have_the_full_counts(shipped: Trait) -> None:
    assert 5 <= len(shipped.instructions) <= 6
    assert len(shipped.questions) == len(shipped.evaluation_questions) == 20
    assert len(shipped.completions) >= 40
    if shipped.name in ("safety/harm", "safety/refusal"):
        assert len(shipped.prompts) >= 20
    for score in ("0:", "25:", "50:", "75:", "100:"):
        assert score in shipped.rubric


def test_no_text_serves_twice(shipped: Trait) -> None:
    contrasts = [pair for kind in KINDS for pair in getattr(shipped, kind)]
    sides = [text for pair in contrasts for text in (pair.positive, pair.negative)]
    texts = [*shipped.questions, *shipped.evaluation_questions, *sides]
    words = [" ".join(re.findall(r"\w+", text.casefold())) for text in texts]
    assert len(set(words)) == len(words)
    openings = [completion.prompt for completion in shipped.completions]
    assert all(openings)
    assert len(set(openings)) == len(openings)


def test_traits_share_no_text() -> None:
    traits = [find_trait(name, "english") for name in trait_names()]
    questions = [
        text for trait in traits for text in (*trait.questions, *trait.evaluation_questions)
    ]
    assert len(set(questions)) == len(questions)
    pairs = [pair for trait in traits for kind in KINDS for pair in getattr(trait, kind)]
    assert len(set(pairs)) == len(pairs)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [len, lambda text: len(text.split())], ids=["letters", "words"])
def test_length_is_no_shortcut(shipped: Trait, kind: str, size: Callable[[str], int]) -> None:
    pairs = getattr(shipped, kind)
    if pairs:
        check_lengths([(size(pair.positive), size(pair.negative)) for pair in pairs])


def check_lengths(lengths: list[tuple[int, int]]) -> None:
    ratios = [positive / negative for positive, negative in lengths]
    assert 0.8 <= median(ratios) <= 1.25
    assert max(ratios) < 1.5
    assert min(ratios) > 1 / 1.5
    labels = [1] * len(lengths) + [0] * len(lengths)
    scores = [positive for positive, _ in lengths] + [negative for _, negative in lengths]
    assert 0.3 <= roc_auc_score(labels, scores) <= 0.7


def test_the_length_check_goes_red() -> None:
    matched = [(20, 20), (11, 10), (30, 31)]
    check_lengths(matched)
    for broken in ([(30, 20), (16, 10), (45, 31)], [(11, 10), (12, 10), (13, 10)]):
        with pytest.raises(AssertionError):
            check_lengths(broken)


def test_bare_and_full_names_give_the_same_trait(shipped: Trait) -> None:
    assert find_trait(shipped.name.split("/")[1], "english") == shipped
    assert shipped.name in trait_names()
    assert shipped.language == "english"


def test_every_shipped_file_is_found_by_its_own_name() -> None:
    files = sorted(Path(schema.__file__).parent.glob("*/*.yaml"))
    assert len(files) >= len(trait_names())
    for path in files:
        assert find_trait(load_trait(path).name, path.parent.name).source == path.resolve()


def test_the_loader_agrees_with_plain_yaml(shipped: Trait) -> None:
    plain = yaml.safe_load(shipped.source.read_text(encoding="utf-8"))
    written = [
        {name: text for name, text in vars(pair).items() if text or name != "negative_prompt"}
        for pair in shipped.completions
    ]
    assert written == plain["completions"]
    assert [vars(pair) for pair in shipped.instructions] == plain["instructions"]
    assert list(shipped.questions) == plain["questions"]
    assert shipped.definition == plain["definition"]


OWN = """\
trait: mine/grumpy
language: english
definition: Bad temper.
rubric: 0 is sunny, 100 is a storm.
prompts:
  - {positive: Grr., negative: Hello.}
  - {positive: Go., negative: Come.}
"""


def test_a_shipped_name_wins_over_a_local_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "evil").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    assert find_trait("evil", "english").name == "safety/evil"
    assert find_trait("./evil", "english").name == "mine/grumpy"


@pytest.mark.parametrize(
    ("name", "first"),
    [("evli", "safety/evil"), ("safety/sycophant", "alignment/sycophancy"), ("", "safety/evil")],
)
def test_an_unknown_name_gets_the_nearest_ones(name: str, first: str) -> None:
    with pytest.raises(BadInputError, match="no shipped trait and no file") as error:
        find_trait(name, "english")
    assert error.value.valid[0] == first
    assert set(error.value.valid) == set(trait_names())


def test_a_missing_file_gets_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(OWN)
    path = tmp_path / "oen.yaml"
    with pytest.raises(BadInputError, match=r"no trait file or folder(.|\n)*valid: own\.yaml"):
        find_trait(str(path), "english")


def test_an_unknown_language_and_a_trait_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BadInputError, match=r"got:   'organsim'\n  valid: organism, english"):
        find_trait("evil", "organsim")
    monkeypatch.setattr(schema, "_ROOT", tmp_path)
    with pytest.raises(BadInputError, match="not shipped in the language `organism`"):
        find_trait("evil", "organism")
