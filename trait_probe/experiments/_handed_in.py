"""How a configuration names what came from Python as an object: it cannot be loaded again by name.

A run's config.json must reproduce the run or refuse to; a model handed in may have been merged,
edited or trained since, and prompts handed in lie in no file that the configuration knows.
"""

from __future__ import annotations

from trait_probe.errors import BadInputError

_MARK = "handed in: "


def handed_in(name: str) -> str:
    """What the field says of an object with this name or hash."""
    return _MARK + name


def require_named(field: str, value: str, hint: str) -> None:
    """Refuse to load what only the Python call that made the run had.

    Raises:
        BadInputError: `value` stands for an object that was handed in.
    """
    if value.startswith(_MARK):
        raise BadInputError(
            f"The configuration's {field} was handed in from Python, and no name brings it back.",
            got=value,
            fix=hint,
        )
