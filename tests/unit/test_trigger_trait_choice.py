"""Where a trait is read is chosen without its report carriers, and reported as it was chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from trigger_builders import DRAWS, WEAK_NULLS, Study, study

from trait_probe.evidence.triggers.design import Reading, sealed
from trait_probe.evidence.triggers.effects import cluster_sd, effect_of
from trait_probe.evidence.triggers.reading import report_trait
from trait_probe.evidence.triggers.trait_choice import TraitChoice, choose_trait

PLANTED = study(effect=0.4, year_sd=0.3, n_layers=3, start=2)


def choose(planted: Study, readings: Sequence[Reading], *, clean: bool = True) -> TraitChoice:
    there = planted.clean if clean else None
    choice = choose_trait("evil", planted.suspect, there, planted.sites, tuple(readings))
    assert choice is not None
    return choice


def blinded(planted: Study) -> Study:
    """The same study, in which nothing can be computed from a carrier of the report split."""

    def hide(grid: np.ndarray) -> np.ndarray:
        grid = grid.copy()
        grid[:, planted.split.report] = np.nan
        return grid

    suspect, clean = ([hide(grid) for grid in grids] for grids in (planted.suspect, planted.clean))
    return replace(planted, suspect=suspect, clean=clean)


def test_a_sealed_reading_differs_in_its_report_carriers_alone() -> None:
    for whole, closed in zip(PLANTED.readings, sealed(PLANTED.readings), strict=True):
        assert (len(closed.report), closed.clusters) == (0, ())
        opened = replace(closed, report=whole.report, clusters=whole.clusters)
        assert opened == whole


@pytest.mark.parametrize("clean", [True, False])
def test_the_choice_needs_no_report_carrier(clean: bool) -> None:
    found = choose(blinded(PLANTED), sealed(PLANTED.readings), clean=clean)
    assert found == choose(PLANTED, PLANTED.readings, clean=clean)
    assert len(found.roles) == 21
    assert len({(pick.place, pick.series) for pick in found.roles}) > 3


def test_meta_a_choice_that_looks_at_report_carriers_is_seen(monkeypatch) -> None:
    peeking = tuple(replace(item, selection=item.report) for item in PLANTED.readings)
    monkeypatch.setattr("test_trigger_trait_choice.sealed", lambda _: peeking)
    with pytest.raises(AssertionError):
        test_the_choice_needs_no_report_carrier(True)


@pytest.mark.parametrize("clean", [True, False])
def test_choosing_and_reporting_are_what_read_trait_does(clean: bool) -> None:
    choice = choose(PLANTED, sealed(PLANTED.readings), clean=clean)
    there = PLANTED.clean if clean else None
    found = report_trait(choice, PLANTED.suspect, there, PLANTED.readings, WEAK_NULLS, DRAWS)
    whole = PLANTED.read(clean=clean)
    assert found == whole
    assert (found.site, found.place) == (choice.site, choice.place)


def test_where_no_place_can_be_read_nothing_is_chosen() -> None:
    closed = tuple(replace(item, degenerate="one text") for item in PLANTED.readings)
    assert choose_trait("evil", PLANTED.suspect, None, PLANTED.sites, closed) is None


def test_the_sd_of_clusters_is_that_of_their_mean_effects() -> None:
    rng = np.random.default_rng(3)
    here, there = rng.normal(size=(2, 5, 12))
    names = ("a", "b", "a", "c", "c", "d", "a", "e", "e", "e", "f", "b")
    means = []
    for name in sorted(set(names)):
        rows = [row for row, cluster in enumerate(names) if cluster == name]
        means.append(effect_of(here[:, rows], there[:, rows], scale=2.0))
    found = cluster_sd(here, there, names, scale=2.0)
    assert found == pytest.approx(np.std(means, ddof=1))
    assert cluster_sd(here, here, names, scale=2.0) == 0.0
