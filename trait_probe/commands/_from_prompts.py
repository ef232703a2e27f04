"""Project a file of prompts with a model, here or on a cluster."""

from __future__ import annotations

import gc
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from trait_probe.commands._terminal import tell
from trait_probe.commands.config import ProjectConfig, ShardsConfig, refuse_unused
from trait_probe.errors import BadInputError
from trait_probe.forward.budget import as_budget
from trait_probe.forward.dtypes import dtype_error
from trait_probe.forward.folders import finish_projections
from trait_probe.forward.project import project_rendered
from trait_probe.forward.projecting import Projecting
from trait_probe.forward.projections import Projections
from trait_probe.forward.rendering import render_for
from trait_probe.forward.shards import Job, begin, plan, write_shards
from trait_probe.forward.stored import StoredProjections
from trait_probe.identity import HookedModel
from trait_probe.models import load_model
from trait_probe.prompts.positions import parse_rules
from trait_probe.prompts.stream import read_prompts
from trait_probe.runs.rundir import Run, open_run
from trait_probe.vectors.vector import VectorSet

DTYPE_ERROR = "dtype_error.json"


def run(config: ProjectConfig, out: Path | None) -> StoredProjections:
    """See `trait_probe.commands.project.run`."""
    parse_rules(config.rules)
    if config.engine == "local":
        refuse_unused(config, ("workers", "ray_address"), "The local engine")
    with open_run(out, experiment="project", config=config.stored()) as run:
        vectors = VectorSet.load(str(config.vectors))
        work = Projecting(
            vectors, tuple(config.rules), config.pool, config.truncate, config.lineage_ok
        )
        run.record(vectors=vectors.sha256)
        if config.engine == "ray":
            _on_ray(config, run, work)
        else:
            _here(config, run, work)
        found = finish_projections(run)
    tell(found)
    return found


def _here(config: ProjectConfig, run: Run, work: Projecting) -> None:
    if config.dtype == "float32" or not config.dtype_sample:
        model = load(config, config.dtype)
        job = plan(model, work, str(config.prompts), shard_prompts=config.shard_prompts)
    else:
        work, job, exact = _in_float32(config, work)
        model = load(config, config.dtype)
        work.check(model)
        begin(run, model, job, config.batch_tokens)  # refuses other input before it is overwritten
        error = dtype_error(exact, _sample(config, work, model))
        run.write_json(DTYPE_ERROR, {"dtype": config.dtype, **error})
    write_shards(run, model, work, job, batch_tokens=config.batch_tokens, label="projecting")


def _in_float32(
    config: ProjectConfig, work: Projecting
) -> tuple[Projecting, Job, list[Projections]]:
    """The job, checked with the float32 model, and its first prompts projected in float32.

    Vectors of the float32 model fit the same model in another dtype, whose error is measured.
    """
    model = load(config, "float32")
    if {vector.basis.model.dtype for vector in work.vectors} == {"float32"}:
        work.check(model)
        work = replace(work, lineage_ok=True)
    stated = replace(work, lineage_ok=True)
    job = plan(model, stated, str(config.prompts), shard_prompts=config.shard_prompts)
    found = _sample(config, stated, model)
    del model
    gc.collect()
    return work, job, found


def _sample(config: ProjectConfig, work: Projecting, model: HookedModel) -> list[Projections]:
    prompts = list(islice(read_prompts(Path(str(config.prompts))), config.dtype_sample))
    return project_rendered(
        model,
        render_for(model, prompts, truncate=work.truncate),
        work.vectors,
        work.positions,
        work.pooling,
        budget=as_budget(model, config.batch_tokens),
        label=f"{len(prompts)} prompts for the error of {config.dtype}",
    )


def _on_ray(config: ProjectConfig, run: Run, work: Projecting) -> None:
    from trait_probe.forward.cluster import ModelSpec, write_shards_on_ray

    if config.dtype != "float32" and config.dtype_sample:
        raise BadInputError(
            "The ray engine does not measure what a dtype does to the numbers.",
            got=f"--dtype {config.dtype} --dtype-sample {config.dtype_sample}",
            fix="Measure it on some prompts with --engine local; then give --dtype-sample 0 (and "
            "--lineage-ok for vectors of the float32 model).",
        )
    write_shards_on_ray(
        run,
        ModelSpec(**load_arguments(config, config.dtype)),
        work,
        Path(str(config.prompts)),
        workers=config.workers,
        address=config.ray_address,
        batch_tokens=config.batch_tokens,
        shard_prompts=config.shard_prompts,
    )


def load(config: ShardsConfig, dtype: str) -> HookedModel:
    """The model that the flags name, in a dtype."""
    model: HookedModel = load_model(**load_arguments(config, dtype))
    return model


def load_arguments(config: ShardsConfig, dtype: str) -> dict[str, Any]:
    """Arguments of `load_model`."""
    return {
        "name": config.model,
        "revision": config.revision,
        "dtype": dtype,
        "device": config.device,
        "adapter": config.adapter,
    }
