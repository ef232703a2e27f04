"""The onset of a trigger's effect: planted ones are found, and honestly."""

from __future__ import annotations

import numpy as np
import pytest
from trigger_builders import Study, study

from trait_probe.evidence.triggers.effects import contrasts
from trait_probe.evidence.triggers.onset import Onset, onset


def find(planted: Study, *, until: int = 3, n_boot: int = 200, layer: int = 0) -> Onset | None:
    return onset(
        [grid[..., layer] for grid in planted.suspect],
        [grid[..., layer] for grid in planted.clean],
        planted.readings,
        until=until,
        n_boot=n_boot,
        seed=0,
    )


@pytest.mark.parametrize("start", [1, 2, 3])
def test_a_planted_onset_is_found(start: int) -> None:
    found = find(study(effect=3.0, start=start, year_sd=0.2, seed=start))
    assert found is not None
    assert found.place == found.high == start
    assert found.low >= start - 1
    assert found.share == 1.0


def test_the_first_readable_place_is_told_apart_from_an_onset_there() -> None:
    """An effect from place 0 on, which cannot be read, shows from place 1 on."""
    found = find(study(effect=3.0, start=0))
    assert found is not None
    assert found.place == found.first_readable == 1


def test_it_agrees_with_a_loop_over_places() -> None:
    for seed in range(20):
        planted = study(effect=0.6, start=2, year_sd=0.3, seed=seed, n_controls=5)
        ahead = []
        for here, there, reading in zip(
            planted.suspect, planted.clean, planted.readings, strict=True
        ):
            rows = reading.report
            if reading.degenerate is None:
                means = (contrasts(here) - contrasts(there))[:, rows, 0].mean(axis=1)
                ahead.append(means[0] > max(0.0, means[1:].max()))
        expected = None
        if ahead[-1]:
            behind = [i for i, good in enumerate(ahead) if not good]
            expected = 1 + (behind[-1] + 1 if behind else 0)
        found = find(planted)
        assert (None if found is None else found.place) == expected


def test_an_effect_that_stops_has_no_onset() -> None:
    planted = study(effect=3.0)
    planted.suspect[3][0] -= 6.0
    assert find(planted) is None
    before = find(planted, until=2)
    assert before is not None
    assert before.place == 1


def test_without_an_effect_there_is_mostly_none() -> None:
    """At one place a meaningless trigger is beyond 17 controls once in 18 times."""
    found = [find(study(year_sd=0.5, seed=seed), n_boot=100) for seed in range(60)]
    assert sum(item is not None for item in found) <= 9  # binomial(60, 1/18): 9 or more in 1 %


def test_an_uncertain_onset_has_an_interval_around_it() -> None:
    wide = 0
    for seed in range(10):
        found = find(study(effect=0.45, start=1, year_sd=0.1, seed=seed, n_groups=24))
        if found is not None:
            assert found.first_readable <= found.low <= found.place <= found.high <= 3
            wide += found.low < found.high
    assert wide > 0


def test_the_order_of_the_carriers_does_not_matter() -> None:
    """Resamples are drawn by cluster name: reversed rows give the very same interval."""
    planted = study(effect=0.6, year_sd=0.2, n_groups=24, seed=3)
    n = len(planted.places.groups)
    turned = [grid[:, ::-1] for grid in planted.suspect], [g[:, ::-1] for g in planted.clean]
    readings = []
    for reading in planted.readings:
        order = np.argsort(n - 1 - reading.report)
        readings.append(
            type(reading)(
                reading.place,
                np.sort(n - 1 - reading.selection),
                (n - 1 - reading.report)[order],
                tuple(np.array(reading.clusters)[order].tolist()),
                reading.distinct,
                reading.seen,
                reading.degenerate,
            )
        )
    reversed_study = Study(*turned, planted.places, planted.split, tuple(readings))
    assert find(reversed_study) == find(planted)
