"""The Ray engine: the local engine's bytes, whatever dies on the way; errors as everywhere."""

from __future__ import annotations

import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from pyarrow.parquet import read_table
from shard_inputs import rows, vectors_for, write_jsonl

from trait_probe.commands import project as project_command
from trait_probe.errors import BadInputError, MismatchError, RunError
from trait_probe.forward import cluster
from trait_probe.forward.cluster import ModelSpec, write_shards_on_ray
from trait_probe.forward.projecting import Projecting
from trait_probe.forward.shards import plan, write_shards
from trait_probe.identity import identify
from trait_probe.runs.rundir import open_run

ray = pytest.importorskip("ray", reason="Ray is not installed (extra `cluster`)")

RULES = ("all[:]", "prompt[-1]")
N, SHARD = 60, 10

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def prompts(tmp_path_factory) -> Path:
    return write_jsonl(tmp_path_factory.mktemp("prompts") / "prompts.jsonl", rows(N))


@pytest.fixture(scope="module")
def work(tiny_model):
    return Projecting(vectors_for(tiny_model), RULES)


@pytest.fixture(scope="module")
def spec(tiny_folder):
    return ModelSpec(str(tiny_folder))


@pytest.fixture(scope="module")
def started():
    """A Ray of this process, as a user of Ray would have it: it is used, and left as it is."""
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    # The workers cannot import this file.
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    assert ray.is_initialized()
    # Workers end with their run, after an error too.
    until = time.monotonic() + 20
    while ray.available_resources().get("CPU") != 2 and time.monotonic() < until:
        time.sleep(0.2)
    assert ray.available_resources()["CPU"] == 2
    ray.shutdown()


@pytest.fixture(scope="module")
def expected(tmp_path_factory, tiny_model, work, prompts) -> dict[str, bytes]:
    """Every shard, as the local engine writes it."""
    out = tmp_path_factory.mktemp("local") / "run"
    locally(out, tiny_model, work, prompts)
    found = shards(out)
    assert len(found) == N // SHARD
    return found


def shards(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (out / "projections").glob("*.parquet")}


def opened(out: Path):
    return open_run(out, experiment="project", config={})


def locally(out: Path, model, work, prompts, *, chunks: int | None = None) -> None:
    with opened(out) as run:
        job = plan(model, work, prompts, shard_prompts=SHARD)
        job = cluster.Job(job.chunks[:chunks], job.n_prompts, job.facts)
        write_shards(run, model, work, job)


def on_ray(out: Path, spec, work, prompts, *, workers: int = 1, address: str | None = None):
    with opened(out) as run:
        write_shards_on_ray(
            run,
            spec,
            work,
            prompts,
            workers=workers,
            address=address,
            batch_tokens=None,
            shard_prompts=SHARD,
        )
        return run.manifest


# --------------------------------------------------------------------------------- same results


def command(out: Path, spec, vectors: Path, prompts: Path) -> list[str]:
    given = {"model": spec.name, "vectors": vectors, "prompts": prompts, "out": out}
    flags = [text for name, value in given.items() for text in (f"--{name}", str(value))]
    return [*flags, "--position", *RULES, "--shard-prompts", str(SHARD)]


def test_the_command_writes_the_local_engines_bytes(tmp_path, work, spec, prompts, expected):
    """As a user gives it: Ray starts for it, stops after it, and keeps its logs to itself."""
    work.vectors.save(vectors := tmp_path / "vectors.safetensors")
    here, there = tmp_path / "here", tmp_path / "there"
    assert project_command.main(command(here, spec, vectors, prompts)) == 0
    flags = [*command(there, spec, vectors, prompts), "--engine", "ray", "--workers", "2"]
    done = subprocess.run(
        [sys.executable, "-m", "trait_probe.project", *flags],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert shards(there) == shards(here) == expected
    assert (there / "results.json").read_bytes() == (here / "results.json").read_bytes()
    assert (there / "config.json").read_bytes() == (here / "config.json").read_bytes()
    facts = [json.loads((out / "manifest.json").read_text())["facts"] for out in (here, there)]
    assert facts[0] == facts[1]
    assert f"projecting: {N} of {N} prompts" in done.stderr
    assert not [text for text in ("WARNING", "INFO", "ERROR") if text in done.stderr + done.stdout]


def test_a_run_begun_here_goes_on_on_ray(tmp_path, tiny_model, work, spec, started):
    """The last chunk repeats a prompt of the first: it agrees to rounding, the others in bytes."""
    again = write_jsonl(tmp_path / "again.jsonl", rows(N, repeats=1))
    here, there = tmp_path / "here", tmp_path / "there"
    locally(here, tiny_model, work, again)
    locally(there, tiny_model, work, again, chunks=4)
    assert len(shards(there)) == 4
    manifest = on_ray(there, spec, work, again)
    assert manifest.timings["prompts_found_finished"] == 4 * SHARD
    assert manifest.timings["prompts_computed"] == N - 4 * SHARD
    *others, last = sorted(shards(here))
    assert [shards(there)[name] for name in others] == [shards(here)[name] for name in others]
    one, other = (read_table(out / "projections" / last) for out in (here, there))
    assert one.schema.equals(other.schema, check_metadata=True)
    for column in one.column_names:
        if column in ("dot", "z"):
            np.testing.assert_allclose(one[column], other[column], atol=1e-5)
        else:
            assert one[column] == other[column]


# ------------------------------------------------------------------------------- what may happen


@dataclass(frozen=True)
class Deadly(Projecting):
    """Kills its own process over chunk 2, as often as it is told."""

    deaths: int = 0
    folder: str = ""

    def compute(self, model, chunk, ready, budget, repeats=None):
        log = Path(self.folder, f"chunk{chunk.index}")
        before = log.read_text().split() if log.exists() else []
        log.write_text(" ".join([*before, str(os.getpid())]))
        if chunk.index == 2 and len(before) < self.deaths:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().compute(model, chunk, ready, budget, repeats)


def deadly(work, folder: Path, deaths: int) -> Deadly:
    folder.mkdir()
    return Deadly(work.vectors, work.positions, deaths=deaths, folder=str(folder))


def test_a_killed_worker_is_replaced(tmp_path, work, spec, prompts, started, expected):
    """Nothing is lost or doubled, and the bytes are the same."""
    out = tmp_path / "run"
    manifest = on_ray(out, spec, deadly(work, tmp_path / "log", 1), prompts, workers=2)
    died, lived = (tmp_path / "log" / "chunk2").read_text().split()
    assert died != lived
    assert shards(out) == expected
    assert manifest.timings["prompts_computed"] == N


@dataclass(frozen=True)
class Spoiling(Projecting):
    """Breaks the last line of the file of prompts, once that was checked as a whole."""

    path: str = ""

    def compute(self, model, chunk, ready, budget, repeats=None):
        whole = Path(self.path).read_bytes()
        Path(self.path).write_bytes(whole[:-9] + b"{" * 8 + b"\n")
        return super().compute(model, chunk, ready, budget, repeats)


def test_an_error_in_a_worker_arrives_as_it_is(tmp_path, tiny_model, work, spec, started, expected):
    """And ends the run, which the local engine then goes on with."""
    prompts = write_jsonl(tmp_path / "prompts.jsonl", rows(N))
    whole = prompts.read_bytes()
    spoiling = Spoiling(work.vectors, RULES, path=str(prompts))
    with pytest.raises(BadInputError, match=f"prompts.jsonl, line {N} is not valid JSON") as caught:
        on_ray(tmp_path / "run", spec, spoiling, prompts)
    assert type(caught.value) is BadInputError
    assert caught.value.fix.startswith("Write one object per line")
    kept = shards(tmp_path / "run")
    assert 0 < len(kept) < len(expected)
    assert kept.items() <= expected.items()
    prompts.write_bytes(whole)
    locally(tmp_path / "run", tiny_model, work, prompts)
    assert shards(tmp_path / "run") == expected


def test_errors_of_planning_arrive_as_they_are(tmp_path, tiny_hooked, work, spec, prompts, started):
    with pytest.raises(BadInputError, match="no such file of prompts") as caught:
        on_ray(tmp_path / "run", spec, work, tmp_path / "absent.jsonl")
    assert type(caught.value) is BadInputError
    other = Projecting(vectors_for(tiny_hooked), RULES)
    with pytest.raises(MismatchError) as caught:
        on_ray(tmp_path / "run", spec, other, prompts)
    assert type(caught.value) is MismatchError
    with pytest.raises(BadInputError, match="neither a folder, nor a hub id"):
        on_ray(tmp_path / "run", ModelSpec("./absent"), work, prompts)
    assert not (tmp_path / "run").exists()


def a_worker(spec, work, planned, begun):
    return cluster._Worker(spec.load, work, planned, 256, begun)


def answer_of(worker, chunk):
    (answer,) = worker(pa.table({"chunk": [pickle.dumps(chunk)]}))["answer"]
    return pickle.loads(answer.as_py())


def test_a_worker_with_another_model_is_refused(tiny_model, work, spec, prompts, started):
    planned = {**identify(tiny_model).to_dict(), "weights_hash": "of another node"}
    chunk = plan(tiny_model, work, prompts, shard_prompts=SHARD).chunks[1]
    worker = a_worker(spec, work, planned, cluster._counter(ray, 1, 1))
    index, error = answer_of(worker, chunk)
    assert (index, type(error)) == (1, MismatchError)
    assert error.got == {"weights_hash": identify(tiny_model).weights_hash}


def test_what_no_worker_survives_ends_the_run(tiny_model, work, spec, prompts, started):
    """Ray itself would start it again for ever."""
    chunk = plan(tiny_model, work, prompts, shard_prompts=SHARD).chunks[1]
    begun = cluster._counter(ray, 2, 3)
    assert [ray.get(begun.too_often.remote(1)) for _ in range(2)] == [0, 0]
    worker = a_worker(spec, work, identify(tiny_model).to_dict(), begun)
    index, error = answer_of(worker, chunk)
    assert (index, type(error)) == (1, RunError)
    assert "2 worker processes died while they computed shard 1" in str(error)
    # A chunk was begun, so a model was loaded: that is counted anew, and for each worker.
    loads = [ray.get(begun.too_often.remote(cluster.LOADING)) for _ in range(8)]
    assert loads == [0] * 6 + [6, 7]


# ------------------------------------------------------------------------------ where it may run


@pytest.mark.parametrize(
    ("device", "gpus", "each"),
    [
        (None, 0, {"num_cpus": 1}),
        (None, 2, {"num_gpus": 1}),
        ("cuda", 2, {"num_gpus": 1}),
        ("cpu", 2, {"num_cpus": 1}),
        ("cuda", 0, {"num_cpus": 1}),  # and load_model says that there is none
    ],
)
def test_each_replica_has_a_gpu_where_there_are_any(device, gpus, each):
    there = SimpleNamespace(cluster_resources=lambda: {"CPU": 4, **({"GPU": gpus} if gpus else {})})
    assert cluster._resources(there, ModelSpec("m", device=device)) == each


def test_folders_mean_what_they_mean_to_the_user(tiny_folder):
    before = os.getcwd()
    model = cluster._load(ModelSpec(f"./{tiny_folder.name}"), str(tiny_folder.parent))
    assert identify(model).id == f"./{tiny_folder.name}"
    assert os.getcwd() == before


def test_a_cluster_that_does_not_answer(tmp_path, work, spec, prompts, monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    with pytest.raises(BadInputError, match="No Ray cluster answers there") as caught:
        on_ray(tmp_path / "run", spec, work, prompts, address=address)
    assert caught.value.got == address
    for malformed in ("ray://127.0.0.1:10001", "somewhere", "somewhere:ssh", ":6379", "a:65536"):
        with pytest.raises(BadInputError, match="does not work through ray://"):
            on_ray(tmp_path / "run", spec, work, prompts, address=malformed)
    assert not (tmp_path / "run").exists()


def test_without_ray(tmp_path, work, spec, prompts, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BadInputError, match="Ray Data, which is not installed") as caught:
        on_ray(tmp_path / "run", spec, work, prompts)
    assert 'pip install "trait_probe[cluster]"' in caught.value.fix
    assert not (tmp_path / "run").exists()
