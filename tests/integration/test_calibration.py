"""The calibration benchmark's studies: whole, planted, confounded, one of each kind."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from benchmarks.calibration import __main__ as command
from benchmarks.calibration import figures, organism_studies, pools
from benchmarks.calibration.confounded import Confounded, confounded_studies
from benchmarks.calibration.null_studies import NullStudy, synthetic
from benchmarks.calibration.planted import PowerStudy, power_studies
from benchmarks.calibration.rates import Outcome, Rate, supported_rate
from trait_probe.evidence.claims import REQUIRED_CHECKS

SEEDS = (1001, 1002)  # none that the logged run used


@pytest.mark.parametrize("study", synthetic(), ids=lambda study: study.name)
def test_null_studies_are_testable_and_say_no(study: NullStudy) -> None:
    for seed in SEEDS:
        claims = study.run(seed)
        assert all(claim.kind == study.kind for claim in claims)
        assert "not testable" not in {claim.verdict for claim in claims}
    assert not all(Outcome.of(study.run(seed)).supported for seed in SEEDS)


@pytest.mark.parametrize("study", power_studies(), ids=lambda study: study.kind)
def test_a_large_planted_effect_is_supported(study: PowerStudy) -> None:
    claims = study.run(2.0, 200, 1001)
    assert claims[0].verdict == "supported", claims[0].reasons


@pytest.mark.parametrize("study", confounded_studies(), ids=lambda study: study.name)
def test_confounds_are_caught(study: Confounded) -> None:
    found = [study.run(seed) for seed in SEEDS]
    assert not any(outcome.supported for outcome, _ in found)
    for outcome, _ in found:
        names = {name for names in outcome.open_checks for name in names}
        assert (
            outcome.refused or names & {*study.guards, "controls shown"} or "peeking" in study.name
        )


def test_the_confounds_would_pass_without_their_guards() -> None:
    """Else they would show nothing: the meta-test of the benchmark."""
    strong = [study for study in confounded_studies() if "peeking" not in study.name]
    passed = {
        study.name: any(study.run(seed)[1] for seed in (*SEEDS, 1003, 1004)) for study in strong
    }
    assert all(passed.values()), passed


def test_organism_studies_are_testable() -> None:
    asked = pools.requests_pool(200)
    for shuffled in (True, False):
        claims = organism_studies.separation(asked, 1001, shuffled_labels=shuffled)
        assert {claim.verdict for claim in claims} <= {"not supported", "inconclusive"}
    claims = organism_studies.beyond_text(asked, 1001, shuffled_labels=True)
    assert "not testable" not in {claim.verdict for claim in claims}
    steered = np.random.default_rng(0).random((20, 40)).astype(np.float32)
    assert organism_studies.gain(steered, 1001)[0].verdict != "not testable"


def test_every_kind_is_calibrated() -> None:
    assert {study.kind for study in synthetic()} == set(REQUIRED_CHECKS)


def test_rates_have_exact_intervals() -> None:
    rate = Rate(0, 400)
    assert rate.interval == (0.0, pytest.approx(1 - 0.025 ** (1 / 400)))
    said = [Outcome(("supported", "not supported"), ((), ("length",))), Outcome((), (), "refused")]
    assert supported_rate(said) == Rate(1, 2)
    assert not Outcome(("not supported",), (("length", "foil"),)).supported_without(["length"])


def test_the_command_writes_strict_json_and_figures(tmp_path: Path) -> None:
    out = tmp_path / "found.json"
    argv = ["--quick", "--only", "confounded", "--workers", "1", "--out", str(out)]
    level = logging.getLogger("trait_probe.evidence.locks").level
    assert command.main(argv) == 0
    assert logging.getLogger("trait_probe.evidence.locks").level == level
    found = json.loads(out.read_text())
    assert found["bars"][0]["met"]
    assert len(found["results"]["confounded"]) == len(confounded_studies())
    figure = figures.confounded_figure(found["results"]["confounded"])
    assert len(figure.data) == 2
