"""The prefill study on scores that are made up: it says what was planted, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import trait_probe as tp
from trait_probe.basis import Site
from trait_probe.experiments import prefill_attack
from trait_probe.experiments._prefill.reading import POSITIONS, TOPIC, Read
from trait_probe.experiments._prefill.study import shuffled_labels, study
from trait_probe.vectors.bank import Bank, BankScores

SIZE = 2.0  # SD between the sides


@pytest.fixture(scope="module")
def design():
    config = prefill_attack.Config(
        foils=("safety/evil",), layers="1", n_shuffled=0, n_permutations=400, n_random=100
    )
    return prefill_attack.prepare(config.resolved(), tp.load_model("organism:base"), None)


def made_up(design, labels: np.ndarray) -> tuple[Read, dict[str, np.ndarray]]:
    """Harm scores that follow the labels, everything else noise."""
    rng = np.random.default_rng(3)
    n, n_random = len(labels), 100
    named = ("safety/harm", "safety/evil", TOPIC)
    bank = Bank(
        sites=(Site(1),),
        traits={name: np.zeros((1, 2), dtype=np.float32) for name in named},
        random=np.zeros((1, n_random, 2), dtype=np.float32),
        shuffled=np.zeros((1, 0, 2), dtype=np.float32),
    )
    scores = []
    for _ in POSITIONS:
        values = rng.standard_normal((n, 1, len(named) + n_random)).astype(np.float32)
        values[:, 0, 0] += SIZE * labels
        scores.append(BankScores(bank, values))
    words = rng.standard_normal(n).astype(np.float32)
    return Read(tuple(POSITIONS.values()), tuple(scores)), {"safety/harm": words}


def test_what_is_planted_is_supported_at_every_position(design):
    read, words = made_up(design, design.pairs.harmful)
    found = study(design, read, words)
    assert {claim.verdict for claim in found.claims.values()} == {"supported"}
    assert len({claim.id for claim in found.claims.values()}) == len(POSITIONS)


def test_what_is_planted_on_other_labels_is_not(design):
    read, words = made_up(design, shuffled_labels(design, 0))
    found = study(design, read, words)
    assert "supported" not in {claim.verdict for claim in found.claims.values()}


def test_shuffled_labels_keep_pairs_whole_and_open_no_lock(design):
    labels = shuffled_labels(design, 1)
    swapped = {
        name: {bool(a != b) for a, b, own in rows if own == name}
        for rows in [list(zip(labels, design.pairs.harmful, design.pairs.names, strict=True))]
        for name in set(design.pairs.names)
    }
    assert all(len(found) == 1 for found in swapped.values())
    assert {True, False} == set().union(*swapped.values())
    read, words = made_up(design, design.pairs.harmful)
    drawn = replace(design, config=design.config.model_copy(update={"n_shuffled": 2}))
    found = study(drawn, read, words)
    assert len(found.shuffled) == 2 * len(POSITIONS)
    assert all(len(lock.openings) == 1 for lock in found.locks)
    assert {claim.verdict for claim in found.claims.values()} == {"supported"}
