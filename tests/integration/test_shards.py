"""Runs of shards: as in memory, resumable, refused where they would not be the same run."""

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from shard_inputs import rows, vectors_for, write_jsonl
from vector_builders import vector

import trait_probe as tp
from trait_probe.basis import Site
from trait_probe.commands import capture as capture_command
from trait_probe.commands import project as project_command
from trait_probe.errors import BadInputError, MismatchError, RunError
from trait_probe.forward import batching, repeats
from trait_probe.forward.folders import project_stored
from trait_probe.runs import files
from trait_probe.runs.lock import FolderLock
from trait_probe.runs.rundir import open_run

RULES = ["all[:]", "prompt[-1]"]


@pytest.fixture
def prompts(tmp_path) -> Path:
    return write_jsonl(tmp_path / "prompts.jsonl", rows(50, repeats=10))


@pytest.fixture
def vectors(tiny_model):
    return vectors_for(tiny_model)


def results(out: Path) -> dict[str, bytes]:
    skipped = (".lock", "manifest.json")
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name not in skipped
    }


def stored(out, model, prompts, vectors, **changes):
    options = {"position": RULES, "shard_prompts": 8, **changes}
    return tp.project_to(out, model, prompts, vectors, **options)


def assert_same(found, expected):
    assert found.prompt_ids == expected.prompt_ids
    assert found.columns == expected.columns
    assert (found.span, found.pooling) == (expected.span, expected.pooling)
    np.testing.assert_array_equal(found.prompt, expected.prompt)
    assert found.token == expected.token
    if expected.position is not None:
        np.testing.assert_array_equal(found.position, expected.position)
        np.testing.assert_array_equal(found.offset, expected.offset)
    np.testing.assert_allclose(found.dot, expected.dot, atol=1e-5)
    np.testing.assert_allclose(found.z, expected.z, atol=1e-5)


# ------------------------------------------------------------------------------- same numbers


@pytest.mark.parametrize("pooling", ["none", "mean", "last", "max"])
def test_shards_hold_what_project_gives_in_memory(tmp_path, tiny_model, prompts, vectors, pooling):
    found = stored(tmp_path / "out", tiny_model, prompts, vectors, pooling=pooling)
    expected = tp.project(
        tiny_model, tp.PromptSet.from_jsonl(prompts), vectors, position=RULES, pooling=pooling
    )
    assert len(found.shards()) == 7
    for rule in RULES:
        assert_same(found.load(rule), expected[rule])


@pytest.mark.parametrize("form", ["parquet", "rows", "dataset", "streaming", "PromptSet"])
def test_every_source_gives_the_same_shards(tmp_path, tiny_model, prompts, vectors, form):
    import datasets

    expected = stored(tmp_path / "a", tiny_model, prompts, vectors)
    given = tp.PromptSet.from_jsonl(prompts)
    plain = [{key: row[key] for key in ("id", "text")} for row in rows(50, repeats=10)]
    given.to_parquet(tmp_path / "p.parquet")
    source = {
        "parquet": tmp_path / "p.parquet",
        "rows": (row for row in rows(50, repeats=10)),
        "dataset": datasets.Dataset.from_list(plain),
        "streaming": given.to_dataset().to_iterable_dataset(),
        "PromptSet": given,
    }[form]
    found = stored(tmp_path / "b", tiny_model, source, vectors)
    for rule in RULES:
        assert_same(found.load(rule), expected.load(rule))


@pytest.mark.parametrize("pooling", ["none", "mean", "last"])
def test_stored_activations_project_to_the_same_numbers(
    tmp_path, tiny_model, prompts, vectors, pooling
):
    activations = tp.capture_to(
        tmp_path / "activations",
        tiny_model,
        prompts,
        vectors.sites,
        position="all[:]",
        pooling=pooling,
        shard_prompts=8,
    )
    later = projected_later(tmp_path / "later", activations, vectors)
    at_once = stored(
        tmp_path / "once", tiny_model, prompts, vectors, position="all[:]", pooling=pooling
    )
    assert_same(later.load(), at_once.load())
    shard = activations.load(activations.shards()[2])
    items = tp.PromptSet.from_jsonl(prompts)[16:24]
    direct = tp.capture(tiny_model, items, vectors.sites, position="all[:]", pooling=pooling)
    for site in vectors.sites:
        np.testing.assert_allclose(shard.rows(site).numpy(), direct.values[site], atol=1e-5)


def projected_later(out, activations, vectors):
    config = {"position": [activations.position], "pooling": activations.pooling}
    with open_run(out, experiment="project", config=config) as run:
        return project_stored(activations, vectors, run)


def test_the_largest_of_each_dimension_is_not_projected(tmp_path, tiny_model, prompts, vectors):
    """max(dot) is not dot(max): the two would bear the same name."""
    activations = tp.capture_to(
        tmp_path / "a", tiny_model, prompts, vectors.sites, position="all[:]", pooling="max"
    )
    with pytest.raises(BadInputError, match="is not the largest projection"):
        projected_later(tmp_path / "b", activations, vectors)


def test_other_or_damaged_activations_are_not_taken_for_the_first(
    tmp_path, tiny_model, prompts, vectors
):
    import shutil

    options = {"position": "all[:]", "pooling": "mean", "shard_prompts": 8}
    place, sites = tmp_path / "a", vectors.sites
    first = tp.capture_to(place, tiny_model, rows(20), sites, **options)
    projected_later(tmp_path / "b", first, vectors)
    shutil.rmtree(place)
    second = tp.capture_to(place, tiny_model, rows(20, seed=1), sites, **options)
    with pytest.raises(MismatchError, match="another 'activations'"):
        projected_later(tmp_path / "b", second, vectors)
    shard = second.shards()[1]
    data = shard.read_bytes()
    shard.write_bytes(data[:-40] + bytes(40))
    with pytest.raises(BadInputError, match="is missing or damaged"):
        projected_later(tmp_path / "c", second, vectors)


def test_a_rule_that_selects_nothing_in_some_shards(tmp_path, tiny_model, vectors):
    """Eight prompts without an answer, then eight with one."""
    answered = {"response": "blue fish"}
    items = [row | (answered if n > 7 else {}) for n, row in enumerate(rows(16))]
    path = write_jsonl(tmp_path / "p.jsonl", items)
    both = ["response[:]", "prompt[-1]"]
    expected = tp.project(tiny_model, tp.PromptSet.from_jsonl(path), vectors, position=both)
    found = stored(tmp_path / "a", tiny_model, path, vectors, position=both, shard_prompts=4)
    for rule in both:
        assert_same(found.load(rule), expected[rule])
    activations = tp.capture_to(
        tmp_path / "b", tiny_model, path, vectors.sites, position="response[:]", shard_prompts=4
    )
    later = projected_later(tmp_path / "c", activations, vectors)
    assert_same(later.load(), expected["response[:]"])
    with pytest.raises(BadInputError, match="selects no token in any prompt"):
        stored(tmp_path / "d", tiny_model, rows(9), vectors, position="response[:]")


def test_activations_are_kept_in_the_models_dtype(tmp_path, tiny_folder, prompts):
    model = tp.load_model(str(tiny_folder), dtype="bfloat16", check=False)
    found = tp.capture_to(tmp_path / "a", model, prompts, [Site(1)], position="prompt[-1]")
    assert found.load(found.shards()[0]).tensors[str(Site(1))].dtype == torch.bfloat16
    pooled = tp.capture_to(
        tmp_path / "b", model, prompts, [Site(1)], position="all[:]", pooling="mean"
    )
    assert pooled.load(pooled.shards()[0]).tensors[str(Site(1))].dtype == torch.float32
    direct = tp.capture(model, tp.PromptSet.from_jsonl(prompts), [Site(1)], position="prompt[-1]")
    read = found.load(found.shards()[0]).rows(Site(1)).numpy()
    np.testing.assert_array_equal(read, direct.values[Site(1)])


def test_a_prompt_that_comes_again_runs_once(monkeypatch, tmp_path, tiny_model, prompts, vectors):
    """Ten of fifty prompts repeat others of earlier shards."""
    run = []

    def counted(found, budget, step):
        for batch, result in batching.run_halving(found, budget, step):
            run.append(len(batch.members))
            yield batch, result

    monkeypatch.setattr("trait_probe.forward.engine.run_halving", counted)
    found = stored(tmp_path / "a", tiny_model, prompts, vectors)
    assert sum(run) == 40
    one, other = found.load("all[:]"), tp.PromptSet.from_jsonl(prompts)
    first, again = one.prompt == 0, one.prompt == 40
    assert other[40].id == "again0"
    np.testing.assert_array_equal(one.dot[first], one.dot[again])
    monkeypatch.setattr(repeats, "LIMIT_BYTES", 0)
    run.clear()
    assert_same(stored(tmp_path / "b", tiny_model, prompts, vectors).load("all[:]"), one)
    assert sum(run) == 50


def test_a_run_under_an_edit_is_not_the_run_without(tmp_path, tiny_model, prompts, vectors):
    from trait_probe.hooks.steering import add, edit

    edits = {Site(0): add(torch.eye(16)[0], 2.0)}
    stored(tmp_path / "a", tiny_model, prompts, vectors)
    with edit(tiny_model, edits):
        with pytest.raises(MismatchError, match="cannot be resumed: nothing tells"):
            stored(tmp_path / "a", tiny_model, prompts, vectors)
        stored(tmp_path / "b", tiny_model, prompts, vectors)
    with pytest.raises(MismatchError, match="another 'edited'"):
        stored(tmp_path / "b", tiny_model, prompts, vectors)


def test_a_coefficient_for_each_prompt_follows_it_through_the_shards(
    tmp_path, tiny_model, prompts, vectors
):
    from trait_probe.hooks.steering import add, edit

    items = tp.PromptSet.from_jsonl(prompts)
    for coefficients in (torch.arange(50.0) - 25, torch.arange(8.0)):
        with edit(tiny_model, {Site(0): add(torch.eye(16)[0], coefficients)}):
            if len(coefficients) == 8:  # one for each prompt of the first shard alone
                with pytest.raises(MismatchError, match="one per prompt"):
                    stored(tmp_path / "c", tiny_model, prompts, vectors)
                assert not (tmp_path / "c").exists()
                continue
            expected = tp.project(tiny_model, items, vectors, position=RULES)
            for place, source in (("a", prompts), ("b", items)):
                found = stored(tmp_path / place, tiny_model, source, vectors)
                assert_same(found.load("all[:]"), expected["all[:]"])


def test_under_an_edit_equal_prompts_are_not_taken_for_one(tmp_path, tiny_model, vectors):
    from trait_probe.hooks.steering import add, edit

    prompts = [{"id": name, "text": "red fish"} for name in "abcd"]
    edits = {Site(0): add(torch.eye(16)[0], 2.0)}
    with edit(tiny_model, edits):
        found = stored(tmp_path / "a", tiny_model, prompts, vectors, shard_prompts=2)
        items = [tp.Prompt.from_dict(row) for row in prompts]
        expected = tp.project(tiny_model, items, vectors, position=RULES)
    assert_same(found.load("all[:]"), expected["all[:]"])


# ----------------------------------------------------------------------------------- resuming


def test_a_finished_run_computes_nothing_again(monkeypatch, tmp_path, tiny_model, prompts, vectors):
    stored(tmp_path / "a", tiny_model, prompts, vectors)
    before = results(tmp_path / "a")
    monkeypatch.setattr("trait_probe.forward.engine.run_halving", None)
    stored(tmp_path / "a", tiny_model, prompts, vectors)
    assert results(tmp_path / "a") == before


def test_a_damaged_shard_is_computed_again(tmp_path, tiny_model, prompts, vectors):
    out = tmp_path / "a"
    stored(out, tiny_model, prompts, vectors)
    before = results(out)
    shard = out / "projections/00000003.parquet"
    shard.write_bytes(shard.read_bytes()[:-7])
    stored(out, tiny_model, prompts, vectors)
    assert results(out) == before


def fail_at_write(monkeypatch, name: str, error: OSError) -> None:
    """The disk gives `error` when the file `name` is written."""
    whole = files.write_bytes

    def full(path: Path, data: bytes) -> None:
        if path.name == name:
            with files.atomic_file(path) as handle:
                handle.write(data[: len(data) // 2])
                raise error
        whole(path, data)

    monkeypatch.setattr(files, "write_bytes", full)


def test_a_full_disk_is_said_and_resumed(monkeypatch, tmp_path, tiny_model, prompts, vectors):
    stored(tmp_path / "whole", tiny_model, prompts, vectors)
    with monkeypatch.context() as patch:
        fail_at_write(patch, "00000004.parquet", OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        with pytest.raises(RunError, match=r"No space left to write .*00000004\.parquet"):
            stored(tmp_path / "a", tiny_model, prompts, vectors)
    assert sorted(path.name for path in (tmp_path / "a/projections").iterdir()) == [
        f"{number:08d}.parquet" for number in range(4)
    ]
    stored(tmp_path / "a", tiny_model, prompts, vectors)
    assert results(tmp_path / "a") == results(tmp_path / "whole")


def test_an_error_within_a_chunk_keeps_the_chunks_before(
    monkeypatch, tmp_path, tiny_model, prompts, vectors
):
    """Also one of the thread that renders ahead."""
    from trait_probe.forward import work

    rendering = work.render_for

    def breaks(model, items, **options):
        if items[0].id == "p16":
            raise RunError("the tokenizer broke")
        return rendering(model, items, **options)

    with monkeypatch.context() as patch:
        patch.setattr(work, "render_for", breaks)
        with pytest.raises(RunError, match="the tokenizer broke"):
            stored(tmp_path / "a", tiny_model, prompts, vectors)
    assert len(list((tmp_path / "a/projections").iterdir())) == 2


def test_two_writers_are_one_too_many(tmp_path, tiny_model, prompts, vectors):
    out = tmp_path / "a"
    stored(out, tiny_model, prompts, vectors)
    lock = FolderLock(out / ".lock")
    lock.acquire()
    try:
        with pytest.raises(BadInputError, match="is being written by another run"):
            stored(out, tiny_model, prompts, vectors)
    finally:
        lock.release()
    stored(out, tiny_model, prompts, vectors)


@pytest.mark.parametrize("source", ["file", "iterable"])
def test_other_prompts_are_refused(tmp_path, tiny_model, prompts, vectors, source):
    out, changed = tmp_path / "a", rows(50, repeats=10)
    changed[3]["text"] = "something else"
    other = changed if source == "iterable" else write_jsonl(tmp_path / "other.jsonl", changed)
    given = rows(50, repeats=10) if source == "iterable" else prompts
    stored(out, tiny_model, given, vectors)
    before = results(out)
    with pytest.raises(MismatchError, match=r"other prompts|another 'prompts'"):
        stored(out, tiny_model, other, vectors)
    assert results(out) == before


@pytest.mark.parametrize("n", [8, 20, 0])
def test_fewer_or_more_prompts_than_a_finished_run_has(tmp_path, tiny_model, vectors, n):
    out = tmp_path / "a"
    stored(out, tiny_model, rows(16), vectors)
    before = results(out)
    with pytest.raises((MismatchError, BadInputError), match=r"other prompts|no prompts"):
        stored(out, tiny_model, rows(20)[:n], vectors)
    assert results(out) == before


def test_nothing_is_written_for_a_first_prompt_that_is_bad(tmp_path, tiny_model, vectors):
    with pytest.raises(BadInputError, match="prompt 1"):
        stored(tmp_path / "a", tiny_model, [{"id": "x"}], vectors)
    assert not (tmp_path / "a").exists()


def test_other_vectors_and_other_settings_are_refused(tmp_path, tiny_model, prompts, vectors):
    out = tmp_path / "a"
    stored(out, tiny_model, prompts, vectors)
    with pytest.raises(MismatchError, match="another 'vectors'"):
        stored(out, tiny_model, prompts, vectors[:2])
    with pytest.raises(BadInputError, match="with another configuration: pooling was 'none'"):
        stored(out, tiny_model, prompts, vectors, pooling="mean")


def test_a_resumed_run_keeps_its_batches(tmp_path, tiny_model, prompts, vectors):
    out = tmp_path / "a"
    stored(out, tiny_model, prompts, vectors, batch_tokens=33)
    shard = out / "projections/00000002.parquet"
    before = shard.read_bytes()
    shard.unlink()
    stored(out, tiny_model, prompts, vectors)
    assert files.read_json(out / "manifest.json")["facts"]["batch_tokens"] == 33
    assert shard.read_bytes() == before
    with pytest.raises(MismatchError, match="another 'batch_tokens'"):
        stored(out, tiny_model, prompts, vectors, batch_tokens=34)


# ------------------------------------------------------------------------- refused beforehand


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ('{"id": "x"}', r"line 51: .*must have either 'messages' or 'text'"),
        ('{"id": "x", "text": "a", "txet": 1}', "line 51: .*txet|line 51: The prompt has"),
        ("[1, 2]", "line 51 is not an object"),
        ('{"id": "p3", "text": "a"}', "line 51: the field 'id' must be unique"),
        ('{"id": "x", "text": "' + "fish " * 200 + '"}', "line 51: .*longer than the context"),
        ('{"id": "x", "tex', "line 51 is not valid JSON"),
    ],
)
def test_a_bad_line_far_down_is_found_before_anything_runs(
    monkeypatch, tmp_path, tiny_model, prompts, vectors, line, sentence
):
    monkeypatch.setattr("trait_probe.forward.engine.run_halving", None)
    with prompts.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(BadInputError, match=sentence):
        stored(tmp_path / "a", tiny_model, prompts, vectors)
    assert not (tmp_path / "a").exists()


def test_a_span_that_one_prompt_lacks_is_found_before_anything_runs(
    monkeypatch, tmp_path, tiny_model, vectors
):
    monkeypatch.setattr("trait_probe.forward.engine.run_halving", None)
    marked = [{**row, "spans": {"trigger": [0, 2]}} for row in rows(20)]
    del marked[13]["spans"]
    path = write_jsonl(tmp_path / "p.jsonl", marked)
    with pytest.raises(BadInputError, match=r"line 14: The position rule trigger\[-1\] needs"):
        stored(tmp_path / "a", tiny_model, path, vectors, position="trigger[-1]")
    assert not (tmp_path / "a").exists()


def test_conversations_that_cannot_be_rendered_are_found_before_anything_runs(
    monkeypatch, tmp_path, bridges
):
    """A base model has no chat template; a short context is filled by the template alone."""
    monkeypatch.setattr("trait_probe.forward.engine.run_halving", None)
    talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}] * 40
    talk.append({"role": "user", "content": "c"})
    for name, messages, sentence in (
        ("gpt2", talk[-1:], "line 21: .*chat template"),
        ("llama", talk, "line 21: .*longer than the context"),
    ):
        model = bridges[name]
        path = write_jsonl(tmp_path / "p.jsonl", [*rows(20), {"id": "m", "messages": messages}])
        one = tp.VectorSet([vector(layer=1, model=tp.identify(model))])
        with pytest.raises(BadInputError, match=sentence):
            stored(tmp_path / "a", model, path, one)
        assert not (tmp_path / "a").exists()


def test_a_refused_command_leaves_a_finished_run_as_it_was(
    tmp_path, tiny_folder, prompts, vectors_file
):
    out = tmp_path / "a"
    given = arguments(tiny_folder, vectors_file, prompts, out, "--dtype", "bfloat16")
    assert project_command.main(given) == 0
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with prompts.open("a") as file:
        file.write('{"id": "new", "text": "red fish"}\n')
    assert project_command.main(given) == 2
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_an_unfinished_run_is_not_read(monkeypatch, tmp_path, tiny_model, prompts, vectors):
    out = tmp_path / "a"
    with monkeypatch.context() as patch:
        fail_at_write(patch, "00000002.parquet", OSError(errno.EIO, "broken"))
        with pytest.raises(RunError, match="the finished files are kept"):
            stored(out, tiny_model, prompts, vectors)
    with pytest.raises(BadInputError, match="is not finished: 2 shards are there"):
        tp.StoredProjections.open(out)
    with pytest.raises(BadInputError, match="holds no run"):
        tp.StoredProjections.open(tmp_path)
    found = stored(out, tiny_model, prompts, vectors)
    with pytest.raises(BadInputError, match="did not read this position rule"):
        found.load("response[:]")
    with pytest.raises(BadInputError, match="several position rules; name one"):
        found.load()
    with pytest.raises(BadInputError, match="a run of 'project', not of 'capture'"):
        tp.StoredActivations.open(out)


# ----------------------------------------------------------------------------------- commands


def arguments(tiny_folder, vectors_file, prompts, out, *more):
    given = ["--model", str(tiny_folder), "--vectors", str(vectors_file)]
    return [*given, "--prompts", str(prompts), "--out", str(out), "--position", *RULES, *more]


@pytest.fixture
def vectors_file(tmp_path, vectors) -> Path:
    path = tmp_path / "vectors.safetensors"
    vectors.save(path)
    return path


def test_the_command_does_what_the_function_does(
    tmp_path, tiny_model, tiny_folder, prompts, vectors, vectors_file, capsys
):
    given = arguments(tiny_folder, vectors_file, prompts, tmp_path / "a", "--shard-prompts", "8")
    assert project_command.main(given) == 0
    out, err = capsys.readouterr()
    assert "50 prompts" in out
    assert "50 of 50 prompts" in err
    assert "tokens/s" in err
    expected = stored(tmp_path / "b", tiny_model, prompts, vectors)
    found = tp.StoredProjections.open(tmp_path / "a")
    for rule in RULES:
        assert_same(found.load(rule), expected.load(rule))
    shards = [path for path in results(tmp_path / "b") if path.startswith("projections")]
    for path in [*shards, "results.json"]:
        assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes()
    assert project_command.main(given) == 0
    assert "(50 found finished)" in capsys.readouterr().err


def test_capture_and_project_later_by_command(
    tmp_path, tiny_model, tiny_folder, prompts, vectors, vectors_file
):
    given = ["--model", str(tiny_folder), "--prompts", str(prompts), "--position", "all[:]"]
    activations = tmp_path / "activations"
    assert capture_command.main([*given, "--layers", "1:", "--out", str(activations)]) == 0
    later = ["--activations", str(activations), "--vectors", str(vectors_file)]
    assert project_command.main([*later, "--out", str(tmp_path / "later")]) == 0
    found = tp.StoredProjections.open(tmp_path / "later").load()
    items = tp.PromptSet.from_jsonl(prompts)
    assert_same(found, tp.project(tiny_model, items, vectors, position="all[:]"))
    assert capture_command.main([*given, "--layers", "0", "--out", str(tmp_path / "b")]) == 0
    other = ["--activations", str(tmp_path / "b"), "--vectors", str(vectors_file)]
    assert project_command.main([*other, "--out", str(tmp_path / "c")]) == 2
    assert not (tmp_path / "c").exists()


def test_the_error_of_a_dtype_is_measured(
    tmp_path, tiny_model, tiny_folder, prompts, vectors, vectors_file, capsys
):
    given = arguments(tiny_folder, vectors_file, prompts, tmp_path / "a", "--dtype", "bfloat16")
    assert project_command.main([*given, "--dtype-sample", "20"]) == 0
    error = files.read_json(tmp_path / "a" / "dtype_error.json")
    assert (error["dtype"], error["n_prompts"]) == ("bfloat16", 20)
    assert len(error["columns"]) == len(RULES) * len(vectors)
    half = tp.load_model(str(tiny_folder), dtype="bfloat16", check=False)
    items = tp.PromptSet.from_jsonl(prompts)[:20]
    both = [
        tp.project(model, items, vectors, position="all[:]", lineage_ok=True)
        for model in (tiny_model, half)
    ]
    change = both[0].dot.astype(np.float64) - both[1].dot
    by_hand = np.abs(change).max(axis=0)
    measured = [column["dot_max"] for column in error["columns"] if column["span"] == "all[:]"]
    np.testing.assert_allclose(measured, by_hand, rtol=1e-4)
    assert min(measured) > 0
    assert "bfloat16 against float32, 20 prompts" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (["--vectors", "nowhere.safetensors"], "nowhere.safetensors"),
        (["--prompts", "nowhere.jsonl"], "no such file of prompts"),
        (["--prompts", "prompts.csv"], "end in .jsonl or .parquet"),
        (["--position", "respons[:]"], "needs the span 'respons'"),
        (["--position", "all["], "A position rule is SPAN"),
        (["--model", "organism:backdored"], "organism:backdoored"),
        (["--dtype", "bfloat16", "--dtype-sample", "0"], "dtype: vectors 'float32'"),
        (["--activations", "x"], "would ignore what was given"),
        (["--workers", "3"], "The local engine would ignore"),
        (["--position", "all[:]", "all[ : ]"], "A position rule is given twice"),
        (["--position"], "There is no position to read"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(
    tmp_path, tiny_folder, prompts, vectors_file, change, sentence, capsys
):
    given = arguments(tiny_folder, vectors_file, prompts, tmp_path / "a", *change)
    assert project_command.main(given) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_what_is_missing_is_named(capsys):
    assert project_command.main(["--model", "organism:base"]) == 2
    assert "needs --vectors and --prompts" in capsys.readouterr().err
    assert capture_command.main([]) == 2
    assert "needs --model and --prompts" in capsys.readouterr().err


def test_importing_a_command_does_not_hide_the_function(tiny_model, vectors):
    import importlib
    import importlib.util

    for name in ("project", "capture"):
        importlib.import_module(f"trait_probe.{name}")
        try:
            items = tp.PromptSet.from_dicts(rows(3))
            arguments = (vectors,) if name == "project" else (vectors.sites,)
            found = getattr(tp, name)(tiny_model, items, *arguments, position="prompt[-1]")
            assert len(found.prompt) == 3
            assert importlib.util.find_spec(f"trait_probe.{name}") is not None
        finally:
            sys.modules.pop(f"trait_probe.{name}")
            tp.__dict__.pop(name, None)


def test_results_are_strict_json_and_by_hand(tmp_path, tiny_model, prompts, vectors):
    found = stored(tmp_path / "a", tiny_model, prompts, vectors)
    written = json.loads((tmp_path / "a/results.json").read_text())
    assert written["schema"] == "trait_probe.projections/1"
    assert written["n_prompts"] == 50
    whole = found.load("all[:]")
    for index, (trait, site) in enumerate(whole.columns):
        (column,) = [
            one
            for one in written["columns"]
            if (one["trait"], one["site"], one["span"]) == (trait, str(site), "all[:]|none")
        ]
        z = whole.z[:, index].astype(np.float64)
        assert column["rows"] == len(z)
        np.testing.assert_allclose(column["z_mean"], z.mean(), atol=1e-6)
        np.testing.assert_allclose(column["z_sd"], z.std(ddof=1), atol=1e-6)
    table = pq.read_table(tmp_path / "a/projections/00000000.parquet")
    assert set(table["span"].to_pylist()) == {"all[:]|none", "prompt[-1]|none"}
