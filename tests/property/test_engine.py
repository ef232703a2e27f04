"""Laws of the one loop over prompts: its results know nothing of batches."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from rendered_builders import D_VOCAB, RULES, one_at_a_time, prompts, random_ids, rendered

from trait_probe.basis import Site
from trait_probe.errors import BadInputError, RunError
from trait_probe.forward.batching import batches, run_halving
from trait_probe.forward.budget import BatchBudget
from trait_probe.forward.capture import capture
from trait_probe.forward.engine import read
from trait_probe.forward.threads import TINY, threads_for
from trait_probe.hooks.capture import raw
from trait_probe.hooks.lean import NATIVE
from trait_probe.hooks.projection import Projection
from trait_probe.hooks.steering import add, edit
from trait_probe.prompts.positions import PositionRule

D_MODEL = 16
SITE = Site(1)
SITES = [Site(0, "resid_pre"), Site(0), SITE, Site(2)]

model_laws = settings(
    max_examples=8,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # session models, left as found
)
budgets = st.sampled_from([1, 7, 30, 4096])
sites = st.sampled_from(SITES)


def read_all(model, items, *, site=SITE, rule="all[:]", budget=4096):
    return read(model, items, {site: raw}, position=rule, batch_tokens=budget)


def clean(model):
    return model.list_hooks() == {}


def selects(items, rule):
    return any(PositionRule.parse(rule).positions(item.spans) for item in items)


def refuse_large(monkeypatch, model, most):
    """The device has memory for `most` tokens of a batch; which sizes were tried is kept."""
    tried, forward = [], type(model).forward

    def small(self, ids, *arguments, **options):
        tried.append(tuple(ids.shape))
        if ids.numel() > most:
            raise torch.OutOfMemoryError(f"no room for {ids.numel()} tokens")
        return forward(self, ids, *arguments, **options)

    monkeypatch.setattr(type(model), "forward", small)
    return tried


# -------------------------------------------------------------------------------- reading


@model_laws
@given(items=prompts(), site=sites, budget=budgets)
def test_a_prompt_reads_the_same_among_others_and_alone(either_model, items, site, budget):
    found = read_all(either_model, items, site=site, budget=budget)
    alone = np.concatenate([one_at_a_time(either_model, item, site) for item in items])
    np.testing.assert_allclose(found.values[site], alone, atol=1e-5)
    assert clean(either_model)


@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(items=prompts(max_length=24), budget=budgets)
def test_a_prompt_reads_as_hugging_face_reads_it(any_model, oracle, items, budget):
    layer = any_model.cfg.n_layers - 2
    found = read_all(any_model, items, site=Site(layer), budget=budget)
    with torch.inference_mode():
        expected = [
            oracle(torch.tensor([item.token_ids]), output_hidden_states=True).hidden_states
            for item in items
        ]
    alone = np.concatenate([states[layer + 1][0].numpy() for states in expected])
    np.testing.assert_allclose(found.values[Site(layer)], alone, atol=1e-5)


@model_laws
@given(items=prompts(), rule=st.sampled_from(RULES), data=st.data())
def test_the_order_of_prompts_changes_the_order_of_rows_and_nothing_else(
    either_model, items, rule, data
):
    assume(selects(items, rule))
    order = data.draw(st.permutations(range(len(items))))
    straight = read_all(either_model, items, rule=rule)
    mixed = read_all(either_model, [items[i] for i in order], rule=rule)
    for place, index in enumerate(order):
        here, there = mixed.prompt == place, straight.prompt == index
        assert mixed.position[here].tolist() == straight.position[there].tolist()
        np.testing.assert_allclose(
            mixed.values[SITE][here], straight.values[SITE][there], atol=1e-5
        )


@model_laws
@given(items=prompts(), copies=st.integers(2, 4))
def test_copies_read_alike_and_run_once(either_model, items, copies):
    once, many = read_all(either_model, items), read_all(either_model, items * copies)
    np.testing.assert_allclose(
        many.values[SITE], np.tile(once.values[SITE], (copies, 1)), atol=1e-5
    )
    rows = [batch.ids.shape[0] for batch in batches(items * copies, BatchBudget(4096))]
    assert sum(rows) == len({item.token_ids for item in items})


@given(items=prompts(), budget=budgets, padding=st.sampled_from(["left", "right"]))
def test_batches_hold_every_prompt_once_within_the_budget(items, budget, padding):
    seen = []
    for batch in batches(items, BatchBudget(budget), padding=padding):
        assert batch.ids.numel() <= budget or len(batch.members) == 1
        widest = batch.mask.sum(dim=1).max()
        assert batch.ids.shape[1] == widest  # no column is all padding
        for row, members in enumerate(batch.members):
            tokens = tuple(batch.ids[row][batch.mask[row] == 1].tolist())
            edge = batch.mask[row].tolist()
            assert sorted(edge, reverse=padding == "right") == edge
            assert all(items[index].token_ids == tokens for index in members)
            seen += members
    assert sorted(seen) == list(range(len(items)))
    total = sum(batch.tokens for batch in batches(items, BatchBudget(budget)))
    assert total == sum(len(item.token_ids) for item in items)  # what the progress bar counts to


@model_laws
@given(items=prompts(), rule=st.sampled_from(RULES))
def test_rows_are_the_positions_that_the_rule_selects(either_model, items, rule):
    """The rules re-derived by hand, from the spans alone."""
    by_hand = {
        "all[:]": lambda p, s: p,
        "response[:]": lambda p, s: p[s["response"][0] :],
        "prompt[-1]": lambda p, s: p[: s["prompt"][1]][-1:],
        "prompt[1:4]": lambda p, s: p[: s["prompt"][1]][1:4],
        "after(mark)[:3]": lambda p, s: p[s["mark"][1] :][:3],
        "all[::2]": lambda p, s: p[::2],
    }
    chosen = [by_hand[rule](list(range(len(i.token_ids))), i.spans) for i in items]
    if not any(chosen):
        with pytest.raises(BadInputError, match="selects no token in any prompt"):
            read_all(either_model, items, rule=rule)
        return
    found = read_all(either_model, items, rule=rule)
    expected = [(i, p, k) for i, places in enumerate(chosen) for k, p in enumerate(places)]
    got = zip(found.prompt.tolist(), found.position.tolist(), found.offset.tolist(), strict=True)
    assert list(got) == expected
    everything = read_all(either_model, items)
    places = zip(everything.prompt.tolist(), everything.position.tolist(), strict=True)
    place = {where: row for row, where in enumerate(places)}
    rows = [place[i, p] for i, p, _ in expected]
    np.testing.assert_allclose(found.values[SITE], everything.values[SITE][rows], atol=1e-5)


@model_laws
@given(items=prompts(), seed=st.integers(0, 100))
def test_a_projection_is_the_activation_times_the_direction(either_model, items, seed):
    directions = torch.randn(3, D_MODEL, generator=torch.Generator().manual_seed(seed))
    readouts = {site: Projection(directions) for site in SITES}
    projected = read(either_model, items, readouts, position="all[:]")
    activations = capture(either_model, items, SITES, position="all[:]")
    for site in SITES:
        expected = activations.values[site].astype(np.float64) @ directions.double().numpy().T
        np.testing.assert_allclose(projected.values[site], expected, atol=1e-4)


def test_half_precision_activations_are_projected_in_float32():
    rows, directions = torch.full((1, 4096), 1.01).bfloat16(), torch.ones(1, 4096)
    exact = rows.double() @ directions.double().T
    torch.testing.assert_close(Projection(directions)(rows).double(), exact, rtol=1e-6, atol=0)


@pytest.mark.parametrize(("site", "expected"), [(SITES[0], 0), (SITES[1], 1), (SITES[2], 2)])
def test_only_the_needed_layers_run(either_model, site, expected):
    calls: Counter[str] = Counter()
    blocks = [block.attn for block in either_model.blocks]
    modules = {f"block {i}": attention for i, attention in enumerate(blocks)}
    modules["unembed"] = either_model.unembed
    handles = [
        module.register_forward_hook(lambda *_, name=name: calls.update([name]))
        for name, module in modules.items()
    ]
    read_all(either_model, [rendered(random_ids(5))], site=site)
    for handle in handles:
        handle.remove()
    assert calls == {f"block {i}": 1 for i in range(expected)}


def test_the_deepest_of_several_sites_decides(either_model):
    items = [rendered(random_ids(5))]
    together = read(either_model, items, dict.fromkeys(SITES, raw), position="all[:]")
    for site in SITES:
        alone = read_all(either_model, items, site=site)
        np.testing.assert_array_equal(together.values[site], alone.values[site])


def test_reading_keeps_no_key_value_cache(monkeypatch, tiny_model):
    options = []
    forward = type(tiny_model.original_model).forward

    def watched(self, *arguments, **given):
        options.append(given)
        return forward(self, *arguments, **given)

    monkeypatch.setattr(type(tiny_model.original_model), "forward", watched)
    read_all(tiny_model, [rendered(random_ids(5))])
    assert options[0]["use_cache"] is False


@pytest.mark.parametrize("length", [1, 2, 127, 128])
def test_prompts_up_to_the_whole_context_are_read(either_model, length):
    item = rendered(random_ids(length))
    found = read_all(either_model, [item])
    np.testing.assert_allclose(
        found.values[SITE], one_at_a_time(either_model, item, Site(1)), atol=1e-5
    )


@pytest.mark.parametrize(("chosen", "used"), [(None, 1), ("2", 2)])
def test_a_tiny_model_runs_in_one_thread_unless_the_user_chose(
    monkeypatch, either_model, chosen, used
):
    """And gives the others back."""
    before, seen = torch.get_num_threads(), []
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if chosen is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", chosen)

    def watch(rows):
        seen.append(torch.get_num_threads())
        raise ZeroDivisionError

    torch.set_num_threads(2)
    try:
        with pytest.raises(ZeroDivisionError):
            read(either_model, [rendered([1, 2])], {SITE: watch}, position="all[:]")
        assert (seen, torch.get_num_threads()) == ([used], 2)
        with threads_for(TINY + 1):
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def norm_points(model):
    return [
        point for name, point in model.hook_dict.items() if name.endswith("ln1.hook_normalized")
    ]


@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(items=prompts())
def test_leaving_out_unused_norm_hooks_changes_no_bit(any_model, items):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trait_probe.forward.engine.lean_norms", lambda _: nullcontext())
        expected = read_all(any_model, items)
    found = read_all(any_model, items)
    np.testing.assert_array_equal(found.values[SITE], expected.values[SITE])
    assert not [m for m in any_model.modules() if NATIVE in vars(m)]


def test_norm_hooks_that_someone_attached_still_fire(tiny_model):
    points, seen = norm_points(tiny_model), []
    assert len(points) == 3
    plain = read_all(tiny_model, [rendered(random_ids(5))])
    for point in points[:2]:
        point.add_hook(lambda values, hook: seen.append(hook.name))
    try:
        watched = read_all(tiny_model, [rendered(random_ids(5))])
    finally:
        for point in points[:2]:
            point.remove_hooks()
    assert len(seen) == 2
    np.testing.assert_array_equal(watched.values[SITE], plain.values[SITE])


def test_unused_norm_hooks_are_left_out(monkeypatch, tiny_model):
    """The guard of the saving: without it, the points of every norm are passed."""
    passed, points = [], norm_points(tiny_model)
    forward = type(points[0]).forward

    def watched(self, values):
        passed.append(self)
        return forward(self, values)

    monkeypatch.setattr(type(points[0]), "forward", watched)
    read_all(tiny_model, [rendered(random_ids(5))])
    assert passed
    assert not [point for point in passed if point in points]


# --------------------------------------------------------------------------------- memory


@pytest.mark.parametrize("most", [20, 45, 90, 400])
def test_where_memory_runs_out_batches_halve_and_nothing_else_changes(
    monkeypatch, either_model, most
):
    items = [rendered(random_ids(length, length), name=str(length)) for length in range(3, 19)]
    expected = read_all(either_model, items)
    tried = refuse_large(monkeypatch, either_model, most)
    found = read_all(either_model, items)
    np.testing.assert_allclose(found.values[SITE], expected.values[SITE], atol=1e-5)
    failed = [rows * width for rows, width in tried if rows * width > most]
    assert failed == sorted(set(failed), reverse=True)  # no size is tried in vain twice
    assert clean(either_model)


def test_a_single_prompt_that_does_not_fit_says_so(monkeypatch, either_model):
    refuse_large(monkeypatch, either_model, 5)
    with pytest.raises(RunError, match="A single prompt of 6 tokens does not fit"):
        read_all(either_model, [rendered(random_ids(6)), rendered(random_ids(4))])
    assert clean(either_model)


def test_the_halves_run_outside_of_the_errors_reach():
    """Within `except`, the traceback would keep the failed batch's tensors in memory."""
    import sys

    seen = []

    def run(batch):
        seen.append(sys.exc_info()[0])
        if len(batch.members) > 1:
            raise torch.OutOfMemoryError
        return len(batch.members)

    items = [rendered(random_ids(3, seed)) for seed in range(4)]
    budget = BatchBudget(4096)
    results = [result for _, result in run_halving(batches(items, budget), budget, run)]
    assert results == [1, 1, 1, 1]
    assert set(seen) == {None}


# --------------------------------------------------------------------- edits under the loop


@model_laws
@given(
    items=prompts(),
    coefficients=st.lists(st.floats(-9, 9, width=32), min_size=6, max_size=6),
    budget=budgets,
)
def test_a_prompts_coefficient_follows_it_into_whatever_row(
    either_model, items, coefficients, budget
):
    """Rows are sorted by length and equal prompts share one: coefficients must not notice."""
    chosen, v = coefficients[: len(items)], torch.eye(D_MODEL)[2]
    with edit(either_model, {Site(0): add(v, chosen)}):
        found = read_all(either_model, items, budget=budget)
    for place, (item, coefficient) in enumerate(zip(items, chosen, strict=True)):
        with edit(either_model, {Site(0): add(v, coefficient)}):
            alone = one_at_a_time(either_model, item, Site(1))
        rows = found.values[SITE][found.prompt == place]
        np.testing.assert_allclose(rows, alone, atol=1e-4)


# ------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("items", "readouts", "rule", "sentence"),
    [
        ([], {Site(0): raw}, "all[:]", "There are no prompts to read"),
        ([rendered([1, 2])], {}, "all[:]", "There is no site to read"),
        ([rendered([1, 2])], {Site(7): raw}, "all[:]", "The layer is outside the model"),
        ([rendered([1, 2])], {Site(0): raw}, "response[:]", "selects no token in any prompt"),
        ([rendered([1, 2])], {Site(0): raw}, "system[:]", "needs the span 'system'"),
        ([rendered([1, 2])], {Site(0): raw}, "all[", "A position rule is SPAN"),
        ([rendered(random_ids(129))], {Site(0): raw}, "all[:]", "1 of 1 prompts are longer than"),
    ],
)
def test_what_cannot_be_read_is_refused(either_model, items, readouts, rule, sentence):
    with pytest.raises(BadInputError, match=sentence):
        read(either_model, items, readouts, position=rule)
    assert clean(either_model)


def test_a_budget_without_tokens_is_refused(tiny_model):
    with pytest.raises(BadInputError, match="A batch holds at least one token"):
        read_all(tiny_model, [rendered([1, 2])], budget=0)


def test_an_error_in_a_readout_leaves_no_hook(either_model):
    def fails(rows):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        read(either_model, [rendered([1, 2])], {Site(1): fails}, position="all[:]")
    assert clean(either_model)


def test_numbers_that_are_not_finite_are_refused(either_model):
    def spoil(rows):
        return rows / 0

    with pytest.raises(RunError, match=r"read at blocks\.1\.hook_resid_post is not all") as caught:
        read(either_model, [rendered([1, 2])], {Site(1): spoil}, position="all[:]")
    assert "bfloat16" in str(caught.value)
    assert clean(either_model)


def test_a_hook_that_does_not_fire_is_an_error(monkeypatch, tiny_model):
    from transformer_lens.hook_points import HookPoint

    table = {**tiny_model.hook_dict, Site(1).hook_name: HookPoint()}
    monkeypatch.setattr(type(tiny_model), "hook_dict", property(lambda _: table))
    with pytest.raises(Exception, match="A hook point did not fire") as caught:
        read_all(tiny_model, [rendered([1, 2])])
    assert Site(1).hook_name in str(caught.value)


def test_the_vocabulary_of_the_builders_is_the_models(either_model):
    assert either_model.cfg.d_vocab == D_VOCAB
