"""A run killed at any moment, and started again, ends with the bytes of an undisturbed run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from shard_inputs import rows, vectors_for, write_jsonl

TESTS = Path(__file__).parents[1]
POINTS = 32


@pytest.mark.slow
def test_killed_anywhere_it_resumes_to_the_same_bytes(tmp_path, tiny_model, tiny_folder):
    """Half of the points are counted writing calls, half are moments; 8 prompts a shard."""
    vectors = tmp_path / "vectors.safetensors"
    vectors_for(tiny_model).save(vectors)
    prompts = write_jsonl(tmp_path / "prompts.jsonl", rows(90, repeats=20))
    arguments = [str(tiny_folder), str(vectors), str(prompts), str(tmp_path), str(POINTS)]
    script = [sys.executable, str(TESTS / "killed_runs.py"), *arguments]
    done = subprocess.run(script, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    points = found["points"]
    assert found["shards"] == 12
    assert len(points) == POINTS
    assert all(point["same"] for point in points)
    died = [point for point in points if point["killed"]]
    assert len(died) >= 20  # the others were done before their moment came
    on_the_way = {point["shards"] for point in died}
    assert len(on_the_way) >= 4  # early, in the middle and late
