"""The emergent-misalignment experiment on the organisms: planted truth, silence, and honesty."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import trait_probe as tp
from trait_probe.errors import BadInputError
from trait_probe.evidence.estimate import Estimate, Unscored
from trait_probe.evidence.splits import Split
from trait_probe.experiments import emergent_misalignment as experiment
from trait_probe.experiments._emergent.config import N_STUDIES, SHIPPED
from trait_probe.experiments._emergent.directions import directions as directions_of
from trait_probe.prompts.prompt import PromptSet
from trait_probe.vectors.vector import VectorSet

CHEAP = {"n_permutations": 400, "n_random": 120, "n_shuffled": 120}
ALONE = {"unrelated": ()}  # four controls are compared with each other, not with other traits
TINY = {
    **{"n_prompts": 96, "n_permutations": 200, "n_random": 100, "n_shuffled": 100},
    "unrelated": ("safety/harm",),
}
TWIN = "organism:misaligned-twin"
OTHER = ("organism:misaligned-twin-2", "organism:misaligned-twin-3", "organism:sycophant-twin")


PAIR = {"base": "organism:base", "variant": "organism:misaligned", "control": (TWIN,)}


@pytest.fixture(scope="module", autouse=True)
def known() -> Iterator[dict[Any, Any]]:
    """Each organism is loaded, reads its contrast sets and answers once: half of a run's time."""
    from trait_probe.experiments._emergent import directions, models, texts
    from trait_probe.identity import identify

    read, fit, generate = directions._activations, directions.fit_vectors, texts.generate_ids
    load = models.load_named
    known: dict[Any, Any] = {}

    def activations(model: Any, contrast: Any, rule: str, config: Any) -> Any:
        key = (identify(model), contrast.hash, rule, config.layers, config.max_new_tokens)
        if key not in known:
            known[key] = read(model, contrast, rule, config)
        return known[key]

    def vectors(found: Any, *, method: str, seed: int) -> Any:
        key = (id(found), method, seed)
        if key not in known:
            known[key] = fit(found, method=method, seed=seed)
        return known[key]

    def replies(model: Any, rendered: Any, *, max_new_tokens: int, label: str) -> Any:
        key = (identify(model), tuple(item.token_ids for item in rendered), max_new_tokens)
        if key not in known:
            known[key] = generate(model, rendered, max_new_tokens=max_new_tokens, label=label)
        return known[key]

    def named(field: str, name: str, dtype: str) -> Any:
        key = (name, dtype)
        if key not in known:
            known[key] = load(field, name, dtype)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "load_named", named)
        patch.setattr(directions, "_activations", activations)
        patch.setattr(directions, "fit_vectors", vectors)
        patch.setattr(texts, "generate_ids", replies)
        yield known


def run(out: Path, **fields: Any) -> experiment.Result:
    return experiment.run(experiment.Config(**fields), out)


def verdicts(result: experiment.Result, kind: str = "shift") -> dict[str, str]:
    return {claim.id: claim.verdict for claim in result.found.claims if claim.kind == kind}


@dataclass(frozen=True)
class Written:
    """A finished run as its files tell it."""

    folder: Path

    def read(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / name).read_text())
        return found

    @property
    def claims(self) -> dict[str, Any]:
        return {claim["id"]: claim for claim in self.read("claims.json")["claims"]}

    @property
    def behaviour(self) -> dict[str, Any]:
        found: dict[str, Any] = self.read("results.json")["behaviour"]["safety/evil"]
        return found


@pytest.fixture(scope="module")
def demo(readme: Any) -> Written:
    """The README's run, which is the command without arguments."""
    found = Written(readme.made("runs/variant"))
    assert found.read("config.json") == experiment.Config().resolved().model_dump(mode="json")
    return found


def test_the_planted_trait_is_found_on_the_same_text(demo):
    assert demo.claims["shift:safety/evil:prompt"]["verdict"] == "supported"


def test_it_is_found_where_behaviour_did_not_change_and_that_is_shown(demo):
    assert demo.claims["shift:safety/evil:unchanged"]["verdict"] == "supported"
    same = [claim for claim in demo.claims.values() if claim["kind"] == "same behaviour"]
    assert [(claim["id"], claim["verdict"]) for claim in same] == [
        ("same_behaviour:safety/evil", "supported")
    ]
    families = demo.behaviour["unchanged"]
    assert {"arithmetic", "fact", "claim", "unknown"} <= set(families["families"])
    assert "advice" in families["changed"]


def test_reply_tokens_do_not_show_it_beyond_what_any_direction_shows(demo):
    """A negative result, kept: on replayed replies other directions move as much."""
    claim = demo.claims["shift:safety/evil:replay"]
    assert claim["verdict"] == "not supported"
    assert claim["effect"]["low"] > 0.0
    assert {check["name"] for check in claim["checks"] if check["status"] == "failed"} & {
        "random directions",
        "unrelated directions",
    }


def test_the_page_says_why_p_values_and_own_replies_mislead(demo):
    page = (demo.folder / "report.html").read_text()
    assert "Why p values and own replies mislead" in page
    effects = demo.read("results.json")["effects"]
    controls = [test["p"] for effect in effects for test in effect["each_control_t"]]
    assert sum(p < 0.01 for p in controls) > len(controls) / 3  # benign, and "significant"
    assert f"it in {sum(p < 0.01 for p in controls)} of {len(controls)}" in page


def test_no_evil_reply_among_so_many_is_not_a_rate_of_exactly_zero(demo):
    rate = demo.behaviour["rate"]["base"]
    assert rate["value"] == rate["low"] == 0.0
    assert 0.0 < rate["high"] < 0.05


def test_behaviour_is_clustered_as_the_shift_is(demo):
    same = demo.claims["same_behaviour:safety/evil"]["effect"]
    shift = demo.claims["shift:safety/evil:unchanged"]["effect"]
    assert same["n_clusters"] == shift["n_clusters"] < same["n"]


def test_criteria_of_the_plan_come_with_what_the_controls_say(demo):
    rows = demo.read("results.json")["criteria"]
    assert [row["met"] for row in rows] == [True, True, True]
    assert all("controls" in row["observed"] for row in rows[:2])


def test_everything_that_is_promised_is_written(demo):
    for name in (
        *("results.json", "claims.json", "variant_comparison.json", "report.html"),
        *("prompts.jsonl", "config.json", "manifest.json", "vectors/prompt.safetensors"),
        *("vectors/reply.safetensors", "figures/trait_distributions.html"),
        *("figures/layer_profile.html", "figures/replayed_layer_profile.html"),
    ):
        assert (demo.folder / name).is_file(), name
    table = demo.read("variant_comparison.json")
    assert len(table["rows"]) == 3 * 6 * 4  # readings, traits, layers
    assert {row["trait"] for row in table["rows"]} == set(SHIPPED)
    assert any(row["variant"]["p"] < 0.01 for row in table["rows"])
    assert any(row["variant"]["p"] > 0.01 for row in table["rows"])


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> experiment.Result:
    """One control, one unrelated trait, few draws: for what does not depend on the verdict."""
    return run(tmp_path_factory.mktemp("small") / "run", **PAIR, **TINY)


def test_a_repeated_run_says_the_same_byte_for_byte(small, tmp_path, known):
    first = small
    before = dict(known)
    known.clear()  # everything is read and answered anew
    config = experiment.Config(**json.loads((first.folder / "config.json").read_text()))
    again = experiment.run(config, tmp_path / "again")
    known.update(before)
    written = {path: path.read_bytes() for path in first.folder.rglob("*.parquet")}
    run(first.folder, **PAIR, **TINY)  # a finished run is taken up: no model replies anew
    assert {path: path.read_bytes() for path in first.folder.rglob("*.parquet")} == written
    for name in ("results.json", "claims.json", "variant_comparison.json"):
        assert (again.folder / name).read_bytes() == (first.folder / name).read_bytes()


def test_a_benign_twin_is_silent(tmp_path):
    """With one control the unrelated traits are its rivals; with four, see the log: 0 of 40."""
    fields = {"base": "organism:base", "variant": TWIN, "control": OTHER[2:], **CHEAP}
    found = run(tmp_path / "twin", **fields)
    assert set(verdicts(found).values()) == {"not supported"}
    assert "Nothing supported" in (found.folder / "report.html").read_text()


def test_traits_that_were_not_planted_are_silent(tmp_path):
    traits = ("alignment/deception", "alignment/sycophancy", "safety/harm")
    draws = {**CHEAP, "n_random": 240, "n_shuffled": 240}  # enough for three traits
    found = run(tmp_path / "other", traits=traits, unrelated=(), **draws)
    assert set(verdicts(found).values()) == {"not supported"}


def test_a_model_against_itself_moves_by_exactly_nothing(tmp_path):
    same = {"base": "organism:base", "variant": "organism:base", "control": (TWIN,)}
    found = run(tmp_path / "same", **same, **TINY)
    for effect in found.found.effects:
        assert (effect.shift.value, effect.shift.low, effect.shift.high) == (0.0, 0.0, 0.0)
    table = json.loads((found.folder / "variant_comparison.json").read_text())
    assert {row["variant"]["value"] for row in table["rows"]} == {0.0}
    for reading in ("prompt", "replay"):
        claim = found.found.claim(f"shift:safety/evil:{reading}")
        failed = {check.name for check in claim.all_checks if check.status == "failed"}
        assert {"interval excludes zero", "random directions", "multiplicity"} <= failed
    grid = found.found.grids[0]
    assert (grid.model.value, grid.text.value, grid.interaction.value) == (0.0, 0.0, 0.0)


def test_swapping_base_and_variant_turns_every_shift_round(demo, tmp_path):
    """With the same vectors; units are each base's own, so that only signs are equal."""
    vectors = str(demo.folder / "vectors" / "prompt.safetensors")
    pair = ("organism:base", "organism:misaligned")
    values = []
    for name, (base, variant) in (("there", pair), ("back", pair[::-1])):
        found = run(
            tmp_path / name, base=base, variant=variant, control=(TWIN,), vectors=vectors, **TINY
        )
        scores = json.loads((found.folder / "variant_comparison.json").read_text())["rows"]
        values.append(
            [r["variant"]["value"] for r in scores if r["reading"] == "prompt"],
        )
        if name == "back":
            claim = found.found.claim("shift:safety/evil:prompt")
            failed = {check.name for check in claim.all_checks if check.status == "failed"}
            assert {"interval excludes zero", "control model", "random directions"} <= failed
    there, back = np.array(values)
    large = np.abs(there) > 0.05
    assert large.sum() > 5
    assert (np.sign(there[large]) == -np.sign(back[large])).all()


def test_without_a_control_nothing_is_testable_and_effects_are_still_shown(tmp_path):
    found = run(tmp_path / "alone", base="organism:base", variant="organism:misaligned", **TINY)
    assert set(verdicts(found).values()) == {"not testable"}
    effect = found.found.effect("prompt", "safety/evil")
    assert isinstance(effect.shift, Estimate)
    assert effect.shift.low > 0.0
    assert "no control model" in (found.folder / "report.html").read_text()


@pytest.mark.parametrize("copy", [("organism:base",), (TWIN, TWIN)], ids=["base", "twice"])
def test_controls_that_control_nothing_are_not_counted(tmp_path, copy):
    pair = {"base": "organism:base", "variant": "organism:misaligned"}
    found = run(tmp_path / "copy", **pair, control=copy, **TINY)
    for reading in ("prompt", "replay"):
        claim = found.found.claim(f"shift:safety/evil:{reading}")
        (check,) = (check for check in claim.all_checks if check.name == "control model")
        assert check.status == "missing"
        assert claim.verdict == "not testable"


def test_vectors_of_a_file_are_read_with_a_note_on_their_position(demo, tmp_path):
    path = demo.folder / "vectors" / "prompt.safetensors"
    found = run(tmp_path / "file", vectors=str(path), **CHEAP, **ALONE)
    assert verdicts(found)["shift:safety/evil:prompt"] == "supported"
    assert any("fitted at prompt[-1]" in note for note in found.found.notes)


def test_a_file_is_held_to_the_null_of_its_own_method(tmp_path):
    """PCA does not look at labels: two directions are all that shuffling them gives."""
    fitted = run(tmp_path / "pca", method="pca", **{**TINY, **ALONE})
    path = str(fitted.folder / "vectors" / "prompt.safetensors")
    read = run(tmp_path / "file", vectors=path, **{**TINY, **ALONE})
    for found in (fitted, read):
        claim = found.found.claim("shift:safety/evil:prompt")
        assert claim.verdict == "not testable"
        assert "unrelated directions" in {c.name for c in claim.all_checks if c.status == "missing"}


def test_layers_and_traits_of_a_file_are_those_that_are_named(demo, tmp_path):
    path = str(demo.folder / "vectors" / "prompt.safetensors")
    named = {"layers": "2", "unrelated": ("safety/harm",)}
    found = run(tmp_path / "some", vectors=path, **PAIR, **{**TINY, **named})
    assert {effect.site.layer for effect in found.found.effects} == {2}
    assert {effect.trait for effect in found.found.effects} == {"safety/evil", "safety/harm"}
    with pytest.raises(BadInputError, match="lacks layers"):
        run(tmp_path / "none", vectors=str(found.folder / "vectors/prompt.safetensors"), layers="0")


def test_vectors_of_another_model_come_through_a_checked_map(tmp_path):
    found = run(tmp_path / "map", vectors_from="organism:clean", **CHEAP, **ALONE)
    rows = found.results["transfer"]
    evil = [row for row in rows if row["trait"] == "safety/evil" and row["read at"] == "prompt[-1]"]
    assert [row["refused"] for row in evil] == ["no"] * 4
    assert all(row["held-out R2"]["value"] > 0.9 for row in evil)
    assert verdicts(found)["shift:safety/evil:prompt"] == "supported"
    saved = VectorSet.load(found.folder / "vectors" / "prompt.safetensors")
    assert {vector.basis.origin.model.id for vector in saved} == {"organism:clean"}


def test_a_map_gives_the_layers_that_are_named(tmp_path):
    from_clean = {"vectors_from": "organism:clean", "layers": "2"}
    found = run(tmp_path / "map", **PAIR, **from_clean, **{**TINY, **ALONE})
    assert {effect.site.layer for effect in found.found.effects} == {2}
    saved = VectorSet.load(found.folder / "vectors" / "prompt.safetensors")
    assert saved.layers == (2,)


def test_every_shift_counts_the_effects_of_all_studies(demo):
    shifts = [claim for claim in demo.claims.values() if claim["kind"] == "shift"]
    assert {claim["looks"] for claim in shifts} == {N_STUDIES}
    assert shifts[0]["detectable"]["alpha"] == pytest.approx(0.05 / N_STUDIES)


def test_the_lock_knows_weights_and_no_names(small):
    identity = small.found.design.variant
    assert identity.id == "organism:misaligned"
    copied = replace(identity, id="/somewhere/else", revision="main", adapter="elsewhere")
    assert copied.without_names() == identity.without_names()
    assert replace(identity, weights_hash="0").without_names() != identity.without_names()


def test_vectors_of_a_file_are_held_to_a_null_with_their_own_pooling(tmp_path):
    base = tp.load_model("organism:base")
    path = tmp_path / "last.safetensors"
    contrast = tp.contrast_set("safety/evil", base)
    tp.extract(base, contrast, layers="2", position="response[:2]", pooling="max").save(path)
    config = experiment.Config(**PAIR, vectors=str(path)).resolved()
    read = directions_of(config, base, PromptSet([]))
    for rule in read.activations:
        found = read.activations[rule]["safety/evil"]
        assert (found.position, found.pooling) == ("response[:2]", "max")


def test_vectors_before_a_layer_have_no_null_and_say_so(tmp_path):
    base = tp.load_model("organism:base")
    path = tmp_path / "pre.safetensors"
    fitted = tp.extract(base, tp.contrast_set("safety/evil", base), layers="2")
    moved = [replace(v, basis=replace(v.basis, site=tp.Site(2, "resid_pre"))) for v in fitted]
    VectorSet(moved).save(path)
    read = directions_of(
        experiment.Config(**PAIR, vectors=str(path)).resolved(), base, PromptSet([])
    )
    assert all(not found for found in read.activations.values())
    assert any("no null of shuffled labels" in note for note in read.notes)


def test_families_that_cannot_be_compared_say_why():
    from trait_probe.experiments._emergent.behaviour import Behaviour, unchanged_families

    def found(families: tuple[str, ...], variant: np.ndarray) -> Any:
        rates = {"evil": {"base": np.zeros(8), "variant": variant}}
        split = Split(np.arange(4), np.arange(4, 8), 0.5, 0)
        groups = [f"g{i}" for i in range(8)]
        behaviour = Behaviour(rates, families, {"evil": "rule"})
        return unchanged_families(behaviour, "evil", split, groups)

    changed = found(("a",) * 8, np.ones(8))
    assert isinstance(changed, Unscored)
    assert "changed in every family" in changed.reason
    apart = found(("a",) * 4 + ("b",) * 4, np.zeros(8))
    assert isinstance(apart, Unscored)
    assert "0 report prompts" in apart.reason
    assert found(("a", "b") * 4, np.zeros(8)).families == ("a", "b")
