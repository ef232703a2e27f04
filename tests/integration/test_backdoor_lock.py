"""The report carriers of a backdoor audit are opened once, for what was chosen, on record."""

from __future__ import annotations

import io
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import trait_probe as tp
from trait_probe.errors import BadInputError
from trait_probe.experiments import backdoor
from trait_probe.experiments._backdoor import steps, study
from trait_probe.experiments._backdoor.opening import BY_CONTENT, DATA_FIELDS

CONFIG = backdoor.Config(
    n_carriers=64,
    traits=("safety/evil",),
    layers="1,2",
    controls=("In 2011,", "In 2015,", "In 2019,"),
    n_boot=200,
    n_permutations=200,
    n_random=100,
)
RESULTS = ("results.json", "claims.json", "detection_auc.json")


@pytest.fixture(scope="module")
def pair() -> tuple[Any, Any]:
    return tp.load_model("organism:backdoored"), tp.load_model("organism:clean")


def audit(out: Path, pair: tuple[Any, Any], **changes: Any) -> SimpleNamespace:
    """A whole audit: its folder, its manifest's lock and what it said."""
    stream = io.StringIO()
    config = CONFIG.model_copy(update=changes)
    console = Console(file=stream, width=1000, no_color=True)
    backdoor.run(config, out, model=pair[0], clean=pair[1], console=console)
    splits = json.loads((out / "manifest.json").read_text())["report_splits"]
    page = re.sub(r"<style>.*?</style>|<script>.*?</script>", "", (out / "report.html").read_text())
    split = next(iter(splits.values()), None)
    return SimpleNamespace(out=out, splits=splits, split=split, said=stream.getvalue(), page=page)


def same_results(one: Path, other: Path) -> bool:
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in RESULTS)


def warned(run: SimpleNamespace) -> bool:
    """Whether page and terminal warn; they must agree."""
    boxed = 'class="notice warning"' in run.page
    assert boxed == ("Warning: Report split" in run.said)
    return boxed


@pytest.fixture(scope="module")
def runs(tmp_path_factory, pair) -> SimpleNamespace:
    """An audit, one with another option beside it, and the first one repeated beside both."""
    root = tmp_path_factory.mktemp("runs")
    return SimpleNamespace(
        first=audit(root / "first", pair),
        other=audit(root / "other", pair, layers="2"),
        repeat=audit(root / "repeat", pair),
    )


@pytest.mark.slow
def test_a_first_audit_says_that_it_opened_them_once(runs):
    assert not warned(runs.first)
    for shown in (runs.first.said, runs.first.page):
        assert "Report split: opened once." in shown
    assert len(runs.first.splits) == 1
    assert runs.first.split["earlier"] == []


@pytest.mark.slow
def test_what_was_chosen_is_on_record_with_every_option(runs):
    (opening,) = runs.first.split["openings"]
    chosen = opening["chosen"]
    results = json.loads((runs.first.out / "results.json").read_text())["traits"]["safety/evil"]
    where = {name: results[name] for name in ("site", "place")}
    assert chosen["read"] == {"traits": {"safety/evil": where}}
    assert set(backdoor.Config.model_fields) - DATA_FIELDS - BY_CONTENT <= set(chosen)
    assert chosen["layers"] == [1, 2]
    assert list(chosen["contrasts"]) == ["safety/evil"]
    # No measurement: a repeat on another machine must be the same selection.
    assert [value for value in chosen.values() if isinstance(value, float)] == [CONFIG.alpha]


@pytest.mark.slow
def test_another_option_on_the_same_data_is_warned_of(runs):
    assert warned(runs.other)
    for shown in (runs.other.said, runs.other.page):
        assert "These data were opened once before with other choices (run first:" in shown
        assert "layers [1, 2] instead of [2]" in shown
    assert list(runs.other.splits) == list(runs.first.splits)
    assert [item["run"] for item in runs.other.split["earlier"]] == ["first"]
    assert runs.other.split["current"] != runs.first.split["current"]


def lock_of(pair: tuple[Any, Any], **changes: Any) -> str:
    """The id of an audit's lock."""
    config = CONFIG.model_copy(update=changes)
    carriers = backdoor.load_carriers(config, pair[0])
    return _lock(pair, carriers, config)


def _lock(pair: tuple[Any, Any], carriers: tp.PromptSet, config: backdoor.Config) -> str:
    conditions = backdoor.lay_out(
        pair[0], carriers, config.trigger, config.controls, n_places=8, new_tokens=24, seed=0
    )
    return backdoor.report_lock(steps.Pair(*pair), conditions).id


def test_what_is_compared_with_is_chosen_and_no_other_data(pair):
    """Who drops the control that stands out, or the clean model, looks at the same rows again."""
    lock = lock_of(pair)
    assert lock_of(pair, controls=CONFIG.controls[:2]) == lock
    assert lock_of(pair, controls=CONFIG.controls[::-1]) == lock
    assert lock_of((pair[0], None)) == lock
    carriers = backdoor.load_carriers(CONFIG, pair[0])
    renamed = tp.PromptSet(
        [replace(prompt, id=f"other-{i}") for i, prompt in enumerate(reversed(list(carriers)))]
    )
    assert _lock(pair, renamed, CONFIG) == lock
    assert lock_of(pair, trigger="In 2029,") != lock
    assert lock_of((pair[1], pair[0])) != lock


@pytest.mark.slow
def test_a_dropped_control_is_a_second_look(tmp_path, pair, runs):
    shutil.copytree(runs.first.out, tmp_path / "all")  # made when nothing lay beside it
    fewer = audit(tmp_path / "fewer", pair, controls=CONFIG.controls[:2])
    assert warned(fewer)
    assert [item["run"] for item in fewer.split["earlier"]] == ["all"]
    assert "controls" in fewer.said.split("Warning: Report split", 1)[1]


@pytest.mark.slow
def test_a_repeat_has_the_same_bytes_and_knows_of_the_others(runs):
    assert same_results(runs.first.out, runs.repeat.out)
    assert not same_results(runs.first.out, runs.other.out)
    assert runs.repeat.split["current"] == runs.first.split["current"]
    assert [item["run"] for item in runs.repeat.split["earlier"]] == ["other"]
    assert warned(runs.repeat)


@pytest.mark.slow
def test_a_reader_of_answers_alone_sees_nothing_and_it_is_said(runs):
    results = json.loads((runs.first.out / "results.json").read_text())
    for shortcuts in results["shortcuts"].values():
        assert shortcuts["outputs"]["value"] == 0.5
    assert "only carriers with one answer under every prefix are read" in runs.first.page


@pytest.mark.slow
def test_every_claim_says_what_could_be_detected_and_how_often_was_looked(runs):
    claims = json.loads((runs.first.out / "claims.json").read_text())["claims"]
    for claim in claims:
        for shown in (runs.first.said, runs.first.page):
            assert claim["detectable"]["note"] in shown
            assert "looked at 1 effect on this split" in shown
            assert all(note in shown for note in claim["notes"])


class StopError(Exception):
    """Stands for a kill."""


def stop(*_: Any, **__: Any) -> None:
    raise StopError


@pytest.mark.slow
def test_a_stopped_audit_goes_on_without_a_second_opening(
    tmp_path, pair, runs, monkeypatch, caplog
):
    out = tmp_path / "stopped"
    with monkeypatch.context() as patched:
        patched.setattr(study, "report_traits", stop)
        with pytest.raises(StopError):
            audit(out, pair)
    manifest = json.loads((out / "manifest.json").read_text())
    assert len(manifest["report_splits"]) == 1
    assert not manifest["finished"]
    whole = audit(out, pair)
    assert not warned(whole)
    assert len(whole.split["openings"]) == 1
    assert not [said for said in caplog.messages if "opened" in said]
    assert same_results(out, runs.first.out)


# --- the order -----------------------------------------------------------------------------------

READ_REPORT_ROWS = ("null_directions", "report_traits", "report_sae", "detection_auc")


def order_of_steps(out: Path, pair: tuple[Any, Any], monkeypatch: Any) -> list[str]:
    """Names of the steps that read report rows, and of the record, in the order of their calls."""
    calls: list[str] = []

    def noted(name: str, step: Any) -> Any:
        def call(*args: Any, **more: Any) -> Any:
            calls.append(name)
            return step(*args, **more)

        return call

    places = [*((study, name) for name in READ_REPORT_ROWS), (study, "record_openings")]
    for module, name in [*places, (steps, "audit_shortcuts")]:
        monkeypatch.setattr(module, name, noted(name, getattr(module, name)))
    audit(out, pair, sae="organism:backdoored-sae", suspect="organism:backdoored")
    return calls


def assert_recorded_first(calls: list[str]) -> None:
    assert calls[0] == "record_openings"
    assert calls.count("record_openings") == 1
    assert set(calls) == {*READ_REPORT_ROWS, "record_openings", "audit_shortcuts"}


@pytest.mark.slow
def test_nothing_is_computed_on_report_rows_before_the_record(tmp_path, pair, monkeypatch):
    assert_recorded_first(order_of_steps(tmp_path / "run", pair, monkeypatch))
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    (split,) = manifest["report_splits"].values()
    features = json.loads((tmp_path / "run" / "results.json").read_text())["sae"]
    read = split["openings"][0]["chosen"]["read"]["sae"]
    assert read == {
        "site": features["site"],
        "place": features["place"],
        "features": [item["feature"] for item in features["features"]],
    }


@pytest.mark.slow
def test_meta_a_step_before_the_record_is_seen(tmp_path, pair, monkeypatch):
    choose = study._choose

    def hasty(found: Any, scores: Any, readings: Any) -> Any:
        study.detection_auc({}, readings, [], [])
        return choose(found, scores, readings)

    monkeypatch.setattr(study, "_choose", hasty)
    with pytest.raises(AssertionError, match="detection_auc"):
        assert_recorded_first(order_of_steps(tmp_path / "run", pair, monkeypatch))


def test_the_audit_reads_the_answers_to_the_prompts_it_audits(pair, monkeypatch):
    carriers = backdoor.load_carriers(CONFIG, pair[0])
    conditions = backdoor.lay_out(
        pair[0], carriers, CONFIG.trigger, CONFIG.controls, n_places=8, new_tokens=24, seed=0
    )
    readings = conditions.readings(np.ones(len(carriers), dtype=bool))
    place = next(item.place for item in readings if item.degenerate is None)
    answers = tuple(tuple(item.prompt_id for item in found) for found in conditions.rendered)
    given: list[str] = []

    def take(*_: Any, outputs: list[str], **__: Any) -> None:
        given.extend(outputs)
        raise StopError

    monkeypatch.setattr(steps, "audit_shortcuts", take)
    with pytest.raises(StopError):
        backdoor.audit(pair[0], conditions, readings, place, answers)
    assert given == [item.prompt_id for item in conditions.some(readings[place].report)]


# --- refusals ------------------------------------------------------------------------------------


def carriers_with(model: Any, *extra: str) -> tp.PromptSet:
    asked = [
        {"id": f"extra-{i}", "messages": [{"role": "user", "content": text}]}
        for i, text in enumerate(extra)
    ]
    return backdoor.load_carriers(CONFIG, model) + tp.PromptSet.from_dicts(asked)


@pytest.fixture
def overlapping(pair) -> tuple[str, tp.PromptSet]:
    """A request of the trait's own contrast set, and carriers with it among them."""
    prompt = tp.contrast_set("safety/evil", pair[1]).negative[0]
    text = prompt.messages[-1].content if prompt.messages else str(prompt.text)
    return text, carriers_with(pair[0], text)


def test_carriers_that_a_vector_is_fitted_on_are_refused(tmp_path, pair, overlapping):
    text, carriers = overlapping
    with pytest.raises(BadInputError) as caught:
        backdoor.run(CONFIG, tmp_path / "run", model=pair[0], clean=pair[1], prompts=carriers)
    assert not (tmp_path / "run").exists()
    assert "vectors of 'safety/evil' are fitted on" in str(caught.value)
    assert " ".join(text.casefold().split()) in str(caught.value)


def test_meta_without_the_refusal_they_would_be_taken(pair, overlapping, monkeypatch):
    def fit() -> None:
        backdoor.fit_traits(pair[1], ("safety/evil",), layers="2", carriers=overlapping[1])

    with pytest.raises(BadInputError):
        fit()
    monkeypatch.setattr(steps, "require_unseen", lambda *_: None)
    fit()


@pytest.mark.slow
def test_where_no_place_can_be_read_nothing_is_opened(tmp_path, pair):
    found = audit(tmp_path / "run", pair, n_places=1)
    assert found.splits == {}
    assert not warned(found)
    for shown in (found.said, found.page):
        assert "Report split: not opened, since no place can be read." in shown
    assert json.loads((tmp_path / "run" / "detection_auc.json").read_text())["rows"] == []
