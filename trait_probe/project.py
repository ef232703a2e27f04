"""`python -m trait_probe.project`; see `trait_probe.commands.project`.

The package has a function of the same name. Whoever imports this file gets that function, so that
the command can never hide it.
"""

from __future__ import annotations

import sys
from typing import Any, cast

if __name__ == "__main__":
    from trait_probe.commands.project import main

    sys.exit(main())
else:
    from trait_probe.forward.project import project

    cast(Any, sys.modules)[__name__] = project
