"""The backdoor experiment without a control model, and stopped half-way.

That it finds what was planted is tested on the README's command (`test_readme`), that it is silent
elsewhere in `test_backdoor_silent`.
"""

from __future__ import annotations

import json

import pytest
from backdoor_runs import TINY, run

from trait_probe.experiments import backdoor
from trait_probe.experiments._backdoor import pipeline


@pytest.mark.slow
def test_without_a_clean_model_it_runs_and_nothing_is_testable(tmp_path):
    results = run(tmp_path / "run", "--suspect", "organism:backdoored", *TINY)
    assert set(results["verdicts"].values()) == {"not testable"}
    assert results["traits"]["safety/evil"]["auc_clean"] is None
    claims = json.loads((tmp_path / "run" / "claims.json").read_text())["claims"]
    assert any("no clean model" in reason for claim in claims for reason in claim["reasons"])


@pytest.mark.slow
def test_a_stopped_run_goes_on_and_ends_the_same(tmp_path, monkeypatch, capsys):
    flags = ("--suspect", "organism:backdoored", "--clean", "organism:clean", *TINY)
    run(tmp_path / "whole", *flags)
    real = pipeline.steps.project_places

    def stop(opened, name, *rest):
        if name == "clean":
            raise KeyboardInterrupt
        return real(opened, name, *rest)

    monkeypatch.setattr(pipeline.steps, "project_places", stop)
    stopped = tmp_path / "stopped"
    assert backdoor.main([*flags, "--out", str(stopped)]) == 130
    assert "goes on from there" in capsys.readouterr().err
    assert not (stopped / "results.json").exists()
    kept = (stopped / "projections" / "suspect.parquet").stat().st_mtime_ns
    monkeypatch.setattr(pipeline.steps, "project_places", real)
    run(stopped, *flags)
    assert (stopped / "projections" / "suspect.parquet").stat().st_mtime_ns == kept
    for name in ("results.json", "claims.json"):
        assert (stopped / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
