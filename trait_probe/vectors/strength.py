"""How strongly to steer: what each strength does to trait, coherence, predictions and norms.

Strengths are not comparable between models or vectors (2 to 2,500 in the literature's raw units).
Here a strength is the fraction of a token's own norm that is added (or the share of the component
that is ablated), and vectors are compared at equal damage: the 95th percentile, over tokens of
given answers, of the divergence of the steered model's predictions from the unsteered ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from trait_probe.basis import Site
from trait_probe.errors import BadInputError
from trait_probe.evidence.estimate import Estimate, Unscored
from trait_probe.evidence.means import clustered_mean
from trait_probe.forward.capture import capture
from trait_probe.vectors import geometry
from trait_probe.vectors.panel import COHERENT_FROM, Measured, Panel, measure
from trait_probe.vectors.steered import Mode, Steerings


@dataclass(frozen=True)
class Step:
    """One strength of a vector.

    Attributes:
        score: mean of the trait's score over questions, incoherent answers counting 0 (0 to 1).
        coherence: share of coherent answers.
        kl: 95th percentile of the token KL on the kept answers, nats.
        norm_ratio: mean over their tokens of the steered activation's norm over its own.
        n_unscored: answers without a score; score and coherence leave them out.
        mean_score, coherent_share: the same with a missing score counting 0 and no interval: what
            strengths are chosen by, as `Measured.mean_score` is.
    """

    strength: float
    score: Estimate | Unscored
    coherence: Estimate | Unscored
    kl: float
    norm_ratio: float
    n_unscored: int
    mean_score: float
    coherent_share: float

    def to_json(self) -> dict[str, object]:
        """Plain fields."""
        return {
            **vars(self),
            "score": self.score.to_json(),
            "coherence": self.coherence.to_json(),
        }


@dataclass(frozen=True)
class Sweep:
    """The steps of one direction at one site, in the order of their strengths, 0 among them.

    Attributes:
        n_answers, n_tokens: what it cost; tokens that were generated or read.
    """

    site: Site
    mode: Mode
    steps: tuple[Step, ...]
    n_answers: int
    n_tokens: int

    def at_kl(self, most: float) -> Step:
        """The largest strength (by size) with a KL of at most `most`."""
        return max((s for s in self.steps if s.kl <= most), key=lambda s: abs(s.strength))

    def at_coherence(self, least: float, *, most_kl: float = np.inf) -> Step:
        """The largest strength with at least this share of coherent answers.

        Raises:
            BadInputError: not even the unsteered model has it.
        """
        found = [s for s in self.steps if _coherent(s, least) and s.kl <= most_kl]
        if not found:
            raise BadInputError(
                "No strength, not even 0, leaves that share of answers coherent.",
                got=least,
                valid=[f"{s.strength:g}: {s.coherence}" for s in self.steps],
            )
        return max(found, key=lambda s: abs(s.strength))

    def best(self, *, most_kl: float = np.inf, least_coherence: float = 0.0) -> Step:
        """The strength of highest score within both limits; of equal ones the weakest.

        0 is always among them: where nothing else stays within the limits, do not steer.
        """
        found = [s for s in self.steps if s.kl <= most_kl and _coherent(s, least_coherence)]
        unsteered = [s for s in self.steps if s.strength == 0.0]
        return max(
            found or unsteered,
            key=lambda s: (s.mean_score, -abs(s.strength)),
        )


def _coherent(step: Step, least: float) -> bool:
    return step.coherent_share >= least


def sweep(
    panel: Panel,
    site: Site,
    direction: Tensor,
    strengths: Sequence[float],
    *,
    mode: Mode = "add",
    which: Sequence[int] | None = None,
) -> Sweep:
    """Every strength of a direction, in one batched call.

    Which one to take is a choice: make it on other questions than those you report
    (`which`, or a panel of their own).

    Args:
        direction: `[d_model]`, a vector's `direction`; its length does not count.
        strengths: see `Steerings`; 0 is added where it is missing.
        mode: `add` or `ablate`. That one of them changes behaviour says nothing about the other.
    """
    ladder = sorted({0.0, *strengths})
    rows = direction[None].expand(len(ladder), -1)
    steerings = Steerings(site, rows, tuple(ladder), mode)
    return sweep_of(panel, steerings, measure(panel, steerings, which), which)


def sweep_of(
    panel: Panel, steerings: Steerings, found: Measured, which: Sequence[int] | None = None
) -> Sweep:
    """The sweep of one direction's strengths, from what was measured."""
    ratios = norm_ratios(panel, steerings)
    groups = panel.groups if which is None else [panel.groups[i] for i in which]
    steps = [
        Step(
            strength=strength,
            score=_mean(found.score[i], found.scored[i], groups, "trait score"),
            coherence=_mean(
                (found.coherence[i] >= COHERENT_FROM / 100.0).astype(float),
                found.scored[i],
                groups,
                "share",
            ),
            kl=float(found.kl[i]),
            norm_ratio=ratios[i],
            n_unscored=int((~found.scored[i]).sum()),
            mean_score=float(found.mean_score[i]),
            coherent_share=float(found.coherent_share[i]),
        )
        for i, strength in enumerate(steerings.strengths)
    ]
    return Sweep(steerings.site, steerings.mode, tuple(steps), int(found.scored.size), found.tokens)


def _mean(
    values: Float64[np.ndarray, " question"],
    scored: Bool[np.ndarray, " question"],
    groups: Sequence[str],
    unit: str,
) -> Estimate | Unscored:
    kept = [group for group, known in zip(groups, scored, strict=True) if known]
    if len(set(kept)) < 2:
        return Unscored(f"{len(set(kept))} groups of questions have scored answers, of 2 or more")
    return clustered_mean(values[scored], kept, unit=unit)


def norm_ratios(panel: Panel, steerings: Steerings) -> list[float]:
    """Per steering, the mean over tokens of kept answers of |steered activation| / |own one|."""
    rows = capture(panel.model, panel.kept, [steerings.site], position="response[:]")
    values = torch.from_numpy(rows.values[steerings.site]).double()
    units = values / values.norm(dim=-1, keepdim=True)
    found = []
    for direction, strength in zip(steerings.directions, steerings.strengths, strict=True):
        axis = geometry.unit(direction.double().cpu())
        along = units @ axis
        if steerings.mode == "add":
            changed = units + strength * axis
        else:
            changed = units - strength * along[:, None] * axis
        found.append(float(changed.norm(dim=-1).mean()))
    return found
