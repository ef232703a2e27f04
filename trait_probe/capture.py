"""`python -m trait_probe.capture`; see `trait_probe.commands.capture`.

The package has a function of the same name. Whoever imports this file gets that function, so that
the command can never hide it.
"""

from __future__ import annotations

import sys
from typing import Any, cast

if __name__ == "__main__":
    from trait_probe.commands.capture import main

    sys.exit(main())
else:
    from trait_probe.forward.capture import capture

    cast(Any, sys.modules)[__name__] = capture
