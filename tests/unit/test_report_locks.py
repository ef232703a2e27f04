"""How often the report rows were opened is on the page and in the terminal, as text."""

from __future__ import annotations

import html.parser
import io
import re
from typing import Any

import pytest
from rich.console import Console

from trait_probe.evidence.locks import Opening
from trait_probe.report import page as page_module
from trait_probe.report.locks import lock_notice
from trait_probe.report.page import Page, render
from trait_probe.report.terminal import print_notice
from trait_probe.report.text import Notice
from trait_probe.runs.openings import Earlier, OpenedSplit

ATTACK = "</p><script>alert('x')</script>\x1b[2J[red]"


def opening(seed: int = 0, **chosen: Any) -> Opening:
    return Opening(chosen, 0.5, seed)


def opened(*own: Opening, earlier: tuple[tuple[str, Opening], ...] = ()) -> OpenedSplit:
    before = tuple(Earlier(run, item) for run, item in earlier)
    return OpenedSplit("0" * 64, {"seed": 0}, own, own[-1], before)


def printed(notice: Notice) -> str:
    stream = io.StringIO()
    print_notice(notice, Console(file=stream, width=1000, no_color=True))
    return stream.getvalue()


class Shown(html.parser.HTMLParser):
    """Tags, and the text outside of scripts, styles and folded details."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.words = ""
        self.boxes: list[str] = []
        self._hidden: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        found = dict(attrs)
        if tag in ("script", "style", "details", "title"):
            self._hidden.append(tag)
        if (found.get("class") or "").split()[:1] == ["notice"]:
            self.boxes.append(str(found["class"]))

    def handle_endtag(self, tag: str) -> None:
        if self._hidden and self._hidden[-1] == tag:
            self._hidden.pop()

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.words += data


def shown(*notices: Notice) -> Shown:
    reader = Shown()
    reader.feed(render(Page("t", "s", "The verdict.", notices=notices)))
    return reader


def test_one_opening_is_a_plain_line() -> None:
    notice = lock_notice(opened(opening(layer=2)))
    assert notice == Notice("Report split: opened once.", warning=False)
    assert printed(notice) == "Report split: opened once.\n"


def test_other_runs_are_named_with_what_they_chose() -> None:
    earlier = (("a1", opening(layer=3)), ("b2", opening(layer=3)), ("c3", opening(4, layer=2)))
    notice = lock_notice(opened(opening(layer=2), earlier=earlier))
    assert notice.warning
    assert notice.text == (
        "Report split: opened once. These data were opened 3 times before with other choices "
        "(runs a1, b2: layer 3 instead of 2; run c3: split seed 4 instead of 0): intervals and p "
        "values do not account for that."
    )
    assert printed(notice) == f"Warning: {notice.text}\n"


def test_one_earlier_opening_is_once_before() -> None:
    notice = lock_notice(opened(opening(layer=2), earlier=(("a1", opening(layer=3)),)))
    assert (
        "were opened once before with other choices (run a1: layer 3 instead of 2)" in notice.text
    )


def test_openings_of_the_run_itself_are_counted() -> None:
    notice = lock_notice(opened(opening(layer=1), opening(layer=3), opening(layer=2)))
    assert notice == Notice(
        "Report split: opened 3 times with different selections: intervals and p values do not "
        "account for that (before: layer 1 instead of 2; layer 3 instead of 2).",
        warning=True,
    )


def test_long_lists_are_cut_and_counted() -> None:
    runs = tuple((f"run-{i}", opening(layer=3)) for i in range(40))
    wide = opening(**{f"x{i}": 1 for i in range(9)})
    text = lock_notice(opened(opening(layer=2), earlier=runs)).text
    assert "opened 40 times" in text
    assert "run-4, and 35 more: layer 3" in text
    text = lock_notice(opened(opening(), earlier=(("a", wide),))).text
    assert "x4 1 instead of absent, and 4 more)" in text


def test_the_box_is_on_the_page_before_the_claims_and_not_folded() -> None:
    notice = lock_notice(opened(opening(layer=2), earlier=(("a1", opening(layer=3)),)))
    reader = shown(notice, Notice("Plain.", warning=False))
    assert reader.boxes == ["notice warning", "notice"]
    assert re.search(r"The verdict\.\s+⚠ Warning: Report split: opened once", reader.words)
    assert notice.text in reader.words
    assert reader.words.count("Warning") == 1


def test_nothing_in_a_notice_becomes_markup() -> None:
    def attacked(word: str) -> Notice:
        other = Opening({word: word}, 0.5, 0)
        return lock_notice(opened(opening(layer=2), earlier=((word, other),)))

    assert shown(attacked(ATTACK)).tags == shown(attacked("word")).tags
    assert "alert('x')" in shown(attacked(ATTACK)).words
    assert "\x1b" not in printed(attacked(ATTACK))
    assert "\\x1b[2J[red]" in printed(attacked(ATTACK))


def test_meta_an_unescaped_page_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    page_module._template.cache_clear()
    plain = page_module.jinja2.Environment
    monkeypatch.setattr(
        page_module.jinja2,
        "Environment",
        lambda **options: plain(**{**options, "autoescape": False}),
    )
    with pytest.raises(AssertionError):
        test_nothing_in_a_notice_becomes_markup()
    page_module._template.cache_clear()
