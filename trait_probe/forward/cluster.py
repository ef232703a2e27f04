"""The job of `trait_probe.forward.shards` through Ray Data, with one replica of the model a worker.

This process never loads the model and is the only one that writes the run's folder: workers send
back whole files, so that nothing is lost, doubled or half written whenever one of them dies. Either
engine goes on with a run of the other. Their files are the same bytes but for chunks with prompts
of an earlier chunk, which the local engine remembers: these agree to float32 rounding. Every node
needs this package, and the file of prompts (and a model that is a folder) under the same path.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, no_type_check

import pyarrow as pa

from trait_probe.errors import BadInputError, MismatchError, RunError, TraitProbeError, first_line
from trait_probe.forward.budget import BatchBudget, as_budget
from trait_probe.forward.progress import ChunkProgress
from trait_probe.forward.shards import Job, plan
from trait_probe.forward.work import Finished, Work, make_ready
from trait_probe.identity import HookedModel, identify
from trait_probe.models import load_model
from trait_probe.prompts.stream import Chunk
from trait_probe.runs.rundir import Run

DEATHS = 4
"""Processes that may die over one chunk, or over loading one worker's model, before a run ends."""
LOADING = -1
"""Beside the indices of chunks."""
Load = Callable[[], HookedModel]
ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}
"""Unless the user set it: no telemetry; no warnings of how Ray Data itself starts its workers."""


@dataclass(frozen=True)
class ModelSpec:
    """A model by name, for a process that has to load it; fields as `load_model`'s arguments."""

    name: str
    revision: str | None = None
    dtype: str = "float32"
    device: str | None = None
    adapter: str | None = None

    def load(self) -> HookedModel:
        """Load it, in the process that calls."""
        model: HookedModel = load_model(**asdict(self))
        return model


def write_shards_on_ray(
    run: Run,
    spec: ModelSpec,
    work: Work,
    path: Path,
    *,
    workers: int,
    address: str | None,
    batch_tokens: int | None,
    shard_prompts: int,
) -> None:
    """Compute every chunk of the file that the run does not have yet, in no particular order.

    Args:
        path: the prompts; the same file under this path on every node.
        workers: replicas of the model, each with a GPU of its own where the cluster has any, else
            with one CPU thread.
        address: a cluster that this machine is a node of, `auto` or HOST:PORT; None to start Ray
            on this machine for this call. If this process has a Ray already, that is used.
        batch_tokens: most tokens of a batch; None for those the run began with, or automatic.

    Raises:
        BadInputError: no Ray, no cluster at the address; as `plan`.
        MismatchError: as `write_shards`; or a worker loaded another model than the others.
        RunError: the disk is full, or workers died again and again over the same prompts; what is
            finished stays, and the same call goes on from there.
    """
    load = partial(_load, spec, os.getcwd())
    begun = run.manifest.facts.get("batch_tokens") if batch_tokens is None else batch_tokens
    with _connected(address, workers) as ray:
        each = _resources(ray, spec)
        asked = ray.remote(**each)(_plan).remote(load, work, path.absolute(), shard_prompts, begun)
        job, model, tokens = _or_raise(ray.get(asked))
        run.record(batch_tokens=tokens, model=model, edited=False, **job.facts)
        run.start()
        with ChunkProgress("projecting", job.n_prompts) as progress:
            chunks = {chunk.index: chunk for chunk in job.chunks}
            missing = {i: one for i, one in chunks.items() if not run.has(work.file(i))}
            progress.skip(sum(one.count for i, one in chunks.items() if i not in missing))
            give = (load, work, model, tokens)
            for index, done in _results(ray, give, list(missing.values()), workers, each):
                # A chunk may come twice, from a worker that died after all was done.
                if index in missing:
                    run.keep(work.file(index), done.data, rows=done.rows)
                    progress.advance(missing.pop(index).count, done.tokens)
            if missing:
                raise RunError(f"Ray ended without {len(missing)} shards.", got=sorted(missing)[:5])
            run.measured(**progress.figures())


def _load(spec: ModelSpec, folder: str) -> HookedModel:
    """Elsewhere, but with names of folders as they are in `folder`, where the command was given."""
    with contextlib.chdir(folder) if os.path.isdir(folder) else contextlib.nullcontext():
        return spec.load()


def _plan(
    load: Load, work: Work, path: Path, shard_prompts: int, batch_tokens: int | None
) -> tuple[Job, dict[str, Any], int] | TraitProbeError:
    """What takes a loaded model to find out, in a process of the cluster: job, model, budget."""
    try:
        model = load()
        job = plan(model, work, path, shard_prompts=shard_prompts)
        return job, identify(model).to_dict(), as_budget(model, batch_tokens).tokens
    except TraitProbeError as error:
        return error


def _results(
    ray: Any, give: tuple[Any, ...], chunks: Sequence[Chunk], workers: int, each: dict[str, int]
) -> Iterator[tuple[int, Finished]]:
    """Results as they come; workers that die are replaced, and their chunks computed again."""
    if not chunks:
        return
    size = min(workers, len(chunks))
    begun = _counter(ray, DEATHS, size)
    rows = [{"chunk": pickle.dumps(chunk)} for chunk in chunks]
    # A block for each chunk: blocks are what Ray hands out, and what it computes again.
    results = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        _Worker,
        fn_constructor_args=(*give, begun),
        batch_size=1,
        batch_format="pyarrow",
        # One chunk waits at each worker; the others go to whoever is free first.
        compute=ray.data.ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=2),
        **each,
    )
    for row in results.iter_rows():
        index, done = pickle.loads(row["answer"])
        yield index, _or_raise(done)


class _Worker:
    """One replica of the model in a process of its own, which Ray Data gives chunk after chunk.

    Errors of this package are results like any other: Ray would wrap them and print their traces.
    """

    def __init__(
        self, load: Load, work: Work, planned: dict[str, Any], tokens: int, begun: Any
    ) -> None:
        self._work, self._begun, self._budget = work, begun, BatchBudget(tokens)
        try:
            self._begin(LOADING, "loaded the model")
            self._model: HookedModel | TraitProbeError = load()
            _require_same_model(planned, identify(self._model).to_dict())
        except TraitProbeError as error:
            self._model = error

    def __call__(self, batch: pa.Table) -> pa.Table:
        """One chunk's result, or the error that keeps it from being computed."""
        chunk: Chunk = pickle.loads(batch["chunk"][0].as_py())
        answer: tuple[int, Finished | TraitProbeError]
        try:
            model = _or_raise(self._model)
            self._begin(chunk.index, f"computed shard {chunk.index}")
            rendered = make_ready(model, self._work, chunk)
            answer = chunk.index, self._work.compute(model, chunk, rendered, self._budget)
        except TraitProbeError as error:
            answer = chunk.index, error
        return pa.table({"answer": pa.array([pickle.dumps(answer)], pa.large_binary())})

    def _begin(self, what: int, doing: str) -> None:
        """Ray restarts for ever; what no process survives has to end."""
        import ray

        if died := ray.get(self._begun.too_often.remote(what)):
            raise RunError(
                f"{died} worker processes died while they {doing}; finished shards are kept.",
                fix="Look for the cause in Ray's logs. Where memory ran out, take fewer --workers "
                "or larger nodes; the same command goes on.",
            )


def _counter(ray: Any, deaths: int, workers: int) -> Any:
    """Counts what was begun, where the death of a worker does not reach.

    A class made here is sent as it is; for one it knows by name, Ray would import PyTorch there.
    """
    times: dict[int, int] = {}

    @no_type_check  # where all functions are checked as they run, their checks cannot be sent
    class Begun:
        def too_often(self, what: int) -> int:
            """Count `LOADING` or a chunk: how many died over it, where those are too many."""
            if what != LOADING:  # then a model was loaded
                times[LOADING] = 0
            died = times.get(what, 0)
            times[what] = died + 1
            return died if died >= deaths * (workers if what == LOADING else 1) else 0

    return ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Begun).remote()


def _or_raise(result: Any) -> Any:
    if isinstance(result, TraitProbeError):
        raise result
    return result


def _require_same_model(planned: dict[str, Any], found: dict[str, Any]) -> None:
    if found != planned:
        raise MismatchError(
            "A worker loaded another model than the one that the prompts were checked with.",
            got={name: value for name, value in found.items() if value != planned[name]},
            fix="Name the model's commit (--revision), or a folder that all nodes share.",
        )


def _resources(ray: Any, spec: ModelSpec) -> dict[str, int]:
    """What each process with a model holds while it lives."""
    on_gpu = spec.device is None or spec.device.startswith("cuda")
    return {"num_gpus": 1} if on_gpu and ray.cluster_resources().get("GPU") else {"num_cpus": 1}


@contextlib.contextmanager
def _connected(address: str | None, workers: int) -> Iterator[Any]:
    """The module `ray`, connected for the block. Its failures become ours."""
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise BadInputError(
            "The ray engine needs Ray Data, which is not installed.",
            fix='Run pip install "trait_probe[cluster]".',
        ) from error
    ours = not ray.is_initialized()
    if ours:
        _connect(ray, address, workers)
    try:
        yield ray
    except ray.exceptions.RayTaskError:
        raise  # an error in a worker that is not of this package: a bug, with its trace
    except ray.exceptions.RayError as error:
        raise RunError(
            f"Ray could not go on: {first_line(error)} ({type(error).__name__})",
            fix="What is finished is kept. Look at Ray's logs; the same command goes on.",
        ) from error
    finally:
        if ours:
            ray.shutdown()


def _connect(ray: Any, address: str | None, workers: int) -> None:
    if address not in (None, "auto"):
        _require_reachable(str(address))
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    ray.data.DataContext.get_current().enable_progress_bars = False  # we have our own
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    here = {"address": "local", "num_cpus": workers, "include_dashboard": False}
    options = here if address is None else {"address": address}
    try:
        ray.init(**options, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError) as error:
        raise BadInputError(
            f"Ray did not start: {first_line(error)}",
            got=address,
            fix="Check it with `ray status`; if it asks for a token, set RAY_AUTH_MODE=token.",
        ) from error


def _require_reachable(address: str) -> None:
    """Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if "/" in host or not host or not port.isdecimal() or int(port) >= 2**16:
        raise BadInputError(
            "The cluster is named as its nodes know it; Ray Data does not work through ray://.",
            got=address,
            valid=("auto", "HOST:6379"),
            fix="Give the command on a node of the cluster (ray job submit does).",
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except OSError as error:
        raise BadInputError(
            f"No Ray cluster answers there: {first_line(error)}",
            got=address,
            fix="Check it with `ray status`, or leave the address out to run on this machine.",
        ) from error
