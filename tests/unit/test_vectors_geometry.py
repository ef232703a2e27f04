"""Precision and refusals of the projection math."""

from __future__ import annotations

import pytest
import torch

from trait_probe.errors import BadInputError
from trait_probe.vectors import geometry


@pytest.mark.parametrize("bad", [torch.zeros(4), torch.tensor([1.0, float("nan"), 0, 0])])
def test_a_vector_without_direction_is_refused(bad):
    with pytest.raises(BadInputError, match="A direction needs a finite length above 0"):
        geometry.unit(bad)


def test_the_refusal_counts_the_vectors_and_names_the_cause():
    with pytest.raises(BadInputError, match="1 of 2 vectors with length 0") as caught:
        geometry.unit(torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
    assert "load the model in bfloat16" in str(caught.value)


def test_removing_a_zero_vector_is_refused():
    with pytest.raises(BadInputError, match="finite length above 0"):
        geometry.remove(torch.ones(2, 3), torch.zeros(3))


def test_bfloat16_is_summed_in_float32():
    x = torch.cat([torch.tensor([256.0]), torch.ones(256)]).bfloat16()
    ones = torch.ones(1, 257).bfloat16()
    assert geometry.dot(x, ones).dtype == torch.float32
    assert float(geometry.dot(x, ones)) == 512.0
    naive = torch.zeros((), dtype=torch.bfloat16)
    for entry in x:
        naive = naive + entry
    assert float(naive) == 256.0  # what the widening is there for


def test_float64_stays_float64():
    assert geometry.dot(torch.ones(2, dtype=torch.float64), torch.ones(1, 2)).dtype == torch.float64


def test_tiny_angles_keep_their_digits():
    a = torch.tensor([1.0, 0.0], dtype=torch.float64)
    b = torch.tensor([1.0, 1e-10], dtype=torch.float64)
    degrees = float(geometry.angle(a, b))
    assert degrees == pytest.approx(5.729577951308232e-09, rel=1e-6)
    by_arccos = torch.rad2deg(torch.arccos(geometry.cosine(a, b[None])))
    assert float(by_arccos) != pytest.approx(degrees, rel=0.5)


def test_angles_of_stacks_are_taken_row_by_row():
    a, b = torch.eye(3)[:2], torch.eye(3)[1:]
    torch.testing.assert_close(geometry.angle(a, b), torch.tensor([90.0, 90.0]))


def test_energy_share_sees_a_massive_dimension():
    v = torch.ones(100)
    v[7] = 100.0
    assert geometry.energy_share(v) == pytest.approx(10_000 / 10_099)
    assert geometry.energy_share(torch.ones(100), k=25) == pytest.approx(0.25)


@pytest.mark.parametrize("k", [0, 4])
def test_energy_share_refuses_an_impossible_count(k):
    with pytest.raises(BadInputError, match="k counts dimensions") as caught:
        geometry.energy_share(torch.ones(3), k)
    assert "1 to 3" in str(caught.value)


@pytest.mark.parametrize("std", [0.0, -1.0, float("nan"), float("inf")])
def test_a_reference_without_spread_gives_no_z(std):
    with pytest.raises(BadInputError, match="reference standard deviation must be finite"):
        geometry.standardize(torch.ones(2, 1), torch.zeros(1), torch.tensor([std]))
