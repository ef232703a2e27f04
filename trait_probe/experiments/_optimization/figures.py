"""The run's numbers as the figures take them."""

from __future__ import annotations

import plotly.graph_objects as go

from trait_probe.experiments._optimization import arms as at
from trait_probe.experiments._optimization.find import Found, TraitFound
from trait_probe.experiments._optimization.gap import over_rows
from trait_probe.experiments._optimization.results import ORDER
from trait_probe.report import search_figures as draw
from trait_probe.report.figures import dot
from trait_probe.vectors.search import Trajectory


def make_figures(found: Found) -> dict[str, go.Figure]:
    """The run's figures by file name."""
    traits = found.traits
    return {
        "arms": draw.arms([_arms(name, one) for name, one in traits.items()]),
        "optimization_curves": draw.optimization_curves(
            [_curves(name, one) for name, one in traits.items()]
        ),
        "component_differences": draw.component_differences(
            [_components(name, one) for name, one in traits.items()]
        ),
        "questions": draw.question_differences(
            [_questions(name, one) for name, one in traits.items()]
        ),
    }


def _arms(trait: str, found: TraitFound) -> draw.ArmPanel:
    null = found.test.tested[at.NULL].scores[:, found.questions.kept]
    return draw.ArmPanel(
        trait=trait,
        supported=found.claim.verdict == "supported",
        arms=tuple((name, dot(found.scores[name].score)) for name in ORDER if name != at.NULL),
        null=tuple(float(row.sum() / len(row)) for row in null if len(row)),
    )


def _curves(trait: str, found: TraitFound) -> draw.SearchPanel:
    return draw.SearchPanel(
        trait=trait,
        optimized=tuple(map(_curve, found.searches.optimized)),
        random=tuple(map(_curve, found.searches.random)),
    )


def _curve(trajectory: Trajectory) -> tuple[float, ...]:
    """What the incumbent of each generation from the second on got when evaluated again."""
    return tuple(one.again for one in trajectory.generations if one.again is not None)


def _components(trait: str, found: TraitFound) -> draw.ComponentPanel:
    return draw.ComponentPanel(
        trait=trait,
        names=tuple(f"PC {one.number + 1}" for one in found.geometry.components),
        extracted=tuple(one.extracted for one in found.geometry.components),
        optimized=tuple(one.optimized for one in found.geometry.components),
    )


def _questions(trait: str, found: TraitFound) -> draw.QuestionPanel:
    kept = found.questions.kept
    searched, extracted = (
        over_rows(found.test.tested[name].scores[:, kept]) for name in (at.SEARCHED, at.EXTRACTED)
    )
    return draw.QuestionPanel(trait, tuple((searched - extracted).tolist()))
