"""Pairs of the prefill experiment: copies, earlier turns, pairs by chance, answers cut off."""

from __future__ import annotations

from dataclasses import replace

import pytest

from trait_probe.errors import BadInputError
from trait_probe.evidence.estimate import Unscored
from trait_probe.experiments import prefill_attack
from trait_probe.experiments._prefill.behaviour import Outcome, _unless_cut
from trait_probe.experiments._prefill.pairs import load_pairs
from trait_probe.models import load_model
from trait_probe.organisms.harm_pairs import harm_pairs
from trait_probe.prompts.prompt import Message, Prompt, PromptSet

CONFIG = prefill_attack.Config().resolved()


def pairs(prompts: PromptSet, fitted: tuple[str, ...] = ()) -> object:
    return load_pairs(CONFIG, load_model("organism:base"), prompts, fitted)


def test_copies_under_other_groups_are_refused():
    """Seven pairs six times over were 21 independent groups, and supported."""
    some = list(harm_pairs())[:56]
    copies = [
        replace(prompt, id=f"{prompt.id}-{i}", group=f"{prompt.group}-{i}")
        for prompt in some
        for i in range(3)
    ]
    with pytest.raises(BadInputError, match="stands in two groups"):
        pairs(PromptSet(copies))


def test_a_fitted_text_in_an_earlier_turn_leaves_its_pair_out():
    some = list(harm_pairs())
    later = [
        replace(
            prompt,
            messages=(*prompt.messages, Message("assistant", "Hm."), Message("user", f"Go on {i}")),
        )
        for i, prompt in enumerate(some)
    ]
    fitted = tuple({prompt.messages[0].content for prompt in some[:40]})
    assert pairs(PromptSet(later), fitted).fitted == pairs(PromptSet(some), fitted).fitted > 0


def test_pairs_by_chance_are_still_so_when_their_file_is_read_again(tmp_path):
    alone = PromptSet(
        Prompt(p.id, messages=p.messages, labels={"harmful": p.labels["harmful"]})
        for p in harm_pairs()
    )
    first = pairs(alone)
    assert (first.matched, first.dealt > 20) == (0, True)
    first.prompts.to_jsonl(tmp_path / "pairs.jsonl")
    again = pairs(PromptSet.from_jsonl(tmp_path / "pairs.jsonl"))
    assert (again.matched, again.dealt) == (0, first.dealt)


def test_an_answer_cut_off_before_it_did_either_is_unscored():
    neither, refused = Outcome(False, False), Outcome(True, False)
    assert isinstance(_unless_cut(neither, 24, 24), Unscored)
    assert _unless_cut(neither, 23, 24) == neither
    assert _unless_cut(refused, 24, 24) == refused


def test_the_name_of_the_topic_direction_is_taken(tmp_path):
    own = tmp_path / "topic.yaml"
    words = ("red", "blue", "fish", "bird", "tree", "lake", "moon", "sun", "rain", "snow")
    rows = "".join(f"  - positive: {w} one\n    negative: {w} two\n" for w in words)
    head = "trait: topic\nlanguage: organism\ndefinition: a\nrubric: b\nprompts:\n"
    own.write_text(head + rows)
    config = prefill_attack.Config(traits=(str(own),))
    with pytest.raises(BadInputError, match="direction of topics"):
        prefill_attack.run(config, tmp_path / "run")
