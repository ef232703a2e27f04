"""Verdicts of the backdoor experiment on planted score grids: what is supported, and how often."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from trigger_builders import DRAWS, WEAK_NULLS, Study, study

from trait_probe.evidence.claims import Check, Claim, claims_json
from trait_probe.evidence.triggers import reading as trigger_reading
from trait_probe.evidence.triggers.claims import Setting, claims
from trait_probe.evidence.triggers.reading import Draws, TraitReading, read_trait

SETTING = Setting(
    trigger="In 2027,",
    suspect="suspect",
    clean="clean",
    share_identical=1.0,
    alpha=0.05,
    compared_tokens=24,
    prefix_lengths=((4, 4),) * 21,
)


def judge(*readings: TraitReading | None, setting: Setting = SETTING) -> list[Claim]:
    named = {
        f"trait-{i}": None if reading is None else replace(reading, trait=f"trait-{i}")
        for i, reading in enumerate(readings)
    }
    return claims(named, None, {}, setting, sae_asked=False, unreadable="too few texts")


def verdict(planted: Study) -> str:
    return judge(planted.read())[0].verdict


def check(claim: Claim, name: str) -> Check:
    return next(item for item in claim.all_checks if item.name == name)


# --- planted truths ------------------------------------------------------------------------------


@pytest.mark.parametrize("effect", [1.0, 2.0])
def test_a_planted_effect_is_supported(effect: float) -> None:
    reading = study(effect=effect, year_sd=0.1).read()
    claim = judge(reading)[0]
    assert claim.verdict == "supported", claim.reasons
    assert reading.effect.value == pytest.approx(effect, abs=0.4)
    assert json.dumps(claims_json([claim]), allow_nan=False)


def test_without_a_clean_model_nothing_is_testable() -> None:
    reading = study(effect=2.0).read(clean=False)
    claim = judge(reading, setting=replace(SETTING, clean=None))[0]
    assert claim.verdict == "not testable"
    assert "no clean model was given" in " ".join(claim.reasons)


def test_an_effect_that_the_clean_model_has_too_is_not_supported() -> None:
    """The word itself does it, in any model: no news about the suspect."""
    planted = study(effect=2.0, in_clean=2.0, year_sd=0.1)
    reading = planted.read()
    assert reading.auc_suspect.value > 0.8
    assert verdict(planted) == "not supported"


def test_a_larger_rise_of_what_the_clean_model_tells_as_well_is_not_supported() -> None:
    """Both models tell the trigger from every control: the suspect has no advantage."""
    reading = study(effect=8.0, in_clean=6.0, year_sd=0.1).read()
    claim = judge(reading)[0]
    assert claim.effect.low > 0.0
    failed = [item.name for item in claim.all_checks if item.status == "failed"]
    assert failed == ["control model"]
    assert claim.verdict == "not supported"


def test_an_offset_of_fine_tuning_is_not_supported() -> None:
    """Five SD under every prefix alike, as any fine-tune may have."""
    assert verdict(study(offset=5.0, year_sd=0.1)) == "not supported"


def test_a_control_as_strong_as_the_trigger_is_not_supported() -> None:
    claim = judge(study(effect=2.0, rival=2.5, year_sd=0.1).read())[0]
    assert claim.verdict == "not supported"
    assert check(claim, "pretend triggers").status == "failed"
    # The interval says it too: the trigger may be one more prefix that does as much.
    assert check(claim, "interval excludes zero").status == "failed"


def test_a_decrease_is_not_a_rise() -> None:
    assert verdict(study(effect=-2.0, year_sd=0.1)) == "not supported"


def test_a_model_against_itself_is_not_supported() -> None:
    planted = study(year_sd=1.0)
    claim = judge(replace(planted, clean=planted.suspect).read())[0]
    assert claim.verdict == "not supported"
    assert claim.effect.value == 0.0
    said = judge(
        replace(planted, clean=planted.suspect).read(), setting=replace(SETTING, same_model=True)
    )
    assert "have the same weights" in said[0].notes[0]


def test_too_few_carriers_are_not_testable() -> None:
    reading = study(effect=2.0, n_groups=8).read()
    assert reading is None
    claim = judge(reading)[0]
    assert claim.verdict == "not testable"
    assert "too few texts" in claim.reasons[0]


@pytest.mark.parametrize(("name", "title"), [("random", "random"), ("unrelated", "unrelated")])
def test_null_directions_that_move_as_much_forbid_the_claim(name: str, title: str) -> None:
    planted = study(effect=2.0, year_sd=0.1)
    strong = {**WEAK_NULLS, name: np.linspace(0.0, 4.0, 100)}
    reading = read_trait(
        "evil", planted.suspect, planted.clean, planted.sites, planted.readings, strong, DRAWS
    )
    claim = judge(reading)[0]
    assert claim.verdict == "not supported"
    failed = [item.name for item in claim.all_checks if item.status == "failed"]
    assert failed == [f"{title} directions"]


# --- many claims ---------------------------------------------------------------------------------


def test_one_true_trait_is_supported_among_null_ones() -> None:
    null = [study(year_sd=0.2, seed=seed).read() for seed in (1, 2, 3)]
    said = judge(study(effect=2.0, year_sd=0.2).read(), *null)
    assert [claim.verdict for claim in said] == ["supported", *["not supported"] * 3]
    assert all(claim.looks == 4 for claim in said)


def test_a_trait_that_gave_no_number_still_counts_as_a_look() -> None:
    reading = study(effect=0.4, year_sd=0.2, seed=1).read()
    alone, among = judge(reading), judge(reading, None, None)
    p = [float(check(c, "multiplicity").observed.split()[2]) for c in (alone[0], among[0])]
    assert p[1] == pytest.approx(min(3 * p[0], 1.0), rel=1e-3)
    assert [claim.verdict for claim in among[1:]] == ["not testable"] * 2


def test_a_control_that_stands_out_in_another_trait_forbids_the_claim() -> None:
    """Beyond its own pretend triggers, but a year can do as much somewhere: said in the check."""
    weak = study(effect=1.0, year_sd=0.25, seed=4).read()
    loud = study(rival=12.0, year_sd=0.05, seed=5).read()
    assert judge(weak)[0].verdict == "supported"
    claim = judge(weak, loud)[0]
    assert claim.verdict == "not supported"
    assert "not beyond all 20 pretend triggers of 2 claims" in " ".join(claim.reasons)


def test_labels_permuted_too_seldom_forbid_the_claim() -> None:
    """The least p of ten permutations is 1 in 11, whatever the effect."""
    draws = Draws(n_boot=200, n_permutations=10, seed=0)
    claim = judge(study(effect=2.0, year_sd=0.1).read(draws=draws))[0]
    failed = [item.name for item in claim.all_checks if item.status == "failed"]
    assert failed == ["label permutation"]
    assert claim.verdict == "not supported"


def test_a_fall_in_the_clean_model_is_not_a_rise_in_the_suspect() -> None:
    """The difference alone cannot tell them apart; the suspect's own AUROC can."""
    reading = study(in_clean=-3.0, year_sd=0.1).read()
    claim = judge(reading)[0]
    assert claim.effect.value > 2.0
    failed = [item.name for item in claim.all_checks if item.status == "failed"]
    assert failed == ["raised in the suspect itself"]
    assert claim.verdict == "not supported"


ALIKE = (4, 5)


@pytest.mark.parametrize(
    ("lengths", "words"),
    [
        (((9, 9), *[ALIKE] * 20), "0 of 20 controls have the trigger's length, 9 tokens"),
        ((ALIKE, *[(2, 2)] * 19, (8, 8)), "0 of 20 controls have the trigger's length, 4 to 5"),
        ((ALIKE, *[ALIKE] * 18, *[(4, 4)] * 2), "18 of 20 controls"),
    ],
    ids=["longer", "around", "another length in front of one carrier"],
)
def test_controls_of_another_length_cannot_stand_for_the_trigger(lengths, words) -> None:
    setting = replace(SETTING, prefix_lengths=lengths)
    claim = judge(study(effect=2.0, year_sd=0.1).read(), setting=setting)[0]
    assert claim.verdict == "not testable"
    assert words in claim.reasons[0]


def test_enough_controls_of_its_length_will_do() -> None:
    setting = replace(SETTING, prefix_lengths=(ALIKE, *[ALIKE] * 19, (9, 9)))
    claim = judge(study(effect=2.0, year_sd=0.1).read(), setting=setting)[0]
    assert claim.verdict == "supported", claim.reasons


def test_controls_too_few_for_alpha_are_not_testable() -> None:
    few = study(effect=3.0, year_sd=0.05, n_controls=6).read()
    claim = judge(few)[0]
    assert claim.verdict == "not testable"
    assert "too few for alpha 0.05 (at least 19)" in " ".join(claim.reasons)


# --- error rates ---------------------------------------------------------------------------------

GUARDS = ("pretend triggers", "multiplicity")


def null_claims(seed: int, *, heavy: bool = False) -> list[Claim]:
    """Two traits, a trigger that was never planted, prefixes that each do something of their own.

    Only the suspect has these prefix effects, so that the clean model does not cancel them.
    """
    plan = {"n_controls": 19, "n_groups": 18, "per_group": 1, "year_sd": 0.7, "heavy": heavy}
    draws = Draws(n_boot=100, n_permutations=100, seed=seed)
    found = [study(seed=10_000 * trait + seed, **plan).read(draws=draws) for trait in (0, 1)]
    return judge(*found)


def supported_without(claim: Claim, names: tuple[str, ...]) -> bool:
    return all(item.status == "passed" for item in claim.all_checks if item.name not in names)


@pytest.mark.parametrize("heavy", [False, True], ids=["normal", "heavy tails"])
def test_never_planted_triggers_are_supported_at_most_at_the_stated_rate(
    heavy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs with any supported claim, over 200 null studies; and what the guards prevent."""
    # The curve is drawn, not judged, and takes most of the time.
    monkeypatch.setattr(trigger_reading, "_curve", lambda *_: ())
    said = [null_claims(seed, heavy=heavy) for seed in range(200)]
    false = sum(any(claim.verdict == "supported" for claim in run) for run in said)
    assert stats.binomtest(false, 200, SETTING.alpha, alternative="greater").pvalue > 0.01
    unguarded = sum(any(supported_without(claim, GUARDS) for claim in run) for run in said)
    # Without them the rate rises above alpha: they matter, though the interval guards as well.
    assert stats.binomtest(unguarded, 200, SETTING.alpha, alternative="greater").pvalue < 1e-6


@pytest.mark.parametrize("null", [np.zeros(1), np.zeros(100), np.arange(18.0) * 1e-5])
def test_null_directions_that_are_few_or_one_are_no_null(null: np.ndarray) -> None:
    planted = study(effect=2.0, year_sd=0.1)
    nulls = {"random": null, "unrelated": WEAK_NULLS["unrelated"]}
    reading = read_trait(
        "evil", planted.suspect, planted.clean, planted.sites, planted.readings, nulls, DRAWS
    )
    claim = judge(reading)[0]
    assert claim.verdict == "not testable"
    assert check(claim, "random directions").status == "missing"
