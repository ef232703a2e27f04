"""Project activations that the capture command stored."""

from __future__ import annotations

from pathlib import Path

from trait_probe.commands._terminal import tell
from trait_probe.commands.config import ProjectConfig, refuse_unused, require
from trait_probe.forward.folders import project_stored
from trait_probe.forward.stored import StoredActivations, StoredProjections
from trait_probe.runs.rundir import open_run
from trait_probe.vectors.vector import VectorSet


def run(config: ProjectConfig, out: Path | None) -> StoredProjections:
    """See `trait_probe.commands.project.run`."""
    require(config, ("vectors",))
    unused = set(ProjectConfig.model_fields) - {"activations", "vectors", "lineage_ok"}
    refuse_unused(config, sorted(unused), "Projecting stored activations")
    activations = StoredActivations.open(str(config.activations))
    stored = config.stored()
    stored |= {"position": [activations.position], "pooling": activations.pooling}
    with open_run(out, experiment="project", config=stored) as run:
        vectors = VectorSet.load(str(config.vectors))
        found = project_stored(activations, vectors, run, lineage_ok=config.lineage_ok)
    tell(found)
    return found
