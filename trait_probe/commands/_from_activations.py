"""Project activations that the capture command stored."""

from __future__ import annotations

from pathlib import Path

from trait_probe.commands._terminal import tell
from trait_probe.commands.config import ProjectConfig, require
from trait_probe.errors import BadInputError
from trait_probe.forward.folders import project_stored
from trait_probe.forward.stored import StoredActivations, StoredProjections
from trait_probe.runs.rundir import open_run
from trait_probe.vectors.vector import VectorSet


def run(config: ProjectConfig, out: Path | None) -> StoredProjections:
    """See `trait_probe.commands.project.run`."""
    require(config, ("vectors",))
    given = [f"--{name}" for name in ("model", "prompts") if getattr(config, name) is not None]
    if given:
        raise BadInputError(
            "Stored activations have their model and prompts already.",
            got=" and ".join(given),
            fix="Leave them out, or leave --activations out.",
        )
    activations = StoredActivations.open(str(config.activations))
    stored = config.stored()
    stored |= {"position": [activations.position], "pooling": activations.pooling}
    with open_run(out, experiment="project", config=stored) as run:
        vectors = VectorSet.load(str(config.vectors))
        found = project_stored(activations, vectors, run, lineage_ok=config.lineage_ok)
    tell(found)
    return found
