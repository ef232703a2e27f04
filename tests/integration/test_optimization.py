"""The vector-optimization experiment: its files, its controls, kills, judges that fail."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
import yaml
from models import build_folder
from optimization_runs import SMALL, run, small
from rich.console import Console

import trait_probe as tp
from trait_probe.errors import BadInputError, MismatchError, RunError
from trait_probe.evidence.estimate import Unscored
from trait_probe.experiments import vector_optimization
from trait_probe.experiments._cli import load_config
from trait_probe.experiments._optimization import arms as at
from trait_probe.experiments._optimization import find, gap
from trait_probe.experiments._optimization.gap import matched_coherence, matched_divergence
from trait_probe.experiments._optimization.judging import Judges, rule_judges
from trait_probe.experiments.vector_optimization import Config, prepare
from trait_probe.judges.judge import Scored
from trait_probe.organisms.questions import evaluation_prompts
from trait_probe.prompts.prompt import Message, Prompt, PromptSet
from trait_probe.runs.files import file_sha256
from trait_probe.runs.tables import read_table, write_table
from trait_probe.vectors.vector import VectorSet

TESTS = Path(__file__).parents[1]
TRAIT = "own/sycophancy"
FILES = ("results.json", "claims.json", "extraction_gap.json")


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    out = tmp_path_factory.mktemp("optimization") / "run"
    with (out.parent / "said.txt").open("w") as file:
        return run(small(), out, console=Console(file=file, width=118))


@pytest.fixture(scope="module")
def found(ran):
    return ran.found.traits[TRAIT]


def test_it_leaves_everything_that_was_promised(ran):
    there = {str(path.relative_to(ran.folder)) for path in ran.folder.rglob("*")}
    assert {
        *FILES,
        "report.html",
        "config.json",
        "figures/optimization_curves.html",
        "figures/component_differences.html",
        f"vectors/optimized/{TRAIT}/layer3.safetensors",
        f"vectors/extracted/{TRAIT}/layer3.safetensors",
        f"questions/{TRAIT}.jsonl",
    } <= there
    said = (ran.folder.parent / "said.txt").read_text()
    for words in ("equal-budget random search", "prompt baseline", "Criteria of the plan"):
        assert words in said


def test_every_arm_is_in_the_table_on_the_same_test_questions(ran):
    arms = ran.results["traits"][TRAIT]["arms"]
    assert set(arms) == {
        *(at.UNSTEERED, at.EXTRACTED, at.STRENGTH, at.RANDOM, at.SEARCHED),
        *(at.SHARED, at.REST, at.NULL, at.PROMPT),
    }
    assert {arm["score"]["n"] for arm in arms.values()} == {
        ran.results["traits"][TRAIT]["test_questions_scored"]
    }
    assert arms[at.SEARCHED]["rows"] == arms[at.RANDOM]["rows"] == 3
    assert arms[at.NULL]["rows"] == 4
    assert arms[at.UNSTEERED]["score"]["value"] == 0.0
    assert arms[at.PROMPT]["score"]["value"] == 1.0
    assert arms[at.EXTRACTED]["score"]["value"] > 0.1


def test_a_prompt_that_does_as_well_leaves_the_gain_unsupported(ran):
    (claim,) = ran.found.claims
    assert claim.verdict in ("not supported", "inconclusive")
    assert set(claim.controls) == {
        "extracted vector at its best strength",
        "equal-budget random search",
        "strength-only search",
        "prompt baseline",
    }
    assert not any(row["met"] for row in ran.results["criteria"] if "gain" in row["observed"])


def test_no_question_is_on_two_sides_and_the_test_was_seen_by_nothing_else(ran, found):
    questions = found.setting.questions
    texts = {
        name: {prompt.messages[-1].content for prompt in own}
        for name, own in questions.splits().items()
    }
    names = list(texts)
    for i, name in enumerate(names):
        for other in names[i + 1 :]:
            assert not texts[name] & texts[other], (name, other)
    test = {prompt.id for prompt in questions.test}
    for path in ran.folder.rglob("*.parquet"):
        table = read_table(path)
        if "prompt_id" in table.column_names and "test" not in path.relative_to(ran.folder).parts:
            assert not set(table["prompt_id"].to_pylist()) & test, path


def test_random_search_has_the_budget_of_the_search_it_stands_against(found):
    pairs = zip(found.searches.optimized, found.searches.random, strict=True)
    assert all(one.n_evaluations == other.n_evaluations for one, other in pairs)


def test_a_direction_is_the_sum_of_its_part_along_the_extracted_one_and_the_rest(found):
    arms, own = found.test.arms, found.setting.vector.direction
    whole, shared, rest = (arms[name] for name in (at.SEARCHED, at.SHARED, at.REST))
    for i, strength in enumerate(whole.strengths):
        total = shared.strengths[i] * shared.directions[i] + rest.strengths[i] * rest.directions[i]
        assert total.allclose(strength * whole.directions[i], atol=1e-5)
        assert abs(float(rest.directions[i] @ own)) < 1e-4 or rest.strengths[i] == 0.0


def test_the_optimized_vector_is_a_vector_like_any_other(ran, found):
    model = tp.load_model("organism:base")
    path = ran.folder / f"vectors/optimized/{TRAIT}/layer3.safetensors"
    (vector,) = VectorSet.load(path, model=model)
    assert vector.basis.method == "cma_es"
    assert vector.norm in [
        pytest.approx(s, rel=1e-5) for s in found.test.arms[at.SEARCHED].strengths
    ]
    cosine = float(vector.direction @ found.setting.vector.direction)
    assert any(cosine == pytest.approx(one, abs=1e-5) for one in found.geometry.cosines)
    with tp.steering(model, vector, strength=vector.norm):
        assert tp.generate(model, [Prompt(id="q", messages=(Message("user", "I like tea."),))])


def test_cosines_and_components_are_those_of_the_directions(found):
    own = found.setting.vector.direction.double()
    searched = found.test.arms[at.SEARCHED].directions.double()
    expected = (searched @ own).tolist()
    strengths = found.test.arms[at.SEARCHED].strengths
    for cosine, value, strength in zip(found.geometry.cosines, expected, strengths, strict=True):
        assert cosine == (pytest.approx(value, abs=1e-6) if strength else None)
    assert any(strengths)
    inside = found.setting.objective.subspace.coordinates(own)
    assert found.geometry.start_inside == pytest.approx(float(inside.square().sum()))
    one = found.geometry.components[0]
    unit = inside / inside.norm()
    assert one.extracted == pytest.approx(float(unit[one.number]))


# ---------------------------------------------------------------------------------- kills, resuming


def test_its_own_config_killed_in_the_middle_of_a_search_goes_the_same_way(ran, tmp_path):
    out, config = tmp_path / "killed", ran.folder / "config.json"
    command = [sys.executable, str(TESTS / "optimization_runs.py"), str(config), str(out)]
    process = subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": f"{TESTS}:{TESTS.parent}", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    second = out / "search" / TRAIT / "cma_es-0" / "0002.parquet"
    until = time.monotonic() + 240
    while not second.exists() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert second.exists()
    assert not (out / "results.json").exists()
    finished = json.loads((out / "manifest.json").read_text())["stages"]
    kept = [out / f"{name}.parquet" for name in finished if name.startswith("search/")]
    before = {path: path.stat().st_mtime_ns for path in kept}
    assert len(before) >= 2
    resumed = run(small(), out)
    assert all(path.stat().st_mtime_ns == when for path, when in before.items())
    for name in FILES:
        assert (resumed.folder / name).read_bytes() == (ran.folder / name).read_bytes()


@pytest.mark.parametrize("column", ["strength", "coordinates"])
def test_a_resumed_search_that_would_ask_for_other_candidates_is_refused(ran, tmp_path, column):
    """The guard of the trajectory, broken on purpose: a kept generation's candidates changed."""
    out = tmp_path / "changed"
    shutil.copytree(ran.folder, out)
    name = f"search/{TRAIT}/cma_es-0/0001"
    path = out / f"{name}.parquet"
    table = read_table(path)
    values = (1.01 * np.array(table[column].to_pylist())).tolist()
    place = table.column_names.index(column)
    changed = pa.array(values, table.schema.field(column).type)
    write_table(path, table.set_column(place, column, changed))
    manifest = json.loads((out / "manifest.json").read_text())
    manifest["stages"][name]["sha256"] = file_sha256(path)
    manifest["finished"] = False
    (out / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(MismatchError, match="other candidates"):
        run(small(), out)


# ------------------------------------------------------------------------------------------- judges


def judges_of(trait_judge):
    def make(questions):
        return Judges(trait_judge, rule_judges(questions).coherence)

    return make


def test_a_judge_that_scores_next_to_nothing_stops_before_the_search(tmp_path):
    def silent(question, answer):
        return Unscored("no score")

    def make(questions):
        return Judges(silent, silent)

    with pytest.raises(RunError, match="most answers"):
        run(small(), tmp_path / "run", judges=make)
    assert not (tmp_path / "run" / "search").exists()


def test_a_judge_that_refuses_too_often_makes_the_claim_not_testable(tmp_path):
    def refusing(question, answer):
        if sum(map(ord, answer)) % 3 == 0:
            return Unscored("the judge refused")
        return Scored(100.0 if "right" in answer else 0.0, "rule")

    config = small(seeds=1, iterations=1)
    found = run(config, tmp_path / "run", judges=judges_of(refusing))
    (claim,) = found.found.claims
    assert claim.verdict == "not testable"
    assert "the judge refused" in claim.reasons[0]
    unscored = found.results["traits"][TRAIT]["unscored_answers"]
    assert unscored["by_arm"][at.SEARCHED]["n"] > 0
    assert unscored["reasons"] == ["the judge refused"]
    assert json.loads((found.folder / "config.json").read_text())["judge"].startswith("handed in: ")
    # Two plain functions look alike: nothing says that the judge is still the first one.
    with pytest.raises(BadInputError, match="cannot be resumed"):
        run(config, found.folder, judges=judges_of(refusing))


def test_scores_of_judges_that_can_be_known_again_are_kept(found, tmp_path):
    def judge(question, answer):
        return Scored(40.0, "always")

    unknown = Judges(judge, found.setting.panels.test.coherence)
    assert unknown.unknown() == ["trait"]
    assert not unknown.cost_time()
    judge.identity = {"kind": "own", "version": 1}
    assert not unknown.unknown()
    assert unknown.cost_time()
    kept = unknown.kept_in(tmp_path / "judged.sqlite")
    assert kept.trait("q", "a") == Scored(40.0, "always")
    assert kept.trait.missing([("q", "a"), ("q", "b")]) == [("q", "b")]
    rules = Judges(*(found.setting.panels.test.coherence for _ in range(2)))
    assert not rules.cost_time()


@pytest.mark.parametrize("seed", range(20))
def test_scores_that_mean_nothing_support_nothing(found, seed):
    """Every arm's scores drawn anew: as a judge would give them that a search can only fit."""
    rng = np.random.default_rng(seed)

    def drawn(one):
        trait = rng.random(one.found.trait.shape)
        return at.Tested(replace(one.found, trait=trait, coherence=np.ones_like(trait)))

    tested = {name: drawn(one) for name, one in found.test.tested.items()}
    claim = find.gain_of(
        TRAIT,
        "m",
        tested,
        found.questions,
        find.chosen_on(found.setting),
        looks=1,
        alpha=0.05,
        most_unscored=0.05,
        most_kl=0.5,
        least_coherence=0.8,
    )
    assert claim.verdict in ("not supported", "inconclusive")


def test_a_gain_that_is_paid_for_with_divergence_is_none(found):
    tested = dict(found.test.tested)
    assert matched_divergence(tested, 0.5).status == "passed"
    wild = tested[at.SEARCHED].found
    tested[at.SEARCHED] = at.Tested(replace(wild, kl=np.array([0.1, 0.1, 2.0])))
    assert matched_divergence(tested, 0.5).status == "failed"


def test_a_gain_that_is_paid_for_with_coherence_is_none(found):
    tested = dict(found.test.tested)
    assert matched_coherence(tested, 0.8).status == "passed"
    wild = tested[at.SEARCHED].found
    broken = wild.coherence * (np.arange(wild.coherence.shape[1]) % 3 > 0)
    tested[at.SEARCHED] = at.Tested(replace(wild, coherence=broken))
    assert matched_coherence(tested, 0.8).status == "failed"


def words(start: str) -> str:
    return ", ".join(f"{start} {i}" for i in range(20))


SHORT_TRAIT = f"""trait: tests/short
language: english
definition: short
rubric: short
instructions:
- {{positive: be bad, negative: be good}}
questions: [{words("ask")}]
evaluation_questions: [{words("say")}]
"""


def kept_file(folder):
    rows = [Prompt(id=f"k{i}", messages=(Message("user", f"keep {i}"),)) for i in range(10)]
    path = folder / "kept.jsonl"
    PromptSet(rows).to_jsonl(path)
    return path


# ---------------------------------------------------------------------------------------- bad input


def refused(capsys, out: Path, *flags: str) -> str:
    """The message of a command that is refused and leaves nothing."""
    assert vector_optimization.main([*flags, "--out", str(out)]) == 2
    assert not out.exists()
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--traits", "evill"), ("evil",)),
        (("--traits", "evil", "evil"), ("each named once",)),
        (("--traits", "evil", "safety/evil"), ("same name",)),
        (("--traits", "deception"), ("kept prompts are questions",)),
        (("--judge", "gpt"), ("claude", "local:MODEL")),
        (("--layers", "9"), ("0 to 3",)),
        (("--components", "500"), ("components",)),
        (("--strengths", "0.5"), ("two or more",)),
        (("--strengths", "0.5", "0.2"), ("ascending",)),
        (("--questions", "missing.jsonl"), ("one file of questions per trait",)),
        (("--n-kept", "400"), ("fewer kept prompts",)),
        (("--model", "organism:bas"), ("organism:base",)),
        (("--kept", "nosuch.jsonl"), ("nosuch.jsonl",)),
        (("--judge-repeats", "1"), ("at least twice",)),
        (("--gold", "nosuch.jsonl", "--traits", "evil"), ("nosuch.jsonl",)),
        (("--method", "mean"), ("mean_difference",)),
        (("--popsize", "2"), ("popsize",)),
    ],
)
def test_bad_flags_are_refused_before_anything_is_written(capsys, tmp_path, flags, told):
    message = refused(capsys, tmp_path / "run", *flags)
    for words in told:
        assert words in message


def test_questions_that_the_rules_cannot_judge_or_that_are_too_few_are_refused(capsys, tmp_path):
    rows = [
        Prompt(id=f"q{i}", messages=(Message("user", f"What about {i} things?"),))
        for i in range(30)
    ]
    path = tmp_path / "own.jsonl"
    PromptSet(rows).to_jsonl(path)
    flags = ("--traits", "sycophancy", "--questions", str(path))
    assert "built-in questions" in refused(capsys, tmp_path / "run", *flags)
    PromptSet(rows[:8]).to_jsonl(path)
    assert "Too few" in refused(capsys, tmp_path / "run", *flags)


def question_rows(**changes):
    """Built-in questions in the form of a file; the third one changed."""
    rows = [prompt.to_dict() for prompt in evaluation_prompts("sycophancy")][:24]
    rows[2] |= changes
    return rows


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"response": "Yes."}, "without an answer"),
        ({"messages": [{"role": "user", "content": word} for word in ("a", "b")]}, "single"),
        ({"messages": [{"role": "user", "content": "so " * 3000}]}, "context"),
        ({"messages": question_rows()[3]["messages"]}, "texts repeat"),
        ({"messages": [{"role": "user", "content": "I LIKE TEA MORE THAN MILK."}]}, None),
    ],
)
def test_questions_that_cannot_be_asked_or_repeat_are_refused_before_anything_is_written(
    tmp_path, changes, told
):
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in question_rows(**changes)))
    config = small(questions=(str(path),))

    def judges(questions):
        return Judges(*(lambda question, answer: Scored(0.0, "none") for _ in range(2)))

    if told is None:
        prepare(config, tp.load_model("organism:base"), judges)
        return
    with pytest.raises(BadInputError, match=told):
        run(config, tmp_path / "run", judges=judges)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("part", ["train", "validation", "kept_choice", "kept_test"])
def test_a_test_question_that_anything_else_has_seen_is_refused(found, part):
    questions = found.setting.questions
    seen = questions.test[0]
    last = seen.messages[-1]
    other = replace(seen, id="again", messages=(Message("user", last.content.upper() + " "),))
    with pytest.raises(BadInputError, match="unseen"):
        replace(questions, **{part: (*getattr(questions, part), other)})


def test_a_question_that_the_vector_was_extracted_from_is_no_test(tmp_path):
    """The guard between extraction and test: the trait file's own questions are handed in."""
    content = yaml.safe_load(Path(SMALL["traits"][0]).read_text())
    rows = [
        {"id": f"q{i}", "messages": [{"role": "user", "content": text}]}
        for i, text in enumerate(content["questions"])
    ]
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    judges = Judges(*(lambda question, answer: Scored(0.0, "none") for _ in range(2)))
    with pytest.raises(BadInputError, match=f"Questions of '{TRAIT}'"):
        prepare(small(questions=(str(path),)), tp.load_model("organism:base"), lambda _: judges)


def test_questions_to_choose_on_are_those_of_training_and_validation(found, monkeypatch):
    seen = []
    monkeypatch.setattr(gap.gain, "Gain", lambda **study: seen.append(study) or 1 / 0)
    questions = found.setting.questions
    with pytest.raises(ZeroDivisionError):
        find.gain_of(
            TRAIT,
            "m",
            found.test.tested,
            found.questions,
            find.chosen_on(found.setting),
            looks=1,
            alpha=0.05,
            most_unscored=0.05,
            most_kl=0.5,
            least_coherence=0.8,
        )
    (study,) = seen
    assert set(study["chosen_on"]) == {p.id for p in (*questions.train, *questions.validation)}


@pytest.mark.parametrize("bound", ["most_kl", "least_coherence"])
def test_finalists_are_chosen_within_the_bounds(found, tmp_path, bound):
    """The guard taken to its end: where the bound allows nothing, nothing is steered."""
    from trait_probe.experiments._optimization.searching import choose
    from trait_probe.runs.rundir import open_run

    terms = replace(found.setting.objective.terms, most_kl=1e-9)
    if bound == "least_coherence":
        terms = replace(found.setting.objective.terms, least_coherence=1.5)
    objective = replace(found.setting.objective, terms=terms)
    finalists = found.searches.optimized[0].finalists(1)
    with open_run(tmp_path / bound, experiment="x", config={}) as opened:
        chosen = choose(opened, "v", objective, found.setting.panels.validation, finalists)
    assert chosen.candidate.strengths[0] == 0.0
    assert chosen.within == (bound == "most_kl")


def test_random_directions_hold_the_bound_on_divergence(found):
    from trait_probe.vectors.steered import Steerings, steered_kl

    arm, panel = found.test.arms[at.NULL], found.setting.panels.validation
    steerings = Steerings(found.setting.vector.site, arm.directions, arm.strengths)
    kl = steered_kl(panel.model, steerings, panel.kept, panel.reference)
    assert kl.max() <= found.setting.objective.terms.most_kl + 1e-6
    assert max(arm.strengths) > 0.0


def test_a_base_model_without_a_chat_template_is_refused(capsys, tmp_path):
    folder = build_folder("gpt2", tmp_path / "gpt2")
    message = refused(capsys, tmp_path / "run", "--model", str(folder))
    assert "chat template" in message


def test_a_hub_format_chat_model_goes_the_whole_way_with_judges_of_ones_own(tmp_path):
    """Random weights, English questions: nothing is there, and nothing is claimed."""
    folder = build_folder("llama", tmp_path / "llama")
    # Its tokenizer is small, so that a sentence takes many tokens.
    trait = tmp_path / "short.yaml"
    trait.write_text(SHORT_TRAIT)

    def length(question, answer):
        return Scored(float(min(len(answer), 100)), "length")

    def fluent(question, answer):
        return Scored(100.0 if answer.strip() else 0.0, "not empty")

    changes = {
        "model": str(folder),
        "traits": (str(trait),),
        "layers": "0",
        "kept": (str(kept_file(tmp_path)),),
        "iterations": 1,
        "max_new_tokens": 4,
        "components": 8,
    }
    config = Config(**{**SMALL, **changes})
    found = run(config, tmp_path / "run", judges=lambda questions: Judges(length, fluent))
    assert found.found.claims[0].verdict != "supported"
    assert (found.folder / "report.html").exists()
    kept = load_config(vector_optimization.Config, found.folder / "config.json")
    with pytest.raises(BadInputError, match="handed in"):
        run(kept, tmp_path / "again")


def test_a_vector_file_is_a_start_and_one_of_another_model_is_refused(ran, found, tmp_path, capsys):
    path = ran.folder / f"vectors/extracted/{TRAIT}/layer3.safetensors"
    model = tp.load_model("organism:base")
    (vector,) = prepare(small(vectors=str(path)), model, None).vectors
    assert torch.equal(vector.direction, found.setting.vector.direction)
    flags = ("--vectors", str(path), "--traits", "sycophancy", "--model", "organism:misaligned")
    assert "weights" in refused(capsys, tmp_path / "other", *flags)
