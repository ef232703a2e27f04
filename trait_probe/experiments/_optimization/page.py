"""What a run found, for people: the report page, and the tables that the terminal shares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go

from trait_probe.evidence.estimate import strict_json
from trait_probe.experiments._criteria import criteria_section
from trait_probe.experiments._optimization import arms as at
from trait_probe.experiments._optimization.criteria import criteria, short
from trait_probe.experiments._optimization.figures import make_figures as make_figures
from trait_probe.experiments._optimization.find import Found, TraitFound
from trait_probe.experiments._optimization.results import ORDER, costs, notes, verdict_line
from trait_probe.forward.answering import question_of
from trait_probe.report import page
from trait_probe.report.text import describe

SHOWN = 12
TITLES = {
    "arms": "What each arm does on test questions",
    "optimization_curves": "The searches",
    "component_differences": "Components that differ most",
    "questions": "Question by question",
}
CAPTIONS = {
    "arms": "Trait score of coherent answers, an incoherent one counting 0; 95 % intervals over "
    "questions, clustered by group. Arms with seeds show their mean. Grey ticks: single random "
    "directions of the subspace, each as strong as the bound on divergence lets.",
    "optimization_curves": "Training questions: what the best so far got when it was evaluated "
    "again with the next generation, above what the start (the extracted vector, as far as it "
    "lies in the subspace) got on the same questions. Random search draws from the distribution "
    "that CMA-ES began with. Fitness is no result: it chose the candidates.",
    "component_differences": "Coordinates of unit directions within the subspace, for the "
    "components with the largest mean difference over seeds; signs of components mean nothing.",
    "questions": "Optimized (mean over seeds) minus extracted, one point a test question.",
}


def make_page(
    found: Found,
    spent: Mapping[str, float],
    drawn: Mapping[str, go.Figure],
    details: Mapping[str, Any],
) -> page.Page:
    """The report."""
    sections = [
        criteria_section(criteria(found)),
        page.Section(
            "What was done", tuple(page.Paragraph(f"{n}: {t}") for n, t in notes(found).items())
        ),
        *(
            page.Section(TITLES[name], (page.Figure(figure, CAPTIONS[name]),))
            for name, figure in drawn.items()
        ),
        *(page.Section(name, _trait_blocks(one, spent)) for name, one in found.traits.items()),
    ]
    return page.Page(
        title="Vector optimization",
        subtitle=f"{found.model_id}: {', '.join(found.traits)}",
        verdict_line=verdict_line(found),
        claims=tuple(claim.to_json() for claim in found.claims),
        sections=tuple(sections),
        details=details,
    )


def _trait_blocks(found: TraitFound, spent: Mapping[str, float]) -> tuple[page.Block, ...]:
    return (
        _arms(found),
        _advantages(found),
        _ablation(found),
        _sweep(found),
        _costs(found, spent),
        *_judge(found),
        _answers(found),
    )


ARM_COLUMNS = ("arm", "rows", "strength", "score", "coherent", "KL p95", "cut off")


def arm_rows(found: TraitFound) -> list[tuple[str | int, ...]]:
    """One per arm, on the test questions."""
    return [_arm_row(found, name) for name in ORDER]


def _arm_row(found: TraitFound, name: str) -> tuple[str | int, ...]:
    one, arm = found.scores[name], found.test.arms.get(name)
    strengths = [] if arm is None else sorted(set(arm.strengths))
    told = ", ".join(f"{s:.2f}" for s in strengths[:3])
    if len(strengths) > 3:
        told = f"{strengths[0]:.2f} to {strengths[-1]:.2f}"
    kl = f"{one.kl:.2f}" if isinstance(one.kl, float) else "-"
    cut = f"{100 * one.cut:.0f} %"
    return name, one.n_rows, told or "-", short(one.score), short(one.coherent), kl, cut


def _arms(found: TraitFound) -> page.Table:
    caption = (
        "Test questions. Score: the trait's, where the answer is coherent, else 0. KL p95: 95th "
        "percentile of the divergence on kept test answers, the largest over rows; the bound was "
        "kept while choosing, on other prompts. Cut off: answers still going on at the limit of "
        "new tokens, judged as they stand. Rows are seeds or draws."
    )
    return page.Table(ARM_COLUMNS, tuple(arm_rows(found)), caption)


def _advantages(found: TraitFound) -> page.Table:
    rows = [(name, describe(strict_json(one))) for name, one in found.claim.controls.items()]
    rows += [
        (f"null: {name}", describe(strict_json(one))) for name, one in found.claim.nulls.items()
    ]
    rows.append(("gain as a share of the extracted effect", short(found.relative, percent=True)))
    rows += [
        (f"per question: {name}", describe(strict_json(one)))
        for name, one in found.claim.shortcuts.items()
    ]
    caption = (
        "Optimized minus each arm; all have to be beaten. These intervals and the share's hold "
        "seeds as well as questions."
    )
    return page.Table(("against", "advantage"), tuple(rows), caption)


def _ablation(found: TraitFound) -> page.Table:
    rows = [(at.PROMPT, short(found.scores[at.PROMPT].score), "nothing")]
    rows += [(at.PROMPT, short(one.score), name) for name, one in found.ablation.items()]
    caption = (
        f"Asked in words ({found.test.instruction!r}), with directions ablated at the site. A "
        "direction that steers need not be one that the model uses, nor the other way round."
    )
    return page.Table(("arm", "score", "ablated"), tuple(rows), caption)


def _sweep(found: TraitFound) -> page.Table:
    sweep = found.setting.sweeps[found.setting.vector.site]
    rows = tuple(
        (
            f"{s.strength:g}",
            short(s.score),
            short(s.coherence),
            f"{s.kl:.2f}",
            f"{s.norm_ratio:.2f}",
        )
        for s in sweep.steps
    )
    caption = (
        f"The extracted vector at {sweep.site} on the validation questions, which chose its "
        "strength. Strength: fraction of a token's norm; norm ratio: steered over own."
    )
    return page.Table(("strength", "score", "coherent", "KL p95", "norm ratio"), rows, caption)


COST_COLUMNS = ("arm", "candidates", "answers", "tokens", "seconds")


def cost_rows(found: TraitFound, spent: Mapping[str, float]) -> list[tuple[str | int, ...]]:
    """What finding each arm took; answers are judged twice, for trait and coherence."""
    name = found.setting.name
    stages = {
        at.EXTRACTED: (f"sweep/{name}/",),
        at.STRENGTH: (f"search/{name}/strengths",),
        at.SEARCHED: (f"search/{name}/cma_es-", f"validation/{name}/cma_es-"),
        at.RANDOM: (f"search/{name}/random-", f"validation/{name}/random-"),
    }
    return [
        (arm, cost.candidates, cost.answers, cost.tokens, f"{_seconds(spent, stages[arm]):.1f}")
        for arm, cost in costs(found).items()
    ]


def _seconds(spent: Mapping[str, float], stages: tuple[str, ...]) -> float:
    return sum(value for name, value in spent.items() if name.startswith(stages))


def _costs(found: TraitFound, spent: Mapping[str, float]) -> page.Table:
    caption = (
        "What searching and choosing each arm took, all seeds; equal answers are judged once, so "
        "calls to a judge are at most two an answer. The subspace and the typical answers, which "
        "both searches share, are not in it. Seconds are those of this run's stages."
    )
    return page.Table(COST_COLUMNS, tuple(cost_rows(found, spent)), caption)


def _judge(found: TraitFound) -> tuple[page.Table, ...]:
    """The judge as an instrument, where it was asked for."""
    parts = (
        ("agreement with gold scores", found.judge.agreement),
        ("repeats", found.judge.repeats),
    )
    rows = tuple((name, describe(strict_json(one))) for name, one in parts if one is not None)
    caption = (
        "The judge of the trait. Same side: of 50 points, as people put it. Spread: within-item "
        "standard deviation over repeats."
    )
    return (page.Table(("judge", "found"), rows, caption),) if rows else ()


def _answers(found: TraitFound) -> page.Prompts:
    shown = (at.UNSTEERED, at.EXTRACTED, at.SEARCHED, at.PROMPT)
    records = tuple(
        page.PromptRecord(
            prompt.id,
            question_of(prompt),
            tuple((name, found.test.tested[name].found.texts[0][i]) for name in shown),
        )
        for i, prompt in enumerate(found.setting.panels.test.questions[:SHOWN])
    )
    return page.Prompts(records, f"The first {len(records)} test questions and answers")
