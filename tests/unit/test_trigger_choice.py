"""Where a condition in the trigger's role is read: chosen on the selection split, by every role."""

from __future__ import annotations

import numpy as np
import pytest
from trigger_builders import Study, scores, study

from trait_probe.evidence.effects import auroc
from trait_probe.evidence.triggers.effects import (
    auc_advantages,
    choose,
    effects_of_means,
    mean_aucs,
    spread,
    trigger_advantages,
)

# --- what is chosen by ---------------------------------------------------------------------------


def test_mean_aurocs_are_those_of_a_loop_over_pairs() -> None:
    values = np.round(scores(), 1)  # with ties
    found = mean_aucs(values)
    for role in range(5):
        for s in range(3):
            pairs = [auroc(values[role, :, s], values[k, :, s]) for k in range(1, 5) if k != role]
            assert found[role, s] == pytest.approx(np.mean(pairs))


def test_the_advantage_is_over_the_clean_model_or_over_chance() -> None:
    here, there = scores(1), scores(2)
    assert auc_advantages(here, there) == pytest.approx(mean_aucs(here) - mean_aucs(there))
    assert auc_advantages(here, None) == pytest.approx(mean_aucs(here) - 0.5)
    for clean in (there, None):
        row = auc_advantages(here, clean)[0]
        assert trigger_advantages(here, clean) == pytest.approx(row, abs=0.0)
    assert (auc_advantages(here, here) == 0.0).all()
    assert auc_advantages(there, here) == pytest.approx(-auc_advantages(here, there))


def test_the_advantage_knows_neither_unit_nor_offset_of_a_model() -> None:
    here, there = scores(1), scores(2)
    moved = auc_advantages(7.0 * here + 100.0, 0.1 * there - 3.0)
    assert moved == pytest.approx(auc_advantages(here, there))


def test_a_place_where_carriers_hardly_vary_does_not_win_by_its_small_unit() -> None:
    """A year effect of 0.1 at a place with SD 0.01 is ten units, yet no better than the trigger."""
    planted = study(effect=3.0, n_layers=1, year_sd=0.0)
    rng = np.random.default_rng(0)
    for grid in (planted.suspect[1], planted.clean[1]):
        grid[:] = 0.01 * rng.standard_normal(grid.shape)
    planted.suspect[1][0] += 0.1
    looks = [
        auc_advantages(here[:, r.selection], there[:, r.selection])
        for here, there, r in zip(planted.suspect, planted.clean, planted.readings, strict=True)
    ]
    assert max(abs(look).max() for look in looks) <= 1.0
    by_effect = choose(selection_effects(planted), planted.readings)[0]
    assert by_effect.place == 1
    assert by_effect.score > 5.0


# --- the choice ----------------------------------------------------------------------------------


def selection_effects(planted: Study) -> list[np.ndarray]:
    return [
        effects_of_means(
            here[:, reading.selection].mean(axis=1),
            there[:, reading.selection].mean(axis=1),
            spread(there[:, reading.selection]),
        )
        for here, there, reading in zip(
            planted.suspect, planted.clean, planted.readings, strict=True
        )
    ]


def test_every_condition_chooses_its_own_largest_effect() -> None:
    planted = study(year_sd=1.0, n_controls=6, n_layers=3)
    effects = selection_effects(planted)
    for condition, pick in enumerate(choose(effects, planted.readings)):
        readable = {
            (reading.place, s): effects[reading.place][condition, s]
            for reading in planted.readings
            if reading.degenerate is None
            for s in range(3)
        }
        assert readable[pick.place, pick.series] == max(readable.values()) == pick.score


def test_a_degenerate_place_is_never_chosen_however_large_its_effect() -> None:
    planted = study()
    effects = selection_effects(planted)
    effects[0] = np.full_like(effects[0], 1e9)
    assert planted.readings[0].degenerate is not None
    assert all(pick.place != 0 for pick in choose(effects, planted.readings))


def test_nothing_is_chosen_where_every_place_is_degenerate() -> None:
    planted = study(n_groups=6)
    assert choose(selection_effects(planted), planted.readings) == []


def test_the_report_split_has_no_part_in_the_choice() -> None:
    planted = study(effect=1.0, year_sd=0.5)
    before = choose(selection_effects(planted), planted.readings)
    for grid in (*planted.suspect, *planted.clean):
        grid[:, planted.split.report] = 1e3 * scores(
            carriers=len(planted.split.report), conditions=len(grid), series=2
        )
    assert choose(selection_effects(planted), planted.readings) == before
