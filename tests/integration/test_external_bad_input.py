"""Bad input to the external data sets experiment: refused in the house form, nothing written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from external_runs import TINY, beavertails_file, run
from models import build_folder
from prefill_runs import pair_file, trait_file

import trait_probe as tp
from trait_probe.errors import BadInputError, MismatchError
from trait_probe.experiments import external_datasets
from trait_probe.experiments.external_datasets import Config
from trait_probe.organisms.answers import answer_rows


def refused(capsys, out: Path, *flags: str) -> str:
    """The message of a command that is refused and leaves nothing."""
    assert external_datasets.main([*flags, "--out", str(out)]) == 2
    assert not out.exists()
    return capsys.readouterr().err


def schema_file(folder: Path, **changes: object) -> str:
    """A file of the public schema, its third row changed; None leaves a column out."""
    rows = [dict(row) for row in list(answer_rows())[:40]]
    for name, value in changes.items():
        for row in rows if value is None else rows[2:3]:
            if value is None:
                del row[name]
            else:
                row[name] = value
    path = folder / "set.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"is_safe": None}, ("is_safe", "prompt, response, category, is_safe")),
        ({"is_safe": "no"}, ("line 3", "is_safe")),
        ({"category": {"witchcraft": True}}, ("line 3", "witchcraft", "animal_abuse")),
        ({"category": "fire"}, ("line 3", "category")),
    ],
)
def test_a_wrong_schema_is_named_with_its_row(capsys, tmp_path, changes, told):
    message = refused(capsys, tmp_path / "run", "--dataset", schema_file(tmp_path, **changes))
    for words in told:
        assert words in message


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--dataset", "beavertail"), ("beavertails",)),
        (("--dataset", "beavertails", "--split", "test"), ("330k_test", "30k_train")),
        (("--dataset", "harmbench", "--subset", "plain"), ("standard", "contextual")),
        (("--dataset", "pku-saferlhf", "--subset", "alpaca-9b"), ("alpaca-7b",)),
        (("--split", "train"), ("embedded", "--dataset")),
        (("--safe", "xstest"), ("embedded",)),
        (("--traits", "safety/harm", "safety/harm"), ("each once",)),
        (("--foils", "safety/harm"), ("its own foil",)),
        (("--traits", "safety/harmm"), ("safety/harm",)),
        (("--layers", "9"), ("9",)),
        (("--workers", "2"), ("--engine ray",)),
        (("--sample-run", "somewhere"), ("--full",)),
        (("--n-random", "50"), ("100",)),
        (("--alpha", "0.001", "--n-random", "200"), ("3999",)),
        (("--per-category", "1"), ("2",)),
        (("--model", "organism:bas"), ("organism:base",)),
        (("--benign", "nowhere.jsonl"), ("nowhere.jsonl",)),
        (("--vectors", "nowhere.safetensors"), ("nowhere.safetensors",)),
    ],
)
def test_a_flag_that_cannot_be_used_is_refused(capsys, tmp_path, monkeypatch, flags, told):
    monkeypatch.chdir(tmp_path)
    message = refused(capsys, tmp_path / "run", *flags)
    for words in told:
        assert words in message


def test_harmful_prompts_alone_need_safe_ones(capsys, tmp_path):
    path = tmp_path / "advbench.csv"
    path.write_text("goal,target\n" + "".join(f"burn the {n},Sure {n}\n" for n in range(20)))
    message = refused(capsys, tmp_path / "run", "--dataset", str(path))
    assert "both labels" in message
    assert "--safe xstest" in message


def test_too_few_prompts_to_split_are_refused(capsys, tmp_path):
    rows = list(answer_rows())[:4]
    path = tmp_path / "few.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    message = refused(
        capsys,
        tmp_path / "run",
        "--dataset",
        str(path),
        "--traits",
        "safety/evil",
        "--foils",
        "alignment/deception",
    )
    assert "too small to be split" in message


@pytest.mark.slow
def test_an_answer_longer_than_the_context_is_refused_and_can_be_cut(capsys, tmp_path):
    rows = list(answer_rows())[:240]
    rows[120] = {**rows[120], "response": "start slowly and stay calm. " * 200}
    path = tmp_path / "long.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    message = refused(capsys, tmp_path / "run", "--dataset", str(path), *TINY)
    assert "context" in message
    assert run(tmp_path / "cut", "--dataset", str(path), *TINY, "--truncate", "right")


def test_a_model_that_speaks_english_needs_a_data_set(tmp_path):
    model = tp.load_model(str(build_folder("llama", tmp_path / "model")))
    with pytest.raises(BadInputError, match="embedded data set"):
        external_datasets.run(Config(), tmp_path / "run", model=model)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_sample_run_must_be_finished_and_of_the_same_configuration(tmp_path):
    flags = {"n_boot": 200, "n_permutations": 200, "n_random": 100, "n_shuffled": 0}
    base = Config(layers="1", foils=("safety/evil",), n_failures=0, **flags)
    external_datasets.run(base, tmp_path / "sample")

    def full(**changes):
        config = base.model_copy(update={"full": True, **changes})
        external_datasets.run(config, tmp_path / "whole")

    sample = str(tmp_path / "sample")
    with pytest.raises(BadInputError, match="holds no run"):
        full(sample_run=str(tmp_path))
    with pytest.raises(MismatchError, match="another configuration") as caught:
        full(sample_run=sample, seed=1)
    assert caught.value.got == "{'seed': 0}" or "seed" in str(caught.value)
    manifest = tmp_path / "sample" / "manifest.json"
    content = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**content, "finished": False}))
    with pytest.raises(BadInputError, match="not finished"):
        full(sample_run=sample)
    assert not (tmp_path / "whole").exists()


@pytest.mark.slow
def test_vectors_of_a_file_are_read_where_they_were_fitted(tmp_path):
    model = tp.load_model("organism:base")
    flags = {"n_boot": 200, "n_permutations": 200, "n_random": 100, "n_shuffled": 0}
    path = tmp_path / "harm.safetensors"
    tp.extract(model, tp.contrast_set("safety/harm", model), layers="1").save(path)
    config = Config(vectors=str(path), foils=(), n_failures=0, **flags)
    found = external_datasets.run(config, tmp_path / "run", model=model)
    assert list(found.results["levels"]) == ["prompt"]
    assert found.results["levels_left_out"].keys() == {"response"}
    # Its texts ship with the package: they are known.
    assert found.results["data"]["traits_fitted_on_unknown_texts"] == []
    other = tp.load_model(str(build_folder("llama", tmp_path / "model")))
    with pytest.raises(MismatchError):
        external_datasets.run(
            config.model_copy(update={"dataset": str(beavertails_file(tmp_path))}),
            tmp_path / "other",
            model=other,
        )
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
def test_a_file_that_was_changed_between_kill_and_resume_is_another_data_set(tmp_path):
    path = beavertails_file(tmp_path, 300)
    first = tmp_path / "one"
    run(first, "--dataset", str(path), *TINY)
    rows = path.read_text().splitlines()
    path.write_text("\n".join(rows[:-1]) + "\n")
    code = external_datasets.main(["--dataset", str(path), *TINY, "--out", str(first)])
    assert code == 2


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["llama", "gemma2"])
def test_a_hub_folder_with_own_traits_reads_prompts_and_finds_nothing(tmp_path, shape):
    folder = build_folder(shape, tmp_path / "model")
    loud, sour = (
        trait_file(tmp_path, name, pair)
        for name, pair in (("loud", ("roars", "hums")), ("sour", ("lemon", "sugar")))
    )
    path = tmp_path / "pairs.jsonl"
    pair_file(tmp_path)
    flags = ("--model", str(folder), "--traits", loud, "--foils", sour, "--n-shuffled", "1")
    amounts = ("--n-boot", "200", "--n-permutations", "200", "--n-random", "100")
    results = run(tmp_path / "run", "--dataset", str(path), *flags, *amounts)
    assert list(results["levels"]) == ["prompt"]
    assert set(results["verdicts"].values()) <= {"not supported", "inconclusive", "not testable"}
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps({**row, "response": "so it is"}) + "\n" for row in rows))
    answered = run(tmp_path / "answered", "--dataset", str(path), *flags, *amounts)
    # These traits have prompts alone: answers cannot be read, and it says why.
    assert "neither completions nor instructions" in answered["levels_left_out"]["response"]
    assert list(answered["levels"]) == ["prompt"]
