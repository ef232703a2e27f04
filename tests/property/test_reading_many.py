"""Laws of reading many prompts: padding, order, batch mates and chunks leave no trace."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from rendered_builders import RULES, one_at_a_time, prompts, random_ids, rendered
from shard_inputs import WORDS, vectors_for

import trait_probe as tp
from trait_probe.basis import Site
from trait_probe.errors import BadInputError, RunError
from trait_probe.forward.batching import batches
from trait_probe.forward.budget import BatchBudget
from trait_probe.forward.engine import Reading, read, read_rules
from trait_probe.hooks.capture import raw
from trait_probe.hooks.run import run_hooks
from trait_probe.hooks.sites import attached
from trait_probe.prompts.positions import pool

SITE = Site(1)
SITES = [Site(0, "resid_pre"), SITE, Site(2)]
POOLINGS = ["mean", "last", "max"]

model_laws = settings(
    max_examples=8,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # session models, left as found
)
budgets = st.sampled_from([1, 7, 30, 4096])
texts = st.lists(
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=12).map(" ".join),
    min_size=1,
    max_size=14,
)


def as_prompts(items: list[str]) -> list[tp.Prompt]:
    return [tp.Prompt(id=f"p{number}", text=text) for number, text in enumerate(items)]


# ------------------------------------------------------------------------- one loop, no traces


@model_laws
@given(
    items=texts,
    budget=budgets,
    shard=st.integers(1, 6),
    data=st.data(),
    pooling=st.sampled_from(["none", *POOLINGS]),
)
def test_order_batch_mates_and_chunks_leave_results_unchanged(
    tiny_model, items, budget, shard, data, pooling
):
    """Every prompt's projections, from shards in any order, are those of the prompt alone."""
    vectors = vectors_for(tiny_model)
    given_prompts = as_prompts(items)
    order = data.draw(st.permutations(given_prompts))
    with tempfile.TemporaryDirectory() as folder:
        found = tp.project_to(
            Path(folder) / "run",
            tiny_model,
            order,
            vectors,
            position="all[:]",
            pooling=pooling,
            batch_tokens=budget,
            shard_prompts=shard,
        ).load()
    assert found.prompt_ids == tuple(prompt.id for prompt in order)
    for place, prompt in enumerate(order):
        alone = tp.project(tiny_model, [prompt], vectors, position="all[:]", pooling=pooling)
        np.testing.assert_allclose(found.dot[found.prompt == place], alone.dot, atol=1e-5)
        np.testing.assert_allclose(found.z[found.prompt == place], alone.z, atol=1e-5)


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(items=prompts(), budget=budgets)
def test_padding_on_the_left_reads_the_same(any_model, items, budget):
    """The engine pads on the right; the other side, by hand, gives the same numbers."""
    found = read(any_model, items, {SITE: raw}, position="all[:]", batch_tokens=budget)
    seen: list[torch.Tensor] = []
    for batch in batches(items, BatchBudget(budget), padding="left", merge=False):
        with torch.inference_mode(), attached(any_model, [(SITE, seen.append)]):
            run_hooks(any_model, batch.ids, batch.mask)
        for row, (member,) in enumerate(batch.members):
            values = seen[-1][row][batch.mask[row] == 1]
            here = found.values[SITE][found.prompt == member]
            np.testing.assert_allclose(here, values.numpy(), atol=1e-5)


@model_laws
@given(items=prompts(), budget=budgets, pooling=st.sampled_from(POOLINGS))
def test_several_rules_in_one_pass_are_each_as_alone(either_model, items, budget, pooling):
    together = read_rules(
        either_model,
        items,
        dict.fromkeys(SITES, raw),
        positions=RULES,
        batch_tokens=budget,
    )
    pooled = read_rules(
        either_model,
        items,
        dict.fromkeys(SITES, raw),
        positions=RULES,
        pooling=pooling,
        batch_tokens=budget,
    )
    for rule, rows, one in zip(RULES, together, pooled, strict=True):
        try:
            alone = read(either_model, items, dict.fromkeys(SITES, raw), position=rule)
        except BadInputError:
            assert not len(rows.prompt)
            assert not len(one.prompt)
            continue
        assert isinstance(rows, Reading)
        assert rows.position.tolist() == alone.position.tolist()
        assert rows.offset.tolist() == alone.offset.tolist()
        groups = [alone.prompt == index for index in dict.fromkeys(alone.prompt.tolist())]
        assert one.prompt.tolist() == sorted(set(alone.prompt.tolist()))
        for site in SITES:
            np.testing.assert_allclose(rows.values[site], alone.values[site], atol=1e-5)
            expected = [pool(alone.values[site][group], pooling) for group in groups]
            np.testing.assert_allclose(one.values[site], np.concatenate(expected), atol=1e-5)


def test_each_token_is_read_once_however_many_rules_ask(either_model):
    seen = []

    def count(rows: torch.Tensor) -> torch.Tensor:
        seen.append(len(rows))
        return raw(rows)

    items = [rendered(random_ids(7)), rendered(random_ids(5, 1))]
    read_rules(either_model, items, {SITE: count}, positions=["all[:]", "all[:]", "prompt[-1]"])
    assert sum(seen) == 12


# ------------------------------------------------------------------------------------- moments


@model_laws
@given(items=texts, budget=budgets, pooling=st.sampled_from(["none", "mean"]))
def test_moments_are_those_of_the_captured_rows(tiny_model, items, budget, pooling):
    given_prompts = [
        tp.Prompt(id=f"p{n}", text=text, labels={"class": "ab"[n % 2]})
        for n, text in enumerate(items)
    ]
    found = tp.moments(
        tiny_model,
        given_prompts,
        SITES,
        position="all[:]",
        pooling=pooling,
        by="class",
        batch_tokens=budget,
    )
    rows = tp.capture(tiny_model, given_prompts, SITES, position="all[:]", pooling=pooling)
    classes = np.array([n % 2 for n in range(len(items))])[rows.prompt]
    assert set(found) == {"ab"[code] for code in set(classes.tolist())}
    for code in sorted(set(classes.tolist())):
        for site in SITES:
            own = rows.values[site][classes == code].astype(np.float64)
            moments = found["ab"[code]][site]
            assert moments.n == len(own)
            np.testing.assert_allclose(moments.mean, own.mean(axis=0), atol=1e-5)
            if len(own) > 1:
                expected = np.cov(own, rowvar=False)
                np.testing.assert_allclose(moments.covariance, expected, atol=1e-4)


def test_vectors_references_and_components_come_from_moments_alone(tiny_model):
    from trait_probe.vectors import fit

    labelled = [
        tp.Prompt(
            id=f"p{n}", text=" ".join(WORDS[n % 7 : n % 7 + 5]) + f" {n}", labels={"y": n % 2}
        )
        for n in range(40)
    ]
    found = tp.moments(tiny_model, labelled, [SITE], position="prompt[-1]", by="y")
    rows = tp.capture(tiny_model, labelled, [SITE], position="prompt[-1]").values[SITE]
    positive, negative = (torch.from_numpy(rows[start::2]) for start in (1, 0))
    pair = found[1][SITE], found[0][SITE]
    direction = fit.mean_difference_of_moments(*pair)
    torch.testing.assert_close(direction, fit.mean_difference(positive, negative))
    torch.testing.assert_close(
        fit.whitened_mean_difference_of_moments(*pair),
        fit.whitened_mean_difference(positive, negative),
        rtol=1e-4,
        atol=1e-6,
    )
    whole = pair[0].merge(pair[1])
    mean, std = whole.along(direction)
    dots = rows.astype(np.float64) @ direction.numpy()
    np.testing.assert_allclose([mean, std], [dots.mean(), dots.std(ddof=1)], rtol=1e-6)
    components, variances = whole.principal_components(3)
    centred = rows - rows.mean(axis=0, dtype=np.float64)
    _, scales, expected = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(variances, scales[:3] ** 2 / 39, rtol=1e-6)
    np.testing.assert_allclose(
        np.abs((components.numpy() * expected[:3]).sum(axis=1)), 1, atol=1e-6
    )
    with pytest.raises(BadInputError, match="between 1 and the width"):
        whole.principal_components(17)


def test_moments_of_a_file_are_those_of_its_prompts(tmp_path, tiny_model):
    items = tp.PromptSet(as_prompts(["red fish", "blue house", "two"]))
    items.to_parquet(tmp_path / "p.parquet")
    found, expected = (
        tp.moments(tiny_model, source, [SITE], position="all[:]")
        for source in (tmp_path / "p.parquet", items)
    )
    torch.testing.assert_close(found[None][SITE].scatter, expected[None][SITE].scatter)


def test_what_moments_refuse(tiny_model):
    plain = as_prompts(["red fish"])
    with pytest.raises(BadInputError, match="'p0' lacks the label"):
        tp.moments(tiny_model, plain, [SITE], position="all[:]", by="class")
    with pytest.raises(BadInputError, match="selects no token in any prompt"):
        tp.moments(tiny_model, plain, [SITE], position="response[:]")
    found = tp.moments(tiny_model, plain, [SITE], position="all[:]", by=lambda p: p.id)
    assert list(found) == ["p0"]


def test_moments_forget_nothing_when_memory_runs_out(monkeypatch, tiny_model):
    """A batch that fails half-way must not be counted and then counted again."""
    items = as_prompts([" ".join(WORDS[:n]) for n in range(2, 14)])
    expected = tp.moments(tiny_model, items, SITES, position="all[:]")
    calls = []

    def runs_out(rows: torch.Tensor) -> torch.Tensor:
        calls.append(len(rows))
        if len(calls) == 2:  # the second site of the first batch
            raise torch.OutOfMemoryError
        return raw(rows)

    monkeypatch.setattr("trait_probe.forward.moments.raw", runs_out)
    found = tp.moments(tiny_model, items, SITES, position="all[:]")
    for site in SITES:
        assert found[None][site].n == expected[None][site].n
        torch.testing.assert_close(found[None][site].scatter, expected[None][site].scatter)


def test_moments_of_numbers_that_are_not_finite_are_refused(monkeypatch, tiny_model):
    monkeypatch.setattr("trait_probe.forward.moments.raw", lambda rows: rows / 0)
    with pytest.raises(RunError, match="is not all finite"):
        tp.moments(tiny_model, as_prompts(["red fish"]), [SITE], position="all[:]")


# --------------------------------------------------------------------------- large in-memory


def test_parts_in_memory_are_one_result_and_edits_find_their_prompts(monkeypatch, tiny_model):
    from trait_probe.forward import pipeline
    from trait_probe.hooks.steering import add, edit

    items = as_prompts([" ".join(WORDS[: 1 + n % 9]) for n in range(23)])
    vectors = vectors_for(tiny_model)
    coefficients = torch.arange(23.0) - 11
    whole, parts = [], []
    for found, size in ((whole, 4096), (parts, 5)):
        monkeypatch.setattr(pipeline, "PART", size)
        with edit(tiny_model, {Site(0): add(torch.eye(16)[3], coefficients)}):
            found.append(tp.project(tiny_model, items, vectors, position="all[:]"))
    np.testing.assert_allclose(parts[0].dot, whole[0].dot, atol=1e-5)
    assert parts[0].prompt_ids == whole[0].prompt_ids
    assert parts[0].token == whole[0].token


@model_laws
@given(items=prompts(), rule=st.sampled_from(RULES))
def test_reading_keeps_what_one_at_a_time_gives(either_model, items, rule):
    (found,) = read_rules(either_model, items, {SITE: raw}, positions=[rule])
    assume(len(found.prompt))
    assert isinstance(found, Reading)
    for place, item in enumerate(items):
        rows = found.prompt == place
        alone = one_at_a_time(either_model, item, SITE)[found.position[rows]]
        np.testing.assert_allclose(found.values[SITE][rows], alone, atol=1e-5)
