"""Figures, page and terminal: effect and null together, nothing escaped wrongly, no network."""

from __future__ import annotations

import asyncio
import html.parser
import io
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest
from rich.console import Console

from trait_probe.errors import BadInputError
from trait_probe.evidence.claims import Check, Claim, interval_check, required_checks
from trait_probe.evidence.estimate import Estimate, Unscored
from trait_probe.evidence.power import Detectable
from trait_probe.report import save, text
from trait_probe.report._marks import band, plain, token_label
from trait_probe.report.figures import (
    Dot,
    FeatureRow,
    PositionCurve,
    TraitRow,
    dot,
    early_detection,
    sae_features,
    trait_comparison,
)
from trait_probe.report.page import (
    Figure,
    Page,
    Paragraph,
    PromptRecord,
    Prompts,
    Section,
    Table,
    render,
    write_page,
)
from trait_probe.report.terminal import print_claims, print_table

ATTACK = "</script></pre><script>alert('x')</script><img src=x onerror=alert(1)>"
CHROME = save.find_chrome()
needs_chrome = pytest.mark.skipif(CHROME is None, reason="no Chrome or Chromium on this machine")


def around(value: float, half: float = 0.1) -> Dot:
    return Dot(value, value - half, value + half)


def trait_row(trait: str, effect: float | None, *, supported: bool = False) -> TraitRow:
    value = None if effect is None else around(effect)
    return TraitRow(trait, value, around(0.8), around(0.5), (-0.1, 0.2), supported)


def feature_row(label: str, auc: float | None, *, supported: bool = True) -> FeatureRow:
    value = None if auc is None else around(auc)
    return FeatureRow(label, value, around(0.5), 0.6, supported)


def curve(**overrides: Any) -> PositionCurve:
    fields: dict[str, Any] = {
        "trait": "evil",
        "offsets": (0, 1, 2, 3),
        "tokens": ("2024", "\n", " <b>", "varies"),
        "suspect": (around(0.9), around(0.6), None, around(0.8)),
        "clean": (around(0.5),) * 4,
        "pretend": ((0.4, 0.6),) * 4,
        "degenerate": (True, True, False, False),
        "earliest": 3,
    }
    return PositionCurve(**{**fields, **overrides})


def claim_json(statement: str = "Evil rises.", **overrides: Any) -> dict[str, Any]:
    effect = Estimate(2.4, 2.1, 2.7, 240, 40, "SD", "cluster bootstrap")
    names = [name for name in required_checks("shift") if not name.startswith("interval")]
    checks = (
        interval_check("shift", effect),
        *(Check(name, "passed", "above all", "above 95 %") for name in names),
    )
    fields: dict[str, Any] = {
        "id": "shift/evil",
        "kind": "shift",
        "statement": statement,
        "effect": effect,
        "checks": checks,
        "controls": {"clean model": effect},
        "nulls": {"random": {"percentile": 0.998}},
        "shortcuts": {"length": Unscored("no groups")},
        "split": "report split",
        "looks": 1,
    }
    return Claim(**{**fields, **overrides}).to_json()


def named(figure: go.Figure, name: str) -> Any:
    return next(trace for trace in figure.data if trace.name == name)


# --- figures --------------------------------------------------------------------------------------


def test_traits_show_effect_interval_and_null_in_one_panel() -> None:
    rows = [trait_row("low", 0.1), trait_row("high", 2.0, supported=True)]
    figure = trait_comparison(rows)
    supported, other = (
        named(figure, "effect, supported"),
        named(figure, "effect, any other verdict"),
    )
    pretend = named(figure, "pretend triggers (null)")
    assert supported.xaxis == other.xaxis == pretend.xaxis
    assert (list(supported.x), list(supported.y)) == ([2.0], [1])
    assert (list(other.x), list(other.y)) == ([0.1], [0])
    assert supported.error_x.array[0] == pytest.approx(0.1)
    assert supported.error_x.arrayminus[0] == pytest.approx(0.1)
    assert sorted(zip(pretend.y, pretend.x, strict=True)) == [
        (0, -0.1),
        (0, 0.2),
        (1, -0.1),
        (1, 0.2),
    ]
    assert list(figure.layout.yaxis.ticktext) == ["low", "high"]
    assert supported.marker.symbol != other.marker.symbol


def test_suspect_and_clean_are_told_apart_by_more_than_colour() -> None:
    figure = trait_comparison([trait_row("evil", 1.0)])
    suspect, clean = named(figure, "suspect model"), named(figure, "clean model")
    assert suspect.marker.color != clean.marker.color
    assert suspect.marker.symbol != clean.marker.symbol
    assert suspect.y[0] != clean.y[0]


def test_an_unscored_trait_keeps_its_row_without_a_mark() -> None:
    figure = trait_comparison([trait_row("evil", 1.0), trait_row("refusal", None)])
    assert list(figure.layout.yaxis.ticktext) == ["refusal (unscored)", "evil"]
    heights = named(figure, "effect, any other verdict")
    assert dict(zip(heights.y, heights.x, strict=True)) == {0: None, 1: 1.0}
    low, high = figure.layout.yaxis.range
    assert low < 0
    assert high > 1


def test_an_interval_that_misses_its_value_is_not_drawn_backwards() -> None:
    row = replace(trait_row("evil", 1.0), effect=Dot(1.0, 1.2, 1.5))
    bar = named(trait_comparison([row]), "effect, any other verdict").error_x
    assert (bar.arrayminus[0], bar.array[0]) == (0.0, 0.5)


def test_positions_show_both_models_the_null_and_what_is_no_evidence() -> None:
    figure = early_detection([curve(), curve(trait="deception", earliest=None)])
    suspect = [trace for trace in figure.data if trace.name == "suspect model"]
    lines = [trace for trace in suspect if trace.mode == "lines+markers"]
    assert [list(line.y) for line in lines] == [[0.9, 0.6, None, 0.8]] * 2
    hatched = [trace for trace in figure.data if isinstance(trace, go.Bar)]
    assert [list(bar.x) for bar in hatched] == [[0, 1]] * 2
    assert hatched[0].name == "same prefix on every carrier: not evidence"
    assert hatched[0].marker.pattern.shape == "/"
    texts = [note.text for note in figure.layout.annotations]
    assert texts.count("earliest supported: +3") == 1
    assert list(figure.layout.xaxis2.ticktext) == [
        "+0<br>2024",
        "+1<br>⏎",
        "+2<br>·&lt;b&gt;",
        "+3<br>varies",
    ]
    shown = [trace.name for trace in figure.data if trace.showlegend]
    assert sorted(shown) == sorted(set(shown))
    assert {"suspect model", "clean model", "pretend triggers (null)"} <= set(shown)


def test_a_band_breaks_at_gaps_and_stays_visible_when_alone() -> None:
    drawn = band("b", (0, 1, 2, 3), ((0.1, 0.2), (0.3, 0.4), None, (0.5, 0.6)), "#000000", 0.2)
    assert list(drawn.x) == [0, 1, 1, 0, None, 2.88, 3.12, 3.12, 2.88, None]
    assert list(drawn.y) == [0.2, 0.4, 0.3, 0.1, None, 0.6, 0.6, 0.5, 0.5, None]


@pytest.mark.parametrize("earliest", [0, 1, 9])
def test_the_earliest_position_is_never_a_degenerate_one(earliest: int) -> None:
    with pytest.raises(BadInputError, match=r"text differs between carriers(.|\n)*valid: 2, 3"):
        curve(earliest=earliest)


def test_a_curve_needs_one_entry_per_offset() -> None:
    with pytest.raises(BadInputError, match=r"PositionCurve\.clean needs one entry per offset"):
        curve(clean=(around(0.5),))


def test_features_are_sorted_beside_the_best_pretend_trigger_and_the_dense_probe() -> None:
    rows = [feature_row("feature 1", 0.7, supported=False), feature_row("feature 2", 0.9)]
    figure = sae_features(rows, dense_probe=feature_row("dense probe", 0.8))
    assert list(figure.layout.yaxis.ticktext) == ["feature 1", "feature 2", "dense probe"]
    assert list(named(figure, "best pretend trigger (null)").x) == [0.6, 0.6, 0.6]
    assert list(named(figure, "suspect model, supported").x) == [0.9, 0.8]
    assert list(named(figure, "suspect model, any other verdict").x) == [0.7]


@pytest.mark.parametrize(
    ("draw", "row"),
    [
        (trait_comparison, trait_row("a", 1.0)),
        (early_detection, curve()),
        (sae_features, feature_row("a", 0.9)),
    ],
)
def test_every_figure_is_titled_has_units_and_needs_distinct_rows(draw: Any, row: Any) -> None:
    figure = draw([row])
    assert figure.layout.title.text
    axes = [figure.layout[name] for name in figure.layout if re.fullmatch(r"xaxis\d*", name)]
    assert all(axis.title.text for axis in axes)
    with pytest.raises(BadInputError, match="needs at least one row"):
        draw([])
    with pytest.raises(BadInputError, match="one row per name"):
        draw([row, row])


def test_dots_are_finite_and_ordered_and_come_from_estimates() -> None:
    assert dot(Estimate(0.7, 0.6, 0.8, 9, 9, "AUROC", "delong")) == Dot(0.7, 0.6, 0.8)
    assert dot(Unscored("too few")) is None
    for low, high in ((0.9, 0.1), (float("nan"), 1.0), (0.0, float("inf"))):
        with pytest.raises(BadInputError, match="finite numbers and low <= high"):
            Dot(0.5, low, high)


def test_labels_are_literal_text() -> None:
    assert plain("<b>&") == "&lt;b&gt;&amp;"
    assert token_label(" a\n") == "·a⏎"
    assert token_label("x" * 40) == "x" * 11 + "…"
    figure = trait_comparison([trait_row(ATTACK, 1.0)])
    assert "<" not in figure.layout.yaxis.ticktext[0]


# --- saving ---------------------------------------------------------------------------------------


def test_html_is_whole_offline_and_the_same_bytes_each_time(tmp_path: Path) -> None:
    pages = []
    for folder in ("one", "two"):
        figure = trait_comparison([trait_row("evil", 1.0)])
        assert save.save_figure(figure, tmp_path / folder / "traits.v1", None) == [
            tmp_path / folder / "traits.v1.html"
        ]
        pages.append((tmp_path / folder / "traits.v1.html").read_bytes())
    assert pages[0] == pages[1]
    assert_offline(pages[0].decode())


@needs_chrome
def test_pngs_are_written_where_a_browser_is_found(tmp_path: Path) -> None:
    traits = trait_comparison([trait_row("evil", 1.0)])
    figures = {"traits": traits, "plain": go.Figure()}
    written = save.save_figures(figures, tmp_path, CHROME)
    names = [path.name for path in written]
    assert names == ["traits.html", "plain.html", "traits.png", "plain.png"]
    data = (tmp_path / "traits.png").read_bytes()
    assert data.startswith(b"\x89PNG")
    assert int.from_bytes(data[16:20], "big") == 2 * traits.layout.width


@needs_chrome
def test_pngs_are_written_from_within_an_event_loop_as_in_a_notebook(tmp_path: Path) -> None:
    async def cell() -> list[Path]:
        return save.save_figure(go.Figure(), tmp_path / "x", CHROME)

    assert [path.name for path in asyncio.run(cell())] == ["x.html", "x.png"]


SILENT_BROWSER = """
import sys
from pathlib import Path
import plotly.graph_objects as go
from trait_probe.report import save
save._SECONDS_PER_BROWSER = save._SECONDS_TO_CLOSE = 1.0
print([path.name for path in save.save_figure(go.Figure(), Path(sys.argv[1]), Path(sys.argv[2]))])
"""


@pytest.mark.slow
def test_a_browser_that_hangs_costs_the_png_only(tmp_path: Path) -> None:
    silent = executable(tmp_path / "silent", "exec sleep 300")
    command = [sys.executable, "-c", SILENT_BROWSER, str(tmp_path / "x"), str(silent)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "['x.html']\n"
    assert "No PNG figures" in done.stderr


@pytest.mark.parametrize("browser", ["/bin/false", "/nonexistent/chrome"])
def test_a_browser_that_fails_costs_the_png_and_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, browser: str
) -> None:
    written = save.save_figure(go.Figure(), tmp_path / "x", Path(browser))
    assert [path.name for path in written] == ["x.html"]
    ours = [r.getMessage() for r in caplog.records if r.name.startswith("trait_probe")]
    assert len(ours) == 1
    assert ours[0].startswith(f"No PNG figures: {browser} failed")
    assert "\n" not in ours[0]


def executable(path: Path, command: str = "true") -> Path:
    path.write_text(f"#!/bin/sh\n{command}\n")
    path.chmod(0o755)
    return path


def test_the_browser_is_the_named_one_else_the_first_on_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BROWSER_PATH", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert save.find_chrome() is None
    google = executable(tmp_path / "google-chrome")
    assert save.find_chrome() == google
    chromium = executable(tmp_path / "chromium")
    assert save.find_chrome() == chromium
    mine = executable(tmp_path / "mine")
    monkeypatch.setenv("BROWSER_PATH", str(mine))
    assert save.find_chrome() == mine
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "gone"))
    assert save.find_chrome() is None


# --- the page -------------------------------------------------------------------------------------


class Elements(html.parser.HTMLParser):
    """Tags, attributes and text as a browser's tokenizer sees them."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open.append(tag)

    def handle_data(self, data: str) -> None:
        if not self._open or self._open[-1] not in ("script", "style"):
            self.words.append(data)

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


def parsed(page: str) -> Elements:
    elements = Elements()
    elements.feed(page)
    return elements


def assert_offline(page: str) -> None:
    for tag, attributes in parsed(page).tags:
        assert tag not in ("link", "iframe", "object", "embed"), tag
        assert not (tag in ("script", "img") and attributes.get("src")), attributes
    assert '"showSendToCloud": false' in page


def full_page(word: str) -> Page:
    record = PromptRecord(word, word, ((word, word),))
    checks = (Check(word, "failed", word, word),)
    claim = claim_json(
        word, id=word, split=word, checks=checks, controls={word: word}, nulls={word: [word]}
    )
    claim |= {"notes": [word], "detectable": {"note": word}}
    blocks = (
        Paragraph(word),
        Table((word,), ((word,),), word),
        Figure(trait_comparison([trait_row(word, 1.0)]), word),
        Figure(early_detection([curve(trait=word, tokens=(word,) * 4)]), word),
        Prompts((record,), word),
    )
    return Page(word, word, word, (claim,), (Section(word, blocks),), {word: word})


def test_nothing_a_user_or_model_wrote_becomes_markup() -> None:
    harmless, attacked = parsed(render(full_page("word"))), parsed(render(full_page(ATTACK)))
    assert [tag for tag, _ in attacked.tags] == [tag for tag, _ in harmless.tags]
    assert "".join(attacked.words).count(ATTACK) == "".join(harmless.words).count("word")
    assert "".join(attacked.words).count(ATTACK) > 15


def test_meta_the_escape_test_sees_an_unescaped_page(monkeypatch: pytest.MonkeyPatch) -> None:
    from trait_probe.report import page as page_module

    page_module._template.cache_clear()
    plain_environment = page_module.jinja2.Environment
    monkeypatch.setattr(
        page_module.jinja2,
        "Environment",
        lambda **options: plain_environment(**{**options, "autoescape": False}),
    )
    with pytest.raises(AssertionError):
        test_nothing_a_user_or_model_wrote_becomes_markup()
    page_module._template.cache_clear()


def test_the_page_is_one_file_with_one_plotly_and_the_same_bytes_each_time(tmp_path: Path) -> None:
    page = full_page("word")
    write_page(tmp_path / "report.html", page)
    content = (tmp_path / "report.html").read_text()
    assert content == render(full_page("word"))
    assert_offline(content)
    assert content.count("* plotly.js v") == 1
    assert "default-src 'none'" in content
    ids = re.findall(r'<div id="(figure-\d+)"', content)
    assert len(ids) == len(set(ids)) == 2


def test_a_page_without_figures_carries_no_plotly() -> None:
    assert len(render(Page("t", "s", "v"))) < 20_000


def test_one_figure_shown_twice_has_two_elements() -> None:
    block = Figure(go.Figure(), "c")
    content = render(Page("t", "s", "v", sections=(Section("a", (block, block)),)))
    ids = re.findall(r'<div id="(figure-\d+)"', content)
    assert len(ids) == len(set(ids)) == 2


def test_a_claim_card_says_verdict_effect_checks_and_reasons() -> None:
    supported = claim_json()
    unscored = claim_json("Refusal rises.", id="b", effect=Unscored("2 prompts"), checks=())
    words = " ".join(
        " ".join(parsed(render(Page("t", "s", "v", (supported, unscored)))).words).split()
    )
    assert "2 claims: 1 supported, 1 not testable" in words
    assert "✓ supported" in words
    assert "? not testable" in words
    assert "2.40 SD [2.10, 2.70]" in words
    assert "95 % interval by cluster bootstrap; n = 240 in 40 independent groups" in words
    assert "unscored: 2 prompts" in words
    assert "every check passed" in words
    assert "percentile: 0.998" in words
    for reason in unscored["reasons"]:
        assert reason in words


def noted(**overrides: Any) -> dict[str, Any]:
    """A claim that says what could be detected, with a note, among three looks."""
    fields = {"detectable": Detectable(0.31, "SD", 40), "notes": ("chosen among 3 layers",)}
    return claim_json(**{**fields, "looks": 3, **overrides})


BESIDE = (
    "40 independent units: effects below 0.31 SD are missed more than 20 % of the time "
    "(two-sided alpha 0.05)",
    "chosen among 3 layers",
    "looked at 3 effects on this split",
)


@pytest.mark.parametrize("where", ["page", "terminal"])
def test_a_claim_says_what_could_be_detected_its_notes_and_its_looks(where: str) -> None:
    def words(claim: dict[str, Any]) -> str:
        if where == "page":
            return " ".join(parsed(render(Page("t", "s", "v", (claim,)))).words)
        return printed(lambda console: print_claims([claim], console))

    said = " ".join(words(noted()).split())
    for sentence in BESIDE:
        assert said.count(sentence) == 1
    without = " ".join(words(noted(detectable=None, notes=(), looks=1)).split())
    assert "looked at 1 effect on this split" in without
    assert "missed" not in without


def test_meta_a_report_without_these_lines_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "claim_notes", lambda _: [])
    with pytest.raises(AssertionError):
        test_a_claim_says_what_could_be_detected_its_notes_and_its_looks("terminal")


def test_a_table_row_of_another_length_is_refused() -> None:
    with pytest.raises(BadInputError, match="needs 2 cells"):
        Table(("a", "b"), ((1, 2), (3,)), "t")


def test_columns_of_numbers_align_right() -> None:
    table = Table(("a", "b", "c"), ((1, "x", None), (None, 2, None)), "t")
    assert [table.is_numeric(index) for index in range(3)] == [True, False, False]


# --- words ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (4012, "4012"),
        (0.0, "0"),
        (-0.25, "-0.250"),
        (0.05, "0.050"),
        (2.4, "2.40"),
        (99.99, "100"),
        (12345.6, "12,346"),
        (0.00002, "2.0e-05"),
        (-0.0004, "-4.0e-04"),
    ],
)
def test_numbers_for_reading(value: float, shown: str) -> None:
    assert text.number(value) == shown


def test_any_json_value_is_described_in_one_line() -> None:
    assert text.describe({"a": [1, 2.5], "b": None, "c": True}) == "a: 1, 2.50; b: none; c: yes"
    assert text.describe({"unscored": "too few"}) == "unscored: too few"
    assert text.describe(list(range(20))) == "0, 1, 2, 3, 4, 5, 6, 7, … (20 in all)"
    assert text.describe([1]) == "1"


# --- the terminal ---------------------------------------------------------------------------------


def printed(show: Any) -> str:
    stream = io.StringIO()
    show(Console(file=stream, width=110, no_color=True))
    return stream.getvalue()


def test_the_terminal_prints_verdict_effect_and_every_criterion() -> None:
    claims: list[Mapping[str, Any]] = [claim_json(), json.loads(json.dumps(claim_json(checks=())))]
    shown = printed(lambda console: print_claims(claims, console))
    assert "SUPPORTED: Evil rises." in shown
    assert "NOT TESTABLE: Evil rises." in shown
    assert "effect: 2.40 SD [2.10, 2.70]" in shown
    for check in claims[0]["checks"]:
        assert check["name"] in shown
    assert "2 claims: 1 supported, 1 not testable" in shown


def test_names_cannot_style_or_drive_the_terminal() -> None:
    rows = [("[red]a[/red]", 1.0), ("b\x1b[2J", None), ("ü…", 2.5)]
    shown = printed(lambda console: print_table(("[b]", "x"), rows, console, "title [i]"))
    for literal in ("[red]a[/red]", "b\\x1b[2J", "ü…", "[b]", "title [i]", "1.00"):
        assert literal in shown
    assert "\x1b" not in shown
