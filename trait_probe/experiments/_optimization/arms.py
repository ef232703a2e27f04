"""Every arm on the test questions, in one batched call; what asking in words does; ablation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float, Float64

from trait_probe.experiments._optimization.measuring import from_table, measured, to_table
from trait_probe.experiments._optimization.questions import instructed
from trait_probe.experiments._optimization.searching import Chosen
from trait_probe.forward.generate import generate_ids
from trait_probe.forward.rendering import render_for
from trait_probe.prompts.prompt import Prompt
from trait_probe.runs.rundir import Run
from trait_probe.vectors import geometry
from trait_probe.vectors.objective import Objective
from trait_probe.vectors.panel import Measured, Panel, judged_answers
from trait_probe.vectors.search import Candidates
from trait_probe.vectors.steered import Steerings, steered_kl

UNSTEERED = "unsteered"
EXTRACTED = "extracted"
STRENGTH = "strength only"
SEARCHED = "optimized"
RANDOM = "random search"
SHARED = "optimized: part along the extracted vector"
REST = "optimized: the rest"
NULL = "random direction"
PROMPT = "prompt"


@dataclass(frozen=True)
class Arm:
    """One or more steerings of one kind: seeds of a search, draws of a null.

    Attributes:
        directions: unit.
        strengths: fractions of a token's norm, one per direction.
    """

    name: str
    directions: Float[torch.Tensor, "row d_model"]
    strengths: tuple[float, ...]


def searched_arm(name: str, objective: Objective, chosen: Sequence[Chosen]) -> Arm:
    """What each seed of a search came to."""
    steerings = [objective.steerings(one.candidate) for one in chosen]
    return Arm(
        name,
        torch.cat([one.directions for one in steerings]),
        tuple(one.strengths[0] for one in steerings),
    )


def parts(arm: Arm, extracted: Float[torch.Tensor, " d_model"]) -> tuple[Arm, Arm]:
    """Each direction's part along the extracted vector, and its rest, each as long as it is."""
    axis = geometry.unit(extracted.double())
    along = arm.directions.double() @ axis
    rest = arm.directions.double() - along[:, None] * axis
    length = rest.norm(dim=-1)
    shared = Arm(
        SHARED,
        axis.float()[None].expand(len(along), -1),
        tuple((torch.tensor(arm.strengths).double() * along).tolist()),
    )
    # A direction without a rest is the extracted vector itself: its rest is not to steer.
    empty = length < 1e-6  # float32 rounding
    axes = torch.where(empty[:, None], axis, rest / length.clamp(min=1e-6)[:, None])
    strengths = torch.where(empty, 0.0, torch.tensor(arm.strengths).double() * length)
    return shared, Arm(REST, axes.float(), tuple(strengths.tolist()))


def random_arm(
    run: Run,
    name: str,
    objective: Objective,
    panel: Panel,
    ladder: Sequence[float],
    n: int,
    seed: int,
) -> Arm:
    """Directions drawn at random in the subspace, as strong as the bound on divergence lets."""
    rng = np.random.default_rng([seed, 3])
    coordinates = rng.standard_normal((n, objective.subspace.n_components))

    def strengths() -> pa.Table:
        rungs = Candidates(
            np.repeat(coordinates, len(ladder), axis=0), np.tile(np.array(ladder), n)
        )
        steerings = objective.steerings(rungs)
        kl = steered_kl(panel.model, steerings, panel.kept, panel.reference)
        within = kl.reshape(n, len(ladder)) <= objective.terms.most_kl
        best = [
            max((s for s, ok in zip(ladder, row, strict=True) if ok), default=0.0) for row in within
        ]
        return pa.table({"strength": pa.array(best, pa.float64())})

    chosen = run.stage(name, strengths)["strength"].to_pylist()
    directions = objective.subspace.direction(torch.from_numpy(coordinates))
    return Arm(NULL, directions, tuple(chosen))


@dataclass(frozen=True)
class Tested:
    """What an arm did on the test questions; rows are its seeds or draws."""

    found: Measured

    @property
    def scores(self) -> Float64[np.ndarray, "row question"]:
        return self.found.score


def test_arms(
    run: Run, name: str, objective: Objective, panel: Panel, arms: Sequence[Arm]
) -> dict[str, Tested]:
    """All arms' steerings, answered and judged in one call."""
    strengths = tuple(s for arm in arms for s in arm.strengths)
    steerings = Steerings(objective.site, _directions(arms), strengths)
    return _by_arm(run, name, panel, arms, steerings)


def _directions(arms: Sequence[Arm]) -> Float[torch.Tensor, "row d_model"]:
    return torch.cat([arm.directions for arm in arms])


def _by_arm(
    run: Run, name: str, panel: Panel, arms: Sequence[Arm], steerings: Steerings
) -> dict[str, Tested]:
    """The steerings of all arms, one arm after the other, in one stage; each arm's rows apart."""
    whole = measured(run, name, panel, steerings)
    ends = np.cumsum([len(arm.strengths) for arm in arms])
    return {
        arm.name: Tested(rows_of(whole, range(end - len(arm.strengths), end)))
        for arm, end in zip(arms, ends, strict=True)
    }


def rows_of(found: Measured, rows: Sequence[int]) -> Measured:
    """Some of the steerings; the tokens are those of the whole call."""
    at = list(rows)
    return replace(
        found,
        trait=found.trait[at],
        coherence=found.coherence[at],
        scored=found.scored[at],
        cut=found.cut[at],
        texts=tuple(found.texts[i] for i in at),
        kl=found.kl[at],
    )


def asked_in_words(run: Run, name: str, panel: Panel, instructions: Sequence[str]) -> Measured:
    """The unsteered model's answers under each instruction: what steering competes with."""

    def compute() -> pa.Table:
        rows = [under(panel, text) for text in instructions]
        prompts = render_for(
            panel.model, [one for row in rows for one in row], reserve=panel.max_new_tokens
        )
        ids = generate_ids(
            panel.model, prompts, max_new_tokens=panel.max_new_tokens, label="asked in words"
        )
        n = len(panel.questions)
        answers = [ids[i * n : (i + 1) * n] for i in range(len(instructions))]
        kl = np.zeros(len(instructions))  # nothing is steered; stored, not reported
        return to_table(panel, judged_answers(panel, panel.questions, answers, kl=kl))

    return from_table(run.stage(name, compute))


def under(panel: Panel, instruction: str) -> list[Prompt]:
    """The panel's questions under an instruction."""
    return [instructed(panel.model, instruction, question) for question in panel.questions]


def best_instruction(found: Measured, least_coherence: float) -> int:
    """Number of the instruction of highest score whose answers are coherent enough.

    The first where none is.
    """
    allowed = found.coherent_share >= least_coherence
    return int(np.where(allowed, found.mean_score, -1.0).argmax())


def ablated(
    run: Run, name: str, objective: Objective, panel: Panel, instruction: str, arms: Sequence[Arm]
) -> Mapping[str, Tested]:
    """Directions taken out of the model while it is asked for the trait in words.

    That a direction steers does not say that the model uses it: here it would have to.
    """
    rendered = render_for(panel.model, under(panel, instruction), reserve=panel.max_new_tokens)
    asked = replace(panel, rendered=tuple(rendered))
    shares = tuple(float(s != 0.0) for arm in arms for s in arm.strengths)
    steerings = Steerings(objective.site, _directions(arms), shares, "ablate")
    return _by_arm(run, name, asked, arms, steerings)
