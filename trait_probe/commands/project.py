"""Project prompts onto trait vectors, any number of them, into Parquet shards.

One forward pass a prompt reads all vectors, layers and position rules, and stops after the deepest
of them; duplicates run once; memory does not grow with the number of prompts. A run that was
stopped, by whatever, goes on when the same command is given again, and ends with the same bytes.

Writes projections/*.parquet (a line for each vector and token, or prompt when pooled),
results.json (the distribution of each vector's projections) and manifest.json. With another dtype
than float32 it also writes dtype_error.json: what that does to the numbers, measured.

Example: python -m trait_probe.project --model organism:backdoored --vectors evil.safetensors
--prompts prompts.jsonl --position "response[:]" --pooling mean --out runs/evil
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trait_probe.commands.config import ProjectConfig, require
from trait_probe.experiments import _cli

if TYPE_CHECKING:
    from trait_probe.forward.stored import StoredProjections

__all__ = ["main", "run"]


def run(config: ProjectConfig, out: Path | None = None) -> StoredProjections:
    """The whole command.

    Raises:
        TraitProbeError: bad input, before anything is written; a full disk.
    """
    if config.activations is not None:
        from trait_probe.commands import _from_activations

        return _from_activations.run(config, out)
    require(config, ("model", "vectors", "prompts"))
    from trait_probe.commands import _from_prompts

    return _from_prompts.run(config, out)


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m trait_probe.project`."""
    return _cli.main(
        ProjectConfig,
        run,
        prog="python -m trait_probe.project",
        description=__doc__ or "",
        argv=argv,
    )


if __name__ == "__main__":
    sys.exit(main())
