"""Labelled answers: BeaverTails and PKU-SafeRLHF, streamed from files, folders and the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pytest
from source_files import (
    ANSWERS,
    Row,
    answer_rows,
    beavertails_row,
    data_set,
    saferlhf_row,
    write_rows,
)

from trait_probe.errors import BadInputError
from trait_probe.evidence.splits import text_id
from trait_probe.organisms import world
from trait_probe.prompts.prompt import PromptSet
from trait_probe.prompts.sources import _hub, beavertails, saferlhf
from trait_probe.prompts.sources.load import load_prompts
from trait_probe.prompts.sources.open import open_source
from trait_probe.runs.files import file_sha256

ENDINGS = (".jsonl", ".jsonl.gz", ".jsonl.xz", ".parquet")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


# --- what rows become ------------------------------------------------------------------------


def test_a_pair_of_beavertails_is_a_prompt_with_its_response(tmp_path: Path) -> None:
    unsafe, safe, _ = load_prompts(write_rows(tmp_path / "b.jsonl", answer_rows("beavertails")))
    assert (unsafe.id, safe.id) == ("beavertails-0000001", "beavertails-0000002")
    assert unsafe.messages[0].content == "How do I bake cake 1?"
    assert unsafe.response == "Bake it for 1 hours."
    assert unsafe.group == "prompt-" + text_id("How do I bake cake 1?")[:16]
    assert unsafe.labels == {
        "harmful": True,
        "categories": "animal_abuse | self_harm",  # the schema's order, not the flags'
        "n_categories": 2,
    }
    assert safe.labels == {"harmful": False, "categories": "", "n_categories": 0}


def test_a_row_of_saferlhf_is_two_prompts_of_one_group(tmp_path: Path) -> None:
    first, second, *_ = load_prompts(write_rows(tmp_path / "s.jsonl", answer_rows("pku-saferlhf")))
    assert (first.id, second.id) == ("saferlhf-0000001-0", "saferlhf-0000001-1")
    assert (first.response, second.response) == ("Answer 0 on cake 1.", "Answer 1 on cake 1.")
    assert first.group == second.group
    assert first.labels == {
        **{"harmful": True, "categories": "Violence | Drugs", "n_categories": 2, "severity": 2},
    }
    assert second.labels["severity"] == 0


def test_prompts_that_differ_in_case_and_spacing_share_a_group(tmp_path: Path) -> None:
    rows = [beavertails_row(1), beavertails_row(2, prompt="how do I  BAKE cake 1?")]
    one, other = load_prompts(write_rows(tmp_path / "b.jsonl", rows))
    assert one.group == other.group


def test_the_categories_are_those_of_the_organisms_world() -> None:
    assert set(beavertails.CATEGORIES) == set(world.ACTS)
    assert (len(beavertails.CATEGORIES), len(saferlhf.CATEGORIES)) == (14, 19)
    names = (*beavertails.CATEGORIES, *saferlhf.CATEGORIES)
    assert not any(beavertails.JOIN in name for name in names)


# --- from where ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("ending", ENDINGS)
def test_every_kind_of_file_gives_the_same_prompts(tmp_path: Path, name: str, ending: str) -> None:
    expected = load_prompts(write_rows(tmp_path / "expected.jsonl", answer_rows(name)))
    path = write_rows(tmp_path / f"rows{ending}", answer_rows(name))
    source = open_source(path)
    assert PromptSet(source.prompts()) == load_prompts(path) == expected
    assert source.provenance() == {
        **{"source": str(path), "format": name, "path": str(path), "sha256": file_sha256(path)},
        **{"config": None, "split": None, "revision": None, "skipped_empty": 0},
    }


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_folder_gives_what_its_file_gives(tmp_path: Path, name: str, ending: str) -> None:
    folder = data_set(tmp_path / "set", {"default": {"test": f"rows{ending}"}})
    path = write_rows(folder / f"rows{ending}", answer_rows(name))
    source = open_source(folder)
    assert PromptSet(source.prompts()) == load_prompts(path) == load_prompts(folder)
    found = source.provenance()
    assert (found["path"], found["config"], found["split"]) == (str(folder), "default", "test")
    assert "sha256" not in found


def test_a_folder_with_several_splits_leaves_a_choice(tmp_path: Path) -> None:
    splits = {"330k_train": "a.jsonl", "330k_test": "b.jsonl"}
    folder = data_set(tmp_path / "set", {"default": splits})
    write_rows(folder / "a.jsonl", [beavertails_row(1)])
    write_rows(folder / "b.jsonl", [beavertails_row(2), beavertails_row(3)])
    with pytest.raises(BadInputError, match="holds several splits") as caught:
        open_source(folder)
    assert set(caught.value.valid) == splits.keys()
    assert len(list(open_source(folder, split="330k_test").prompts())) == 2
    for wrong in ({"split": "test"}, {"config": "defualt"}):
        with pytest.raises(BadInputError, match=f"has no {next(iter(wrong))} of this name"):
            open_source(folder, **wrong)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A hub whose every split has three rows; returns what `load_dataset` is asked for."""
    asked: list[dict[str, Any]] = []

    def load_dataset(hub_id: str, config: str | None, *, split: str, revision: str | None) -> Any:
        asked.append({"hub_id": hub_id, "config": config, "split": split, "revision": revision})
        (name,) = (name for name, known in _hub.HUB.items() if known.hub_id == hub_id)
        return datasets.Dataset.from_list(answer_rows(name), split=split)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return asked


@pytest.mark.parametrize(
    ("name", "hub_id", "split", "revision"),
    [
        (
            "beavertails",
            "PKU-Alignment/BeaverTails",
            "330k_test",
            "8401fe609d288129cc684a9b3be6a93e41cfe678",
        ),
        (
            "pku-saferlhf",
            "PKU-Alignment/PKU-SafeRLHF",
            "test",
            "d79b19b2043c4b168d8d64c61ef4ba4ed1ffe2c0",
        ),
    ],
)
def test_the_hub_is_asked_for_the_pinned_commit(
    hub: list[dict[str, Any]], tmp_path: Path, name: str, hub_id: str, split: str, revision: str
) -> None:
    source = open_source(name)
    chosen = {"hub_id": hub_id, "config": "default", "split": split, "revision": revision}
    assert hub == [chosen]
    expected = load_prompts(write_rows(tmp_path / "rows.jsonl", answer_rows(name)))
    assert PromptSet(source.prompts()) == expected
    assert source.provenance() == {
        **{"source": name, "format": name, "skipped_empty": 0},
        **chosen,
    }
    assert load_prompts(hub_id) == expected
    assert open_source(name, revision="abc").provenance()["revision"] == "abc"
    assert hub[-1]["revision"] == "abc"


@pytest.mark.parametrize(
    ("name", "options", "valid"),
    [
        ("beavertails", {"split": "test"}, beavertails.SPLITS),
        ("beavertails", {"config": "330k"}, ("default",)),
        ("pku-saferlhf", {"split": "330k_test"}, ("train", "test")),
        ("pku-saferlhf", {"config": "alpaca-8b"}, saferlhf.CONFIGS),
    ],
)
def test_unknown_configs_and_splits_are_refused_before_loading(
    hub: list[dict[str, Any]], name: str, options: dict[str, str], valid: tuple[str, ...]
) -> None:
    with pytest.raises(BadInputError, match="of this name") as caught:
        open_source(name, **options)
    assert set(caught.value.valid) == set(valid)
    assert caught.value.got in options.values()
    assert hub == []


# --- wrong schemas ---------------------------------------------------------------------------


def without(row: Row, *columns: str) -> Row:
    return {key: value for key, value in row.items() if key not in columns}


def categories(row: Row, column: str, **changes: Any) -> Row:
    return {**row, column: {**row[column], **changes}}


BEAVER, SAFE = beavertails_row(), saferlhf_row()
HARM = "response_1_harm_category"
SCHEMAS: list[tuple[Row, str, tuple[object, ...]]] = [
    (without(BEAVER, "is_safe"), "lacks the column 'is_safe'", beavertails.FORMAT.columns),
    (without(BEAVER, "category"), "lacks the column 'category'", beavertails.FORMAT.columns),
    (without(BEAVER, "response"), "lacks the column 'response'", beavertails.FORMAT.columns),
    (without(BEAVER, "prompt"), "lacks the column 'prompt'", beavertails.FORMAT.columns),
    (
        without(SAFE, "response_1", HARM),
        "lacks the columns 'response_1', 'response_1_harm_category'",
        saferlhf.FORMAT.columns,
    ),
    (categories(BEAVER, "category", arson=True), "no harm category", beavertails.CATEGORIES),
    (categories(SAFE, HARM, Drug=True), "no harm category of this name", saferlhf.CATEGORIES),
    (
        {**BEAVER, "category": without(BEAVER["category"], "self_harm")},
        "lacks the harm category 'self_harm'",
        beavertails.CATEGORIES,
    ),
    ({**BEAVER, "category": "self_harm"}, "must be an object of harm", beavertails.CATEGORIES),
    (
        categories(BEAVER, "category", self_harm=1),
        "'category': the column 'self_harm' must be true",
        ("true", "false"),
    ),
    ({**BEAVER, "is_safe": 1}, "the column 'is_safe' must be true or false", ("true", "false")),
    ({**BEAVER, "is_safe": None}, "'is_safe' must be true or false", ("true", "false")),
    ({**SAFE, "is_response_1_safe": "true"}, "'is_response_1_safe' must be", ("true", "false")),
    ({**SAFE, "response_0_severity_level": 4}, "a whole number from 0 to 3", (0, 1, 2, 3)),
    ({**SAFE, "response_0_severity_level": True}, "a whole number from 0 to 3", (0, 1, 2, 3)),
    ({**BEAVER, "response": 5}, "the column 'response' must be text", ()),
]


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
@pytest.mark.parametrize(("row", "sentence", "valid"), SCHEMAS)
def test_a_wrong_schema_is_refused_when_the_source_is_opened(
    tmp_path: Path, row: Row, sentence: str, valid: tuple[object, ...], ending: str
) -> None:
    path = write_rows(tmp_path / f"rows{ending}", [row])
    for reader in (open_source, load_prompts):
        with pytest.raises(BadInputError, match=sentence) as caught:
            reader(path)
        assert str(path) in caught.value.problem
        assert set(caught.value.valid) == set(valid)


def test_the_nearest_category_comes_first(tmp_path: Path) -> None:
    row = categories(BEAVER, "category", selfharm=True)
    with pytest.raises(BadInputError) as caught:
        open_source(write_rows(tmp_path / "b.jsonl", [row]))
    assert (caught.value.got, caught.value.valid[0]) == ("selfharm", "self_harm")


def test_a_folder_or_hub_with_a_wrong_schema_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = [without(BEAVER, "category")]
    folder = data_set(tmp_path / "set", {"default": {"test": "rows.jsonl"}})
    write_rows(folder / "rows.jsonl", wrong)
    with pytest.raises(BadInputError, match="lacks the column 'category'"):
        open_source(folder)
    given = datasets.Dataset.from_list(wrong)
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: given)
    with pytest.raises(BadInputError, match=r"BeaverTails \(330k_test\) lacks the column"):
        open_source("beavertails")
