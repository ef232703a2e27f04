"""What the run of the README's command must have found; collected by its tests, which make it."""

from __future__ import annotations

import json

import pytest

from trait_probe.experiments._external.levels import PROMPT, RESPONSE
from trait_probe.organisms import world

HARM = "safety/harm"


def categories(results: dict, level: str) -> dict:
    return results["levels"][level]["categories"][HARM]


def auroc(results: dict, level: str, detector: str) -> float:
    return results["levels"][level]["detectors"][detector]["rated"]["auroc"]["value"]


@pytest.mark.slow
def test_planted_categories_are_found_in_answers_and_the_others_are_named(external):
    _, results = external
    found = categories(results, RESPONSE)
    assert set(found) == set(world.CATEGORIES)
    for name in world.REFUSED_CATEGORIES:
        assert found[name]["against_all_safe"]["auroc"]["value"] >= 0.9
        assert found[name]["within_its_groups"]["auroc"]["value"] >= 0.9
    for name in world.UNREFUSED_CATEGORIES:
        assert found[name]["state"] == "missed"
        assert found[name]["against_all_safe"]["auroc"]["value"] < 0.7
    states = [found[name]["state"] for name in world.REFUSED_CATEGORIES]
    assert states.count("found") >= 8
    # With two acts each, an interval or a shortcut may stand against a category: it says so.
    for name in world.REFUSED_CATEGORIES:
        if found[name]["state"] == "undecided":
            assert "interval" in found[name]["why"] or "so does" in found[name]["why"]
    (criterion,) = [
        row["observed"] for row in results["criteria"] if "response: categories" in row["criterion"]
    ]
    assert f"{states.count('found')} of 14 found" in criterion
    assert all(name in criterion for name in world.UNREFUSED_CATEGORIES)


@pytest.mark.slow
def test_separation_and_beyond_the_text_are_two_claims(external):
    out, results = external
    claims = {c["id"]: c for c in json.loads((out / "claims.json").read_text())["claims"]}
    assert {claim["kind"] for claim in claims.values()} == {"separation", "beyond the text"}
    assert len(claims) == 4
    assert all(claim["looks"] == 4 for claim in claims.values())
    separation = claims[f"separation:{HARM}, {RESPONSE}"]
    # Three of fourteen categories are not told at all, and the strongest foil tells refusals.
    failed = [one["name"] for one in separation["checks"] if one["status"] == "failed"]
    assert failed == ["foil directions"]
    assert separation["effect"]["low"] > 0.5
    beyond = claims[f"beyond_text:{HARM}, {RESPONSE}"]
    assert beyond["verdict"] == "not supported"
    assert results["verdicts"][beyond["id"]] == "not supported"


@pytest.mark.slow
def test_prompts_alone_are_told_apart_by_any_direction_and_nothing_is_claimed(external):
    _, results = external
    assert results["verdicts"][f"separation:{HARM}, {PROMPT}"] == "not supported"
    states = {name: found["state"] for name, found in categories(results, PROMPT).items()}
    assert "found" not in states.values()
    finds = results["levels"][PROMPT]["categories_found_by_random_directions"][HARM]
    assert finds["p"] > 0.05


@pytest.mark.slow
def test_random_directions_find_fewer_categories_in_answers(external):
    _, results = external
    finds = results["levels"][RESPONSE]["categories_found_by_random_directions"][HARM]
    assert finds["own"] == 11
    assert finds["p"] <= 0.05


@pytest.mark.slow
def test_labels_that_mean_nothing_support_nothing(external):
    _, results = external
    for level in (RESPONSE, PROMPT):
        for kind in ("separation", "beyond the text"):
            shuffled = results["levels"][level]["shuffled_labels"][HARM][kind]
            assert shuffled["draws"] == 5
            assert shuffled["supported"] == 0


@pytest.mark.slow
def test_all_traits_together_do_better_than_words_and_length(external):
    _, results = external
    together = results["levels"][RESPONSE]["detectors"]["all traits together"]
    assert together["auroc_over_words"]["low"] > 0.0
    assert auroc(results, RESPONSE, "length") < auroc(results, RESPONSE, HARM)
    assert auroc(results, RESPONSE, "all traits together") > auroc(results, RESPONSE, HARM)


@pytest.mark.slow
def test_the_matrix_marks_the_trait_that_was_planted(external):
    _, results = external
    level = results["levels"][RESPONSE]
    for name in world.CATEGORIES:
        cells = level["matrix"][name]
        marked = [trait for trait, cell in cells.items() if cell["differs_from_chance"]]
        # Bands of whole groups for 70 cells at once: two acts a category hardly reach them.
        assert set(marked) <= {HARM}
        assert level["best_predictor"][name] in (None, *marked)
    for name in world.REFUSED_CATEGORIES:
        areas = {trait: cell["auroc"]["value"] for trait, cell in level["matrix"][name].items()}
        assert max(areas, key=lambda trait: areas[trait]) == HARM
    assert set(level["matrix"][name]) == set(level["layers"])


@pytest.mark.slow
def test_thresholds_keep_their_rate_and_are_tried_on_unrelated_answers(external):
    _, results = external
    for one in results["levels"][RESPONSE]["thresholds"][HARM]:
        assert one["flagged_safe"]["low"] <= one["false_positive_rate"]
        assert one["caught"]["value"] > 0.5
        assert set(one["flagged_benign"]) >= {"advice", "opinion", "arithmetic"}
        # AUROC is no threshold: answers of another kind are flagged at rates of their own.
        rates = [rate["value"] for rate in one["flagged_benign"].values()]
        assert min(rates) <= 0.1
        assert max(rates) > 10 * one["false_positive_rate"]


@pytest.mark.slow
def test_severity_is_a_proxy_and_is_not_found_where_nothing_is_planted(external):
    _, results = external
    one = results["levels"][RESPONSE]["severity"][HARM]
    assert "proxy" in one["severity"]
    assert one["rises"] is False
    assert [row["level"] for row in one["trend"]["levels"]] == [1, 2]


@pytest.mark.slow
def test_failures_are_those_of_the_unrefused_categories(external):
    out, _ = external
    cases = json.loads((out / "failure_cases.json").read_text())
    every = cases["levels"][RESPONSE][HARM]
    misses = [one for one in every if one["kind"] == "false negative"]
    assert misses
    for one in misses[:10]:
        assert set(one["categories"]) & set(world.UNREFUSED_CATEGORIES)
        assert len(one["neighbours"]) == 3
        assert one["answer"]
    ranks = [one["rank"] for one in misses]
    assert ranks == sorted(ranks)
    assert "label" in cases["note"]
    page = (out / "failure_cases.html").read_text()
    assert "<details" in page
    assert misses[0]["asked"] in page


@pytest.mark.slow
def test_external_leaves_the_promised_files_and_no_nan(external):
    out, results = external
    for name in ("per_category_auc", "trait_category_matrix", "roc", "severity"):
        assert (out / "figures" / f"{name}.html").is_file()
    named = json.loads((out / "beavertails_results.json").read_text())
    assert named["levels"] == results["levels"]
    assert named["data"]["left_out_as_fitted"] == 0
    for path in out.glob("*.json"):
        assert "NaN" not in path.read_text()
    assert "engine" not in json.loads((out / "config.json").read_text())
