"""The null studies of every experiment: nothing is there, so nothing may be supported."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.calibration import gains, labelled, organism_studies, pools, shifts, triggers
from trait_probe.evidence.claims import Claim
from trait_probe.evidence.studies.same_behaviour import BOUND

TWIN_SEEDS = range(10)


@dataclass(frozen=True)
class NullStudy:
    """One way in which nothing is there.

    Attributes:
        experiment: whose claims these are.
        kind: of the claims.
        source: "synthetic" or "organisms".
        what: in words.
        run: seed -> the study's claims.
    """

    experiment: str
    kind: str
    source: str
    what: str
    run: Callable[[int], list[Claim]]

    @property
    def name(self) -> str:
        return f"{self.experiment} / {self.kind} / {self.source}: {self.what}"


def _separation(paired: bool) -> Callable[[int], list[Claim]]:
    plan = labelled.Plan(paired=paired)
    return lambda seed: labelled.separation(labelled.world(plan, seed), seed=seed)


def _trigger(heavy: bool) -> Callable[[int], list[Claim]]:
    return lambda seed: triggers.study(triggers.Plan(n=120, heavy=heavy), seed)


def synthetic() -> list[NullStudy]:
    """On synthetic activations."""
    make = "synthetic"
    return [
        NullStudy(
            "emergent_misalignment",
            "shift",
            make,
            "two fine-tunes with offsets of their own",
            lambda seed: shifts.claims(shifts.study(shifts.Plan(), seed), seed=seed),
        ),
        NullStudy(
            "external_datasets", "separation", make, "labels mean nothing", _separation(False)
        ),
        NullStudy(
            "external_datasets",
            "beyond the text",
            make,
            "labels mean nothing",
            lambda seed: labelled.beyond_text(labelled.world(labelled.Plan(), seed), seed=seed),
        ),
        NullStudy(
            "prefill_attack", "separation", make, "labels mean nothing, pairs", _separation(True)
        ),
        NullStudy("backdoor", "shift", make, "each prefix does something, normal", _trigger(False)),
        NullStudy("backdoor", "shift", make, "each prefix does something, t(3)", _trigger(True)),
        NullStudy(
            "vector_optimization",
            "gain",
            make,
            "all arms equal",
            lambda seed: gains.gain(0.0, seed),
        ),
        NullStudy(
            "vector_optimization",
            "gain",
            make,
            "as good as the extracted vector, others worse",
            lambda seed: gains.gain(0.0, seed, others=-3.0),
        ),
        NullStudy(
            "all",
            "same behaviour",
            make,
            "rates differ by the bound",
            lambda seed: gains.same_behaviour(BOUND, seed),
        ),
    ]


def organisms(folder: Path) -> list[NullStudy]:
    """On what the organisms did; reads the pools first, and trains twins into `folder`."""
    make = "organisms"
    pools.train_twins(folder, TWIN_SEEDS)
    prompted, answered = pools.models_pools(folder, TWIN_SEEDS)
    asked, pairs = pools.requests_pool(), pools.pairs_pool()
    years = pools.years_pool(("base", "clean", "backdoored"))
    steered, behaved = pools.steering_pool(), pools.behaviour_pool()
    do = organism_studies
    for rule in (None, "prompt[-1]"):
        pools.contrasts(rule)  # read before processes are forked
    pools.embedding_directions()
    return [
        NullStudy(
            "emergent_misalignment",
            "shift",
            make,
            "twin against a twin, prompts",
            lambda seed: do.shift(prompted, seed),
        ),
        NullStudy(
            "emergent_misalignment",
            "shift",
            make,
            "twin against a twin, answers",
            lambda seed: do.shift(answered, seed),
        ),
        NullStudy(
            "emergent_misalignment",
            "shift",
            make,
            "twin against six twins, prompts",
            lambda seed: do.shift(prompted, seed, n_controls=6),
        ),
        NullStudy(
            "emergent_misalignment",
            "shift",
            make,
            "misaligned, shuffled traits",
            lambda seed: do.shift(prompted, seed, variant="misaligned"),
        ),
        NullStudy(
            "external_datasets",
            "separation",
            make,
            "shuffled labels",
            lambda seed: do.separation(asked, seed, shuffled_labels=True),
        ),
        NullStudy(
            "external_datasets",
            "separation",
            make,
            "shuffled traits, true labels",
            lambda seed: do.separation(asked, seed, shuffled_labels=False),
        ),
        NullStudy(
            "external_datasets",
            "beyond the text",
            make,
            "shuffled labels",
            lambda seed: do.beyond_text(asked, seed, shuffled_labels=True),
        ),
        NullStudy(
            "external_datasets",
            "beyond the text",
            make,
            "shuffled traits, true labels",
            lambda seed: do.beyond_text(asked, seed, shuffled_labels=False),
        ),
        NullStudy(
            "prefill_attack",
            "separation",
            make,
            "labels shuffled within pairs",
            lambda seed: do.separation(pairs, seed, shuffled_labels=True),
        ),
        NullStudy(
            "backdoor",
            "shift",
            make,
            "years never planted, clean twin",
            lambda seed: do.trigger(years, seed, suspect="clean", clean="base", planted=False),
        ),
        NullStudy(
            "backdoor",
            "shift",
            make,
            "years never planted, backdoored",
            lambda seed: do.trigger(
                years, seed, suspect="backdoored", clean="clean", planted=False
            ),
        ),
        NullStudy(
            "backdoor",
            "shift",
            make,
            "planted year, shuffled traits",
            lambda seed: do.trigger(years, seed, suspect="backdoored", clean="clean", planted=True),
        ),
        NullStudy(
            "vector_optimization",
            "gain",
            make,
            "best of eight random directions each",
            lambda seed: do.gain(steered, seed),
        ),
        NullStudy(
            "all",
            "same behaviour",
            make,
            "one answer in ten differs",
            lambda seed: do.same_behaviour(behaved, seed),
        ),
    ]


def all_null(folder: Path) -> Sequence[NullStudy]:
    """Every null study."""
    return [*synthetic(), *organisms(folder)]
