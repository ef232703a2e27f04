"""Run directories: validated before written, one writer, and resumed to the same bytes."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from trait_probe.errors import BadInputError, MismatchError, RunError
from trait_probe.runs import files
from trait_probe.runs.manifest import PACKAGES, git_state
from trait_probe.runs.rundir import Run, open_run

CONFIG: dict[str, Any] = {"model": "organism:base", "sae": {"top": 10}, "layers": [1, 2]}


def opened(out: Path | None, **overrides: Any) -> Run:
    return open_run(out, **{"experiment": "backdoor", "config": CONFIG, **overrides})


def table_of(*values: float) -> pa.Table:
    return pa.table({"x": list(values)})


def never() -> pa.Table:
    raise AssertionError("a finished stage was computed again")


def small_run(out: Path, compute: Callable[[], pa.Table] = lambda: table_of(1, 2)) -> None:
    with opened(out) as run:
        table = run.stage("projections/suspect", compute)
        run.write_json("results.json", {"sum": float(np.sum(table["x"].to_numpy()))})
        run.finish()


def listing(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_nothing_is_written_before_the_first_write(tmp_path: Path) -> None:
    out = tmp_path / "a" / "run"
    with opened(out) as run:
        run.record(seed=3)
        assert not (tmp_path / "a").exists()
        run.start()
        assert sorted(listing(out)) == [".lock", "config.json", "manifest.json"]
    assert files.read_json(out / "config.json") == CONFIG
    assert files.read_json(out / "manifest.json")["facts"] == {"seed": 3}


def test_the_default_folder_is_named_by_the_configuration(tmp_path: Path) -> None:
    first = opened(None, root=tmp_path)
    assert first.folder == tmp_path / "backdoor" / files.canonical_sha256(CONFIG)[:12]
    reordered = dict(reversed(CONFIG.items()))
    assert opened(None, root=tmp_path, config=reordered).folder == first.folder
    other = opened(None, root=tmp_path, config={**CONFIG, "layers": [1]})
    assert other.folder != first.folder


def test_the_manifest_says_where_the_result_came_from(tmp_path: Path) -> None:
    small_run(tmp_path)
    manifest = files.read_json(tmp_path / "manifest.json")
    assert manifest["schema"] == "trait_probe.manifest/1"
    assert manifest["experiment"] == "backdoor"
    assert manifest["finished"] is True
    assert set(manifest["packages"]) == set(PACKAGES)
    assert manifest["packages"]["numpy"] == np.__version__
    assert Path(sys.executable).name in manifest["command"]
    stage = manifest["stages"]["projections/suspect"]
    assert stage["rows"] == 2
    assert stage["sha256"] == files.file_sha256(tmp_path / "projections/suspect.parquet")
    assert manifest["timings"]["seconds"] >= stage["seconds"]


def test_a_finished_stage_is_read_and_the_results_are_the_same_bytes(tmp_path: Path) -> None:
    small_run(tmp_path)
    before = listing(tmp_path)
    small_run(tmp_path, never)
    after = listing(tmp_path)
    assert {**after, "manifest.json": b""} == {**before, "manifest.json": b""}


def test_fresh_and_resumed_runs_see_the_same_table(tmp_path: Path) -> None:
    words = pa.array(["a", "b", "a"]).dictionary_encode()
    made = pa.table({"w": pa.chunked_array([words.slice(0, 1), words.slice(1)]), "x": [1, 2, 3]})
    with opened(tmp_path) as run:
        fresh = run.stage("s", lambda: made)
    with opened(tmp_path) as run:
        resumed = run.stage("s", never)
    assert fresh.equals(resumed)
    assert fresh.schema == resumed.schema
    assert [c.num_chunks for c in fresh.columns] == [c.num_chunks for c in resumed.columns]
    assert fresh.to_pylist() == made.to_pylist()


@pytest.mark.parametrize("damage", ["flip", "truncate", "delete"])
def test_a_damaged_shard_is_computed_again_with_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    small_run(tmp_path)
    shard = tmp_path / "projections/suspect.parquet"
    good = shard.read_bytes()
    if damage == "delete":
        shard.unlink()
    else:
        shard.write_bytes(good[:-9] if damage == "truncate" else bytes([good[0] ^ 1]) + good[1:])
    with caplog.at_level(logging.WARNING):
        small_run(tmp_path)
    assert len(caplog.messages) == 1
    assert "computing it again" in caplog.messages[0]
    assert shard.read_bytes() == good


def test_an_unrecorded_shard_is_not_trusted(tmp_path: Path) -> None:
    """Meta: without its record a file that looks finished is not used."""
    small_run(tmp_path)
    path = tmp_path / "manifest.json"
    manifest = files.read_json(path)
    files.write_json(path, {**manifest, "stages": {}})
    calls: list[int] = []
    small_run(tmp_path, lambda: calls.append(1) or table_of(1, 2))  # type: ignore[func-returns-value]
    assert calls == [1]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError])
def test_an_interruption_keeps_the_finished_stages(
    tmp_path: Path, stop: type[BaseException]
) -> None:
    def interrupted() -> pa.Table:
        raise stop

    with opened(tmp_path) as run:
        run.stage("one", lambda: table_of(1))
        with pytest.raises(stop):
            run.stage("two", interrupted)
    manifest = files.read_json(tmp_path / "manifest.json")
    assert list(manifest["stages"]) == ["one"]
    assert manifest["finished"] is False
    with opened(tmp_path) as run:
        assert run.resumed
        assert run.stage("one", never).equals(table_of(1))
        assert run.stage("two", lambda: table_of(2)).equals(table_of(2))


STAGED = """
import os, signal, sys
from pathlib import Path
import pyarrow as pa
from trait_probe.runs import files
from trait_probe.runs.rundir import open_run

out, kill_at = Path(sys.argv[1]), int(sys.argv[2])
events = 0
real = os.replace
def counted(source, target):
    global events
    events += 1
    if events == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)
    real(source, target)
os.replace = counted

with open_run(out, experiment="e", config={"seed": 1}) as run:
    run.record(seed=1)
    total = 0
    for name in ("a", "b", "deep/c"):
        table = run.stage(name, lambda: pa.table({"x": [len(name), 5]}))
        total += sum(table["x"].to_pylist())
    run.write_json("results.json", {"total": total})
    run.finish()
print(events)
"""


def staged(out: Path, kill_at: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", STAGED, str(out), str(kill_at)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_killed_at_any_write_the_same_command_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    whole = staged(tmp_path / "whole", kill_at=-1)
    assert whole.returncode == 0, whole.stderr
    expected = listing(tmp_path / "whole")
    writes = int(whole.stdout)
    assert writes == 10  # manifest, config, 3 x (shard, manifest), results, manifest
    for kill_at in (1, 2, 3, 4, 6, 9, 10):
        out = tmp_path / str(kill_at)
        assert staged(out, kill_at).returncode == -signal.SIGKILL
        resumed = staged(out, kill_at=-1)
        assert resumed.returncode == 0, resumed.stderr
        assert {**listing(out), "manifest.json": b""} == {**expected, "manifest.json": b""}
        assert files.read_json(out / "manifest.json")["finished"] is True


def test_another_experiment_is_refused(tmp_path: Path) -> None:
    small_run(tmp_path)
    before = listing(tmp_path)
    with pytest.raises(BadInputError, match="another experiment, 'backdoor'"):
        opened(tmp_path, experiment="prefill")
    assert listing(tmp_path) == before


def test_another_configuration_is_refused_key_by_key(tmp_path: Path) -> None:
    small_run(tmp_path)
    before = listing(tmp_path)
    changed = {"model": "organism:clean", "sae": {"top": 20}, "layers": [1, 2], "seed": 4}
    with pytest.raises(BadInputError) as caught:
        opened(tmp_path, config=changed)
    sentence = str(caught.value)
    assert "model was 'organism:base', now 'organism:clean'" in sentence
    assert "sae.top was 10, now 20" in sentence
    assert "seed was '(absent)', now 4" in sentence
    assert "layers" not in sentence
    assert f"--config {tmp_path / 'config.json'}" in sentence
    assert listing(tmp_path) == before


def test_tuples_and_key_order_make_no_other_configuration(tmp_path: Path) -> None:
    small_run(tmp_path)
    same = {"layers": (1, 2), "sae": {"top": 10}, "model": "organism:base"}
    with opened(tmp_path, config=same) as run:
        assert run.resumed


def test_a_configuration_file_edited_afterwards_is_noticed(tmp_path: Path) -> None:
    small_run(tmp_path)
    edited = {**CONFIG, "layers": [7]}
    files.write_json(tmp_path / "config.json", edited)
    with pytest.raises(BadInputError, match=r"its config\.json was edited after the run"):
        opened(tmp_path, config=edited)


def test_a_folder_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(BadInputError, match=r"not empty and holds no run(.|\n)*thesis\.tex"):
        opened(tmp_path)
    assert listing(tmp_path) == {"thesis.tex": b"precious"}
    with pytest.raises(BadInputError, match="The output folder is a file"):
        opened(tmp_path / "thesis.tex")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ('{"schema": "trait_probe.man', "not valid JSON"),
        ('{"schema": "trait_probe.manifest/99"}', "not a manifest that this version reads"),
        ("[]", "not a manifest that this version reads"),
        ('{"schema": "trait_probe.manifest/1"}', "does not have the fields"),
    ],
)
def test_a_manifest_that_cannot_be_read_is_refused(
    tmp_path: Path, content: str, sentence: str
) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(BadInputError, match=sentence):
        opened(tmp_path)


def test_a_second_writer_is_refused_at_once_and_admitted_after(tmp_path: Path) -> None:
    small_run(tmp_path)
    command = [sys.executable, "-c", STAGED.replace('"e"', '"backdoor"'), str(tmp_path), "-1"]
    command[2] = command[2].replace('{"seed": 1}', json.dumps(CONFIG))
    with opened(tmp_path):
        second = subprocess.run(command, capture_output=True, text=True, check=False)
        assert "is being written by another run" in second.stderr
        assert second.returncode == 1
    with opened(tmp_path) as run:
        run.start()


def test_two_new_runs_in_one_folder_the_later_starter_loses(tmp_path: Path) -> None:
    first, second = opened(tmp_path), opened(tmp_path)
    first.start()
    with pytest.raises(BadInputError, match="is being written by another run"):
        second.start()
    first.close()


def test_a_run_that_another_process_finished_meanwhile_is_taken_up(tmp_path: Path) -> None:
    waiting = opened(tmp_path)
    waiting.record(seed=5)
    small_run(tmp_path)
    assert waiting.stage("projections/suspect", never).num_rows == 2
    assert waiting.manifest.facts == {"seed": 5}
    waiting.close()


def test_a_resumed_run_with_other_inputs_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path) as run:
        run.record(suspect={"weights": "aaa", "layers": (1, 2)})
        run.stage("s", lambda: table_of(1))
    with opened(tmp_path) as run:
        run.record(suspect={"weights": "aaa", "layers": [1, 2]}, seed=0)
        with pytest.raises(MismatchError, match=r"another 'suspect'(.|\n)*'bbb'"):
            run.record(suspect={"weights": "bbb", "layers": [1, 2]})


def test_inputs_may_change_while_no_stage_is_finished(tmp_path: Path) -> None:
    with opened(tmp_path) as run:
        run.record(suspect="aaa")
        run.start()
    with opened(tmp_path) as run:
        run.record(suspect="bbb")
        run.start()
    assert files.read_json(tmp_path / "manifest.json")["facts"] == {"suspect": "bbb"}


def test_resuming_stages_of_other_code_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    small_run(tmp_path)
    path = tmp_path / "manifest.json"
    manifest = files.read_json(path)
    files.write_json(path, {**manifest, "packages": {**manifest["packages"], "torch": "0.1"}})
    small_run(tmp_path, never)
    assert len(caplog.messages) == 1
    assert f"torch was 0.1, now {manifest['packages']['torch']}" in caplog.messages[0]


def test_measurements_may_differ_between_repeats(tmp_path: Path) -> None:
    for speed in (100.0, 200.0):
        with opened(tmp_path) as run:
            run.measured(tokens_per_second=speed)
            run.stage("s", lambda: table_of(1))
    timings = files.read_json(tmp_path / "manifest.json")["timings"]
    assert timings["tokens_per_second"] == 200.0


@pytest.mark.parametrize(
    "name", ["", "/etc/x", "../x", "a/../b", "a//b", "a/", ".hidden", "a b", "a\n", "C:\\x"]
)
def test_names_that_leave_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    with opened(tmp_path / "run") as run:
        for ask in (lambda: run.stage(name, never), lambda: run.write_text(name, "x")):
            with pytest.raises(BadInputError, match="named by letters"):
                ask()
    assert not (tmp_path / "run").exists()


def test_the_runs_own_files_cannot_be_overwritten(tmp_path: Path) -> None:
    with opened(tmp_path) as run, pytest.raises(BadInputError, match="written by the run itself"):
        run.write_json("manifest.json", {})


def test_one_stage_name_is_one_table(tmp_path: Path) -> None:
    with opened(tmp_path) as run:
        run.stage("s", lambda: table_of(1))
        with pytest.raises(BadInputError, match="asked for once per run"):
            run.stage("s", lambda: table_of(2))


def test_a_closed_run_writes_nothing(tmp_path: Path) -> None:
    with opened(tmp_path) as run:
        run.start()
    with pytest.raises(BadInputError, match="is closed"):
        run.write_text("late.txt", "x")
    assert not (tmp_path / "late.txt").exists()


def test_bad_json_changes_nothing(tmp_path: Path) -> None:
    with opened(tmp_path / "run") as run:
        with pytest.raises(BadInputError, match=r"\$\.effect is nan"):
            run.write_json("results.json", {"effect": float("nan")})
        with pytest.raises(BadInputError, match=r"\$\.p is nan"):
            run.record(p=float("nan"))
    assert not (tmp_path / "run").exists()
    with pytest.raises(BadInputError, match=r"\$\.p is nan"):
        opened(tmp_path, config={"p": float("nan")})


def test_figures_and_texts_go_into_the_run(tmp_path: Path) -> None:
    with opened(tmp_path) as run:
        figure = run.path("figures/a.html")
        assert figure == tmp_path / "figures" / "a.html"
        assert figure.parent.is_dir()
        assert run.write_text("report.html", "é").read_bytes() == "é".encode()


def test_a_nearly_full_disk_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    with pytest.raises(RunError, match=r"No space left to begin a run(.|\n)*MB free"):
        opened(tmp_path / "a" / "b", min_free_bytes=free * 2)
    assert os.listdir(tmp_path) == []


def test_a_place_without_any_size_is_not_called_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """/proc and /sys say that they have 0 bytes in all."""
    nothing = SimpleNamespace(total=0, used=0, free=0)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: nothing)
    with opened(tmp_path / "run") as run:
        run.start()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_the_right_to_write_is_a_house_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(RunError, match="cannot be written"), opened(tmp_path / "x") as run:
        run.start()
    tmp_path.chmod(0o700)


def test_an_out_below_a_file_is_a_house_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    run = opened(tmp_path / "file" / "run")
    with pytest.raises(RunError, match=r"failed(.|\n)*Not a directory"):
        run.start()


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_commit_is_that_of_the_packages_own_checkout_only(tmp_path: Path) -> None:
    inner = tmp_path / "venv"
    inner.mkdir()
    assert git_state(tmp_path) == (None, None)
    git(tmp_path, "init", "-q")
    assert git_state(tmp_path) == (None, None)
    (tmp_path / "a").write_text("1")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "-qm", "a")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert git_state(tmp_path) == (commit, False)
    assert git_state(inner) == (None, None)
    (tmp_path / "a").write_text("2")
    assert git_state(tmp_path) == (commit, True)
