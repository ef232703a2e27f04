"""Openings are kept in the manifest, over resumed runs and beside other runs on the same data."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from trait_probe.errors import BadInputError
from trait_probe.evidence.locks import ReportLock
from trait_probe.evidence.splits import split_by_group
from trait_probe.runs import files, openings
from trait_probe.runs.manifest import manifest_from_json
from trait_probe.runs.openings import OpenedSplit, earlier_openings, record_openings
from trait_probe.runs.rundir import open_run

GROUPS = [f"prompt-{i}" for i in range(12)]


def lock_of(data: str = "ab12", seed: int = 0) -> ReportLock:
    return ReportLock(split_by_group(GROUPS, seed=seed), {"prompts": data})


def experiment(
    out: Path, *choices: dict[str, Any], data: str = "ab12", seed: int = 0, option: int = 0
) -> OpenedSplit:
    """A whole run, which opens its report rows once for each of `choices`."""
    lock = lock_of(data, seed)
    with open_run(out, experiment="backdoor", config={"option": option}) as run:
        run.stage("scores", lambda: pa.table({"x": [1.0]}))
        for chosen in choices:
            rows = lock.report(chosen)
            opened = record_openings(run, lock)
        run.write_json("results.json", {"chosen": choices[-1], "rows": rows.tolist()})
        run.finish()
    return opened


def stored(out: Path, lock_id: str) -> dict[str, Any]:
    entry = files.read_json(out / "manifest.json")["report_splits"][lock_id]
    assert isinstance(entry, dict)
    return entry


def seen(opened: OpenedSplit) -> list[tuple[str, object]]:
    return [(item.run, item.opening.chosen) for item in opened.earlier]


def chosen(opened: OpenedSplit) -> list[object]:
    return [opening.chosen for opening in opened.openings]


# --- one run --------------------------------------------------------------------------------------


def test_the_manifest_holds_the_opening(tmp_path: Path) -> None:
    opened = experiment(tmp_path / "a", {"layer": 2})
    entry = stored(tmp_path / "a", lock_of().id)
    assert entry == json.loads(json.dumps(opened.to_json()))
    assert [item["chosen"] for item in entry["openings"]] == [{"layer": 2}]
    assert entry["current"] == entry["openings"][0]["selection"]
    assert entry["earlier"] == []
    assert entry["split"]["report_rows"] == 6


def test_the_opening_is_on_the_disk_before_any_result(tmp_path: Path) -> None:
    lock = lock_of()
    with open_run(tmp_path / "a", experiment="backdoor", config={}) as run:
        lock.report({"layer": 2})
        record_openings(run, lock)
        assert not (tmp_path / "a" / "results.json").exists()
        assert stored(tmp_path / "a", lock.id)["openings"]


def test_a_lock_that_was_not_opened_is_not_recorded(tmp_path: Path) -> None:
    with (
        open_run(tmp_path / "a", experiment="backdoor", config={}) as run,
        pytest.raises(BadInputError, match="was not opened"),
    ):
        record_openings(run, lock_of())
    assert not (tmp_path / "a").exists()


def test_a_resumed_run_with_the_same_selection_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = experiment(tmp_path / "a", {"layer": 2})
    before = stored(tmp_path / "a", first.id)
    assert experiment(tmp_path / "a", {"layer": 2}) == first
    assert stored(tmp_path / "a", first.id) == before
    assert not caplog.messages


def test_a_resumed_run_with_a_changed_selection_is_a_further_opening(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    experiment(tmp_path / "a", {"layer": 2})
    with caplog.at_level(logging.WARNING):
        opened = experiment(tmp_path / "a", {"layer": 3})
    assert chosen(opened) == [{"layer": 2}, {"layer": 3}]
    assert opened.current.chosen == {"layer": 3}
    assert [item["chosen"] for item in stored(tmp_path / "a", opened.id)["openings"]] == [
        {"layer": 2},
        {"layer": 3},
    ]
    (said,) = caplog.messages
    assert said.endswith("had opened its report split for other choices: layer 3 instead of 2")
    back = experiment(tmp_path / "a", {"layer": 2})
    assert chosen(back) == [{"layer": 2}, {"layer": 3}]
    assert back.current.chosen == {"layer": 2}


def test_a_second_choice_in_one_run_is_recorded_and_warned_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        opened = experiment(tmp_path / "a", {"layer": 2}, {"layer": 3})
    assert chosen(opened) == [{"layer": 2}, {"layer": 3}]
    assert len(caplog.messages) == 1


def test_other_data_in_the_same_folder_have_their_own_entry(tmp_path: Path) -> None:
    one = experiment(tmp_path / "a", {"layer": 2})
    two = experiment(tmp_path / "a", {"layer": 3}, data="cd34")
    assert set(files.read_json(tmp_path / "a/manifest.json")["report_splits"]) == {one.id, two.id}
    assert chosen(two) == [{"layer": 3}]


def test_a_manifest_without_the_field_is_read(tmp_path: Path) -> None:
    experiment(tmp_path / "a", {"layer": 2})
    path = tmp_path / "a" / "manifest.json"
    old = {key: value for key, value in files.read_json(path).items() if key != "report_splits"}
    assert manifest_from_json(old, path).report_splits == {}
    files.write_json(path, old)
    assert chosen(experiment(tmp_path / "a", {"layer": 3})) == [{"layer": 3}]


def test_an_entry_edited_by_hand_is_refused_not_overwritten(tmp_path: Path) -> None:
    opened = experiment(tmp_path / "a", {"layer": 2})
    path = tmp_path / "a" / "manifest.json"
    files.write_json(path, {**files.read_json(path), "report_splits": {opened.id: {}}})
    with pytest.raises(BadInputError, match="not as a run writes them"):
        experiment(tmp_path / "a", {"layer": 2})
    assert files.read_json(path)["report_splits"] == {opened.id: {}}


# --- beside other runs ----------------------------------------------------------------------------


def test_a_rerun_with_other_options_on_the_same_data_is_noticed(tmp_path: Path) -> None:
    first = experiment(tmp_path / "a", {"layer": 2})
    second = experiment(tmp_path / "b", {"layer": 3}, option=1)
    third = experiment(tmp_path / "c", {"layer": 3}, seed=4, option=2)
    assert seen(first) == []
    assert seen(second) == [("a", {"layer": 2})]
    assert seen(third) == [("a", {"layer": 2}), ("b", {"layer": 3})]
    earlier = stored(tmp_path / "c", third.id)["earlier"]
    assert [item["run"] for item in earlier] == ["a", "b"]
    assert earlier[0]["selection"] == first.current.selection


def test_meta_ids_that_depend_on_the_split_would_miss_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def by_split(lock: ReportLock) -> str:
        return f"{lock._id}-{lock._split.seed}"

    monkeypatch.setattr(ReportLock, "id", property(by_split))
    with pytest.raises(AssertionError):
        test_a_rerun_with_other_options_on_the_same_data_is_noticed(tmp_path)


def test_the_same_selection_beside_is_no_other_choice(tmp_path: Path) -> None:
    experiment(tmp_path / "a", {"layer": 2})
    assert seen(experiment(tmp_path / "b", {"layer": 2}, option=1)) == []
    assert [item.run for item in earlier_openings(tmp_path / "b", lock_of().id)] == ["a"]


def test_other_data_beside_do_not_count(tmp_path: Path) -> None:
    experiment(tmp_path / "a", {"layer": 2}, data="cd34")
    assert seen(experiment(tmp_path / "b", {"layer": 3})) == []


def test_what_others_opened_later_is_not_held_against_a_repeated_run(tmp_path: Path) -> None:
    experiment(tmp_path / "a", {"layer": 2})
    experiment(tmp_path / "b", {"layer": 3}, option=1)
    assert seen(experiment(tmp_path / "a", {"layer": 2})) == []
    assert seen(experiment(tmp_path / "b", {"layer": 3}, option=1)) == [("a", {"layer": 2})]
    changed = experiment(tmp_path / "a", {"layer": 4})
    assert seen(changed) == [("b", {"layer": 3})]
    assert chosen(changed) == [{"layer": 2}, {"layer": 4}]


def test_an_earlier_run_deleted_since_stays_in_the_record(tmp_path: Path) -> None:
    experiment(tmp_path / "a", {"layer": 2})
    experiment(tmp_path / "b", {"layer": 3}, option=1)
    (tmp_path / "a" / "manifest.json").unlink()
    assert seen(experiment(tmp_path / "b", {"layer": 3}, option=1)) == [("a", {"layer": 2})]


def test_the_results_do_not_depend_on_the_runs_beside(tmp_path: Path) -> None:
    experiment(tmp_path / "alone" / "run", {"layer": 3})
    experiment(tmp_path / "many" / "a", {"layer": 2}, option=1)
    experiment(tmp_path / "many" / "run", {"layer": 3})
    alone, among = (tmp_path / name / "run" / "results.json" for name in ("alone", "many"))
    assert alone.read_bytes() == among.read_bytes()


def test_a_run_that_was_killed_after_opening_counts(tmp_path: Path) -> None:
    lock = lock_of()
    with open_run(tmp_path / "a", experiment="backdoor", config={}) as run:
        lock.report({"layer": 2})
        record_openings(run, lock)  # and nothing after
    assert not files.read_json(tmp_path / "a" / "manifest.json")["finished"]
    assert seen(experiment(tmp_path / "b", {"layer": 3})) == [("a", {"layer": 2})]


def test_what_cannot_be_read_beside_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    experiment(tmp_path / "a", {"layer": 2})
    name = lock_of().id
    broken = {
        "truncated": f'{{"report_splits": {{"{name}": ',
        "list": f'["{name}"]',
        "elsewhere": json.dumps({"facts": name}),
        "fields": json.dumps({"report_splits": {name: {"openings": 3}}}),
        "browser": json.dumps({"manifest_version": 3}),
        "binary": "\x00\x01",
    }
    for folder, content in broken.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "manifest.json").write_text(content)
    (tmp_path / "is_a_folder" / "manifest.json").mkdir(parents=True)
    (tmp_path / "file").write_text("x")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "latest").symlink_to(tmp_path / "a")
    with caplog.at_level(logging.WARNING):
        opened = experiment(tmp_path / "b", {"layer": 3})
    assert seen(opened) == [("a", {"layer": 2})]
    assert len(caplog.messages) == 4
    assert all("names this report split but" in said for said in caplog.messages)


def test_a_manifest_that_vanishes_is_a_line_for_debugging(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, logger=openings.__name__):
        assert openings._openings_in(tmp_path / "gone" / "manifest.json", "0" * 64) == ()
    assert "is left out" in caplog.messages[0]


def test_a_folder_without_a_parent_has_nothing_beside_it(tmp_path: Path) -> None:
    assert earlier_openings(tmp_path / "no" / "such" / "run", lock_of().id) == ()


def test_a_relative_folder_looks_beside_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment(tmp_path / "a", {"layer": 2})
    monkeypatch.chdir(tmp_path)
    assert seen(experiment(Path("b"), {"layer": 3})) == [("a", {"layer": 2})]
    monkeypatch.chdir(tmp_path / "b")
    assert [item.run for item in earlier_openings(Path(), lock_of().id)] == ["a"]


def test_of_very_many_runs_the_newest_are_read_and_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(openings, "MOST_SIBLINGS", 2)
    for age, name in enumerate(("new", "newer", "old")):
        experiment(tmp_path / name, {"layer": age}, option=age)
    os.utime(tmp_path / "old" / "manifest.json", (1, 1))
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        found = earlier_openings(tmp_path / "run", lock_of().id)
    assert [item.run for item in found] == ["new", "newer"]
    assert "Only the newest 2 of 3 runs" in caplog.messages[0]
