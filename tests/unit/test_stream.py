"""Prompts by the chunk, from files and iterables; and chunks made ready ahead."""

from __future__ import annotations

import pickle
import threading
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from shard_inputs import rows, write_jsonl

from trait_probe.errors import BadInputError
from trait_probe.forward.batching import batches, run_halving
from trait_probe.forward.budget import BatchBudget
from trait_probe.forward.pipeline import ahead
from trait_probe.forward.work import SHARD_BYTES, SHARD_NUMBERS, limit_of, most_rows
from trait_probe.prompts.positions import PositionRule
from trait_probe.prompts.prompt import Prompt, PromptSet
from trait_probe.prompts.stream import ChunkLimit, chunked, read_prompts, scan_file


def prompts(n: int) -> PromptSet:
    return PromptSet.from_dicts(rows(n))


@pytest.fixture(params=["jsonl", "parquet"])
def path(request, tmp_path) -> Path:
    found = tmp_path / f"p.{request.param}"
    save = {"jsonl": PromptSet.to_jsonl, "parquet": PromptSet.to_parquet}[request.param]
    save(prompts(40), found)
    return found


@given(count=st.integers(1, 9), characters=st.integers(1, 400), n=st.integers(1, 40))
def test_chunks_partition_the_prompts_within_their_limits(count, characters, n):
    limit = ChunkLimit(count, characters)
    chunks = list(chunked(prompts(n), limit))
    assert [prompt for chunk in chunks for prompt in chunk.load()] == list(prompts(n))
    assert [chunk.index for chunk in chunks] == list(range(len(chunks)))
    before = 0
    for chunk in chunks:
        size = sum(prompt.n_bytes for prompt in chunk.load())
        assert chunk.first == before
        assert chunk.count <= count
        assert size <= characters or chunk.count == 1
        before += chunk.count


@pytest.mark.parametrize("limit", [ChunkLimit(7, 10**6), ChunkLimit(100, 150), ChunkLimit(1, 1)])
def test_a_file_is_cut_where_an_iterable_is(path, limit):
    found = scan_file(path, limit)
    expected = list(chunked(prompts(40), limit))
    assert found.n_prompts == 40
    assert [chunk.load() for chunk in found.chunks] == [chunk.load() for chunk in expected]
    assert [chunk.first for chunk in found.chunks] == [chunk.first for chunk in expected]
    later = pickle.loads(pickle.dumps(found.chunks[-1]))
    assert later.load() == expected[-1].load()
    assert list(read_prompts(path)) == list(prompts(40))


def test_blank_lines_and_missing_final_newline(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text('\n{"id": "a", "text": "x\u2028y"}\n\n\n{"id": "b", "text": "z"}')
    found = scan_file(path, ChunkLimit(1, 100))
    assert [chunk.load()[0].id for chunk in found.chunks] == ["a", "b"]
    assert found.chunks[1].place.number == 5
    assert found.chunks[0].load()[0].text == "x\u2028y"


def test_rows_of_later_row_groups_are_found(tmp_path):
    import pyarrow.parquet as pq

    path = tmp_path / "p.parquet"
    prompts(40).to_parquet(path)
    pq.write_table(pq.read_table(path), path, row_group_size=9)
    found = scan_file(path, ChunkLimit(7, 10**6))
    assert [p for chunk in found.chunks for p in chunk.load()] == list(prompts(40))


def test_two_lines_of_one_id_are_both_named(tmp_path):
    items = rows(30)
    items[22]["id"] = "p4"
    path = write_jsonl(tmp_path / "p.jsonl", items)
    with pytest.raises(
        BadInputError, match=r"line 23: the field 'id' must be unique, and .*line 5"
    ):
        scan_file(path, ChunkLimit(7, 10**6))
    with pytest.raises(BadInputError, match="prompt 23 has an id that came before"):
        list(chunked(items, ChunkLimit(7, 10**6)))


def test_what_a_check_refuses_is_located(path):
    def check(prompt: Prompt) -> None:
        if prompt.id == "p17":
            raise BadInputError("too odd")

    with pytest.raises(BadInputError, match=r"(line|row) 18: too odd"):
        scan_file(path, ChunkLimit(7, 10**6), check)


def test_empty_and_unknown_files_are_refused(tmp_path):
    (tmp_path / "empty.jsonl").write_text("\n\n")
    for name, sentence in [
        ("empty.jsonl", "holds no prompts"),
        ("none.jsonl", "no such file of prompts"),
        ("x.txt", r"end in .jsonl or .parquet"),
    ]:
        with pytest.raises(BadInputError, match=sentence):
            scan_file(tmp_path / name, ChunkLimit(1, 1))
    (tmp_path / "x.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(BadInputError, match="is not a Parquet file"):
        scan_file(tmp_path / "x.parquet", ChunkLimit(1, 1))


# ------------------------------------------------------------------------------------- ahead


def test_items_come_in_order_each_prepared_once_in_a_thread():
    seen = []

    def prepare(item: int) -> int:
        seen.append((item, threading.current_thread() is threading.main_thread()))
        return item * 10

    assert list(ahead(range(9), prepare)) == [(n, 10 * n) for n in range(9)]
    assert seen == [(n, False) for n in range(9)]


def test_the_next_item_is_prepared_while_one_is_used():
    prepared = threading.Event()

    def prepare(item: int) -> int:
        if item == 1:
            prepared.set()
        return item

    stream = ahead(range(5), prepare)
    next(stream)
    assert prepared.wait(10)
    stream.close()


def test_an_error_comes_after_the_items_before_it():
    def prepare(item: int) -> int:
        return 1 // (3 - item)

    stream = ahead(range(6), prepare)
    assert [next(stream)[0] for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ZeroDivisionError):
        next(stream)


# ------------------------------------------------------------------------------------ budgets


def test_running_out_of_memory_halves_the_budget_and_tells(caplog):
    from rendered_builders import random_ids, rendered

    items = [rendered(random_ids(4, seed)) for seed in range(16)]
    sizes = []

    def run(batch):
        sizes.append(batch.ids.numel())
        if batch.ids.numel() > 10:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory")
        return len(batch.members)

    budget = BatchBudget(64)
    done = [result for _, result in run_halving(batches(items, budget), budget, run)]
    assert sum(done) == 16
    assert sizes[:4] == [64, 32, 16, 8]
    assert max(sizes[3:]) == 8
    assert budget.tokens == 8
    assert caplog.messages == [
        f"out of memory with a batch of {tokens} tokens; going on with at most {tokens // 2}"
        for tokens in (64, 32, 16)
    ]


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    from rendered_builders import random_ids, rendered

    def run(batch):
        raise RuntimeError("shapes do not match")

    budget = BatchBudget(64)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        list(run_halving(batches([rendered(random_ids(4))] * 2, budget), budget, run))


@pytest.mark.parametrize(
    ("rule", "most"),
    [
        ("prompt[-1]", 1),
        ("response[:5]", 5),
        ("response[2:9:3]", 3),
        ("prompt[-4:]", 4),
        ("all[:]", None),
        ("after(trigger)[:8]", 8),
        ("all[1:-1]", None),
    ],
)
def test_how_many_rows_a_rule_can_give(rule, most):
    assert most_rows(rule, "none") == most
    assert most_rows(rule, "mean") == 1
    given = [len(PositionRule.parse(rule).positions(spans(n))) for n in range(40)]
    assert most is None or max(given) == most


def spans(n: int) -> dict[str, tuple[int, int]]:
    return dict.fromkeys(("prompt", "response", "all"), (0, n)) | {"trigger": (0, 0)}


def test_the_size_of_a_chunk_bounds_its_results():
    assert limit_of(["prompt[-1]"], "none", 20, 4096) == ChunkLimit(4096, SHARD_BYTES)
    assert limit_of(["prompt[-1]"], "none", 10**5, 4096).prompts == SHARD_NUMBERS // 10**5
    assert limit_of(["all[:]"], "none", 1000, 4096).bytes == SHARD_NUMBERS // 1000
    assert limit_of(["all[:]"], "mean", 1000, 4096).prompts == 4096
    assert limit_of(["all[:]", "prompt[-1]"], "none", 10**9, 4096) == ChunkLimit(1, 1)


def test_the_automatic_budget_fits_the_cpu(tiny_model):
    from trait_probe.forward.budget import CPU_TOKENS, automatic_tokens

    assert automatic_tokens(tiny_model) == CPU_TOKENS[1]
    assert torch.cuda.is_available() or CPU_TOKENS[0] >= 1


def test_a_file_that_changes_after_the_scan_is_refused(path):
    found = scan_file(path, ChunkLimit(7, 10**6))
    changed = [dict(row) for row in rows(40)]
    changed[10]["text"] = changed[10]["text"].replace(" 10", " 99")  # of the same length
    save = {".jsonl": PromptSet.to_jsonl, ".parquet": PromptSet.to_parquet}[path.suffix]
    save(PromptSet.from_dicts(changed), path)
    assert found.chunks[0].load() == list(prompts(40))[:7]
    with pytest.raises(BadInputError, match="was changed while it was being used"):
        found.chunks[1].load()
