"""Capture a file of prompts with a model."""

from __future__ import annotations

from pathlib import Path

from trait_probe.commands._from_prompts import load
from trait_probe.commands._terminal import tell_captured
from trait_probe.commands.config import CaptureConfig
from trait_probe.forward.folders import capturing, finish_captured
from trait_probe.forward.shards import plan, write_shards
from trait_probe.forward.stored import StoredActivations
from trait_probe.hooks.sites import parse_layers, sites_at
from trait_probe.runs.rundir import open_run


def run(config: CaptureConfig, out: Path | None) -> StoredActivations:
    """See `trait_probe.commands.capture.run`."""
    assert config.prompts is not None
    with open_run(out, experiment="capture", config=config.stored()) as run:
        model = load(config, config.dtype)
        sites = sites_at(parse_layers(config.layers, model), config.point)
        work = capturing(model, sites, config.position, config.pool, config.truncate)
        job = plan(model, work, config.prompts, shard_prompts=config.shard_prompts)
        run.record(sites=[str(site) for site in sites])
        write_shards(run, model, work, job, batch_tokens=config.batch_tokens, label="capturing")
        found = finish_captured(run)
    tell_captured(found)
    return found
