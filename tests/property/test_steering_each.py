"""Laws of steering every prompt its own way: what one prompt gets is what it would get alone."""

from __future__ import annotations

import pytest
import torch
from rendered_builders import random_ids, rendered

from trait_probe.basis import Site
from trait_probe.errors import BadInputError, MismatchError
from trait_probe.forward.engine import read
from trait_probe.forward.generate import generate_ids
from trait_probe.hooks.capture import raw
from trait_probe.hooks.steering import Directions, ablate, ablate_each, add_each, add_share, edit
from trait_probe.vectors.steered import Steerings, steered_answers

SITE = Site(0, "resid_post")
PROMPTS = [rendered(random_ids(n, seed=n), name=f"p{n}") for n in (9, 4, 7)]


def directions(model, n=3, seed=0):
    return torch.randn(n, int(model.cfg.d_model), generator=torch.Generator().manual_seed(seed))


def last(model, prompts):
    where = Site(1, "resid_post")
    return read(model, prompts, {where: raw}, position="prompt[-1]").values[where]


def test_every_prompt_gets_its_own_direction_and_share(either_model):
    axes, shares = directions(either_model), torch.tensor([0.5, -0.2, 0.3])
    which = torch.tensor([2, 0, 1])
    with edit(either_model, {SITE: add_each(Directions(axes, shares, which))}):
        together = last(either_model, PROMPTS)
    for row, (prompt, number) in enumerate(zip(PROMPTS, which.tolist(), strict=True)):
        with edit(either_model, {SITE: add_share(axes[number], float(shares[number]))}):
            alone = last(either_model, [prompt])[0]
        assert torch.from_numpy(together[row]).allclose(torch.from_numpy(alone), atol=1e-5)


def test_the_whole_share_ablated_is_ablation_and_half_of_it_lies_between(tiny_model):
    axes = directions(tiny_model, 1)
    prompts = PROMPTS[:1]

    def along(share):
        rows = Directions(axes, torch.tensor([share]), torch.tensor([0]))
        with edit(tiny_model, {SITE: ablate_each(rows)}):
            found = read(tiny_model, prompts, {SITE: raw}, position="all[:]").values[SITE]
        return torch.from_numpy(found)

    with edit(tiny_model, {SITE: ablate(axes[0])}):
        whole = read(tiny_model, prompts, {SITE: raw}, position="all[:]").values[SITE]
    assert along(1.0).allclose(torch.from_numpy(whole), atol=1e-5)
    unit = axes[0] / axes[0].norm()
    before, half = (along(share) @ unit for share in (0.0, 0.5))
    assert half.allclose(before / 2, atol=1e-5)


def test_share_zero_changes_no_bit(tiny_model):
    plain = last(tiny_model, PROMPTS)
    for kind in (add_each, ablate_each):
        rows = Directions(directions(tiny_model), torch.zeros(3), torch.tensor([0, 1, 2]))
        with edit(tiny_model, {SITE: kind(rows)}):
            assert (last(tiny_model, PROMPTS) == plain).all()


def test_one_steered_prompt_leaves_its_batch_mates_alone(tiny_model):
    plain = last(tiny_model, PROMPTS)
    rows = Directions(
        directions(tiny_model), torch.tensor([0.0, 2.0, 0.0]), torch.tensor([0, 1, 2])
    )
    with edit(tiny_model, {SITE: add_each(rows)}):
        found = last(tiny_model, PROMPTS)
    assert abs(found[[0, 2]] - plain[[0, 2]]).max() < 1e-5
    assert abs(found[1] - plain[1]).max() > 1e-2


@pytest.mark.parametrize("mode", ["add", "ablate"])
def test_a_population_answers_as_each_candidate_would_alone(either_model, mode):
    axes = directions(either_model, 4, seed=3)
    strengths = (0.0, 0.4, 0.9, 1.0)
    population = Steerings(SITE, axes, strengths, mode)
    together = steered_answers(either_model, population, PROMPTS, max_new_tokens=6)
    alone = [
        steered_answers(
            either_model, Steerings(SITE, axes[[i]], (s,), mode), PROMPTS, max_new_tokens=6
        )[0]
        for i, s in enumerate(strengths)
    ]
    assert together == alone
    assert together[0] == generate_ids(either_model, PROMPTS, max_new_tokens=6)
    assert len({tuple(map(tuple, row)) for row in together}) > 1


def test_the_model_is_itself_again_afterwards_also_after_an_error(tiny_model):
    plain = last(tiny_model, PROMPTS)
    wrong = Steerings(SITE, torch.ones(1, 3), (1.0,))
    with pytest.raises(MismatchError, match="another width"):
        steered_answers(tiny_model, wrong, PROMPTS, max_new_tokens=2)
    assert (last(tiny_model, PROMPTS) == plain).all()


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"strengths": (1.0,)}, MismatchError, "one strength"),
        ({"strengths": (1.0, float("nan"))}, BadInputError, "finite"),
        ({"mode": "ablate", "strengths": (0.5, 1.5)}, BadInputError, "from 0 to 1"),
    ],
)
def test_steerings_that_mean_nothing_are_refused(change, error, match):
    fields = {"site": SITE, "directions": torch.ones(2, 8), "strengths": (0.1, 0.2)}
    with pytest.raises(error, match=match):
        Steerings(**{**fields, **change})


def test_directions_for_another_number_of_prompts_are_refused(tiny_model):
    rows = Directions(directions(tiny_model), torch.ones(3), torch.tensor([0, 1]))
    with (
        edit(tiny_model, {SITE: add_each(rows)}),
        pytest.raises(MismatchError, match="one per prompt"),
    ):
        last(tiny_model, PROMPTS)
    with pytest.raises(BadInputError, match="not there"):
        Directions(directions(tiny_model), torch.ones(3), torch.tensor([0, 3]))
