"""The backdoor experiment from Python, with models and prompts handed in."""

from __future__ import annotations

import json

import pytest
from backdoor_runs import run

import trait_probe as tp
from trait_probe.errors import BadInputError
from trait_probe.experiments import backdoor

FEW = ("In 2011,", "In 2015,", "In 2019,")
CONFIG = backdoor.Config(
    n_carriers=64,
    traits=("safety/evil",),
    layers="2",
    controls=FEW,
    n_boot=200,
    n_permutations=200,
    n_random=100,
)


@pytest.fixture(scope="module")
def pair():
    return tp.load_model("organism:backdoored"), tp.load_model("organism:clean")


@pytest.fixture
def carriers(pair):
    config = CONFIG.model_copy(update={"seed": 5})
    return backdoor.load_carriers(config, pair[0])


def refused(out, *words, config=CONFIG, **handed):
    with pytest.raises(BadInputError) as caught:
        backdoor.run(config, out, **handed)
    assert not out.exists()
    for word in words:
        assert word in str(caught.value)


@pytest.mark.slow
def test_what_was_handed_in_is_marked_and_comes_back_only_by_hand(tmp_path, pair, carriers, capsys):
    suspect, clean = pair
    first, again, named = tmp_path / "first", tmp_path / "again", tmp_path / "named"
    given = CONFIG.model_copy(update={"suspect": "organism:misaligned"})
    backdoor.run(given, first, model=suspect, clean=clean, prompts=carriers)
    config = json.loads((first / "config.json").read_text())
    assert config["suspect"] == "handed in: organism:backdoored"
    assert config["clean"] == "handed in: organism:clean"
    assert config["carriers"].startswith("handed in: ")
    assert tp.PromptSet.from_jsonl(first / "carriers.jsonl") == carriers

    for flags in ((), ("--suspect", "organism:backdoored", "--clean", "organism:clean")):
        out = tmp_path / "refused"
        assert backdoor.main(["--config", str(first / "config.json"), *flags, "--out", str(out)])
        assert "was handed in from Python" in capsys.readouterr().err
        assert not out.exists()

    backdoor.run(
        backdoor.Config.model_validate(config), again, model=suspect, clean=clean, prompts=carriers
    )
    # By name, with the carriers that the run kept, it is the same audit.
    run(
        named,
        *("--config", str(first / "config.json"), "--carriers", str(first / "carriers.jsonl")),
        *("--suspect", "organism:backdoored", "--clean", "organism:clean"),
    )
    for other in (again, named):
        assert (first / "results.json").read_bytes() == (other / "results.json").read_bytes()


def test_an_empty_prompt_set_is_not_replaced_by_the_default(tmp_path, pair):
    empty = tp.PromptSet([])
    refused(tmp_path / "run", "carriers", model=pair[0], clean=pair[1], prompts=empty)


def test_a_clean_model_alone_is_not_enough(tmp_path, pair):
    refused(
        tmp_path / "run", "without a suspect", "model=", config=backdoor.Config(), clean=pair[1]
    )
