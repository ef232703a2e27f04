"""Laws of editing the residual stream: what an edit does, and that nothing of it stays behind."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from vector_builders import vector

from trait_probe.basis import POINTS, Site
from trait_probe.errors import BadInputError, MismatchError, RunError
from trait_probe.hooks.capture import capture_sites
from trait_probe.hooks.rows import running
from trait_probe.hooks.sites import attached, parse_layers, resolve
from trait_probe.hooks.steering import ablate, add, add_share, clamp, edit
from trait_probe.vectors import geometry

D_MODEL = 16
IDS = torch.randint(0, 330, (3, 9), generator=torch.Generator().manual_seed(2))
SITES = [Site(0, "resid_pre"), Site(0), Site(1), Site(2)]

model_laws = settings(
    max_examples=6,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # session models, left as found
)
coefficients = st.floats(-50, 50, allow_nan=False, width=32)
sites = st.sampled_from(SITES)


@st.composite
def directions(draw):
    """Any direction, of any length."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    return torch.randn(D_MODEL, generator=generator) * draw(st.floats(0.01, 100))


def bits(tensor):
    return tensor.contiguous().view(torch.int32)


def same_bits(a, b):
    return torch.equal(bits(a), bits(b))


def at(model, site, *, ids=IDS):
    return capture_sites(model, ids, [site])[0][site]


def logits_of(model, ids=IDS):
    with torch.inference_mode():
        return model(ids, return_type="logits")


def clean(model):
    return model.list_hooks() == {} and not any(p.fwd_hooks for p in model.hook_dict.values())


# --------------------------------------------------------------------- what an edit does


@model_laws
@given(site=sites, direction=directions(), coefficient=coefficients)
def test_adding_moves_the_site_by_coefficient_times_the_unit_direction(
    either_model, site, direction, coefficient
):
    before = at(either_model, site)
    with edit(either_model, {site: add(direction, coefficient)}):
        after = at(either_model, site)
    expected = (coefficient * geometry.unit(direction)).expand_as(before)
    torch.testing.assert_close(after - before, expected, atol=1e-5, rtol=1e-5)
    assert clean(either_model)


@model_laws
@given(site=sites, direction=directions(), share=st.floats(-2, 2, width=32))
def test_a_share_moves_each_token_by_that_part_of_its_own_norm(
    either_model, site, direction, share
):
    before = at(either_model, site)
    with edit(either_model, {site: add_share(direction, share)}):
        moved = at(either_model, site) - before
    expected = abs(share) * before.norm(dim=-1)
    torch.testing.assert_close(moved.norm(dim=-1), expected, atol=1e-4, rtol=1e-4)


@model_laws
@given(site=sites, direction=directions(), kind=st.sampled_from([add, add_share]))
def test_coefficient_zero_changes_no_bit(either_model, site, direction, kind):
    expected = logits_of(either_model)
    with edit(either_model, {site: kind(direction, 0.0)}):
        assert same_bits(logits_of(either_model), expected)
    with edit(either_model, {site: kind(direction, [0.0, 0.0, 0.0])}):
        assert same_bits(logits_of(either_model), expected)


@given(direction=directions(), kind=st.sampled_from([add, add_share]))
def test_a_row_with_coefficient_zero_keeps_even_the_signs_of_its_zeros(direction, kind):
    activation = torch.zeros(2, 3, D_MODEL).copysign(torch.tensor(-1.0))
    after = kind(direction, [0.0, 1.0])(activation)
    assert same_bits(after[0], activation[0])


@model_laws
@given(
    site=sites,
    direction=directions(),
    rows=st.lists(coefficients, min_size=3, max_size=3),
    kind=st.sampled_from([add, add_share, clamp]),
)
def test_each_rows_coefficient_acts_on_that_row_alone(either_model, site, direction, rows, kind):
    with edit(either_model, {site: kind(direction, rows)}):
        together = at(either_model, site)
    for row, coefficient in enumerate(rows):
        with edit(either_model, {site: kind(direction, coefficient)}):
            alone = at(either_model, site)[row]
        torch.testing.assert_close(together[row], alone, atol=1e-5, rtol=1e-5)


@model_laws
@given(site=sites, direction=directions())
def test_ablation_leaves_no_component_and_is_idempotent(either_model, site, direction):
    before, v = at(either_model, site), geometry.unit(direction)
    with edit(either_model, [(site, ablate(direction))]):
        once = at(either_model, site)
    with edit(either_model, [(site, ablate(direction)), (site, ablate(direction))]):
        twice = at(either_model, site)
    scale = float(before.abs().max())
    assert float((once @ v).abs().max()) <= 1e-5 * scale
    torch.testing.assert_close(twice, once, atol=1e-5 * scale, rtol=0)
    torch.testing.assert_close(once, geometry.remove(before, v), atol=1e-5 * scale, rtol=0)


@model_laws
@given(site=sites, direction=directions(), value=coefficients)
def test_clamping_sets_the_component_and_keeps_the_rest(either_model, site, direction, value):
    before, v = at(either_model, site), geometry.unit(direction)
    with edit(either_model, {site: clamp(direction, value)}):
        after = at(either_model, site)
    tolerance = 1e-4 * max(1.0, abs(value))
    torch.testing.assert_close(after @ v, torch.full((3, 9), value), atol=tolerance, rtol=0)
    rest, kept = geometry.remove(before, v), geometry.remove(after, v)
    torch.testing.assert_close(kept, rest, atol=tolerance, rtol=0)


@given(direction=directions(), coefficient=coefficients)
def test_half_precision_is_rounded_once(direction, coefficient):
    """The shift is computed in float32: only the sum is rounded to the model's precision."""
    activation = torch.randn(2, 3, D_MODEL).bfloat16()
    after = add(direction, coefficient)(activation)
    exact = activation.float() + torch.tensor(coefficient) * geometry.unit(direction)
    expected = activation if coefficient == 0 else exact.bfloat16()
    assert torch.equal(activation if after is None else after, expected)


def test_an_edit_at_the_middle_enters_the_stream_or_is_refused(tiny_model, tiny_hooked):
    """A bridge's `resid_mid` is a copy that only the MLP reads: editing it would do half a job."""
    middle, direction = Site(1, "resid_mid"), torch.ones(D_MODEL)
    before = at(tiny_hooked, Site(1))
    with edit(tiny_hooked, {middle: add(direction, 1e4)}):
        moved = at(tiny_hooked, Site(1)) - before
    along = moved @ geometry.unit(direction)
    assert float(along.min()) > 5e3  # the residual stream itself moved
    with (
        pytest.raises(BadInputError, match="can be read, not edited") as caught,
        edit(tiny_model, {middle: add(direction, 1e4)}),
    ):
        pass
    assert "blocks.1.hook_resid_pre, blocks.1.hook_resid_post" in str(caught.value)
    assert clean(tiny_model)


# ------------------------------------------------------------- nothing of it stays behind


@model_laws
@given(
    edits=st.lists(st.tuples(sites, directions(), coefficients), min_size=1, max_size=4),
    data=st.data(),
)
def test_left_in_any_order_the_model_is_what_it_was(either_model, edits, data):
    expected = logits_of(either_model)
    contexts = [edit(either_model, [(site, add(v, c))]) for site, v, c in edits]
    for context in contexts:
        context.__enter__()
    for index in data.draw(st.permutations(range(len(contexts)))):
        contexts[index].__exit__(None, None, None)
    assert same_bits(logits_of(either_model), expected)
    assert clean(either_model)


@model_laws
@given(site=sites, direction=directions())
def test_an_exception_inside_leaves_the_model_as_it_was(either_model, site, direction):
    expected = logits_of(either_model)
    with pytest.raises(ZeroDivisionError), edit(either_model, {site: add(direction, 3.0)}):
        print(logits_of(either_model).shape[0] / 0)
    assert same_bits(logits_of(either_model), expected)
    assert clean(either_model)


def test_an_exception_within_the_forward_pass_leaves_the_model_as_it_was(either_model):
    expected = logits_of(either_model)

    def fails(activation):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), edit(either_model, [(Site(0), fails)]):
        logits_of(either_model)
    assert same_bits(logits_of(either_model), expected)
    assert clean(either_model)


def test_leaving_one_context_keeps_the_other(either_model):
    v, w = torch.eye(D_MODEL)[0], torch.eye(D_MODEL)[1]
    with edit(either_model, {Site(1): add(v, 4.0)}):
        expected = logits_of(either_model)
    inner = edit(either_model, {Site(1): add(w, 2.0)})
    with edit(either_model, {Site(1): add(v, 4.0)}):
        with inner:
            assert not torch.equal(logits_of(either_model), expected)
        assert same_bits(logits_of(either_model), expected)


@pytest.mark.parametrize(
    "intrusion",
    [
        lambda model: model.reset_hooks(),
        lambda model: model.run_with_cache(IDS),
        lambda model: model.run_with_hooks(IDS, fwd_hooks=[]),
        lambda model: model.hooks(
            fwd_hooks=[(Site(1).hook_name, lambda tensor, hook: None)]
        ).__enter__(),
    ],
    ids=["reset_hooks", "run_with_cache", "run_with_hooks", "hooks"],
)
def test_another_users_reset_does_not_undo_ours(either_model, intrusion):
    plain = logits_of(either_model)
    with edit(either_model, {Site(1): add(torch.ones(D_MODEL), 5.0)}):
        expected = logits_of(either_model)
        intrusion(either_model)
        assert same_bits(logits_of(either_model), expected)
    either_model.reset_hooks()  # the other user's own hooks
    assert same_bits(logits_of(either_model), plain)
    assert clean(either_model)


def test_a_removal_by_force_does_not_pass_in_silence(either_model):
    context = edit(either_model, {Site(1): add(torch.ones(D_MODEL), 5.0)})
    context.__enter__()
    either_model.reset_hooks(including_permanent=True)
    with pytest.raises(RunError, match="removed from the model while they were needed") as caught:
        context.__exit__(None, None, None)
    assert "including_permanent" in str(caught.value)
    assert clean(either_model)


def test_a_users_hook_survives_our_context(either_model):
    calls = []
    either_model.add_hook(Site(1).hook_name, lambda tensor, hook: calls.append(1))
    with edit(either_model, {Site(1): ablate(torch.ones(D_MODEL))}):
        pass
    logits_of(either_model)
    assert calls == [1]
    either_model.reset_hooks()
    assert clean(either_model)


def test_equal_hooks_are_told_apart(either_model):
    """Two contexts over one function: leaving the one keeps the other's."""
    seen = []
    with attached(either_model, [(Site(1), seen.append)]):
        with attached(either_model, [(Site(1), seen.append)]):
            pass
        logits_of(either_model)
        assert len(seen) == 1


# ------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("site", "sentence", "valid"),
    [
        (Site(3), "The layer is outside the model, which has 3 layers", "0 to 2"),
        (Site(99, "resid_pre"), "The layer is outside the model", "0 to 2"),
    ],
)
def test_a_site_the_model_lacks_is_refused_before_anything_is_attached(
    either_model, site, sentence, valid
):
    with (
        pytest.raises(BadInputError, match=sentence) as caught,
        edit(either_model, [(Site(0), add(torch.ones(D_MODEL), 1.0)), (site, abs)]),
    ):
        pass
    assert valid in str(caught.value)
    assert clean(either_model)


def test_a_point_the_architecture_lacks_is_refused(monkeypatch, tiny_model):
    table = {name: p for name, p in tiny_model.hook_dict.items() if "resid_mid" not in name}
    monkeypatch.setattr(type(tiny_model), "hook_dict", property(lambda _: table))
    with pytest.raises(BadInputError, match="The model has no such hook point") as caught:
        resolve(tiny_model, Site(1, "resid_mid"))
    assert "blocks.1.hook_resid_" in str(caught.value)


@pytest.mark.parametrize("coefficient", [float("nan"), float("inf"), [1.0, float("nan")]])
@pytest.mark.parametrize("kind", [add, add_share, clamp])
def test_coefficients_are_finite_numbers(kind, coefficient):
    with pytest.raises(BadInputError, match="A steering coefficient is a finite number"):
        kind(torch.ones(D_MODEL), coefficient)


def test_a_direction_has_a_length_and_the_models_width(tiny_model):
    with pytest.raises(BadInputError, match="A direction needs a finite length above 0"):
        add(torch.zeros(D_MODEL), 1.0)
    for kind in (add, add_share, clamp):
        with (
            edit(tiny_model, {Site(0): kind(torch.ones(1), 1.0)}),
            pytest.raises(MismatchError, match="another width than the model"),
        ):
            logits_of(tiny_model)
    assert clean(tiny_model)


def test_coefficients_are_one_per_row(either_model):
    with (
        edit(either_model, {Site(0): add(torch.ones(D_MODEL), [1.0, 2.0])}),
        pytest.raises(MismatchError, match="one per prompt of the call") as caught,
    ):
        logits_of(either_model)
    assert "valid: 3, a single number" in str(caught.value)


def test_rows_that_stand_for_prompts_take_their_prompts_coefficient():
    hook = add(torch.eye(D_MODEL)[0], [0.0, 1.0, 2.0, 3.0, 4.0])
    activation = torch.zeros(2, 1, D_MODEL)
    with running([3, 1], 5):
        assert hook(activation)[:, 0, 0].tolist() == [3.0, 1.0]
    with pytest.raises(MismatchError, match="one per prompt"):
        hook(activation)


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ("all", (0, 1, 2)),
        ("1", (1,)),
        ("2,0", (0, 2)),
        ("1:", (1, 2)),
        (":2", (0, 1)),
        (2, (2,)),
        ([2, 2, 1], (1, 2)),
    ],
)
def test_layers_in_every_form(either_model, layers, expected):
    assert parse_layers(layers, either_model) == expected


@pytest.mark.parametrize("layers", ["3", "-1", "1:1", [], [0, 3], -1, "0:9"])
def test_layers_outside_the_model_are_refused(either_model, layers):
    with pytest.raises(BadInputError, match="outside the model, which has 3 layers") as caught:
        parse_layers(layers, either_model)
    assert "0 to 2" in str(caught.value)


@pytest.mark.parametrize("layers", ["last", "1:2:3", "", "1;2"])
def test_layers_in_no_known_form_are_refused(either_model, layers):
    with pytest.raises(BadInputError, match="not in a form that can be read") as caught:
        parse_layers(layers, either_model)
    assert "4:12" in str(caught.value)


def test_every_point_resolves_to_its_own_hook(either_model):
    found = [resolve(either_model, Site(layer, point)) for layer in range(3) for point in POINTS]
    assert len({id(point) for point in found}) == 9


def test_a_vector_of_another_width_is_no_edit(either_model):
    assert vector().direction.shape[0] != D_MODEL
    with (
        edit(either_model, {Site(0): ablate(vector().direction)}),
        pytest.raises(MismatchError, match="another width"),
    ):
        logits_of(either_model)
