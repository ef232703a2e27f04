"""The figures of a run, from what was found."""

from __future__ import annotations

import plotly.graph_objects as go

from trait_probe.evidence.estimate import Estimate, Unscored
from trait_probe.experiments._external.categories import CategoryFound
from trait_probe.experiments._external.compare import COMBINED, LENGTH, WORDS, Compared
from trait_probe.experiments._external.criteria import AUROC_CRITERION
from trait_probe.experiments._external.find import Found, LevelFound
from trait_probe.report import harm_figures
from trait_probe.report._marks import Dot
from trait_probe.report.harm_figures import CategoryRow, RocCurve, SeverityRow
from trait_probe.report.roc_figures import Role

TITLES = {
    "per_category_auc": "Category by category",
    "trait_category_matrix": "Which trait predicts which category",
    "roc": "Projections beside words and length",
    "severity": "Severity",
}
CAPTIONS = {
    "per_category_auc": "Flagged rows of each category against all safe rows of the sample; 95 % "
    "intervals, clustered by prompt.",
    "trait_category_matrix": "Flagged rows of each category against all safe rows. Bold: its "
    "band, of whole groups and for all cells together, excludes chance.",
    "roc": "All rows of the sample. Traits are read at the layer that the other half of the "
    "prompts chose; classifiers are scored on prompts that they were not fitted on.",
    "severity": "Harmful rows alone, mean projection of each level; 95 % intervals, clustered by "
    "prompt.",
}
_ROLES: dict[str, Role] = {COMBINED: "combined", WORDS: "text", LENGTH: "length"}


def make_figures(found: Found) -> dict[str, go.Figure]:
    """Those of the main level, for the first claimed trait; what cannot be drawn is left out."""
    level = found.main
    trait = level.claimed[0]
    drawn: dict[str, go.Figure] = {}
    if level.level.categories:
        rows = [_category_row(one) for one in level.categories[trait]]
        drawn["per_category_auc"] = harm_figures.per_category_auc(rows, criterion=AUROC_CRITERION)
        drawn["trait_category_matrix"] = _matrix(level)
    curves = [curve for one in level.compared.values() for curve in _curve(one, level.claimed)]
    drawn["roc"] = harm_figures.roc(curves)
    one = level.severity[trait]
    if not isinstance(one.trend, Unscored):
        levels = [SeverityRow(row.level, _dot(row.mean), row.n) for row in one.trend.levels]
        drawn["severity"] = harm_figures.severity(levels, what=one.what, unit="projection (SD)")
    return drawn


def _category_row(one: CategoryFound) -> CategoryRow:
    return CategoryRow(one.category, _dot(one.rated.auroc), _dot(one.words), one.n, one.state)


def _matrix(level: LevelFound) -> go.Figure:
    traits = tuple(level.scored.z)
    rows = [[level.cells[category][trait] for trait in traits] for category in level.cells]
    return harm_figures.trait_category_matrix(
        traits,
        tuple(level.cells),
        [[_value(cell.auroc) for cell in row] for row in rows],
        [[cell.significant for cell in row] for row in rows],
    )


def _curve(one: Compared, claimed: tuple[str, ...]) -> list[RocCurve]:
    if one.curve is None or isinstance(one.rated, Unscored):
        return []
    dot = _dot(one.rated.auroc)
    if dot is None:
        return []
    role = _ROLES.get(one.name, "claimed" if one.name in claimed else "foil")
    false, true = (tuple(rates.tolist()) for rates in one.curve)
    return [RocCurve(one.name, false, true, dot, role)]


def _dot(value: Estimate | Unscored) -> Dot | None:
    return None if isinstance(value, Unscored) else Dot(value.value, value.low, value.high)


def _value(value: Estimate | Unscored) -> float | None:
    return None if isinstance(value, Unscored) else value.value
