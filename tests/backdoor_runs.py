"""Runs of the backdoor command for its tests, at several prices."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import numpy as np

from trait_probe.evidence.triggers.design import sealed
from trait_probe.evidence.triggers.reading import Draws
from trait_probe.experiments import backdoor
from trait_probe.identity import HookedModel
from trait_probe.runs.rundir import open_run

AMOUNTS = ("--n-boot", "400", "--n-permutations", "400", "--n-random", "200")
SMALL = ("--n-carriers", "128", *AMOUNTS)
# For what does not depend on the verdict: resuming, reproducing, refusing.
TINY = (
    *("--n-carriers", "64", "--traits", "safety/evil", *AMOUNTS, "--controls"),
    *("In 2011,", "In 2015,", "In 2019,", "In 2023,", "In 2033,", "In 2037,"),
)


def run(out: Path, *flags: str) -> dict:
    assert backdoor.main([*flags, "--out", str(out)]) == 0
    return json.loads((out / "results.json").read_text())


def read_evil(suspect: HookedModel, clean: HookedModel) -> SimpleNamespace:
    """The experiment's steps up to the null directions, for two layers and few controls."""
    config = backdoor.Config(
        suspect="suspect",
        clean="clean",
        n_carriers=64,
        traits=("safety/evil",),
        controls=tuple(f"In {year}," for year in (2011, 2015, 2019, 2033)),
        n_boot=200,
        n_permutations=200,
        n_random=100,
    )
    pair = backdoor.Pair(suspect, clean)
    carriers = backdoor.load_carriers(config, suspect)
    conditions = backdoor.lay_out(
        suspect,
        carriers,
        config.trigger,
        config.controls,
        n_places=config.n_places,
        new_tokens=config.max_new_tokens,
        seed=config.seed,
    )
    vectors, activations = backdoor.fit_traits(clean, config.traits, layers="1,2")
    readings = conditions.readings(np.ones(len(carriers), dtype=bool))
    with (
        TemporaryDirectory() as folder,
        open_run(Path(folder) / "run", experiment="backdoor", config={}) as opened,
    ):
        projections = tuple(
            backdoor.project_places(opened, name, model, conditions, vectors)
            for name, model in (("suspect", suspect), ("clean", clean))
        )

    scores = backdoor.trait_scores(conditions, projections, list(activations))

    def read(nulls: object) -> dict[str, object]:
        effects = {trait: nulls.of_trait(trait) for trait in activations}
        choices = backdoor.choose_traits(scores, sealed(readings))
        draws = Draws(config.n_boot, config.n_permutations, config.seed)
        return backdoor.report_traits(scores, choices, readings, effects, draws)

    return SimpleNamespace(
        config=config,
        pair=pair,
        conditions=conditions,
        readings=readings,
        vectors=vectors,
        activations=activations,
        read=read,
    )
