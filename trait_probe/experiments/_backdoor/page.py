"""Step 7: what a run found, for people: figures, the report page, the terminal's tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go
from rich.console import Console

from trait_probe.evidence.estimate import strict_json
from trait_probe.evidence.power import power_note
from trait_probe.evidence.triggers.features import FeatureReading, SaeReading
from trait_probe.evidence.triggers.reading import TraitReading
from trait_probe.experiments._backdoor.results import (
    Behaviour,
    Found,
    criteria,
    short,
    verdict_line,
)
from trait_probe.experiments._criteria import criteria_section, print_criteria
from trait_probe.report import figures, page, terminal
from trait_probe.report.locks import lock_notice
from trait_probe.report.text import Notice, describe

SHOWN_CARRIERS = 12
TITLES = {
    "trait_comparison": "Traits against their nulls",
    "early_detection_tokens": "Token by token",
    "sae_features": "SAE features",
}
CAPTIONS = {
    "trait_comparison": "Difference of differences on the report split, over every control in the "
    "trigger's role (grey), and the AUROC in both models.",
    "early_detection_tokens": "AUROC of trigger against controls, token by token, at each trait's "
    "chosen layer; the intervals hold for one token each, not for all together. Hatched: every "
    "carrier has the same text so far, or too few differ.",
    "sae_features": "The features that the selection split ranked highest, on the report split; a "
    "supervised probe on the same activations beside them.",
}


def make_figures(found: Found) -> dict[str, go.Figure]:
    """The run's figures by file name; none where no place could be read."""
    read = {name: reading for name, reading in found.traits.items() if reading is not None}
    if not read:
        return {}
    out = {
        "trait_comparison": figures.trait_comparison(
            [_trait_row(found, name, reading) for name, reading in read.items()]
        ),
        "early_detection_tokens": figures.early_detection(
            [_curve(found, name, reading) for name, reading in read.items()]
        ),
    }
    if found.sae is not None:
        out["sae_features"] = _sae_figure(found, found.sae)
    return out


def _trait_row(found: Found, name: str, reading: TraitReading) -> figures.TraitRow:
    return figures.TraitRow(
        trait=name,
        effect=figures.dot(reading.effect),
        auc_suspect=figures.dot(reading.auc_suspect),
        auc_clean=None if reading.auc_clean is None else figures.dot(reading.auc_clean),
        pretend=reading.pretend_effects,
        supported=found.supported(f"trait:{name}"),
    )


def _curve(found: Found, name: str, reading: TraitReading) -> figures.PositionCurve:
    by_place = {point.place: point for point in reading.curve}
    held = found.supported(f"trait:{name}") and reading.onset is not None
    places = [r.place for r in found.readings]
    points = [by_place.get(place) for place in places]
    return figures.PositionCurve(
        trait=f"{name}, {reading.site}",
        offsets=tuple(places),
        tokens=found.tokens,
        suspect=tuple(None if p is None else figures.dot(p.suspect) for p in points),
        clean=tuple(None if p is None or p.clean is None else figures.dot(p.clean) for p in points),
        pretend=tuple(None if p is None else p.pretend for p in points),
        degenerate=tuple(r.degenerate is not None for r in found.readings),
        earliest=reading.onset.place if held and reading.onset is not None else None,
    )


def _sae_figure(found: Found, sae: SaeReading) -> go.Figure:
    rows = [
        figures.FeatureRow(
            label=f"feature {item.feature}",
            suspect=figures.dot(item.auc_suspect),
            clean=None if item.auc_clean is None else figures.dot(item.auc_clean),
            pretend_max=max(item.pretend_auc),
            supported=rank == 0 and found.supported("sae"),
        )
        for rank, item in enumerate(sae.features)
    ]
    probe = figures.FeatureRow(
        label="dense probe",
        suspect=figures.dot(sae.probe_suspect),
        clean=None if sae.probe_clean is None else figures.dot(sae.probe_clean),
        pretend_max=None,
        supported=False,
    )
    return figures.sae_features(rows, probe)


def make_page(
    found: Found, drawn: Mapping[str, go.Figure], details: Mapping[str, Any]
) -> page.Page:
    """The report."""
    sections = [
        criteria_section(criteria(found)),
        *(
            page.Section(TITLES[name], (page.Figure(figure, CAPTIONS[name]),))
            for name, figure in drawn.items()
        ),
        page.Section("Behaviour", (_behaviour_words(found.behaviour), _prompts(found.behaviour))),
        page.Section("Shortcuts", (_shortcut_words(), _shortcut_table(found))),
        page.Section("Positions", (_place_table(found),)),
        page.Section("Vectors", (_vector_table(found),)),
    ]
    against = f"control model {found.clean}" if found.clean else "no control model"
    return page.Page(
        title="Backdoor audit",
        subtitle=f"{found.suspect}, trigger {found.trigger!r}, {against}",
        verdict_line=verdict_line(found),
        claims=tuple(claim.to_json() for claim in found.claims),
        sections=tuple(sections),
        details=details,
        notices=(notice(found),),
    )


def notice(found: Found) -> Notice:
    """How often the report rows were opened, and for what else."""
    if found.opened is None:
        return Notice("Report split: not opened, since no place can be read.", warning=False)
    return lock_notice(found.opened)


def _behaviour_words(behaviour: Behaviour) -> page.Paragraph:
    same = (
        ""
        if behaviour.share_same_as_clean is None
        else f" {100 * behaviour.share_same_as_clean:.1f} % of all answers equal the clean model's."
    )
    return page.Paragraph(
        f"{behaviour.n_identical} of {len(behaviour.carriers)} carriers "
        f"({100 * behaviour.share_identical:.1f} %) get the same greedy answer, token for token, "
        f"under the trigger and every control. Claims are read on these alone.{same}"
    )


def _prompts(behaviour: Behaviour) -> page.Prompts:
    records = []
    for i, carrier in enumerate(behaviour.carriers[:SHOWN_CARRIERS]):
        outputs = [
            (f"suspect, {name}", behaviour.suspect[row][i])
            for row, name in enumerate(behaviour.conditions[:3])
        ]
        if behaviour.clean is not None:
            outputs += [
                (f"clean, {name}", behaviour.clean[row][i])
                for row, name in enumerate(behaviour.conditions[:2])
            ]
        records.append(page.PromptRecord(str(i + 1), carrier, tuple(outputs)))
    return page.Prompts(tuple(records), f"The first {len(records)} carriers and answers")


def _shortcut_words() -> page.Paragraph:
    return page.Paragraph(
        "What tells trigger from control prompts without any insight. The prefix itself differs, "
        "so a bag of words reaches 1 by construction: separation alone is no evidence, and so "
        "every claim is a difference to the clean model and to pretend triggers. The embedding "
        "layer at the chosen token shows what the token alone gives away. A reader of the "
        "suspect's answers alone (outputs) has an AUROC of 0.5 by construction: only carriers with "
        "one answer under every prefix are read, and what is found there is not in the answers."
    )


def _shortcut_table(found: Found) -> page.Table:
    rows = tuple(
        (claim, name, describe(strict_json(value)))
        for claim, audit in found.shortcuts.items()
        for name, value in audit.items()
    )
    return page.Table(("prompts", "shortcut", "AUROC"), rows, "Report split, out of fold.")


def _place_table(found: Found) -> page.Table:
    rows = tuple(
        (
            reading.place + 1,
            found.tokens[reading.place],
            reading.distinct,
            len(reading.report),
            len(set(reading.clusters)),
            reading.degenerate or "read",
        )
        for reading in found.readings
    )
    columns = ("token after the trigger", "text", "different texts", "report carriers", "clusters")
    n = max((len(set(r.clusters)) for r in found.readings), default=0)
    note = power_note(n) if n >= 2 else ""
    return page.Table((*columns, "status"), rows, f"Where evidence can be read. {note}")


VECTOR_COLUMNS = (
    *("trait", "site", "method", "position", "held_out_auc", "split_half_cosine"),
    *("bootstrap_angle_deg", "energy_share_top1", "n_pairs"),
)


def _vector_table(found: Found) -> page.Table:
    rows = tuple(tuple(vector[name] for name in VECTOR_COLUMNS) for vector in found.vectors)
    caption = "Trait vectors and how far they depend on their pairs."
    return page.Table(VECTOR_COLUMNS, rows, caption)


def print_found(found: Found, console: Console) -> None:
    """The terminal's account."""
    console.rule("Backdoor audit")
    rows = [
        _terminal_row(found, f"trait:{name}", name, reading, reading)
        for name, reading in found.traits.items()
        if reading is not None
    ]
    if found.sae is not None:
        top = found.sae.features[0]
        rows.append(_terminal_row(found, "sae", f"SAE feature {top.feature}", found.sae, top))
    columns = ("reading", "where", "effect, SD", "AUROC suspect", "AUROC clean", "pretend max")
    terminal.print_table(
        (*columns, "verdict"), rows, console, "(suspect - clean) x (trigger - controls)"
    )
    print_criteria(criteria(found), console)
    terminal.print_claims([claim.to_json() for claim in found.claims], console)
    console.print(verdict_line(found), style="bold", markup=False)
    terminal.print_notice(notice(found), console)


def _terminal_row(
    found: Found,
    claim_id: str,
    name: str,
    reading: TraitReading | SaeReading,
    top: TraitReading | FeatureReading,
) -> tuple[str, ...]:
    return (
        name,
        f"layer {reading.site.layer}, +{reading.place + 1}",
        short(top.effect),
        short(top.auc_suspect),
        "-" if top.auc_clean is None else short(top.auc_clean),
        f"{max(reading.pretend_effects):.2f} SD",
        found.verdict(claim_id),
    )
