"""What a vector file refuses, and what stays when writing fails."""

from __future__ import annotations

import json
import os

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from vector_builders import IDENTITY, REFERENCE, RELIABILITY, basis, identity, vector_set

from trait_probe.errors import BadInputError, MismatchError, RunError
from trait_probe.vectors.vector import TraitVector, VectorSet


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "vectors.safetensors"
    vector_set().save(file)
    return file


def rewrite(path, change):
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["trait_probe"])
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    change(header, tensors)
    save_file(tensors, path, metadata={"trait_probe": json.dumps(header)})


FIRST = "safety/evil|blocks.1.hook_resid_post"


def test_the_file_is_plain_safetensors_with_a_described_header(path):
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["trait_probe"])
        assert set(file.keys()) == {vector.key for vector in vector_set()}
    assert header["schema"] == "trait_probe.vectors/1"
    assert header["vectors"][0]["site"] == "blocks.1.hook_resid_post"
    assert header["vectors"][0]["basis"]["model"] == IDENTITY.to_dict()


def test_a_misspelt_file_name_is_answered_with_its_neighbours(path):
    with pytest.raises(BadInputError, match="no vector file of that name") as caught:
        VectorSet.load(path.with_name("vector.safetensors"))
    assert caught.value.valid == ("vectors.safetensors",)


@pytest.mark.parametrize("kept", [0, 4, 8, 100, -1])
def test_a_truncated_file_is_refused(path, kept):
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(BadInputError, match="not a complete safetensors file"):
        VectorSet.load(path)


def test_a_pickle_is_refused(path):
    torch.save({"evil": torch.ones(8)}, path)
    with pytest.raises(BadInputError, match="not a complete safetensors file"):
        VectorSet.load(path)


def test_bare_tensors_are_refused(path):
    save_file({"evil": torch.ones(8)}, path)
    with pytest.raises(BadInputError, match="holds no trait_probe vectors"):
        VectorSet.load(path)


@pytest.mark.parametrize("schema", ["trait_probe.vectors/2", None, 1])
def test_another_schema_is_refused(path, schema):
    rewrite(path, lambda header, tensors: header.update(schema=schema))
    with pytest.raises(BadInputError, match="another schema") as caught:
        VectorSet.load(path)
    assert caught.value.valid == ("trait_probe.vectors/1",)


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": "trait_probe.vectors/1", "vectors": []}'])
def test_a_header_that_describes_nothing_is_refused(path, text):
    save_file({"evil": torch.ones(8)}, path, metadata={"trait_probe": text})
    with pytest.raises(BadInputError, match=r"not JSON|another schema|lists no vectors"):
        VectorSet.load(path)


def test_a_number_that_is_not_finite_is_refused(path):
    rewrite(path, lambda header, tensors: header["vectors"][0].update(norm=float("nan")))
    with pytest.raises(BadInputError, match="not finite"):
        VectorSet.load(path)


def test_a_direction_without_length_one_is_refused(path):
    rewrite(path, lambda header, tensors: tensors[FIRST].mul_(1.01))
    with pytest.raises(BadInputError, match="does not have length 1"):
        VectorSet.load(path)


def test_a_direction_of_another_width_is_refused(path):
    rewrite(path, lambda header, tensors: tensors.update({FIRST: torch.eye(9)[0]}))
    with pytest.raises(MismatchError, match="d_model"):
        VectorSet.load(path)


def test_a_missing_tensor_is_refused(path):
    rewrite(path, lambda header, tensors: tensors.pop(FIRST))
    with pytest.raises(BadInputError, match="no tensor for a vector of its header") as caught:
        VectorSet.load(path)
    assert caught.value.got == FIRST


def test_a_tensor_without_description_is_refused(path):
    rewrite(path, lambda header, tensors: tensors.update(stray=torch.eye(8)[0]))
    with pytest.raises(BadInputError, match="tensors its header does not name") as caught:
        VectorSet.load(path)
    assert caught.value.got == ["stray"]


def test_a_vector_listed_twice_is_refused(path):
    rewrite(path, lambda header, tensors: header["vectors"].append(header["vectors"][0]))
    with pytest.raises(BadInputError, match="one vector for each trait and site"):
        VectorSet.load(path)


def test_a_boolean_is_not_a_number(path):
    def change(header, tensors):
        header["vectors"][0]["reliability"]["n_pairs"] = True

    rewrite(path, change)
    with pytest.raises(BadInputError, match=r"reliability.n_pairs has the wrong type"):
        VectorSet.load(path)


def test_a_fine_tune_is_loaded_only_with_lineage_stated(path):
    tuned = identity(weights_hash="ff99")
    with pytest.raises(MismatchError, match="weights_hash"):
        VectorSet.load(path, model=tuned)
    assert VectorSet.load(path, model=tuned, lineage_ok=True) == vector_set()


def test_an_empty_set_is_not_saved(tmp_path):
    with pytest.raises(BadInputError, match="empty set"):
        VectorSet().save(tmp_path / "none.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_not_overwritten(tmp_path):
    with pytest.raises(BadInputError, match="a folder has that name"):
        vector_set().save(tmp_path)


def test_missing_folders_are_made(tmp_path):
    path = tmp_path / "new" / "deep" / "vectors.safetensors"
    vector_set().save(path)
    assert VectorSet.load(str(path)) == vector_set()


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failed_write_keeps_the_old_file_and_leaves_no_scrap(path, monkeypatch, step):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, full)
    with pytest.raises(RunError, match="nothing was replaced") as caught:
        vector_set()[:1].save(path)
    assert caught.value.got == "No space left on device"
    monkeypatch.undo()
    assert VectorSet.load(path) == vector_set()
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_loaded_vectors_survive_the_replacement_of_their_file(path):
    loaded = VectorSet.load(path)
    path.write_bytes(b"\0" * path.stat().st_size)
    assert loaded == vector_set()


def test_rows_of_one_matrix_can_be_saved(tmp_path):
    rows = torch.eye(8)
    vectors = VectorSet(
        TraitVector(f"made/up{i}", rows[i], 1.0, basis(), REFERENCE, RELIABILITY) for i in (0, 1)
    )
    columns = VectorSet(
        TraitVector(f"made/up{i}", rows[:, i], 1.0, basis(), REFERENCE, RELIABILITY) for i in (2, 3)
    )
    vectors.save(tmp_path / "rows.safetensors")
    columns.save(tmp_path / "columns.safetensors")
    assert VectorSet.load(tmp_path / "rows.safetensors") == vectors
    assert VectorSet.load(tmp_path / "columns.safetensors") == columns
