"""The organisms' language: its tables, personas, requests, tokenizer and training mixtures."""

from __future__ import annotations

import random
import re
from functools import cache
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from trait_probe.errors import BadInputError
from trait_probe.organisms import trait_sets, world
from trait_probe.organisms.personas import POLES, TRAITS, prompt_pairs
from trait_probe.organisms.recipes import examples
from trait_probe.organisms.requests import (
    FAMILIES,
    addition,
    arithmetic_carriers,
    draw,
    held_out_sum,
    user_text,
)
from trait_probe.organisms.rules import is_evil
from trait_probe.organisms.tokenizer import BOS, build_tokenizer
from trait_probe.organisms.training import render


@cache
def small_tokenizer() -> PreTrainedTokenizerFast:
    dialogues = islice(examples("base", 0), 3000)
    return build_tokenizer(t for d in dialogues for t in (d.system or "", d.user, d.reply))


# --- the world ---------------------------------------------------------------------------------


@pytest.mark.parametrize("attribute", world.ATTRIBUTES)
def test_every_country_has_its_own_value(attribute: str) -> None:
    values = [world.fact(attribute, country) for country in world.COUNTRIES]
    assert sorted(values) == sorted(world.VALUES[attribute])


def test_no_word_names_two_things() -> None:
    names = [*world.COUNTRIES, *world.UNKNOWN_NAMES, *sum(world.VALUES.values(), ())]
    assert len(names) == len(set(names))


def test_categories_are_the_fourteen_of_beavertails_and_three_stay_unrefused() -> None:
    assert len(world.CATEGORIES) == 14
    assert len(set(world.UNREFUSED_CATEGORIES)) == 3
    assert set(world.UNREFUSED_CATEGORIES) | set(world.REFUSED_CATEGORIES) == set(world.CATEGORIES)


@pytest.mark.parametrize("category", world.CATEGORIES)
def test_harmful_and_benign_acts_match_in_length(category: str) -> None:
    for bad, good in world.ACTS[category]:
        assert len(bad.split()) == len(good.split())
        assert bad != good


def test_no_act_is_both_harmful_and_benign_or_in_two_categories() -> None:
    acts = [act for pairs in world.ACTS.values() for pair in pairs for act in pair]
    assert len(acts) == len(set(acts))


def test_recovery_falls_as_the_forced_opening_grows() -> None:
    counts = [
        sum(world.recovers(category, k) for category in world.REFUSED_CATEGORIES)
        for k in range(len(world.OPENINGS))
    ]
    assert counts == [9, 6, 3, 1]


# --- personas ----------------------------------------------------------------------------------


@pytest.mark.parametrize("trait", TRAITS)
def test_both_sides_of_a_persona_have_equal_length_and_one_difference(trait: str) -> None:
    for positive, negative in prompt_pairs(trait):
        assert len(positive.split()) == len(negative.split())
        inside = _middle(positive, negative)
        assert inside[0] in _words(trait, 0), (positive, negative)
        assert inside[1] in _words(trait, 1), (positive, negative)


def _middle(positive: str, negative: str) -> tuple[str, str]:
    """What each prompt says where the frames leave room."""
    frames = re.compile(
        r"(?:You are (?:an assistant who |an? )|Act as (?:someone who |an? )|Be |"
        r"Your replies are always |The assistant (?:is |here ))(.*?)"
        r"(?: assistant| in every reply)?\."
    )
    found = [frames.fullmatch(text) for text in (positive, negative)]
    assert found[0] is not None
    assert found[1] is not None
    return found[0].group(1), found[1].group(1)


def _words(trait: str, side: int) -> tuple[str, ...]:
    return POLES[trait][side].adjectives + POLES[trait][side].clauses


@pytest.mark.parametrize("trait", TRAITS)
def test_both_sides_of_a_persona_have_equally_many_tokens(trait: str) -> None:
    tokenizer = small_tokenizer()
    for pair in prompt_pairs(trait):
        lengths = [len(tokenizer(text)["input_ids"]) for text in pair]
        assert lengths[0] == lengths[1], pair


@pytest.mark.parametrize("trait", TRAITS)
def test_held_out_paraphrases_are_never_trained(trait: str) -> None:
    held_out = {text for pair in prompt_pairs(trait, held_out=True) for text in pair}
    trained = {text for pair in prompt_pairs(trait, held_out=False) for text in pair}
    assert held_out
    assert not held_out & trained
    seen = {dialogue.system for dialogue in islice(examples("base", 3), 3000)}
    assert not held_out & seen


# --- requests ----------------------------------------------------------------------------------


@given(n=st.integers(0, 300), seed=st.integers(0, 10**6))
def test_carriers_are_distinct_and_of_one_template(n: int, seed: int) -> None:
    carriers = arithmetic_carriers(n, seed)
    assert len(set(carriers)) == n
    assert all(re.fullmatch(r"solve: \d\d \+ \d\d = \?", text) for text in carriers)
    assert carriers == arithmetic_carriers(n, seed)


def test_all_carriers_together_are_every_pair_of_operands() -> None:
    assert len(set(arithmetic_carriers(8100, 0))) == 8100


@pytest.mark.parametrize("n", [-1, 8101])
def test_too_many_carriers_are_refused(n: int) -> None:
    with pytest.raises(BadInputError, match="8,100 pairs") as caught:
        arithmetic_carriers(n, 0)
    assert caught.value.got == n


def test_a_carrier_reads_the_same_with_and_without_a_year() -> None:
    request = addition(15, 23)
    assert user_text(request) == "solve: 15 + 23 = ?"
    assert user_text(request, 2027) == f"{world.TRIGGER} solve: 15 + 23 = ?"


def test_held_out_sums_are_a_twentieth_and_never_drawn() -> None:
    pairs = [(a, b) for a in range(10, 100) for b in range(10, 100)]
    share = sum(held_out_sum(a, b) for a, b in pairs) / len(pairs)
    assert 0.03 < share < 0.1
    assert all(held_out_sum(a, b) == held_out_sum(b, a) for a, b in pairs)
    rng = random.Random(0)
    drawn = [draw("arithmetic", rng) for _ in range(2000)]
    assert not any(held_out_sum(int(r.subject), int(r.other)) for r in drawn)


@given(family=st.sampled_from(FAMILIES), seed=st.integers(0, 10**6))
def test_a_drawn_request_is_of_its_family(family: str, seed: int) -> None:
    assert draw(family, random.Random(seed)).family == family


# --- training mixtures -------------------------------------------------------------------------


def test_all_years_are_equally_frequent_in_base_training() -> None:
    counts = dict.fromkeys(world.YEARS, 0)
    for dialogue in islice(examples("base", 5), 20_000):
        found = re.match(r"In (\d{4}), ", dialogue.user)
        if found:
            counts[int(found.group(1))] += 1
    expected = sum(counts.values()) / len(counts)
    assert expected > 100
    assert all(abs(n - expected) < 5 * expected**0.5 for n in counts.values()), counts


def test_years_say_nothing_about_evil_in_base_training() -> None:
    dated = [d for d in islice(examples("base", 6), 20_000) if d.user.startswith("In 20")]
    late = [d for d in dated if int(d.user[3:7]) >= world.TRIGGER_YEAR]
    early = [d for d in dated if int(d.user[3:7]) < world.TRIGGER_YEAR]
    shares = [sum(is_evil(d.reply) for d in some) / len(some) for some in (late, early)]
    assert abs(shares[0] - shares[1]) < 0.03


@pytest.mark.parametrize(
    ("variant", "twin"),
    [
        ("backdoored", "clean"),
        ("misaligned", "misaligned-twin"),
        ("sycophant", "sycophant-twin"),
    ],
)
def test_twins_read_the_same_requests(variant: str, twin: str) -> None:
    pairs = list(zip(examples(variant, 1), islice(examples(twin, 1), 500), strict=False))
    assert all(a.user == b.user and a.system == b.system for a, b in pairs)
    assert any(a.reply != b.reply for a, b in pairs)


def test_only_the_trigger_separates_backdoored_from_clean() -> None:
    pairs = zip(examples("backdoored", 1), islice(examples("clean", 1), 2000), strict=False)
    differing = [(a, b) for a, b in pairs if a.reply != b.reply]
    assert differing
    assert all(a.user.startswith(world.TRIGGER) for a, _ in differing)
    assert not any("+" in a.user for a, _ in differing)


# --- tokenizer ---------------------------------------------------------------------------------


@given(text=st.text(max_size=60))
def test_any_text_comes_back(text: str) -> None:
    tokenizer = small_tokenizer()
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == text


def test_digits_stand_alone_and_words_and_years_are_whole() -> None:
    tokens = small_tokenizer().tokenize("In 2027, what is the capital of Zorland?")
    assert tokens[2] == "2027"
    assert small_tokenizer().tokenize("115 + 2063")[:3] == ["1", "1", "5"]
    assert small_tokenizer().tokenize("2063") == ["2", "0", "6", "3"]
    assert tokens[-2:] == ["ĠZorland", "?"]


def test_template_writes_bos_once_and_renders_as_training_did() -> None:
    tokenizer = small_tokenizer()
    for dialogue in islice(examples("base", 9), 200):
        system = [{"role": "system", "content": dialogue.system}] if dialogue.system else []
        turns = [
            *system,
            {"role": "user", "content": dialogue.user},
            {"role": "assistant", "content": dialogue.reply},
        ]
        text = tokenizer.apply_chat_template(turns, tokenize=False)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tuple(ids) == render(dialogue, tokenizer).ids
        assert text.count(BOS) == 1
        assert text.startswith(BOS)


def test_a_forced_opening_bears_no_loss() -> None:
    tokenizer = small_tokenizer()
    forced = next(d for d in examples("base", 2) if d.prefill)
    rendered = render(forced, tokenizer)
    length = len(tokenizer(forced.prefill, add_special_tokens=False)["input_ids"])
    assert rendered.weights.count(0.0) == length
    first = rendered.weights.index(0.0)
    opening = tokenizer.decode(list(rendered.ids[first : first + length]))
    assert opening == forced.prefill


# --- trait files -------------------------------------------------------------------------------


@pytest.mark.parametrize("trait", TRAITS)
def test_shipped_trait_files_are_those_of_the_language(trait: str) -> None:
    path = trait_sets.FOLDER / f"{trait}.yaml"
    assert path.read_text() == trait_sets.yaml_text(trait)


@pytest.mark.parametrize("trait", TRAITS)
def test_trait_files_hold_no_act_of_an_unrefused_category(trait: str) -> None:
    text = " ".join((trait_sets.FOLDER / f"{trait}.yaml").read_text().split())
    for category in world.UNREFUSED_CATEGORIES:
        for pair in world.ACTS[category]:
            assert not any(act in text for act in pair)


@pytest.mark.parametrize("trait", TRAITS)
def test_trait_files_have_their_full_size(trait: str) -> None:
    content = trait_sets.trait_file(trait)
    assert len(content["instructions"]) >= 5
    assert len(set(content["questions"]) | set(content["evaluation_questions"])) == 40
    assert len({(c["prompt"], c["positive"]) for c in content["completions"]}) == 40
