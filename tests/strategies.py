"""Hypothesis strategies shared by the property tests."""

from __future__ import annotations

from hypothesis import strategies as st

from trait_probe.prompts.positions import PositionRule
from trait_probe.prompts.prompt import TEXT, CharSpan, Message, Prompt, PromptSet

# --- prompts ---------------------------------------------------------------------------------

UNICODE = st.characters(codec="utf-8")
# Characters that file formats and tokenizers trip over come up more often than by chance.
TRICKY = st.sampled_from([" ", "\n", "\r", "\t", "\u2028", "\x00", '"', "\\", "é", "\u0301", "😀"])
texts = st.text(st.one_of(UNICODE, TRICKY), max_size=12)
contents = texts.filter(lambda text: text.strip() != "")
span_names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_-]{0,5}", fullmatch=True).map("m{}".format)
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), texts
)


@st.composite
def char_spans(draw: st.DrawFn, lengths: dict[int, int]) -> CharSpan:
    """A nonempty range inside one of the messages of these lengths."""
    message = draw(st.sampled_from(sorted(lengths)))
    start = draw(st.integers(0, lengths[message] - 1))
    return CharSpan(message, start, draw(st.integers(start + 1, lengths[message])))


@st.composite
def conversations(
    draw: st.DrawFn, contents: st.SearchStrategy[str] = contents
) -> tuple[Message, ...]:
    """A system message or none, then user and assistant in turn, the user last."""
    turns = draw(st.integers(0, 2)) * ["user", "assistant"] + ["user"]
    roles = draw(st.sampled_from([[], ["system"]])) + turns
    return tuple(Message(role, draw(contents)) for role in roles)


@st.composite
def prompts(draw: st.DrawFn, id: str = "p") -> Prompt:
    """Any valid prompt, conversation or text."""
    messages = draw(st.one_of(st.just(()), conversations()))
    text = None if messages else draw(texts.filter(bool))
    lengths = (
        {TEXT: len(text or "")} if text else {i: len(m.content) for i, m in enumerate(messages)}
    )
    return Prompt(
        id=id,
        messages=messages,
        text=text,
        prefill=draw(st.none() | texts),
        response=draw(st.none() | texts),
        spans=draw(st.dictionaries(span_names, char_spans(lengths), max_size=2)),
        labels=draw(st.dictionaries(texts, scalars, max_size=3)),
        group=draw(st.none() | texts),
    )


@st.composite
def prompt_sets(draw: st.DrawFn) -> PromptSet:
    """One to four prompts with unique ids, in any order."""
    ids = draw(st.lists(texts.filter(bool), min_size=1, max_size=4, unique=True))
    return PromptSet(draw(prompts(name)) for name in ids)


_ends = st.none() | st.integers(-12, 12)


@st.composite
def position_rules(draw: st.DrawFn, span: str | None = None) -> PositionRule:
    """Any rule; over `span` where one is given."""
    name = draw(span_names) if span is None else span
    side = draw(st.sampled_from(["in", "after", "before"]))
    if draw(st.booleans()):
        return PositionRule(name, side, index=draw(st.integers(-12, 12)))
    start, stop, step = draw(st.integers(-12, 12)), draw(_ends), draw(st.integers(1, 4))
    return PositionRule(name, side, start=start, stop=stop, step=step)
