"""A job over any number of prompts into the shards of a run, one file for each chunk of prompts.

A chunk's file depends on its own prompts alone, and is entered in the manifest once it is whole:
after a kill at any moment the same call goes on with the chunks that are not there, and ends with
the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trait_probe.errors import MismatchError
from trait_probe.forward.budget import BatchBudget, as_budget
from trait_probe.forward.pipeline import Preflight, ahead
from trait_probe.forward.progress import ChunkProgress
from trait_probe.forward.repeats import Repeats
from trait_probe.forward.shard_files import shard_metadata
from trait_probe.forward.work import Work, make_ready
from trait_probe.identity import HookedModel, identify
from trait_probe.prompts.prompt import Prompt
from trait_probe.prompts.render import Rendered
from trait_probe.prompts.stream import Chunk, MemoryChunk, PromptFile, chunked, scan_file
from trait_probe.runs.rundir import Run

PromptSource = str | Path | Iterable[Prompt | Mapping[str, object]]
"""A file of prompts (JSONL or Parquet), or an iterable such as a streaming data set."""


@dataclass(frozen=True)
class Job:
    """What a run of shards is about to do, checked.

    Attributes:
        chunks: the chunks in order; of a file, all known beforehand.
        n_prompts: prompts in all; None where only the end of an iterable tells.
        facts: what the manifest has to record of the input.
    """

    chunks: Iterable[Chunk]
    n_prompts: int | None
    facts: Mapping[str, Any]


def plan(model: HookedModel, work: Work, prompts: PromptSource, *, shard_prompts: int) -> Job:
    """Check model and input; of a file, read every prompt once. Nothing is written.

    Raises:
        BadInputError: as `scan_file` and `Preflight` (of an iterable, when a chunk is drawn).
        MismatchError: the job does not fit the model.
    """
    work.check(model)
    limit = work.limit(shard_prompts)
    check = Preflight(model, work.positions, work.truncate)
    if isinstance(prompts, str | Path):
        found: PromptFile = scan_file(Path(prompts), limit, check)
        facts = {"prompts": {"sha256": found.sha256, "n": found.n_prompts}}
        return Job(found.chunks, found.n_prompts, facts)
    return Job(chunked(prompts, limit, check), None, {"prompts": None})


def write_shards(
    run: Run,
    model: HookedModel,
    work: Work,
    job: Job,
    *,
    batch_tokens: int | None = None,
    label: str = "shards",
) -> None:
    """Compute every chunk that the run does not have yet, in order.

    Raises:
        MismatchError: the run was begun with another model or other prompts.
        RunError: the disk is full; what is finished stays, and the same call goes on from there.
    """
    budget = recorded_budget(run, model, batch_tokens)
    run.record(model=identify(model).to_dict(), **job.facts)
    run.start()
    repeats = work.memory()
    with ChunkProgress(label, job.n_prompts) as progress:

        def prepare(chunk: Chunk) -> list[Rendered] | None:
            return None if run.has(work.file(chunk.index)) else make_ready(model, work, chunk)

        for chunk, rendered in ahead(job.chunks, prepare):
            path = run.folder / work.file(chunk.index)
            if rendered is None:
                _pass_by(path, chunk, work, repeats)
                progress.skip(chunk.count)
                continue
            done = work.compute(model, chunk, rendered, budget, repeats)
            run.keep(work.file(chunk.index), done.data, rows=done.rows)
            progress.advance(chunk.count, done.tokens)
        run.measured(**progress.figures())


def recorded_budget(run: Run, model: HookedModel, batch_tokens: int | None) -> BatchBudget:
    """The budget that the run began with: other batches would change the last digits."""
    begun = run.manifest.facts.get("batch_tokens")
    budget = as_budget(model, begun if batch_tokens is None else batch_tokens)
    run.record(batch_tokens=budget.tokens)
    return budget


def _pass_by(path: Path, chunk: Chunk, work: Work, repeats: Repeats | None) -> None:
    """A chunk that is finished: its prompts are still the same ones, and are remembered."""
    if isinstance(chunk, MemoryChunk):
        _require_same_prompts(path, chunk)
    if repeats is not None:
        work.recall(path, repeats)


def _require_same_prompts(path: Path, chunk: MemoryChunk) -> None:
    about = shard_metadata(path)
    if about["sha256"] != chunk.sha256:
        raise MismatchError(
            f"{path} was made of other prompts than those given now.",
            got=f"prompts {chunk.first} to {chunk.first + chunk.count - 1}",
            fix="Give the prompts the run began with, in their order, or another folder.",
        )
