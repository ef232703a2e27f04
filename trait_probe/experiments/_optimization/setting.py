"""Where one trait's search starts: panels, the extracted vector at its best, the subspace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import torch

from trait_probe.basis import Site
from trait_probe.errors import RunError
from trait_probe.experiments._optimization.arms import under
from trait_probe.experiments._optimization.config import Config
from trait_probe.experiments._optimization.judging import Judges
from trait_probe.experiments._optimization.measuring import measured
from trait_probe.experiments._optimization.questions import Questions
from trait_probe.forward.capture import capture
from trait_probe.forward.rendering import render_for
from trait_probe.identity import HookedModel
from trait_probe.prompts.render import Rendered
from trait_probe.runs.rundir import Run
from trait_probe.vectors.moments import Moments
from trait_probe.vectors.objective import Objective, Terms, typical_answers
from trait_probe.vectors.panel import Panel, answered_by, panel
from trait_probe.vectors.steered import Steerings
from trait_probe.vectors.strength import Step, Sweep, sweep_of
from trait_probe.vectors.subspace import Subspace, principal_subspace
from trait_probe.vectors.trait_vector import TraitVector
from trait_probe.vectors.vector import VectorSet


@dataclass(frozen=True)
class Panels:
    """What steerings are measured on, for each purpose; the test has kept prompts of its own."""

    train: Panel
    validation: Panel
    test: Panel

    def judged_by(self, judges: Judges) -> Panels:
        """The same with other judges, such as ones that keep their scores."""
        return Panels(
            *(
                replace(one, trait=judges.trait, coherence=judges.coherence)
                for one in (self.train, self.validation, self.test)
            )
        )


@dataclass(frozen=True)
class Setting:
    """What every arm of one trait shares.

    Attributes:
        vector: the extracted one, at the layer where it steers best.
        sweeps: of the extracted vectors, by site, on the validation questions.
        best: the step that was chosen there.
        objective: of the searches.
    """

    questions: Questions
    panels: Panels
    vector: TraitVector
    sweeps: Mapping[Site, Sweep]
    best: Step
    objective: Objective

    @property
    def name(self) -> str:
        """The trait's."""
        return self.questions.trait.name


def set_up(
    run: Run,
    config: Config,
    questions: Questions,
    panels: Panels,
    vectors: VectorSet,
) -> Setting:
    """Everything before the searches.

    Args:
        vectors: the trait's, one per candidate site.

    Raises:
        RunError: the judges leave most answers without a score.
    """
    sweeps = {
        vector.site: swept(
            run, f"sweep/{vector.trait}/{vector.site}", panels, config.strengths, vector
        )
        for vector in vectors
    }
    _require_scores(questions.trait.name, sweeps)
    vector, best = best_layer(config, sweeps, vectors)
    instructions = [pair.positive for pair in questions.trait.instructions]
    objective = Objective(
        terms=Terms(
            graded=config.graded_weight,
            penalty=config.penalty,
            most_kl=config.most_kl,
            least_coherence=config.least_coherence,
            questions=config.questions_per_generation,
        ),
        panel=panels.train,
        site=vector.site,
        subspace=activation_subspace(
            run, f"subspace/{vector.trait}", panels, questions, vector.site, config.components
        ),
        contrasts=typical_answers(panels.train, [under(panels.train, t) for t in instructions]),
        seed=config.seed,
    )
    return Setting(questions, panels, vector, sweeps, best, objective)


def _require_scores(trait: str, sweeps: Mapping[Site, Sweep]) -> None:
    """A search costs far more than the sweeps before it: stop where nothing could be claimed."""
    unscored = sum(step.n_unscored for one in sweeps.values() for step in one.steps)
    every = sum(one.n_answers for one in sweeps.values())
    if 2 * unscored > every:
        raise RunError(
            f"The judges leave most answers to the questions for {trait!r} without a score.",
            got=f"{unscored} of {every} answers in the sweeps of strengths",
            fix="Try the judge on a few answers, or take another one (--judge).",
        )


def make_panels(
    model: HookedModel, questions: Questions, judges: Judges, max_new_tokens: int
) -> Panels:
    """Panels of the three splits; everything that a run asks is rendered once.

    Raises:
        BadInputError: prompts that the model's template refuses, or that do not fit its context.
    """
    train, validation, test = (
        panel(
            model,
            asked,
            trait=judges.trait,
            coherence=judges.coherence,
            kept=kept,
            max_new_tokens=max_new_tokens,
        )
        for asked, kept in (
            (questions.train, questions.kept_choice[::2]),  # a search asks for them often
            (questions.validation, questions.kept_choice),
            (questions.test, questions.kept_test),
        )
    )
    for pair in questions.trait.instructions:
        for one in (train, validation, test):
            for text in (pair.positive, pair.negative):
                render_for(model, under(one, text), reserve=max_new_tokens)
    return Panels(train, validation, test)


def swept(
    run: Run, name: str, panels: Panels, strengths: Sequence[float], vector: TraitVector
) -> Sweep:
    """Every strength of one vector on the validation questions, 0 among them."""
    ladder = (0.0, *strengths)
    directions = vector.direction[None].expand(len(ladder), -1)
    steerings = Steerings(vector.site, directions, ladder)
    return sweep_of(panels.validation, steerings, measured(run, name, panels.validation, steerings))


def best_layer(
    config: Config, sweeps: Mapping[Site, Sweep], vectors: VectorSet
) -> tuple[TraitVector, Step]:
    """The layer and strength of highest score within the bounds; of equal ones the lowest KL."""
    found = [
        (
            vector,
            sweeps[vector.site].best(
                most_kl=config.most_kl, least_coherence=config.least_coherence
            ),
        )
        for vector in vectors
    ]
    return max(found, key=lambda pair: (pair[1].mean_score, -pair[1].kl))


def activation_subspace(
    run: Run, name: str, panels: Panels, questions: Questions, site: Site, n_components: int
) -> Subspace:
    """Principal components at the site, over prompts and answers of the training questions.

    The model's own answers, and those it gives when it is asked in words for the trait and for its
    opposite: what it does by itself, and what either pole looks like. Kept as a stage: a resumed
    search goes on along the same axes, to the bit.
    """
    model, most = panels.train.model, panels.train.max_new_tokens

    def compute() -> pa.Table:
        prompts: list[Rendered] = list(panels.train.rendered)
        for pair in questions.trait.instructions:
            for text in (pair.positive, pair.negative):
                prompts += render_for(model, under(panels.train, text), reserve=most)
        rows = capture(model, answered_by(model, prompts, most), [site], position="all[:]")
        found = principal_subspace(Moments.of(torch.from_numpy(rows.values[site])), n_components)
        return pa.table(
            {
                "axis": pa.array(found.basis.tolist(), pa.list_(pa.float64())),
                "explained": found.explained.numpy(),
                "rows": [found.n] * found.n_components,
            }
        )

    table = run.stage(name, compute)
    return Subspace(
        basis=torch.tensor(table["axis"].to_pylist(), dtype=torch.float64),
        explained=torch.tensor(table["explained"].to_pylist(), dtype=torch.float64),
        n=int(table["rows"][0].as_py()),
    )
