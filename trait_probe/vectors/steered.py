"""Many steerings of one model in one batched call: each prompt once per steering.

A population of a search, a sweep of strengths, a set of random directions: all are a list of
directions at one site, a strength each, and the same prompts. Greedy answers are those that each
steering would give alone (float32): rows do not see each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from trait_probe.basis import Site
from trait_probe.errors import BadInputError, MismatchError, nearest
from trait_probe.evidence.distribution import upper_tail
from trait_probe.forward.generate import generate_ids
from trait_probe.forward.likelihood import Predictions, answer_log_probs, token_kl
from trait_probe.hooks.steering import Directions, ablate_each, add_each, edit
from trait_probe.identity import HookedModel
from trait_probe.prompts.render import Rendered

Mode = Literal["add", "ablate"]
AddOrAblate = {"add": add_each, "ablate": ablate_each}


@dataclass(frozen=True)
class Steerings:
    """Directions at one site, each with its strength.

    Args:
        directions: `[steering d_model]`; their lengths do not count.
        strengths: `add`: fraction of each token's own activation norm that is added along the
            direction, negative steers away. `ablate`: share, in [0, 1], of each token's component
            along it that is taken away.
        mode: the same for all.

    Raises:
        MismatchError: not one strength per direction.
        BadInputError: no steering, an unknown mode, strengths not finite, or beyond the mode's
            range.
    """

    site: Site
    directions: Float[Tensor, "steering d_model"]
    strengths: tuple[float, ...]
    mode: Mode = "add"

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise BadInputError(
                "A vector is added or ablated.",
                got=self.mode,
                valid=nearest(self.mode, get_args(Mode)),
            )
        if len(self.directions) != len(self.strengths) or not self.strengths:
            raise MismatchError(
                "Every direction has one strength, and there is one or more.",
                got=f"{len(self.directions)} directions, {len(self.strengths)} strengths",
            )
        low, high = (0.0, 1.0) if self.mode == "ablate" else (-np.inf, np.inf)
        wrong = [s for s in self.strengths if not (np.isfinite(s) and low <= s <= high)]
        if wrong:
            raise BadInputError(
                "A strength is a finite number; of an ablation, a share from 0 to 1.", got=wrong
            )

    def __len__(self) -> int:
        return len(self.strengths)


@contextmanager
def steered(model: HookedModel, steerings: Steerings, n_prompts: int) -> Iterator[None]:
    """The steerings in place for a call on `n_prompts` prompts per steering, steering by steering:
    prompt `i` of the call is steered by number `i // n_prompts`."""
    which = torch.arange(len(steerings)).repeat_interleave(n_prompts)
    rows = Directions(steerings.directions, torch.tensor(steerings.strengths), which)
    with edit(model, {steerings.site: AddOrAblate[steerings.mode](rows)}):
        yield


def steered_answers(
    model: HookedModel,
    steerings: Steerings,
    prompts: Sequence[Rendered],
    *,
    max_new_tokens: int,
    label: str = "steering",
) -> list[list[tuple[int, ...]]]:
    """Greedy new token ids of every prompt under every steering: `[steering][prompt]`."""
    n = len(prompts)
    with steered(model, steerings, n):
        ids = generate_ids(
            model, list(prompts) * len(steerings), max_new_tokens=max_new_tokens, label=label
        )
    return [ids[i * n : (i + 1) * n] for i in range(len(steerings))]


def steered_log_probs(
    model: HookedModel, steerings: Steerings, answered: Sequence[Rendered]
) -> Float64[np.ndarray, "steering text"]:
    """Mean log-probability per token (natural) of each given answer under each steering."""
    with steered(model, steerings, len(answered)):
        found = answer_log_probs(model, list(answered) * len(steerings))
    means = np.array([logs.mean() for logs in found])
    return means.reshape(len(steerings), len(answered))


def steered_kl(
    model: HookedModel, steerings: Steerings, answered: Sequence[Rendered], reference: Predictions
) -> Float64[np.ndarray, " steering"]:
    """95th percentile, over the tokens of the given answers, of `token_kl` (nats), per steering."""
    n = len(answered)
    with steered(model, steerings, n):
        found = token_kl(model, list(answered) * len(steerings), reference)
    return np.array(
        [upper_tail(np.concatenate(found[i * n : (i + 1) * n])) for i in range(len(steerings))]
    )
