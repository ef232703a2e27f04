"""Project or capture any number of prompts into a folder that a kill does not harm."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trait_probe.basis import Site
from trait_probe.errors import BadInputError
from trait_probe.forward.capturing import Capturing
from trait_probe.forward.engine import nothing_selected
from trait_probe.forward.project import projections_of
from trait_probe.forward.projecting import Projecting, projections_shard
from trait_probe.forward.projections import Projections
from trait_probe.forward.shards import plan, write_shards
from trait_probe.forward.stored import ActivationShard, StoredActivations, StoredProjections
from trait_probe.forward.summary import summarize
from trait_probe.forward.work import SHARD_PROMPTS
from trait_probe.hooks.projection import Projection
from trait_probe.identity import HookedModel
from trait_probe.prompts.positions import Pooling, check_pooling, parse_rules
from trait_probe.prompts.render import Truncate
from trait_probe.prompts.stream import PromptSource
from trait_probe.runs.files import canonical_sha256
from trait_probe.runs.rundir import Run, open_run
from trait_probe.vectors.vector import VectorSet


def project_to(
    out: str | Path,
    model: HookedModel,
    prompts: PromptSource,
    vectors: VectorSet,
    *,
    position: str | list[str] | tuple[str, ...],
    pooling: Pooling = "none",
    lineage_ok: bool = False,
    truncate: Truncate | None = None,
    batch_tokens: int | None = None,
    shard_prompts: int = SHARD_PROMPTS,
) -> StoredProjections:
    """`project` into Parquet shards, with flat memory; the same call resumes after any kill.

    Args:
        out: the run's folder: new, empty, or of this very run.
        prompts: a JSONL or Parquet file, or an iterable of prompts or of rows in their JSON form,
            such as a streaming data set. A file is checked as a whole before anything runs.
        shard_prompts: most prompts of a shard.

    Raises:
        BadInputError: as `project`; or `out` holds something else, or is being written.
        MismatchError: other vectors, model or prompts than the run began with.
        RunError: the disk is full; what is finished stays.
    """
    rules = (position,) if isinstance(position, str) else tuple(position)
    config = shards_config(rules, pooling, truncate, shard_prompts)
    work = Projecting(vectors, rules, pooling, truncate, lineage_ok)
    with open_run(Path(out), experiment="project", config=config) as run:
        run.record(vectors=vectors.sha256)
        job = plan(model, work, prompts, shard_prompts=shard_prompts)
        write_shards(run, model, work, job, batch_tokens=batch_tokens, label="projecting")
        return finish_projections(run)


def capture_to(
    out: str | Path,
    model: HookedModel,
    prompts: PromptSource,
    sites: Iterable[Site],
    *,
    position: str,
    pooling: Pooling = "none",
    truncate: Truncate | None = None,
    batch_tokens: int | None = None,
    shard_prompts: int = SHARD_PROMPTS,
) -> StoredActivations:
    """`capture` into safetensors shards; arguments and errors as for `project_to`.

    Tokens are kept in the model's own dtype, pooled rows in float32: rows x d_model x 2 or 4 bytes
    for each site.
    """
    work = capturing(model, sites, position, pooling, truncate)
    config = shards_config((position,), pooling, truncate, shard_prompts)
    config |= {"position": position}
    with open_run(Path(out), experiment="capture", config=config) as run:
        job = plan(model, work, prompts, shard_prompts=shard_prompts)
        run.record(sites=[str(site) for site in work.sites])
        write_shards(run, model, work, job, batch_tokens=batch_tokens, label="capturing")
        return finish_captured(run)


def capturing(
    model: HookedModel,
    sites: Iterable[Site],
    position: str,
    pooling: Pooling,
    truncate: Truncate | None,
) -> Capturing:
    """The job of capturing, for this model.

    Raises:
        BadInputError: a malformed rule, or no site.
    """
    places = tuple(sites)
    if not places:
        raise BadInputError("There is no site to read.", fix="Give at least one layer.")
    parse_rules((position,))
    return Capturing(places, position, pooling, truncate, int(model.cfg.d_model))


def finish_captured(run: Run) -> StoredActivations:
    """Mark the run as complete."""
    _require_rows(run)
    run.finish()
    return StoredActivations.open(run.folder)


def _require_rows(run: Run) -> None:
    if not any(record.rows for record in run.manifest.stages.values()):
        raise nothing_selected(str(run.config["position"]))


def shards_config(
    positions: Sequence[str], pooling: Pooling, truncate: Truncate | None, shard_prompts: int
) -> dict[str, Any]:
    """The part of a configuration that every run of shards has, checked."""
    parse_rules(positions)
    check_pooling(pooling)
    return {
        "position": list(positions),
        "pooling": pooling,
        "truncate": truncate,
        "shard_prompts": shard_prompts,
    }


def finish_projections(run: Run) -> StoredProjections:
    """Write results.json from the finished shards, and mark the run as complete."""
    _require_rows(run)
    files = [run.folder / name for name in sorted(run.manifest.stages)]
    run.write_json("results.json", summarize(files))
    run.finish()
    return StoredProjections.open(run.folder)


def project_stored(
    activations: StoredActivations, vectors: VectorSet, run: Run, *, lineage_ok: bool = False
) -> StoredProjections:
    """Project activations that were captured earlier, shard by shard; no model is needed.

    The numbers are those of `project`, to float32 rounding.

    Raises:
        MismatchError: the vectors are of another model; other activations than the run began with.
        BadInputError: a vector's site was not captured, or they are pooled by `max`.
    """
    if activations.pooling == "max":
        raise BadInputError(
            "The largest of each dimension is no token's activation: its projection is not the "
            "largest projection.",
            got="activations captured with pooling max",
            fix="Capture with pooling none, mean or last; or project the prompts themselves.",
        )
    vectors.check(activations.model, lineage_ok=lineage_ok)
    missing = [str(site) for site in vectors.sites if site not in activations.sites]
    if missing:
        raise BadInputError(
            "The activations were not captured at a site of the vectors.",
            got=missing,
            valid=[str(site) for site in activations.sites],
            fix="Capture these layers as well, or select vectors of the captured ones.",
        )
    shards = activations.shards()
    hashes = {name: record.sha256 for name, record in activations.manifest.stages.items()}
    run.record(vectors=vectors.sha256, activations=canonical_sha256(hashes))
    run.record(model=activations.model.to_dict())
    run.start()
    for index, path in enumerate(shards):
        name = f"projections/{index:08d}.parquet"
        if not run.has(name):
            shard = activations.load(path)
            found = _projected(shard, activations, vectors)
            done = projections_shard([found], {"first": shard.first, "sha256": shard.sha256}, 0)
            run.keep(name, done.data, rows=done.rows)
    return finish_projections(run)


def _projected(
    shard: ActivationShard, activations: StoredActivations, vectors: VectorSet
) -> Projections:
    with torch.inference_mode():
        dots = [Projection(vectors.matrix(site))(shard.rows(site)) for site in vectors.sites]
    return projections_of(
        vectors,
        np.concatenate([dot.numpy() for dot in dots], axis=1),
        prompt_ids=shard.prompt_ids,
        span=activations.position,
        pooling=activations.pooling,
        prompt=shard.numbers("prompt"),
        position=shard.numbers("position"),
        offset=shard.numbers("offset"),
        token=shard.token,
    )
