"""Trait vectors and sets of them: look-up, selection, refusals."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from vector_builders import IDENTITY, REFERENCE, RELIABILITY, basis, identity, vector, vector_set

from trait_probe.basis import Site
from trait_probe.errors import BadInputError, MismatchError
from trait_probe.identity import identify
from trait_probe.vectors.vector import TraitVector, VectorSet


def direct(**changes):
    """A vector built by its bare constructor, which checks and never repairs."""
    fields = {
        "trait": "safety/evil",
        "direction": torch.eye(8)[0],
        "norm": 2.0,
        "basis": basis(),
        "reference": REFERENCE,
        "reliability": RELIABILITY,
    }
    return TraitVector(**(fields | changes))


def test_normalizing_keeps_the_length_apart():
    raw = torch.tensor([3.0, 4.0, 0, 0, 0, 0, 0, 0], dtype=torch.bfloat16)
    built = TraitVector.normalized("safety/evil", raw, basis(), REFERENCE, RELIABILITY)
    assert built.norm == 5.0
    assert built.direction.dtype == torch.float32
    torch.testing.assert_close(built.direction * built.norm, raw.float())


def test_normalizing_does_not_alias_the_input():
    raw = torch.eye(8)[0].clone()
    built = TraitVector.normalized("safety/evil", raw, basis(), REFERENCE, RELIABILITY)
    raw[0] = 7.0
    assert float(built.direction[0]) == 1.0


@pytest.mark.parametrize("length", [0.0, 0.99, 1.01, float("nan")])
def test_a_direction_that_is_not_a_unit_vector_is_refused(length):
    with pytest.raises(BadInputError, match="does not have length 1") as caught:
        direct(direction=length * torch.eye(8)[0])
    assert "TraitVector.normalized" in str(caught.value)


def test_a_direction_in_half_precision_is_refused():
    with pytest.raises(BadInputError, match="is not float32"):
        direct(direction=torch.eye(8)[0].bfloat16())


def test_a_direction_of_another_width_is_refused():
    with pytest.raises(MismatchError, match="does not have its model's width") as caught:
        direct(direction=torch.eye(9)[0])
    assert "(8,)" in str(caught.value)


@pytest.mark.parametrize("site", [Site(4), Site(4, "resid_pre")])
def test_a_site_above_the_last_layer_is_refused(site):
    with pytest.raises(MismatchError, match="is not in its model") as caught:
        direct(basis=basis(site))
    assert "layers 0 to 3" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"trait": ""}, "trait has a name"),
        ({"trait": "a|b"}, "without the separator"),
        ({"norm": 0.0}, "norm is finite and above 0"),
        ({"norm": float("inf")}, "norm is finite and above 0"),
    ],
)
def test_a_vector_states_the_rule_it_breaks(changes, sentence):
    with pytest.raises(BadInputError, match=sentence):
        direct(**changes)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"mean": float("nan")}, "reference mean is finite"),
        ({"std": 0.0}, "reference std is finite and above 0"),
        ({"std": float("nan")}, "reference std is finite and above 0"),
        ({"n": 1}, "at least 2 rows"),
    ],
)
def test_a_reference_without_spread_is_refused(changes, sentence):
    with pytest.raises(BadInputError, match=sentence):
        replace(REFERENCE, **changes)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("split_half_cosine", 1.1),
        ("bootstrap_angle_deg", -1.0),
        ("held_out_auc", float("nan")),
        ("energy_share_top1", 2.0),
        ("n_pairs", 0),
    ],
)
def test_a_reliability_out_of_range_is_refused(name, value):
    with pytest.raises(BadInputError, match=name):
        replace(RELIABILITY, **{name: value})


def test_equality_looks_at_every_bit_and_field():
    one = direct()
    assert one == direct()
    assert hash(one) == hash(direct())
    assert one != direct(direction=torch.eye(8)[1])
    assert one != direct(norm=2.5)
    assert one != direct(basis=basis(position="prompt[-1]"))
    assert one != "safety/evil"


def test_lookup_by_bare_name_full_name_site_and_place():
    vectors = vector_set()
    wanted = vectors[1]
    assert wanted.key == "safety/evil|blocks.2.hook_resid_post"
    assert vectors["evil", 2] is wanted
    assert vectors["safety/evil", 2] is wanted
    assert vectors["evil", Site(2)] is wanted
    assert vectors[:2] == VectorSet([vectors[0], wanted])
    assert list(vectors) == [vectors[i] for i in range(4)]


def test_the_parts_of_a_set_are_listed_once():
    vectors = vector_set()
    assert vectors.traits == ("safety/evil", "style/formal")
    assert vectors.layers == (1, 2)
    assert vectors.sites == (Site(1), Site(2))


def test_selection_keeps_the_order_and_takes_single_values():
    vectors = vector_set()
    assert vectors.select() == vectors
    assert vectors.select(traits="formal", layers=1) == VectorSet([vectors[2]])
    assert vectors.select(traits=["formal", "evil"], layers=range(1, 3)) == vectors
    assert [v.layer for v in vectors.select(layers=[2])] == [2, 2]


def test_the_matrix_has_one_row_per_vector_of_the_site_in_order():
    vectors = vector_set()
    matrix = vectors.matrix(Site(1))
    assert matrix.shape == (2, 8)
    for row, trait in zip(matrix, vectors.at(Site(1)).traits, strict=True):
        assert torch.equal(row, vectors[trait, 1].direction)


@pytest.mark.parametrize(
    ("act", "sentence", "first_valid"),
    [
        (lambda v: v["evli", 2], "There is no such trait", "safety/evil"),
        (lambda v: v["safety/evli", 2], "There is no such trait", "safety/evil"),
        (lambda v: v.select(traits=["formall"]), "There is no such trait", "style/formal"),
        (lambda v: v["evil", 3], "has no vector at layer 3", "blocks.2.hook_resid_post"),
        (lambda v: v["evil", Site(0)], "no vector at blocks.0", "blocks.1.hook_resid_post"),
        (lambda v: v.select(layers=[3]), "No vector lives at that layer", 2),
        (lambda v: v.matrix(Site(3)), "No vector lives at that site", "blocks.2.hook_resid_post"),
        (lambda v: v.at(Site(1, "resid_pre")), "No vector lives at", "blocks.1.hook_resid_post"),
    ],
)
def test_an_unknown_key_is_answered_with_the_nearest(act, sentence, first_valid):
    with pytest.raises(BadInputError, match=sentence) as caught:
        act(vector_set())
    assert caught.value.valid[0] == first_valid


def test_a_bare_name_of_two_traits_is_refused_and_the_full_name_works():
    vectors = VectorSet([vector("safety/evil"), vector("fiction/evil", seed=1)])
    with pytest.raises(BadInputError, match="Several traits have that bare name") as caught:
        vectors["evil", 2]
    assert caught.value.valid == ("safety/evil", "fiction/evil")
    assert vectors["fiction/evil", 2] is vectors[1]


def test_two_points_of_one_layer_need_the_site():
    vectors = VectorSet([vector(), vector(site=Site(2, "resid_pre"), seed=1)])
    with pytest.raises(BadInputError, match="several vectors at layer 2") as caught:
        vectors["evil", 2]
    assert 'vectors["evil", Site(2, "resid_post")]' in str(caught.value)
    assert vectors["evil", Site(2, "resid_pre")] is vectors[1]


def test_a_trait_and_layer_that_never_meet_are_refused():
    vectors = VectorSet([vector("safety/evil", 1), vector("style/formal", 2)])
    with pytest.raises(BadInputError, match="at one of these layers"):
        vectors.select(traits="evil", layers=2)


def test_duplicates_are_refused_also_when_sets_are_added():
    vectors = vector_set()
    with pytest.raises(BadInputError, match="one vector for each trait and site") as caught:
        vectors + vectors[:1]
    assert caught.value.got == "safety/evil|blocks.1.hook_resid_post"


def test_adding_keeps_both_orders():
    vectors = vector_set()
    assert vectors[:1] + vectors[1:] == vectors
    assert VectorSet() + vectors == vectors


def test_models_of_two_widths_do_not_share_a_set():
    with pytest.raises(MismatchError, match="models of one width"):
        VectorSet([vector(), vector("style/formal", model=identity(d_model=16))])


def test_a_set_cannot_be_changed():
    with pytest.raises(TypeError, match="does not support item assignment"):
        vector_set()[0] = vector()


def test_reliability_is_printed_with_every_vector():
    text = repr(vector_set())
    assert text.count("split-half cosine 0.900") == 4
    assert "held-out AUC 0.950, 16 pairs" in text
    assert "safety/evil @ blocks.2.hook_resid_post: mean_difference" in text


def test_a_long_set_prints_how_many_it_left_out():
    vectors = VectorSet(vector(f"made/up{number}", seed=number) for number in range(23))
    assert "... and 3 more" in repr(vectors)


def test_the_check_takes_an_identity_or_a_model(tiny_model):
    vector_set().check(IDENTITY)
    mine = vector_set(model=identify(tiny_model))
    mine.check(tiny_model)
    with pytest.raises(MismatchError, match="weights_hash"):
        vector_set().check(tiny_model)


def test_the_check_refuses_what_is_no_model():
    with pytest.raises(BadInputError, match="a model or its ModelIdentity") as caught:
        vector_set().check("organism:base")
    assert "trait_probe.load_model" in str(caught.value)


def test_a_fine_tune_is_refused_unless_lineage_is_stated():
    tuned = identity(weights_hash="ff99", id="organism:tuned")
    with pytest.raises(MismatchError) as caught:
        vector_set().check(tuned)
    message = str(caught.value)
    assert "weights_hash: vectors 'aa11', model 'ff99'" in message
    assert "pass lineage_ok=True" in message
    assert "vectors.transfer" in message
    vector_set().check(tuned, lineage_ok=True)


def test_another_architecture_is_never_offered_the_lineage_way_out():
    with pytest.raises(MismatchError, match="d_model: vectors 8, model 16") as caught:
        vector_set().check(identity(d_model=16, weights_hash="ff99"))
    assert "lineage_ok" not in str(caught.value)


def test_every_vector_of_a_mixed_set_is_checked():
    mixed = vector_set() + VectorSet([vector("made/up", model=identity(weights_hash="ff99"))])
    with pytest.raises(MismatchError, match="weights_hash"):
        mixed.check(IDENTITY)
