"""What a run found, for people: figures, the report page, the terminal's tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from rich.console import Console

from trait_probe.evidence.estimate import Estimate, Unscored, strict_json
from trait_probe.evidence.significance import Significance
from trait_probe.evidence.simultaneous import Simultaneous
from trait_probe.experiments._criteria import criteria_section, print_criteria
from trait_probe.experiments._emergent.effects import Profile, TraitEffect, TwoByTwo
from trait_probe.experiments._emergent.readings import OWN, PROMPT, REPLAY, WORDS
from trait_probe.experiments._emergent.results import (
    Found,
    criteria,
    misleading,
    replies_of,
    short,
    verdict_line,
)
from trait_probe.experiments._emergent.texts import words_of
from trait_probe.report import page, terminal
from trait_probe.report._marks import Dot
from trait_probe.report.locks import lock_notice
from trait_probe.report.shift_figures import (
    LayerCurve,
    ShiftRow,
    layer_profile,
    trait_distributions,
)
from trait_probe.report.text import Notice, describe

SHOWN_PROMPTS = 16
TITLES = {
    "trait_distributions": "Prompt by prompt",
    "layer_profile": "Layer by layer",
    "replayed_layer_profile": "Layer by layer, on replayed replies",
}
CAPTIONS = {
    "trait_distributions": "Report prompts at the last prompt token, each trait at the layer that "
    "the selection prompts chose. Bold: the claim is supported. The variant stands above the line, "
    "the controls' mean below it.",
    "layer_profile": "Mean shift at the last prompt token, report prompts. The bands hold for all "
    "traits and layers of one model together (95 %).",
    "replayed_layer_profile": "The same on reply tokens of the base's replies, which every model "
    "reads as the same token ids.",
}


def make_figures(found: Found) -> dict[str, go.Figure]:
    """The run's figures by file name."""
    prompts = f"{found.variant} and its controls against {found.base}"
    rows = [
        ShiftRow(
            trait=trait,
            variant=tuple(effect.samples[0].tolist()),
            control=None if effect.samples[1] is None else tuple(effect.samples[1].tolist()),
            supported=trait in found.design.claimed and found.supported(trait, PROMPT),
        )
        for trait, effect in _effects_of(found, PROMPT).items()
    ]
    return {
        "trait_distributions": trait_distributions(rows, f"{prompts}; last prompt token."),
        "layer_profile": layer_profile(
            _curves(found, PROMPT), f"{prompts}; last prompt token, simultaneous bands."
        ),
        "replayed_layer_profile": layer_profile(
            _curves(found, REPLAY), f"{prompts}; the base's replies, replayed."
        ),
    }


def _effects_of(found: Found, reading: str) -> dict[str, TraitEffect]:
    return {effect.trait: effect for effect in found.effects if effect.reading == reading}


def _curves(found: Found, reading: str) -> list[LayerCurve]:
    profile = found.profiles[reading]
    return [
        LayerCurve(
            trait=trait,
            layers=tuple(site.layer for site in profile.sites),
            variant=_dots(profile.variant, profile, index),
            control=None if profile.control is None else _dots(profile.control, profile, index),
            claimed=trait in found.design.claimed,
        )
        for index, trait in enumerate(profile.traits)
    ]


def _dots(bands: Simultaneous, profile: Profile, index: int) -> tuple[Dot, ...]:
    looks = range(index * len(profile.sites), (index + 1) * len(profile.sites))
    return tuple(
        Dot(float(bands.value[i]), float(bands.low[i]), float(bands.high[i])) for i in looks
    )


def make_page(
    found: Found, drawn: Mapping[str, go.Figure], details: Mapping[str, object]
) -> page.Page:
    """The report."""
    sections = [
        criteria_section(criteria(found)),
        page.Section(
            "Why p values and own replies mislead",
            tuple(page.Paragraph(text) for text in misleading(found)),
        ),
        *(
            page.Section(TITLES[name], (page.Figure(figure, CAPTIONS[name]),))
            for name, figure in drawn.items()
        ),
        page.Section(
            "Three readings", (_readings_words(), *_effect_tables(found), _grid_table(found.grids))
        ),
        page.Section("Behaviour", (_behaviour_table(found), _prompts(found))),
        page.Section("Vectors", _vector_blocks(found)),
    ]
    return page.Page(
        title="Emergent misalignment",
        subtitle=f"{found.variant} against {found.base}, "
        + (
            f"control: {found.design.names.control}" if found.design.names.control else "no control"
        ),
        verdict_line=verdict_line(found),
        claims=tuple(claim.to_json() for claim in found.claims),
        sections=tuple(sections),
        details=details,
        notices=notices(found),
    )


def notices(found: Found) -> tuple[Notice, ...]:
    """How often the report rows were opened, and what a reader must know of this run."""
    opened = tuple(lock_notice(one) for one in found.opened)
    return (*dict.fromkeys(opened), *(Notice(note, warning=True) for note in found.notes))


def _readings_words() -> page.Paragraph:
    return page.Paragraph(
        f"At the {WORDS[PROMPT]} every model has read the same token ids and written nothing. "
        f"On {WORDS[REPLAY]}, every model reads the same reply. On {WORDS[OWN]}, words and model "
        "differ together, and nothing is claimed. Shifts are in SD of the base's selection "
        "prompts, at the layer where those differ most from the controls; intervals are clustered "
        "by prompt group. Specific: the share of the shift that the controls do not make."
    )


EFFECT_COLUMNS = (
    *("trait", "layer", "variant", "p", "controls", "p, controls", "beyond", "d_z"),
    *("specific", "reversed, %"),
)


def _effect_tables(found: Found) -> tuple[page.Table, ...]:
    """One a reading."""
    return tuple(
        page.Table(
            EFFECT_COLUMNS,
            tuple(_effect_row(effect) for effect in _effects_of(found, reading).values()),
            f"Read at: {WORDS[reading]}. d_z (mean over SD of the differences) grows with how "
            "alike prompts are; large values come with benign fine-tunes too.",
        )
        for reading in found.profiles
    )


def _effect_row(effect: TraitEffect) -> tuple[str | int, ...]:
    return (
        effect.trait.rsplit("/", 1)[-1],
        effect.site.layer,
        _brief(effect.shift),
        _bare_p(effect.paired_t),
        _brief(effect.control),
        _bare_p(effect.control_t),
        _brief(effect.beyond),
        _brief(effect.standardized),
        _brief(effect.specific),
        f"{100 * effect.inputs.share_reversed:.0f}",
    )


def _brief(number: Estimate | Unscored) -> str:
    """The reason why there is no number stands in results.json."""
    return "unscored" if isinstance(number, Unscored) else short(number)


def _bare_p(test: Significance | Unscored) -> str:
    return "unscored" if isinstance(test, Unscored) else f"{test.p:.1g}"


def _grid_table(grids: Sequence[TwoByTwo]) -> page.Table:
    columns = ("trait", "layer", *grids[0].cells, "model", "text", "interaction")
    caption = "Whose reply, and who reads it: SD of the base, less the first cell."
    return page.Table(columns, tuple(_grid_row(grid) for grid in grids), caption)


def _grid_row(grid: TwoByTwo) -> tuple[str | int, ...]:
    numbers = (*grid.cells.values(), grid.model, grid.text, grid.interaction)
    return (grid.trait, grid.site.layer, *(short(number) for number in numbers))


def _behaviour_table(found: Found) -> page.Table:
    groups = found.design.groups
    rows: list[tuple[str, ...]] = []
    for trait in found.design.claimed:
        unchanged = found.unchanged[trait]
        alike = (
            unchanged.reason if isinstance(unchanged, Unscored) else ", ".join(unchanged.families)
        )
        for role in found.texts.replies:
            rate = found.behaviour.rate(trait, role, groups)
            rows.append((trait, role, short(rate), found.behaviour.judged_by[trait], alike))
    columns = ("trait", "model", "share of replies", "judged by", "unchanged families")
    return page.Table(columns, tuple(rows), "All prompts; intervals clustered by prompt group.")


def _prompts(found: Found) -> page.Prompts:
    step = max(1, len(found.texts.prompts) // SHOWN_PROMPTS)
    records = []
    for index in range(0, len(found.texts.prompts), step)[:SHOWN_PROMPTS]:
        prompt = found.texts.prompts[index]
        asked = words_of(prompt)
        records.append(page.PromptRecord(prompt.id, asked, tuple(replies_of(found, index))))
    return page.Prompts(tuple(records), f"{len(records)} prompts and replies")


VECTOR_COLUMNS = (
    *("trait", "site", "method", "position", "held_out_auc", "split_half_cosine"),
    *("bootstrap_angle_deg", "energy_share_top1", "n_pairs"),
)


def _vector_blocks(found: Found) -> tuple[page.Table, ...]:
    rows = tuple(tuple(vector[name] for name in VECTOR_COLUMNS) for vector in found.vectors)
    caption = "Trait vectors and how far they depend on their pairs."
    tables = [page.Table(VECTOR_COLUMNS, rows, caption)]
    if found.transfer:
        names = tuple(found.transfer[0])
        moved = tuple(tuple(_cell(row[name]) for name in names) for row in found.transfer)
        tables.append(page.Table(names, moved, "What came through the map, and what was refused."))
    return tuple(tables)


def _cell(value: Any) -> str | int | float:
    if isinstance(value, str | int | float):
        return value
    return short(value) if isinstance(value, Estimate | Unscored) else describe(strict_json(value))


def print_found(found: Found, console: Console) -> None:
    """The terminal's account."""
    console.rule("Emergent misalignment")
    rows = [
        (
            effect.trait,
            WORDS[effect.reading],
            str(effect.site.layer),
            short(effect.shift),
            short(effect.control),
            _verdict(found, effect),
        )
        for effect in found.effects
    ]
    columns = ("trait", "reading", "layer", "variant", "controls", "verdict")
    terminal.print_table(columns, rows, console, "Shift from the base, in SD of the base")
    print_criteria(criteria(found), console)
    terminal.print_claims([claim.to_json() for claim in found.claims], console)
    console.print(verdict_line(found), style="bold", markup=False)
    for notice in notices(found):
        terminal.print_notice(notice, console)


def _verdict(found: Found, effect: TraitEffect) -> str:
    if effect.reading == OWN or effect.trait not in found.design.claimed:
        return "no claim"
    return found.shift(effect.trait, effect.reading).verdict
