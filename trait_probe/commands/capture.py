"""Keep raw activations of prompts, any number of them, in safetensors shards.

For work that needs the activations again and again; to project onto known vectors, the project
command stores a thousandth of it. Project stored activations with
`python -m trait_probe.project --activations DIR --vectors FILE --out DIR`. A run that was stopped
goes on when the same command is given again, and ends with the same bytes.

Writes activations/*.safetensors (per site `[row d_model]`, and each row's prompt, position, offset
and token) and manifest.json. Rows keep the model's dtype, pooled rows are float32.

Example: python -m trait_probe.capture --model organism:backdoored --layers 1,2
--position "prompt[-1]" --prompts prompts.jsonl --out runs/activations
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trait_probe.commands.config import CaptureConfig, require
from trait_probe.experiments import _cli

if TYPE_CHECKING:
    from trait_probe.forward.stored import StoredActivations

__all__ = ["main", "run"]


def run(config: CaptureConfig, out: Path | None = None) -> StoredActivations:
    """The whole command.

    Raises:
        TraitProbeError: bad input, before anything is written; a full disk.
    """
    require(config, ("model", "prompts"))
    from trait_probe.commands import _captured

    return _captured.run(config, out)


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m trait_probe.capture`."""
    return _cli.main(
        CaptureConfig,
        run,
        prog="python -m trait_probe.capture",
        description=__doc__ or "",
        argv=argv,
    )


if __name__ == "__main__":
    sys.exit(main())
