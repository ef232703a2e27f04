"""The external data sets experiment on answers whose truth is known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest
from external_checks import HARM, auroc, categories
from external_runs import TINY, beavertails_file, run

import trait_probe as tp
from trait_probe.evidence.estimate import Unscored
from trait_probe.evidence.significance import relabelings
from trait_probe.experiments import external_datasets
from trait_probe.experiments._external import design as design_of
from trait_probe.experiments._external.compare import LENGTH, WORDS, Compared
from trait_probe.experiments._external.levels import PROMPT, RESPONSE
from trait_probe.organisms import world
from trait_probe.organisms.answers import labelled_answers
from trait_probe.prompts.prompt import PromptSet
from trait_probe.runs.rundir import open_run


@pytest.fixture(scope="module")
def base():
    return tp.load_model("organism:base")


@pytest.fixture(scope="module")
def scored(base, tmp_path_factory):
    """The embedded answers, read."""
    config = external_datasets.Config(
        n_boot=200, n_permutations=1500, n_random=100, n_shuffled=0, foils=("safety/evil",)
    )
    design = external_datasets.prepare(config.resolved(), base, None)
    with open_run(tmp_path_factory.mktemp("read") / "run", experiment="t", config={}) as opened:
        return design, external_datasets.read_level(opened, design, design.main)


def states(design, found) -> list[str]:
    """What is said of each category, the embedding aside."""
    nothing = Unscored("not asked")
    empty = {name: Compared(name, nothing, nothing, nothing, None) for name in (WORDS, LENGTH)}
    every = external_datasets.by_category(found, HARM, empty, design.config, None)
    random = external_datasets.random_finds(found, every)
    held = external_datasets.held_to(
        every, external_datasets.why_not_found(random, texts_known=True)
    )
    return [one.state for one in held]


@pytest.mark.slow
def test_no_category_is_found_where_labels_mean_nothing(scored):
    design, found = scored
    assert states(design, found).count("found") >= 8
    level = found.level
    for draw in relabelings(level.harmful, level.groups, n=3, seed=7):
        # A row that is called harmful is flagged in what its group is about.
        flags = np.where(draw, level.about, np.uint64(0))
        shuffled = replace(level, harmful=draw, flags=flags)
        directions = design.directions[RESPONSE]
        again = design_of.scored(shuffled, found.scores, found.lengths, directions, found.split)
        assert states(design, again).count("found") == 0


@pytest.mark.slow
def test_a_guard_that_is_taken_away_lets_a_category_through(scored, monkeypatch):
    """Without the random directions the last token of prompts would have findings."""
    design, _ = scored
    level = design.levels[PROMPT]
    with open_run(Path(mkdtemp()) / "run", experiment="t", config={}) as opened:
        found = external_datasets.read_level(opened, design, level)
    assert states(design, found).count("found") == 0
    for module in ("categories", "random_finds"):
        monkeypatch.setattr(f"trait_probe.experiments._external.{module}.ONE_LOOK", 1.0)
    assert states(design, found).count("found") > 0


def test_vectors_fitted_on_unknown_texts_find_nothing():
    assert "not known" in str(external_datasets.why_not_found(Unscored("-"), texts_known=False))
    assert external_datasets.why_not_found(Unscored("-"), texts_known=True) is None


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Most of the organisms' answers as a file of the public schema."""
    return beavertails_file(tmp_path_factory.mktemp("data"), 300)


@pytest.fixture(scope="module")
def sample(file, tmp_path_factory):
    """A run on twelve rows of each category."""
    out = tmp_path_factory.mktemp("sample") / "run"
    return out, run(out, *flags_of(file, "12"))


def flags_of(file, per_category: str) -> tuple[str, ...]:
    return ("--dataset", str(file), "--per-category", per_category, *TINY)


@pytest.mark.slow
def test_a_full_run_uses_the_shards_of_its_sample_and_reads_the_rest(file, sample, tmp_path):
    first, told = sample
    assert told["whole"] is None
    assert told["data"]["format"] == "beavertails"
    assert told["data"]["skipped_empty"] == 0
    flags = (*flags_of(file, "12"), "--full", "True")
    whole = run(tmp_path / "whole", *flags, "--sample-run", str(first))
    alone = run(tmp_path / "alone", *flags)
    assert whole == alone
    assert whole["levels"] == told["levels"]
    assert whole["verdicts"] == told["verdicts"]
    one = whole["whole"]
    assert one["rows"] == whole["data"]["rows"] - whole["data"]["left_out_as_fitted"]
    assert one["outside_the_sample"] == one["rows"] - whole["data"]["sampled"] > 0
    assert set(one["categories"]) == set(world.CATEGORIES)
    copied, own = (
        (folder / "projections" / RESPONSE / "00000000.parquet").read_bytes()
        for folder in (tmp_path / "whole", first)
    )
    assert copied == own
    # One layer is read, so rows have one score whatever the sample.
    every = run(tmp_path / "every", *flags_of(file, "1000"), "--shard-prompts", "50")
    assert every["data"]["sampled"] == one["rows"]
    assert one["traits"][HARM]["auroc"]["value"] == pytest.approx(
        auroc(every, RESPONSE, HARM), abs=1e-9
    )
    assert len(list((tmp_path / "every" / "projections" / RESPONSE).glob("*.parquet"))) > 3


@pytest.mark.slow
def test_the_stored_configuration_reproduces_the_run(sample, tmp_path):
    first, told = sample
    again = run(tmp_path / "two", "--config", str(first / "config.json"))
    assert again == told
    # Of a public file each request is a group of its own; families are not in its schema.
    assert told["data"]["groups"] > 150
    assert set(categories(told, RESPONSE)) == set(world.CATEGORIES)


@pytest.mark.slow
def test_prompts_handed_in_need_no_answers(base, tmp_path):
    answers = labelled_answers()
    seen: set[str] = set()
    prompts = []
    for prompt in answers:
        text = prompt.messages[-1].content
        if text not in seen:
            seen.add(text)
            harmful = prompt.labels["family"] == "harmful"
            labels = {"harmful": harmful, "category": prompt.labels["about"]}
            prompts.append(
                tp.Prompt(id=prompt.id, messages=prompt.messages, group=prompt.group, labels=labels)
            )
    config = external_datasets.Config(
        n_boot=200, n_permutations=200, n_random=100, n_shuffled=0, layers="1"
    )
    found = external_datasets.run(config, tmp_path / "run", model=base, prompts=PromptSet(prompts))
    assert list(found.results["levels"]) == [PROMPT]
    one = categories(found.results, PROMPT)["self_harm"]
    assert one["flagged"] == 8
    # A benign request that names its category is a safe row of it.
    assert one["within_its_groups"]["safe"] == 8
    stored = json.loads((tmp_path / "run" / "config.json").read_text())
    assert stored["dataset"].startswith("handed in: ")
