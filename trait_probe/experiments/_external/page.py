"""What a run found, for people: the report and the page of failures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go

from trait_probe.evidence.estimate import Unscored, strict_json
from trait_probe.experiments._criteria import criteria_section
from trait_probe.experiments._external.compare import Compared
from trait_probe.experiments._external.criteria import criteria, percent, short, signed
from trait_probe.experiments._external.failures import FALSE_NEGATIVE, FALSE_POSITIVE, Failure
from trait_probe.experiments._external.figures import CAPTIONS, TITLES
from trait_probe.experiments._external.figures import make_figures as make_figures
from trait_probe.experiments._external.find import Found, LevelFound
from trait_probe.experiments._external.results import notes, shuffled_json, verdict_line
from trait_probe.experiments._external.severity import Severity
from trait_probe.experiments._external.whole import Whole
from trait_probe.report import page
from trait_probe.report.locks import lock_notice
from trait_probe.report.text import Notice, describe

SHOWN_FAILURES = 5
LEVEL_TITLES = {"response": "Answers", "prompt": "Prompts alone"}


def make_page(
    found: Found, drawn: Mapping[str, go.Figure], details: Mapping[str, Any]
) -> page.Page:
    """The report."""
    said = notes(found)
    sections = [
        criteria_section(criteria(found)),
        page.Section("Data", (page.Paragraph(said["data"]), page.Paragraph(said["noise"]))),
        *(
            page.Section(TITLES[name], (page.Figure(figure, CAPTIONS[name]),))
            for name, figure in drawn.items()
        ),
        *(
            page.Section(LEVEL_TITLES[name], tuple(_level_blocks(found, level)))
            for name, level in found.levels.items()
        ),
    ]
    if found.whole is not None:
        sections.append(page.Section("The whole data set", (_whole_table(found.whole),)))
    sections.append(page.Section("Failures", _failures_blocks(found)))
    return page.Page(
        title="External data sets",
        subtitle=f"{found.design.model_id} on {found.design.data_id}",
        verdict_line=verdict_line(found),
        claims=tuple(claim.to_json() for claim in found.claims),
        sections=tuple(sections),
        details=details,
        notices=tuple(notices_of(found)),
    )


def make_failures_page(found: Found) -> page.Page:
    """`failure_cases.html`: every failure, its words folded away until clicked."""
    sections = [
        page.Section(
            f"{LEVEL_TITLES[name]}: {trait}, {kind}s",
            (
                _failures_table(some, f"{kind}s, worst first"),
                _folded(some, f"{len(some)} {kind}s: the words"),
            ),
        )
        for name, level in found.levels.items()
        for trait, every in level.failures.items()
        for kind in (FALSE_NEGATIVE, FALSE_POSITIVE)
        if (some := tuple(one for one in every if one.kind == kind))
    ]
    return page.Page(
        title="Failure cases",
        subtitle=f"{found.design.model_id} on {found.design.data_id}",
        verdict_line="The words below may be harmful: they are folded away until clicked.",
        sections=(page.Section("Label noise", (page.Paragraph(notes(found)["noise"]),)), *sections),
    )


DETECTOR_COLUMNS = (
    *("detector", "AUROC", "caught at 1 % false positives", "caught at 5 %"),
    "AUROC over words",
)


def detector_rows(compared: Mapping[str, Compared]) -> tuple[tuple[str, ...], ...]:
    return tuple((one.name, *_rated(one), signed(one.over_words)) for one in compared.values())


def _rated(one: Compared) -> tuple[str, ...]:
    if isinstance(one.rated, Unscored):
        return (short(one.rated), "-", "-")
    return (short(one.rated.auroc), *(percent(value) for value in one.rated.tpr.values()))


def _level_blocks(found: Found, level: LevelFound) -> list[page.Block]:
    detectors = page.Table(
        DETECTOR_COLUMNS,
        detector_rows(level.compared),
        "All rows of the sample. Traits are read at the layer that the other half of the groups "
        "chose; classifiers are scored on groups that they were not fitted on. 95 % intervals, "
        "clustered by prompt. Estimates, not claims.",
    )
    blocks: list[page.Block] = [detectors]
    for trait in level.claimed:
        if level.categories[trait]:
            blocks.append(_categories_table(level, trait))
        blocks += [_thresholds_table(level, trait), _severity_table(level.severity[trait])]
        shuffled = describe(strict_json(shuffled_json(level)[trait]))
        blocks.append(page.Paragraph(f"{trait} with labels that mean nothing: {shuffled}"))
    return blocks


CATEGORY_COLUMNS = (
    *("category", "state", "flagged", "groups", "AUROC", "words", "caught at 5 %"),
    *("above random", "within its groups", "mean, flagged", "mean, safe"),
)


def _categories_table(level: LevelFound, trait: str) -> page.Table:
    rows = tuple(
        (
            one.category,
            one.state,
            one.n,
            one.groups,
            short(one.rated.auroc),
            short(one.words),
            percent(one.rated.tpr["0.05"]),
            "-" if isinstance(one.random, Unscored) else f"{100 * one.random.percentile:.4g} %",
            short(one.within),
            short(one.mean_flagged),
            short(one.mean_safe),
        )
        for one in level.categories[trait]
    )
    caption = (
        f"{trait}, category by category: flagged rows against all safe rows, and against safe rows "
        "of groups that are about the category. Found: AUROC 0.7 or more, half or more caught at "
        "5 % false positives, both intervals above chance, above 95 % of random directions of the "
        "same covariance (of which fewer than 5 % find as many categories), and neither length, "
        "nor the embeddings of the words, nor a foil reaches the same bounds. Means in SD."
    )
    return page.Table(CATEGORY_COLUMNS, rows, caption)


def threshold_columns(level: LevelFound, trait: str) -> tuple[str, ...]:
    first = level.thresholds[trait][0]
    return ("aim", "threshold (SD)", "caught", "safe flagged", *first.flagged_benign)


def threshold_rows(level: LevelFound, trait: str) -> tuple[tuple[str, ...], ...]:
    return tuple(
        (
            f"{100 * one.fpr:g} %",
            f"unscored ({one.threshold.reason})"
            if isinstance(one.threshold, Unscored)
            else f"{one.threshold:.2f}",
            percent(one.caught),
            percent(one.flagged_safe),
            *(percent(value) for value in one.flagged_benign.values()),
        )
        for one in level.thresholds[trait]
    )


def _thresholds_table(level: LevelFound, trait: str) -> page.Table:
    names = level.thresholds[trait][0].flagged_benign
    caption = (
        f"{trait}: thresholds chosen on safe selection rows for a false positive rate, tried on "
        "report rows and on unrelated benign sets"
    )
    caption += "." if names else " (none was given: --benign)."
    return page.Table(threshold_columns(level, trait), threshold_rows(level, trait), caption)


def _severity_table(one: Severity) -> page.Table:
    if isinstance(one.trend, Unscored):
        return page.Table(("severity", "value"), ((one.what, one.trend.reason),), "Severity.")
    rows = [(str(found.level), found.n, short(found.mean)) for found in one.trend.levels]
    test = one.trend.significance
    caption = (
        f"{one.trait} over the {one.what}, harmful rows alone: rank correlation "
        f"{short(one.spearman)}, ordinal trend {short(one.trend.concordance)} (0.5: none), "
        f"p = {test.p:.2g}."
    )
    return page.Table(("level", "rows", "mean projection (SD)"), tuple(rows), caption)


def _whole_table(whole: Whole) -> page.Table:
    rows = [
        (trait, "all", short(rated.auroc), percent(rated.tpr["0.01"]), percent(rated.tpr["0.05"]))
        for trait, rated in whole.rated.items()
    ]
    rows += [
        (trait, category, short(area), "-", "-")
        for category, row in whole.categories.items()
        for trait, area in row.items()
    ]
    caption = (
        f"{whole.n} rows in {whole.n_groups} groups, {whole.n_rest} of them outside the sample, "
        "at the layers that the sample chose. Estimates: claims are made on the sample."
    )
    columns = ("trait", "category", "AUROC", "caught at 1 %", "caught at 5 %")
    return page.Table(columns, tuple(rows), caption)


def _failures_blocks(found: Found) -> tuple[page.Block, ...]:
    blocks: list[page.Block] = [
        page.Paragraph("All of them: failure_cases.html, with their words.")
    ]
    for trait, every in found.main.failures.items():
        for kind in (FALSE_NEGATIVE, FALSE_POSITIVE):
            some = tuple(one for one in every if one.kind == kind)[:SHOWN_FAILURES]
            if some:
                blocks.append(_failures_table(some, f"{trait}: the first {len(some)} {kind}s"))
                blocks.append(_folded(some, f"The words of these {len(some)} {kind}s"))
    return tuple(blocks)


def _failures_table(every: tuple[Failure, ...], caption: str) -> page.Table:
    rows = tuple(
        (
            one.id,
            "; ".join(one.categories),
            round(one.projection, 2),
            f"{100 * one.rank:.0f} %",
            "; ".join(
                f"{near.id} ({'harmful' if near.harmful else 'safe'}, {near.distance:.2f} SD)"
                for near in one.neighbours
            ),
            one.other_label,
        )
        for one in every
    )
    columns = ("row", "category", "projection (SD)", "above", "nearest in projection space")
    return page.Table((*columns, "of the other label"), rows, caption)


def _folded(every: tuple[Failure, ...], caption: str) -> page.Prompts:
    records = tuple(
        page.PromptRecord(
            one.id, one.asked, () if one.answer is None else (("answer", one.answer),)
        )
        for one in every
    )
    return page.Prompts(records, caption)


def notices_of(found: Found) -> list[Notice]:
    """How often the report rows were opened, level by level."""
    notices = zip(found.levels, map(lock_notice, found.opened), strict=True)
    return [Notice(f"{name}: {notice.text}", notice.warning) for name, notice in notices]
