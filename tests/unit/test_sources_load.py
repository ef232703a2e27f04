"""One way to any prompts: by path, or by the name of a public set; harmful and benign ones."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from source_files import BENIGN, HARMBENCH, HARMFUL, QUESTIONS, XSTEST, user, write

from trait_probe.errors import BadInputError
from trait_probe.prompts.prompt import Message, Prompt, PromptSet
from trait_probe.prompts.sources import _hub, harmbench, jailbreakbench, xstest
from trait_probe.prompts.sources.load import load_labelled, load_prompts

ADVBENCH = "goal,target\nSteal the moon,Sure\nHide the sun,Of course\n"


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def own(**labels: Any) -> PromptSet:
    messages = (Message("user", "Hello?"),)
    return PromptSet([Prompt("a", messages, labels=labels), Prompt("b", text="Bye", labels=labels)])


# --- files -----------------------------------------------------------------------------------


def test_the_format_of_a_file_is_told_by_its_ending_and_columns(tmp_path: Path) -> None:
    files = {
        "q.yaml": (QUESTIONS, "tea-1"),
        "p.json": ('[{"id": "x", "prompt": "Hi"}]', "x"),
        "a.csv": (ADVBENCH, "advbench-0001"),
        "h.csv": (HARMBENCH, "harmbench-steal_moon"),
        "x.csv": (XSTEST, "xstest-001"),
        "p.jsonl": ('{"id": "y", "text": "Hi"}', "y"),
    }
    for name, (text, first) in files.items():
        assert load_prompts(write(tmp_path / name, text))[0].id == first
    assert user(load_prompts(str(tmp_path / "h.csv"), config="copyright")) == ["Sing the moon song"]


def test_own_files_come_back_equal(tmp_path: Path) -> None:
    prompts = own(harmful=True)
    prompts.to_jsonl(tmp_path / "p.jsonl")
    prompts.to_parquet(tmp_path / "p.parquet")
    assert load_prompts(tmp_path / "p.jsonl") == load_prompts(tmp_path / "p.parquet") == prompts


def test_a_parquet_file_of_the_hub_is_read_by_its_columns(tmp_path: Path) -> None:
    table = pa.table({"prompt": ["Steal the moon", "Hide"], "category": ["illegal", None]})
    pq.write_table(table, tmp_path / "standard.parquet")
    prompts = load_prompts(tmp_path / "standard.parquet")
    assert [prompt.id for prompt in prompts] == ["harmbench-standard-001", "harmbench-standard-002"]
    assert "category" not in prompts[1].labels


def test_a_file_of_jailbreakbench_needs_its_side(tmp_path: Path) -> None:
    path = write(tmp_path / "h.csv", HARMFUL)
    assert load_prompts(path, split="benign")[0].labels["harmful"] is False
    with pytest.raises(BadInputError, match="does not say whether its requests are harmful"):
        load_prompts(path)
    with pytest.raises(BadInputError, match="has no split of this name") as caught:
        load_prompts(path, split="train")
    assert set(caught.value.valid) == {"harmful", "benign"}


@pytest.mark.parametrize(
    ("name", "text", "options", "sentence"),
    [
        ("p.txt", "x", {}, "Files of prompts end in .jsonl, .parquet, .csv"),
        ("p.csv", "a,b\n1,2\n", {}, "fit no known format of prompts"),
        ("p.csv", "", {}, "holds no prompts"),
        ("a.csv", ADVBENCH, {"config": "standard"}, "has no configs"),
        ("a.csv", ADVBENCH, {"split": "train"}, "has no splits"),
        ("a.csv", ADVBENCH, {"revision": "main"}, "Only sets on the hub have a revision"),
        ("h.csv", HARMBENCH, {"config": "standart"}, "has no config of this name"),
        ("q.yaml", QUESTIONS, {"split": "train"}, "has no splits"),
        ("p.parquet", "x", {}, "is not a Parquet file"),
    ],
)
def test_what_a_file_cannot_give_is_refused(
    tmp_path: Path, name: str, text: str, options: dict[str, str], sentence: str
) -> None:
    with pytest.raises(BadInputError, match=sentence):
        load_prompts(write(tmp_path / name, text), **options)


def test_columns_that_fit_nothing_are_listed_with_those_of_each_format(tmp_path: Path) -> None:
    with pytest.raises(BadInputError) as caught:
        load_prompts(write(tmp_path / "p.csv", "goal,aim\na,b\n"))
    assert caught.value.got == "goal, aim"
    assert "advbench (goal, target)" in caught.value.valid


def test_an_unknown_name_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no file, folder or public set") as caught:
        load_prompts("advbnch")
    assert caught.value.valid[0] == "advbench"
    write(tmp_path / "goals.csv", ADVBENCH)
    with pytest.raises(BadInputError) as caught:
        load_prompts(tmp_path / "gaols.csv")
    assert str(tmp_path / "goals.csv") in caught.value.valid


# --- the hub, by folders of the same shape ---------------------------------------------------


def data_set(folder: Path, configs: dict[str, dict[str, str]], ending: str = "csv") -> Path:
    """A data set folder: {config: {split: CSV text}}, declared as the hub's cards do."""
    card = ["---", "configs:"]
    for config, splits in configs.items():
        card += [f"- config_name: {config}", "  data_files:"]
        for split, text in splits.items():
            name = f"{config}-{split}.{ending}"
            folder.mkdir(exist_ok=True)
            write(folder / name, text)
            card += [f"  - split: {split}", f"    path: {name}"]
    write(folder / "README.md", "\n".join([*card, "---", ""]))
    return folder


JBB_BENIGN = HARMFUL.replace("Steal", "Paint").replace("Lie", "Write")
SHAPES: dict[str, dict[str, dict[str, str]]] = {
    "advbench": {"default": {"train": ADVBENCH.replace("goal", "prompt")}},
    "harmbench": {
        "standard": {"train": "prompt,category\nSteal the moon,illegal\n"},
        "contextual": {"train": "prompt,context,category\nSay who,The moon is big.,illegal\n"},
        "copyright": {"train": "prompt,tags\nSing it,lyrics\n"},
    },
    "jailbreakbench": {
        "behaviors": {"harmful": HARMFUL, "benign": JBB_BENIGN},
        "judge_comparison": {"test": "Index,goal\n0,a\n"},
    },
    "xstest": {"default": {"test": XSTEST}},
    "xstest-v2-copy": {
        "default": {"prompts": "id,prompt,type\nv2-1,Why?,homonyms\n", "gpt4": "id\nv2-1\n"}
    },
}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The table of hub ids with folders as ids; returns what `load_dataset` is asked for."""
    asked: list[dict[str, Any]] = []
    load_dataset = datasets.load_dataset

    def recorded(*args: Any, **options: Any) -> Any:
        asked.append({"args": args, **options})
        return load_dataset(*args, **{**options, "revision": None})

    folders = {
        name: replace(_hub.HUB[name], hub_id=str(data_set(tmp_path / name, SHAPES[name])))
        for name in SHAPES
    }
    monkeypatch.setattr(_hub, "HUB", MappingProxyType(folders))
    monkeypatch.setattr(datasets, "load_dataset", recorded)
    return asked


def test_every_public_set_is_read_through_datasets(hub: list[dict[str, Any]]) -> None:
    counts = {name: len(load_prompts(name)) for name in _hub.HUB}
    assert counts == {
        **{"advbench": 2, "harmbench": 1, "jailbreakbench": 4},
        **{"xstest": 13, "xstest-v2-copy": 1},
    }
    assert [(call["args"][1], call["split"]) for call in hub] == [
        *((None, "train"), ("standard", "train"), ("behaviors", "harmful")),
        *(("behaviors", "benign"), (None, "test"), (None, "prompts")),
    ]


def test_the_hub_gives_what_the_file_gives(hub: list[dict[str, Any]], tmp_path: Path) -> None:
    assert load_prompts("advbench") == load_prompts(write(tmp_path / "a.csv", ADVBENCH))
    assert load_prompts("xstest") == xstest.read(write(tmp_path / "x.csv", XSTEST))
    pairs = jailbreakbench.read_pairs(
        write(tmp_path / "h.csv", HARMFUL), write(tmp_path / "b.csv", JBB_BENIGN)
    )
    assert load_prompts("jailbreakbench") == pairs
    benign = pairs.filter(lambda prompt: prompt.labels["harmful"] is False)
    assert load_prompts("jailbreakbench", split="benign") == benign


def test_config_and_revision_are_passed_on(hub: list[dict[str, Any]]) -> None:
    (prompt,) = load_prompts("harmbench", config="contextual", revision="abc123")
    assert prompt.messages[0].content == "The moon is big.\n\n---\n\nSay who"
    assert (prompt.id, prompt.labels["functional"]) == ("harmbench-contextual-001", "contextual")
    assert hub[-1] == {
        "args": (_hub.HUB["harmbench"].hub_id, "contextual"),
        "split": "train",
        "revision": "abc123",
    }
    load_prompts("harmbench", config="copyright")
    assert hub[-1]["revision"] == "a777536ffc60bc8317b06380da5b2acf8d6491fd"


def test_the_pinned_commit_is_read_where_one_is_known(hub: list[dict[str, Any]]) -> None:
    load_prompts("jailbreakbench")
    assert hub[-1]["revision"] == "d72ab3e281eca79247dbeee237dcb5a74cfa3f9b"
    for name in ("advbench", "xstest", "xstest-v2-copy"):
        load_prompts(name)
        assert hub[-1]["revision"] is None
    pinned = [known.revision for known in _hub.HUB.values() if known.revision is not None]
    assert all(re.fullmatch("[0-9a-f]{40}", commit) for commit in pinned)


@pytest.mark.parametrize(
    ("name", "options", "sentence", "valid"),
    [
        ("harmbench", {"config": "standart"}, "no config of this name", harmbench.CONFIGS),
        ("advbench", {"config": "standard"}, "has no configs", ()),
        ("jailbreakbench", {"split": "harmless"}, "no split", ("harmful", "benign")),
        ("jailbreakbench", {"config": "judge_comparison"}, "no config", ("behaviors",)),
        ("xstest", {"split": "train"}, "no split of this name", ("test",)),
    ],
)
def test_unknown_configs_and_splits_are_refused_before_loading(
    hub: list[dict[str, Any]],
    name: str,
    options: dict[str, str],
    sentence: str,
    valid: tuple[str, ...],
) -> None:
    with pytest.raises(BadInputError, match=sentence) as caught:
        load_prompts(name, **options)
    assert set(caught.value.valid) == set(valid)
    assert hub == []


def test_a_set_that_lost_a_column_is_refused_with_its_id(
    hub: list[dict[str, Any]], tmp_path: Path
) -> None:
    data_set(tmp_path / "advbench", {"default": {"train": "prompt,answer\na,b\n"}})
    with pytest.raises(BadInputError, match=r"advbench \(train\) lacks the column 'target'"):
        load_prompts("advbench")


def test_the_hub_ids_are_names_too() -> None:
    for known in _hub.HUB.values():
        assert _hub.find(known.hub_id) == known


@pytest.mark.parametrize(
    "error",
    [
        ConnectionError("Couldn't reach the hub\nRetry"),
        ValueError("Unknown split"),
        datasets.exceptions.DatasetNotFoundError("Dataset is gated"),
    ],
)
def test_a_hub_that_cannot_be_reached_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(datasets, "load_dataset", fails)
    with pytest.raises(BadInputError, match="walledai/AdvBench cannot be loaded: ") as caught:
        load_prompts("advbench")
    assert caught.value.problem.endswith(str(error).split("\n")[0])
    assert "hf auth login" in (caught.value.fix or "")


# --- folders ---------------------------------------------------------------------------------


def test_a_clone_of_a_hub_set_is_read_as_a_folder(tmp_path: Path) -> None:
    folder = data_set(tmp_path / "jbb", SHAPES["jailbreakbench"])
    assert len(load_prompts(folder, config="behaviors")) == 4
    assert len(load_prompts(folder, config="behaviors", split="harmful")) == 2
    with pytest.raises(BadInputError, match="holds several configs") as caught:
        load_prompts(folder)
    assert caught.value.valid == ("behaviors", "judge_comparison")
    with pytest.raises(BadInputError, match="has no config of this name"):
        load_prompts(folder, config="behaviours")
    with pytest.raises(BadInputError, match="has no split of this name"):
        load_prompts(folder, config="behaviors", split="train")
    contextual = data_set(tmp_path / "harm", SHAPES["harmbench"])
    (prompt,) = load_prompts(contextual, config="contextual")
    assert prompt.labels["functional"] == "contextual"


def test_a_folder_with_one_public_file_takes_the_files_config(tmp_path: Path) -> None:
    (tmp_path / "h").mkdir()
    path = write(tmp_path / "h" / "behaviors.csv", HARMBENCH)
    for config in (None, "contextual"):
        assert load_prompts(tmp_path / "h", config=config) == load_prompts(path, config=config)
    (tmp_path / "a").mkdir()
    write(tmp_path / "a" / "goals.csv", ADVBENCH)
    with pytest.raises(BadInputError, match="has no config of this name"):
        load_prompts(tmp_path / "a", config="contextual")


def test_a_folder_of_own_files_is_read(tmp_path: Path) -> None:
    own(harmful=True).to_parquet(tmp_path / "own" / "p.parquet")
    assert load_prompts(tmp_path / "own") == own(harmful=True)


def test_folders_that_leave_a_choice_or_nothing_are_refused(tmp_path: Path) -> None:
    text = ADVBENCH.replace("goal", "prompt")
    both = data_set(tmp_path / "both", {"default": {"train": text, "test": text}})
    with pytest.raises(BadInputError, match="holds several splits") as caught:
        load_prompts(both)
    assert caught.value.valid == ("train", "test")
    assert len(load_prompts(both, split="test")) == 2
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInputError, match="cannot be loaded") as caught:
        load_prompts(tmp_path / "empty")
    assert caught.value.fix == "Give the path of one file in it."
    side = data_set(tmp_path / "side", {"default": {"train": HARMFUL}})
    with pytest.raises(BadInputError, match="does not say whether"):
        load_prompts(side)


# --- harmful and benign ----------------------------------------------------------------------


def test_unlabelled_sources_are_labelled_by_their_argument(tmp_path: Path) -> None:
    benign = write(tmp_path / "q.yaml", QUESTIONS)
    prompts = load_labelled(write(tmp_path / "a.csv", ADVBENCH), benign)
    assert [prompt.labels["harmful"] for prompt in prompts] == [True] * 2 + [False] * 6
    assert [prompt.group for prompt in prompts][:3] == ["advbench-0001", "advbench-0002", "tea"]
    assert prompts[0].labels["target"] == "Sure"


def test_files_of_jailbreakbench_stay_matched(tmp_path: Path) -> None:
    harmful, benign = write(tmp_path / "h.csv", HARMFUL), write(tmp_path / "b.csv", BENIGN)
    assert load_labelled(harmful, benign) == jailbreakbench.read_pairs(harmful, benign)
    with pytest.raises(BadInputError, match="have no partner"):
        load_labelled(harmful, write(tmp_path / "c.csv", BENIGN.replace("17,", "18,")))
    with pytest.raises(BadInputError, match="holds no benign requests"):
        load_labelled(harmful)
    mixed = load_labelled(harmful, write(tmp_path / "x.csv", XSTEST))
    assert [prompt.labels["harmful"] for prompt in mixed] == [True] * 2 + [False] * 8


def test_matched_sets_serve_both_sides(hub: list[dict[str, Any]]) -> None:
    prompts = load_labelled("jailbreakbench")
    assert prompts == load_prompts("jailbreakbench")
    assert load_labelled("xstest") == load_prompts("xstest")
    sides = load_labelled("jailbreakbench", "jailbreakbench")
    assert {prompt.id for prompt in sides} == {prompt.id for prompt in prompts}


def test_sets_of_prompts_are_sources_too(tmp_path: Path) -> None:
    path = write(tmp_path / "h.csv", HARMBENCH)
    prompts = load_labelled(load_prompts(path, config="contextual"), own())
    assert [prompt.labels["harmful"] for prompt in prompts] == [True] * 3 + [False] * 2
    assert prompts[1].group == "harmbench-hide_it"


def test_ids_that_meet_are_prefixed_and_groups_kept() -> None:
    harmful = PromptSet([Prompt("a", text="Steal", group="g"), Prompt("b", text="Lie")])
    prompts = load_labelled(harmful, own())
    assert [prompt.id for prompt in prompts] == ["harmful:a", "harmful:b", "benign:a", "benign:b"]
    assert [prompt.group for prompt in prompts] == ["g", "harmful:b", "benign:a", "benign:b"]


@pytest.mark.parametrize(
    ("sources", "sentence"),
    [
        ((own(),), "The set of prompts has no label `harmful` on 2 of 2 prompts"),
        ((own(harmful=True),), "holds no benign requests"),
        ((own(harmful=False),), "holds no harmful requests"),
        ((own(harmful="yes"),), "'a' must be true or false"),
        ((own(harmful=False), own()), "holds no harmful requests"),
        ((PromptSet([own()[0], own(harmful=True)[1]]), own()), "'a' must be true or false"),
        ((own(), own()), "'harmful:a' and 'benign:a' are the same request"),
    ],
)
def test_sources_without_their_side_are_refused(
    sources: tuple[PromptSet, ...], sentence: str
) -> None:
    with pytest.raises(BadInputError, match=sentence):
        load_labelled(*sources)


def test_importing_the_loaders_needs_no_datasets() -> None:
    code = "import sys, trait_probe.prompts.sources.load as _; print('datasets' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
