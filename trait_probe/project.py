"""`python -m trait_probe.project`; see `trait_probe.commands.project`.

The package has a function of the same name, which importing this file would hide: so the module can
be called, and does what the function does.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

if __name__ == "__main__":
    from trait_probe.commands.project import main

    sys.exit(main())


class _Callable(ModuleType):
    def __call__(self, *args: Any, **options: Any) -> Any:
        from trait_probe.forward.project import project

        return project(*args, **options)


sys.modules[__name__].__class__ = _Callable
