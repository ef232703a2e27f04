"""Atomic files, strict JSON, declared tables: whole or untouched, the same bytes each time."""

from __future__ import annotations

import errno
import json
import math
import os
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trait_probe.errors import BadInputError, RunError
from trait_probe.runs import files, tables

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc"), inner, max_size=4),
    max_leaves=12,
)


@given(JSON_VALUES)
def test_json_bytes_read_back_as_the_same_object(obj: object) -> None:
    data = files.json_bytes(obj)
    assert json.loads(data) == obj
    assert data.endswith(b"\n")
    assert data == files.json_bytes(obj)


@given(st.dictionaries(st.text("abcdef", min_size=1), st.integers(), min_size=2))
def test_canonical_hash_ignores_key_order_and_nothing_else(obj: dict[str, int]) -> None:
    shuffled = dict(reversed(obj.items()))
    assert files.canonical_sha256(shuffled) == files.canonical_sha256(obj)
    changed = {**obj, next(iter(obj)): -1_000_000 - sum(map(abs, obj.values()))}
    assert files.canonical_sha256(changed) != files.canonical_sha256(obj)


def test_json_keeps_insertion_order_and_full_precision(tmp_path: Path) -> None:
    files.write_json(tmp_path / "a.json", {"z": 0.1 + 0.2, "a": (1, 2)})
    assert (tmp_path / "a.json").read_text() == (
        '{\n  "z": 0.30000000000000004,\n  "a": [\n    1,\n    2\n  ]\n}\n'
    )
    assert files.read_json(tmp_path / "a.json") == {"z": 0.1 + 0.2, "a": [1, 2]}


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, np.float64("nan")])
def test_a_number_that_is_not_finite_is_refused_by_its_place(tmp_path: Path, bad: float) -> None:
    path = tmp_path / "results.json"
    path.write_text("old")
    with pytest.raises(BadInputError, match=r"\$\.traits\[1\]\.effect is -?(nan|inf)") as caught:
        files.write_json(path, {"traits": [{"effect": 1.0}, {"effect": bad}]})
    assert "unscored" in str(caught.value)
    assert path.read_text() == "old"


@pytest.mark.parametrize(
    ("obj", "sentence"),
    [
        ({"a": {1: 2}}, r"\$\.a has a key that is no string"),
        ({"a": [Path("x")]}, r"\$\.a\[0\] cannot be written as JSON: \w*Path is no JSON type"),
        ({"n": np.int64(3)}, r"\$\.n cannot be written as JSON: int64 is no JSON type"),
        ({"text": "\ud800"}, "lone surrogate"),
    ],
)
def test_what_json_would_bend_is_refused(obj: object, sentence: str) -> None:
    with pytest.raises(BadInputError, match=sentence):
        files.json_bytes(obj)


@pytest.mark.parametrize("content", ['{"a": 1, "b', "", '{"a": NaN}', '{"a": Infinity}'])
def test_damaged_json_is_a_clear_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(BadInputError, match=r"x\.json is not valid JSON; it may be truncated"):
        files.read_json(tmp_path / "x.json")


def test_json_that_is_absent_or_a_folder_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="does not exist"):
        files.read_json(tmp_path / "none.json")
    with pytest.raises(BadInputError, match="cannot be read"):
        files.read_json(tmp_path)


def test_a_write_makes_folders_and_leaves_no_other_file(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b" / "c.bin"
    files.write_bytes(target, b"one")
    files.write_bytes(target, b"two")
    assert target.read_bytes() == b"two"
    assert os.listdir(target.parent) == ["c.bin"]


def test_written_files_follow_the_umask(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    files.write_bytes(tmp_path / "atomic", b"")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "atomic")]
    assert modes[0] == modes[1]


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (errno.ENOSPC, "No space left to write"),
        (errno.EDQUOT, "No space left to write"),
        (errno.EROFS, "cannot be written"),
        (errno.EACCES, "cannot be written"),
        (errno.EIO, "failed"),
    ],
)
def test_a_failed_write_keeps_the_old_file_and_names_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, number: int, sentence: str
) -> None:
    target = tmp_path / "results.json"
    target.write_text("old")

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(RunError, match=sentence) as caught:
        files.write_json(target, {"new": True})
    assert str(target) in str(caught.value)
    assert caught.value.fix is not None
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["results.json"]


BIG = np.random.default_rng(0).normal(size=50_000)


@pytest.mark.parametrize(
    "write",
    [
        lambda path: files.write_bytes(path, BIG.tobytes()),
        lambda path: tables.write_table(path, pa.table({"x": BIG})),
    ],
    ids=["bytes", "table"],
)
def test_a_real_refusal_of_the_system_midway_keeps_the_old_file(
    tmp_path: Path, write: Callable[[Path], None]
) -> None:
    """A file-size limit stops the write after a few kilobytes, as a full disk would."""
    target = tmp_path / "shard"
    target.write_bytes(b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limits[1]))
    try:
        with pytest.raises(RunError, match="shard failed; the finished files are kept"):
            write(target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["shard"]


def write_half(target: Path, error: type[BaseException]) -> None:
    with files.atomic_file(target) as handle:
        handle.write(b"half")
        raise error


def test_ctrl_c_inside_a_write_keeps_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "x"
    target.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt):
        write_half(target, KeyboardInterrupt)
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x"]


KILLED_WRITER = """
import os, signal, sys
from pathlib import Path
from trait_probe.runs.files import atomic_file
with atomic_file(Path(sys.argv[1])) as handle:
    handle.write(b"half of the new content")
    handle.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_kill_inside_a_write_keeps_the_old_file_and_its_leftover_is_swept(
    tmp_path: Path,
) -> None:
    target = tmp_path / "deep" / "x.bin"
    files.write_bytes(target, b"old")
    killed = subprocess.run([sys.executable, "-c", KILLED_WRITER, str(target)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert target.read_bytes() == b"old"
    assert len(os.listdir(target.parent)) == 2  # the leftover proves the kill fell inside the write
    files.remove_leftovers(tmp_path)
    assert os.listdir(target.parent) == ["x.bin"]


SCHEMA = pa.schema(
    [
        pa.field("prompt_id", pa.string(), nullable=False),
        pa.field("dot", pa.float32(), nullable=False),
        pa.field("z", pa.float64()),
    ]
)


def columns(**overrides: object) -> dict[str, object]:
    return {"dot": np.float32([1, 2]), "prompt_id": ["a", "b"], "z": [None, 0.5], **overrides}


def test_a_table_has_the_declared_columns_in_the_declared_order(tmp_path: Path) -> None:
    table = tables.make_table(SCHEMA, columns())
    assert table.schema == SCHEMA
    tables.write_table(tmp_path / "t.parquet", table)
    back = tables.read_table(tmp_path / "t.parquet")
    assert back.equals(table)
    assert back.schema == SCHEMA
    assert pq.read_table(tmp_path / "t.parquet").to_pylist() == table.to_pylist()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"dott": [1.0, 2.0]}, r"does not declare(.|\n)*valid: dot"),
        ({"z": [1.0]}, r"one length(.|\n)*'z': 1"),
        ({"dot": [1.0, None]}, r"'dot' must not hold nulls(.|\n)*1 of 2"),
        ({"dot": [1.0, math.nan]}, r"'dot' holds numbers that are not finite(.|\n)*1 of 2"),
        ({"z": np.array([math.inf, -math.inf])}, r"'z' holds numbers(.|\n)*2 of 2"),
        ({"dot": ["x", "y"]}, r"'dot' cannot be stored as float"),
    ],
)
def test_a_table_that_breaks_its_schema_is_refused(
    change: dict[str, object], sentence: str
) -> None:
    with pytest.raises(BadInputError, match=sentence):
        tables.make_table(SCHEMA, columns(**change))


def test_a_missing_column_is_named() -> None:
    given_columns = columns()
    del given_columns["dot"]
    with pytest.raises(BadInputError, match=r"lacks columns(.|\n)*Add dot\."):
        tables.make_table(SCHEMA, given_columns)


def test_an_empty_table_survives_the_disk(tmp_path: Path) -> None:
    empty = tables.make_table(SCHEMA, {"prompt_id": [], "dot": [], "z": []})
    tables.write_table(tmp_path / "t.parquet", empty)
    assert tables.read_table(tmp_path / "t.parquet").equals(empty)


def test_equal_tables_give_equal_bytes_and_folder_names_add_no_columns(tmp_path: Path) -> None:
    table = tables.make_table(SCHEMA, columns())
    paths = [tmp_path / f"seed={seed}" / "t.parquet" for seed in (1, 2)]
    for path in paths:
        tables.write_table(path, table)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert tables.read_table(paths[0]).schema == SCHEMA


@pytest.mark.parametrize("keep", [0, 3, 100])
def test_a_truncated_table_is_a_clear_error(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "t.parquet"
    tables.write_table(path, tables.make_table(SCHEMA, columns()))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(BadInputError, match="not a readable Parquet file"):
        tables.read_table(path)


def test_an_absent_table_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="does not exist"):
        tables.read_table(tmp_path / "none.parquet")
