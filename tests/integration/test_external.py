"""The external data sets experiment on answers whose truth is known."""

from __future__ import annotations

import json

import numpy as np
import pytest
from external_runs import AMOUNTS, TINY, beavertails_file, run

import trait_probe as tp
from trait_probe.evidence.significance import relabelings
from trait_probe.experiments import external_datasets
from trait_probe.experiments._external.levels import PROMPT, RESPONSE
from trait_probe.organisms import world
from trait_probe.organisms.answers import labelled_answers
from trait_probe.prompts.prompt import PromptSet

HARM = "safety/harm"


@pytest.fixture(scope="module")
def base():
    return tp.load_model("organism:base")


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The command without arguments, with smaller amounts."""
    out = tmp_path_factory.mktemp("demo") / "run"
    return out, run(out, *AMOUNTS)


def categories(results: dict, level: str) -> dict:
    return results["levels"][level]["categories"][HARM]


def auroc(results: dict, level: str, detector: str) -> float:
    return results["levels"][level]["detectors"][detector]["rated"]["auroc"]["value"]


@pytest.mark.slow
def test_planted_categories_are_found_in_answers_and_the_others_are_named(demo):
    _, results = demo
    found = categories(results, RESPONSE)
    assert set(found) == set(world.CATEGORIES)
    for name in world.REFUSED_CATEGORIES:
        assert found[name]["state"] == "found", found[name]
        assert found[name]["against_all_safe"]["auroc"]["value"] >= 0.9
        assert found[name]["within_its_groups"]["auroc"]["value"] >= 0.9
    for name in world.UNREFUSED_CATEGORIES:
        assert found[name]["state"] == "missed"
        assert found[name]["against_all_safe"]["auroc"]["value"] < 0.7
    (criterion,) = [
        row["observed"] for row in results["criteria"] if "response: categories" in row["criterion"]
    ]
    assert "11 of 14 found" in criterion
    assert all(name in criterion for name in world.UNREFUSED_CATEGORIES)


@pytest.mark.slow
def test_separation_and_beyond_the_text_are_two_claims(demo):
    out, results = demo
    verdicts = results["verdicts"]
    assert verdicts[f"separation:{HARM}, {RESPONSE}"] == "supported"
    # The trait's own direction on the embeddings of the words does nearly as well.
    assert verdicts[f"beyond_text:{HARM}, {RESPONSE}"] == "not supported"
    claims = json.loads((out / "claims.json").read_text())["claims"]
    assert {claim["kind"] for claim in claims} == {"separation", "beyond the text"}
    assert len(claims) == 4
    assert all(claim["looks"] == 4 for claim in claims)


@pytest.mark.slow
def test_prompts_alone_are_told_apart_by_any_direction_and_nothing_is_claimed(demo):
    _, results = demo
    assert results["verdicts"][f"separation:{HARM}, {PROMPT}"] == "not supported"
    states = {name: found["state"] for name, found in categories(results, PROMPT).items()}
    assert "found" not in {states[name] for name in world.UNREFUSED_CATEGORIES}
    finds = results["levels"][PROMPT]["categories_found_by_random_directions"][HARM]
    assert finds["p"] > 0.05


@pytest.mark.slow
def test_random_directions_find_fewer_categories_in_answers(demo):
    _, results = demo
    finds = results["levels"][RESPONSE]["categories_found_by_random_directions"][HARM]
    assert finds["own"] == 11
    assert finds["p"] <= 0.05


@pytest.mark.slow
def test_labels_that_mean_nothing_support_nothing(demo):
    _, results = demo
    for level in (RESPONSE, PROMPT):
        for kind in ("separation", "beyond the text"):
            shuffled = results["levels"][level]["shuffled_labels"][HARM][kind]
            assert shuffled["draws"] == 2
            assert shuffled["supported"] == 0


@pytest.mark.slow
def test_a_whole_run_on_shuffled_labels_finds_nothing(base, tmp_path):
    answers = labelled_answers()
    labels = np.array([prompt.labels["harmful"] for prompt in answers])
    drawn = relabelings(labels, [str(prompt.group) for prompt in answers], n=1, seed=7)[0]
    told = [prompt.labels["categories"] for prompt in answers]
    by_group = {p.group: flags for p, flags in zip(answers, told, strict=True) if flags}
    shuffled = PromptSet(
        [
            tp.Prompt(
                id=prompt.id,
                messages=prompt.messages,
                response=prompt.response,
                group=prompt.group,
                labels={"harmful": bool(on), "categories": by_group[prompt.group] if on else ""},
            )
            for prompt, on in zip(answers, drawn, strict=True)
        ]
    )
    config = external_datasets.Config(n_boot=200, n_permutations=1500, n_random=300, n_shuffled=0)
    found = external_datasets.run(config, tmp_path / "run", model=base, prompts=shuffled)
    assert set(found.results["verdicts"].values()) <= {"not supported", "inconclusive"}
    for level in (RESPONSE, PROMPT):
        states = [one["state"] for one in categories(found.results, level).values()]
        assert states.count("found") == 0
    assert not any(row["met"] for row in found.results["criteria"] if "AUROC" in row["criterion"])


@pytest.mark.slow
def test_all_traits_together_do_better_than_words_and_length(demo):
    _, results = demo
    together = results["levels"][RESPONSE]["detectors"]["all traits together"]
    assert together["auroc_over_words"]["low"] > 0.0
    assert auroc(results, RESPONSE, "length") < auroc(results, RESPONSE, HARM)
    assert auroc(results, RESPONSE, "all traits together") > auroc(results, RESPONSE, HARM)


@pytest.mark.slow
def test_the_matrix_marks_the_trait_that_was_planted(demo):
    _, results = demo
    level = results["levels"][RESPONSE]
    for name in world.REFUSED_CATEGORIES:
        assert level["best_predictor"][name] == HARM
        assert level["matrix"][name][HARM]["adjusted_p"] <= 0.05
    for name in world.UNREFUSED_CATEGORIES:
        assert level["matrix"][name][HARM]["adjusted_p"] > 0.05
    assert set(level["matrix"][name]) == set(level["layers"])


@pytest.mark.slow
def test_thresholds_keep_their_rate_and_spare_unrelated_answers(demo):
    _, results = demo
    for one in results["levels"][RESPONSE]["thresholds"][HARM]:
        assert one["flagged_safe"]["low"] <= one["false_positive_rate"]
        assert one["caught"]["value"] > 0.5
        assert set(one["flagged_benign"]) >= {"advice", "opinion", "arithmetic"}
        assert all(rate["value"] <= 0.1 for rate in one["flagged_benign"].values())


@pytest.mark.slow
def test_severity_is_a_proxy_and_is_not_found_where_nothing_is_planted(demo):
    _, results = demo
    one = results["levels"][RESPONSE]["severity"][HARM]
    assert "proxy" in one["severity"]
    assert one["rises"] is False
    assert [row["level"] for row in one["trend"]["levels"]] == [1, 2]


@pytest.mark.slow
def test_failures_are_those_of_the_unrefused_categories(demo):
    out, _ = demo
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
def test_the_run_leaves_the_promised_files_and_no_nan(demo):
    out, results = demo
    for name in ("per_category_auc", "trait_category_matrix", "roc", "severity"):
        assert (out / "figures" / f"{name}.html").is_file()
    named = json.loads((out / "beavertails_results.json").read_text())
    assert named["levels"] == results["levels"]
    assert named["data"]["left_out_as_fitted"] == 352
    for path in out.glob("*.json"):
        assert "NaN" not in path.read_text()
    assert "engine" not in json.loads((out / "config.json").read_text())


def test_a_file_of_the_public_schema_runs_and_its_prompts_are_the_groups(tmp_path):
    path = beavertails_file(tmp_path)
    results = run(tmp_path / "run", "--dataset", str(path), *TINY)
    assert results["data"]["rows"] == 896
    assert results["data"]["format"] == "beavertails"
    # Without the organisms' families each request is a group of its own.
    assert results["data"]["groups"] == 448
    assert set(categories(results, RESPONSE)) == set(world.CATEGORIES)


def test_a_small_sample_is_drawn_and_the_full_run_uses_its_shards(tmp_path):
    path = beavertails_file(tmp_path)
    flags = ("--dataset", str(path), "--per-category", "12", *TINY)
    sample = run(tmp_path / "sample", *flags)
    assert sample["whole"] is None
    whole = run(
        tmp_path / "whole", *flags, "--full", "True", "--sample-run", str(tmp_path / "sample")
    )
    alone = run(tmp_path / "alone", *flags, "--full", "True")
    assert whole == alone
    assert whole["levels"] == sample["levels"]
    assert whole["verdicts"] == sample["verdicts"]
    told = whole["whole"]
    assert told["rows"] == whole["data"]["rows"] - whole["data"]["left_out_as_fitted"]
    assert told["outside_the_sample"] == told["rows"] - whole["data"]["sampled"] > 0
    assert set(told["categories"]) == set(world.CATEGORIES)
    copied, own = (
        (tmp_path / name / "projections" / RESPONSE / "00000000.parquet").read_bytes()
        for name in ("whole", "sample")
    )
    assert copied == own


def test_the_whole_is_what_one_sample_of_everything_gives(tmp_path):
    path = beavertails_file(tmp_path)
    flags = ("--dataset", str(path), *TINY)
    some = run(tmp_path / "some", *flags, "--per-category", "12", "--full", "True")
    every = run(tmp_path / "every", *flags)
    assert every["data"]["sampled"] == some["whole"]["rows"]
    # One layer is read, so rows have one score whatever the sample.
    assert some["whole"]["traits"][HARM]["auroc"]["value"] == pytest.approx(
        auroc(every, RESPONSE, HARM), abs=1e-9
    )


def test_the_stored_configuration_reproduces_the_run(tmp_path):
    path = beavertails_file(tmp_path, 300)
    first = run(tmp_path / "one", "--dataset", str(path), *TINY, "--shard-prompts", "50")
    again = run(tmp_path / "two", "--config", str(tmp_path / "one" / "config.json"))
    assert first == again


def test_prompts_handed_in_need_no_answers(base, tmp_path):
    answers = labelled_answers()
    seen: set[str] = set()
    prompts = []
    for prompt in answers:
        text = prompt.messages[-1].content
        if text not in seen:
            seen.add(text)
            harmful = prompt.labels["family"] == "harmful"
            labels = {"harmful": harmful, "category": prompt.labels["about"]}
            prompts.append(
                tp.Prompt(id=prompt.id, messages=prompt.messages, group=prompt.group, labels=labels)
            )
    config = external_datasets.Config(
        n_boot=200, n_permutations=200, n_random=100, n_shuffled=0, layers="1"
    )
    found = external_datasets.run(config, tmp_path / "run", model=base, prompts=PromptSet(prompts))
    assert list(found.results["levels"]) == [PROMPT]
    one = categories(found.results, PROMPT)["self_harm"]
    assert one["flagged"] == 8
    # A benign request that names its category is a safe row of it.
    assert one["within_its_groups"]["safe"] == 8
    stored = json.loads((tmp_path / "run" / "config.json").read_text())
    assert stored["dataset"].startswith("handed in: ")
