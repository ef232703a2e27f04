"""`python -m trait_probe.prompts`; see `trait_probe.commands.prompts`."""

from __future__ import annotations

import sys

from trait_probe.commands.prompts import main

if __name__ == "__main__":
    sys.exit(main())
