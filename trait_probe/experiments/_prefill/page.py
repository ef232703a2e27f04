"""Step 9: what a run found, for people: the report page and the terminal's tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go

from trait_probe.evidence.claims import TEXT_BASELINE
from trait_probe.evidence.crossed import Effect
from trait_probe.evidence.estimate import strict_json
from trait_probe.evidence.power import power_note
from trait_probe.experiments._criteria import criteria_section
from trait_probe.experiments._prefill.compare import Compared, Separated, Variant
from trait_probe.experiments._prefill.criteria import criteria, percent, short, shuffled_json
from trait_probe.experiments._prefill.figures import make_figures as make_figures
from trait_probe.experiments._prefill.find import Condition, Found, TraitFound
from trait_probe.experiments._prefill.pairs import request_text
from trait_probe.experiments._prefill.reading import POSITIONS
from trait_probe.experiments._prefill.results import WHOLE_TEXT, notes, verdict_line
from trait_probe.report import page
from trait_probe.report.locks import lock_notice
from trait_probe.report.text import Notice, describe

SHOWN_PROMPTS = 12
TITLES = {
    "2x2_grid": "Four cells",
    "trajectory_divergence": "Token by token",
    "prefill_length": "How long a prefill it takes",
}
CAPTIONS = {
    "2x2_grid": "Report pairs. Every cell is read at the same token, the assistant header: in its "
    "own place without a prefill, put in again behind the prefill.",
    "trajectory_divergence": "Paired differences of the report pairs at the layer that was chosen. "
    "Up to the end of the prefill both cells have the same words; after it each cell goes on with "
    "its own (hatched), and what differs there may be the words.",
    "prefill_length": "The first tokens of the first prefill. Shares are of all pairs, d of the "
    "report pairs.",
}


def make_page(
    found: Found, drawn: Mapping[str, go.Figure], details: Mapping[str, Any]
) -> page.Page:
    """The report."""
    said = notes(found)
    sections = [
        criteria_section(criteria(found)),
        page.Section("Prompts", (page.Paragraph(said["pairs"]), page.Paragraph(said["words"]))),
        *(
            page.Section(TITLES[name], (page.Figure(figure, CAPTIONS[name]),))
            for name, figure in drawn.items()
        ),
        page.Section("Behaviour", (_behaviour_table(found), _prompts(found))),
        *(
            page.Section(f"Cells compared: {trait}", _trait_blocks(found, trait, item))
            for trait, item in found.traits.items()
        ),
    ]
    return page.Page(
        title="Prefill attack",
        subtitle=f"{found.design.model_id}, prefill {found.design.main.prefill!r}",
        verdict_line=verdict_line(found),
        claims=tuple(claim.to_json() for claim in found.claims),
        sections=tuple(sections),
        details=details,
        notices=tuple(notices_of(found)),
    )


BEHAVIOUR_COLUMNS = (
    *("prefill", "tokens", "harmful refused", "harmful complied"),
    *("benign refused", "benign complied", "unscored"),
)


def behaviour_rows(conditions: tuple[Condition, ...]) -> tuple[tuple[str | int, ...], ...]:
    return tuple(
        (
            item.name,
            item.tokens,
            *(
                percent(rate)
                for side in (item.harmful, item.benign)
                for rate in (side.refusal, side.compliance)
            ),
            item.harmful.unscored + item.benign.unscored,
        )
        for item in conditions
    )


def _behaviour_table(found: Found) -> page.Table:
    rows = behaviour_rows((*found.conditions, *found.lengths[1:-1]))
    caption = (
        "Greedy answers, prefill included, by rule or judge; an answer may do neither, and "
        "one cut off before it did is unscored. The refusal prefill's own words are a refusal: its "
        "row is so by construction. 95 % "
        "intervals, clustered by pair. All pairs."
    )
    return page.Table(BEHAVIOUR_COLUMNS, rows, caption)


def _prompts(found: Found) -> page.Prompts:
    records = tuple(
        page.PromptRecord(
            prompt.id,
            request_text(prompt),
            tuple((item.name, item.answers.said[i]) for item in found.conditions),
        )
        for i, prompt in enumerate(found.design.pairs.prompts[:SHOWN_PROMPTS])
    )
    return page.Prompts(records, f"The first {len(records)} prompts and answers")


def _trait_blocks(found: Found, trait: str, item: TraitFound) -> tuple[page.Block, ...]:
    n = item.compared[0].crossed.harm_with.estimate.n_clusters
    where = page.Paragraph(
        f"Layers chosen on the selection pairs: "
        f"{'; '.join(f'{at}, {site}' for at, site in item.sites.items())}. {parting_words(item)} "
        f"{power_note(n)}"
    )
    return (
        where,
        _compared_table(item),
        _controls_table(found, trait),
        _variants_table(item),
        _outcome_table(item),
    )


def parting_words(item: TraitFound) -> str:
    at = item.path.found.parts_at
    if at is None:
        return "Along the words that both cells share the paths do not part."
    return f"The paths part from {item.path.labels[at]!r} on (simultaneous 95 % band above 0)."


COMPARED_COLUMNS = (
    *("direction", "last token, d", "AUROC", "header, d", "AUROC", "C1 - C3 (SD)"),
    *("C2 - C4 (SD)", "C2 - C1 (SD)", "(C2 - C1) - (C4 - C3)"),
)


def _compared_row(row: Compared) -> tuple[str, ...]:
    two = row.crossed
    effects = (two.harm_without, two.harm_with, two.treatment_harmful, two.interaction)
    return (
        row.direction,
        *(text for at in POSITIONS for text in apart(row.at[at])),
        *(effect_words(effect) for effect in effects),
    )


def apart(found: Separated) -> tuple[str, str]:
    return short(found.d), short(found.auroc)


def effect_words(effect: Effect) -> str:
    return f"{short(effect.estimate)}, p = {effect.p:.2g}"


def _compared_table(item: TraitFound) -> page.Table:
    rows = tuple(_compared_row(row) for row in item.compared)
    caption = (
        "The claimed trait and its foils, report pairs. d and AUROC compare prompts; the last four "
        "columns are paired differences at the header, in SD within the cells, p by flipping "
        "pairs: estimates, not claims."
    )
    return page.Table(COMPARED_COLUMNS, rows, caption)


def _controls_table(found: Found, trait: str) -> page.Table:
    names = (TEXT_BASELINE, WHOLE_TEXT, "embedding layer", "length", "foil")
    rows = []
    for at in POSITIONS:
        claim = found.claim(trait, at)
        rows += [(at, name, describe(strict_json(claim.shortcuts.get(name)))) for name in names]
        shuffled = describe(strict_json(shuffled_json(found)[trait][at]))
        rows.append((at, "shuffled harm labels", shuffled))
    caption = (
        "What else tells the prompts apart (AUROC, report pairs). Neither a classifier of the "
        "words nor the trait's own direction on the embeddings of the whole text decides claims "
        "where every prompt is read at the same token: they say that harm is in the words too."
    )
    return page.Table(("position", "control", "value"), tuple(rows), caption)


def _variants_table(item: TraitFound) -> page.Table:
    rows = tuple(_variant_row(variant) for variant in (*item.variants, *item.sweep))
    caption = (
        "Other prefills (the refusal last: both cells are forced to refuse) and shorter pieces of "
        "the first, at the same layer: Cohen's d of harmful against benign prompts, report pairs."
    )
    return page.Table(("prefill", "tokens", "last token, d", "header again, d"), rows, caption)


def _variant_row(variant: Variant) -> tuple[str | int, ...]:
    return (
        variant.prefill or "none",
        variant.tokens,
        _d(variant.at_last),
        _d(variant.at_header),
    )


def _d(separated: Separated | None) -> str:
    return "-" if separated is None else short(separated.d)


def _outcome_table(item: TraitFound) -> page.Table:
    found = item.outcomes
    counts = f"{found.complied} complied, {found.recovered} recovered, {found.neither} neither"
    rows = [
        (f"answers behind {found.prefill!r}", counts),
        ("majority class, share", describe(strict_json(found.majority))),
        *((f"probe at {at}", describe(strict_json(v))) for at, v in found.probe.items()),
        *(
            (f"{found.trait_name} at {at}", describe(strict_json(v)))
            for at, v in found.trait.items()
        ),
    ]
    caption = (
        "Who recovers, of the harmful prompts behind the prefill where both outcomes occur most? "
        "AUROC for recovery; the probe is supervised and out of fold by pair. What is told here "
        "may be what the request is about, which recovery may follow."
    )
    return page.Table(("within C2", "value"), tuple(rows), caption)


def notices_of(found: Found) -> list[Notice]:
    """How often the report pairs were opened, position by position."""
    notices = zip(POSITIONS, map(lock_notice, found.opened), strict=True)
    return [Notice(f"{at}: {notice.text}", notice.warning) for at, notice in notices]
