"""A job over any number of prompts into the shards of a run, one file for each chunk of prompts.

A chunk's file depends on its own prompts and on those before it, and is entered in the manifest
once it is whole: after a kill at any moment the same call goes on with the chunks that are not
there, and ends with the same bytes. (Unless memory ran out in one of the two runs alone: other
batches may change the last digits.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sized
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
from trait_probe.hooks.rows import is_edited
from trait_probe.identity import HookedModel, identify
from trait_probe.prompts.render import Rendered
from trait_probe.prompts.stream import Chunk, PromptFile, PromptSource, chunked, scan_file
from trait_probe.runs.rundir import Run


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
    n_prompts = len(prompts) if isinstance(prompts, Sized) else None
    return Job(chunked(prompts, limit, check), n_prompts, {"prompts": None})


def begin(run: Run, model: HookedModel, job: Job, batch_tokens: int | None) -> BatchBudget:
    """Record what the results depend on; the first write follows once a chunk is computed.

    The budget is the one that the run began with: other batches would change the last digits.

    Raises:
        MismatchError: the run was begun with another model, other prompts or another budget; or it
            is resumed under an edit, of which nothing tells whether it is still the same.
    """
    edited = is_edited(model)
    if edited and run.manifest.stages:
        raise MismatchError(
            "A run under an edit (steering) cannot be resumed: nothing tells whether the edit is "
            "the one it began with.",
            got=str(run.folder),
            fix="Choose another --out folder.",
        )
    begun = run.manifest.facts.get("batch_tokens")
    budget = as_budget(model, begun if batch_tokens is None else batch_tokens)
    run.record(
        model=identify(model).to_dict(), edited=edited, batch_tokens=budget.tokens, **job.facts
    )
    return budget


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
        MismatchError: as `begin`; or an iterable that gives other, fewer or more prompts than the
            run began with.
        RunError: the disk is full; what is finished stays, and the same call goes on from there.
    """
    was_finished = run.manifest.finished
    budget = begin(run, model, job, batch_tokens)
    repeats, seen = work.memory(), set()
    with ChunkProgress(label, job.n_prompts) as progress:

        def prepare(chunk: Chunk) -> list[Rendered] | None:
            return None if run.has(work.file(chunk.index)) else make_ready(model, work, chunk)

        for chunk, rendered in ahead(job.chunks, prepare):
            name = work.file(chunk.index)
            seen.add(name)
            if rendered is None:
                _pass_by(run.folder / name, chunk, work, repeats)
                progress.skip(chunk.count)
                continue
            if was_finished and name not in run.manifest.stages:
                raise _other_prompts(run, "more prompts than the finished run has")
            done = work.compute(model, chunk, rendered, budget, repeats, job.n_prompts)
            run.start()
            run.keep(name, done.data, rows=done.rows)
            progress.advance(chunk.count, done.tokens)
        if set(run.manifest.stages) - seen:
            raise _other_prompts(run, "fewer prompts")
        run.start()
        run.measured(**progress.figures())


def _pass_by(path: Path, chunk: Chunk, work: Work, repeats: Repeats | None) -> None:
    """A chunk that is finished: its prompts are still the same ones, and are remembered."""
    if shard_metadata(path)["sha256"] != chunk.sha256:
        raise MismatchError(
            f"{path} was made of other prompts than those given now.",
            got=f"prompts {chunk.first} to {chunk.first + chunk.count - 1}",
            fix="Give the prompts the run began with, in their order, or another folder.",
        )
    if repeats is not None:
        work.recall(path, repeats)


def _other_prompts(run: Run, got: str) -> MismatchError:
    return MismatchError(
        f"{run.folder} holds a run of other prompts than those given now.",
        got=got,
        fix="Give the prompts the run began with, in their order, or another folder.",
    )
