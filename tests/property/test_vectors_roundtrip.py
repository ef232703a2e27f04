"""A vector file gives back every bit, and a changed header is refused."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from vector_builders import IDENTITY, basis, vector_set

from trait_probe.basis import POINTS, ModelIdentity, Site
from trait_probe.errors import BadInputError, MismatchError
from trait_probe.vectors.vector import Reference, Reliability, TraitVector, VectorSet

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="|"), min_size=1, max_size=12)
POSITIVE = st.floats(min_value=1e-300, allow_infinity=False, allow_nan=False)
SITES = st.builds(Site, st.integers(0, 3), st.sampled_from(POINTS))
RELIABILITIES = st.builds(
    Reliability,
    split_half_cosine=st.floats(-1, 1),
    bootstrap_angle_deg=st.floats(0, 180),
    held_out_auc=st.floats(0, 1),
    n_pairs=st.integers(1, 10**9),
    energy_share_top1=st.floats(0, 1),
)
REFERENCES = st.builds(
    Reference,
    mean=st.floats(allow_nan=False, allow_infinity=False),
    std=POSITIVE,
    n=st.integers(2, 10**9),
    source=TEXT,
)


@st.composite
def vectors(draw: st.DrawFn) -> TraitVector:
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    model = replace(
        IDENTITY,
        id=draw(TEXT),
        revision=draw(st.none() | TEXT),
        adapter=draw(st.none() | TEXT),
        chat_template_hash=draw(st.none() | TEXT),
        thinking=draw(st.booleans()),
    )
    texts = {name: draw(TEXT) for name in ("position", "pooling", "method", "split")}
    return TraitVector.normalized(
        trait=draw(TEXT),
        direction=draw(st.floats(1e-20, 1e20)) * torch.randn(8, generator=generator).double(),
        basis=basis(draw(SITES), model, **texts),
        reference=draw(REFERENCES),
        reliability=draw(RELIABILITIES),
    )


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=st.lists(vectors(), min_size=1, max_size=4, unique_by=lambda v: v.key))
def test_saving_and_loading_gives_back_every_bit(tmp_path, drawn):
    path = tmp_path / "vectors.safetensors"
    VectorSet(drawn).save(path)
    loaded = VectorSet.load(path)
    assert loaded == VectorSet(drawn)
    for before, after in zip(drawn, loaded, strict=True):
        assert before.direction.view(torch.int32).equal(after.direction.view(torch.int32))
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def rewrite(path, change):
    """Apply `change(header, tensors)` to a vector file, keeping it valid safetensors."""
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["trait_probe"])
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    change(header, tensors)
    save_file(tensors, path, metadata={"trait_probe": json.dumps(header)})


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "vectors.safetensors"
    vector_set().save(file)
    return file


def changed(value):
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int) else f"other {value}"


# Names, not facts: equal weights are equal models, wherever they were loaded from.
FREE = {"id", "revision", "adapter"}


@pytest.mark.parametrize("name", [field.name for field in fields(ModelIdentity)])
def test_a_changed_identity_field_is_refused(path, name):
    def change(header, tensors):
        for entry in header["vectors"]:
            entry["basis"]["model"][name] = changed(entry["basis"]["model"][name])

    VectorSet.load(path, model=IDENTITY)
    rewrite(path, change)
    if name in FREE:
        VectorSet.load(path, model=IDENTITY)
        return
    with pytest.raises(MismatchError, match=name):
        VectorSet.load(path, model=IDENTITY)


@pytest.mark.parametrize("name", [field.name for field in fields(ModelIdentity)])
def test_a_changed_identity_field_of_one_vector_is_enough(path, name):
    def change(header, tensors):
        model = header["vectors"][-1]["basis"]["model"]
        model[name] = changed(model[name])

    rewrite(path, change)
    if name in FREE:
        VectorSet.load(path, model=IDENTITY)
        return
    with pytest.raises(MismatchError):
        VectorSet.load(path, model=IDENTITY)


def test_the_refusal_comes_from_comparing_identities(path, monkeypatch):
    """Meta: with the comparison broken, the same change goes unnoticed."""

    def change(header, tensors):
        for entry in header["vectors"]:
            entry["basis"]["model"]["tokenizer_hash"] = "other"

    rewrite(path, change)
    with pytest.raises(MismatchError, match="tokenizer_hash"):
        VectorSet.load(path, model=IDENTITY)
    monkeypatch.setattr(ModelIdentity, "differences", lambda *args, **kwargs: iter(()))
    assert len(VectorSet.load(path, model=IDENTITY)) == 4


def places(value, trail=()):
    """Every field of a JSON value, as the keys that lead to it."""
    for key, below in value.items():
        yield (*trail, key)
        if isinstance(below, dict):
            yield from places(below, (*trail, key))


ENTRY_FIELDS = [
    (),
    *places(
        {
            "trait": 0,
            "site": 0,
            "norm": 0,
            "basis": {
                "model": {field.name: 0 for field in fields(ModelIdentity)},
                **dict.fromkeys(["position", "pooling", "method", "contrast_hash", "split"], 0),
            },
            "reference": {field.name: 0 for field in fields(Reference)},
            "reliability": {field.name: 0 for field in fields(Reliability)},
        }
    ),
][1:]


def test_the_list_of_fields_is_that_of_the_file(path):
    def compare(header, tensors):
        assert set(places(header["vectors"][0])) == set(ENTRY_FIELDS)

    rewrite(path, compare)


def holder(header, trail):
    value = header["vectors"][0]
    for key in trail[:-1]:
        value = value[key]
    return value


@pytest.mark.parametrize("trail", ENTRY_FIELDS, ids=".".join)
def test_a_missing_field_is_refused(path, trail):
    rewrite(path, lambda header, tensors: holder(header, trail).pop(trail[-1]))
    with pytest.raises(BadInputError, match=f"missing .*{trail[-1]}"):
        VectorSet.load(path)


@pytest.mark.parametrize("trail", ENTRY_FIELDS, ids=".".join)
def test_a_field_of_another_type_is_refused(path, trail):
    rewrite(path, lambda header, tensors: holder(header, trail).update({trail[-1]: [1]}))
    with pytest.raises(BadInputError, match=r"wrong type|is not an object"):
        VectorSet.load(path)


@pytest.mark.parametrize("trail", ENTRY_FIELDS, ids=".".join)
def test_an_unknown_field_beside_each_is_refused(path, trail):
    rewrite(path, lambda header, tensors: holder(header, trail).update(surprise=1))
    with pytest.raises(BadInputError, match=r"unknown .*surprise"):
        VectorSet.load(path)
