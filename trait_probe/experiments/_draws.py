"""How many draws a run's claims need, known before any model is read."""

from __future__ import annotations

import math

from trait_probe.errors import BadInputError


def require_draws(alpha: float, claims: int, **draws: int) -> None:
    """Refuse nulls of so few draws that no effect could pass.

    The smallest p of n draws is 1 / (n + 1); Holm's method asks one of `claims` for alpha / claims.

    Args:
        alpha: error rate over all claims.
        draws: by the configuration's field.

    Raises:
        BadInputError: with the number that is needed.
    """
    needed = math.ceil(claims / alpha) - 1
    few = {name: n for name, n in draws.items() if n < needed}
    if few:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in few)
        raise BadInputError(
            f"{claims} claims at an error rate of {alpha:g} over all of them cannot be told from "
            "so few draws.",
            got=few,
            valid=(f"{needed} or more",),
            fix=f"Draw more ({flags}), or claim fewer traits.",
        )
