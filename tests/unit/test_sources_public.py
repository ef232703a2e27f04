"""The loaders on the public files themselves, where they are at hand."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import datasets
import pytest

from trait_probe.prompts.sources import jailbreakbench
from trait_probe.prompts.sources.load import load_labelled, load_prompts
from trait_probe.prompts.sources.open import open_source

DATA = Path(__file__).parents[3] / "shared" / "data"
JBB = DATA / "jailbreakbench"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the public prompt files are absent")


@pytest.mark.parametrize(
    ("name", "config", "prompts", "groups"),
    [
        ("em_eval/first_plot_questions.yaml", None, 24, 8),
        ("em_eval/preregistered_evals.yaml", None, 48, 48),
        ("em_eval/deception_factual.yaml", None, 100, 5),
        ("em_eval/deception_sit_aware.yaml", None, 8, 8),
        ("advbench/harmful_behaviors.csv", None, 520, 520),
        ("harmbench/harmbench_behaviors_text_all.csv", None, 200, 200),
        ("harmbench/harmbench_behaviors_text_all.csv", "contextual", 100, 92),
        ("harmbench/harmbench_behaviors_text_all.csv", "copyright", 100, 100),
        ("trait_interp/inference/em_generic_eval.json", None, 8, 8),
        ("trait_interp/inference/general_benign.json", None, 5, 5),
        ("trait_interp/inference/general_harmful.json", None, 5, 5),
        ("trait_interp/inference/rm_syco_train_100.json", None, 100, 100),
    ],
)
def test_public_files_are_read_whole(
    name: str, config: str | None, prompts: int, groups: int
) -> None:
    read = load_prompts(DATA / name, config=config)
    assert list(open_source(DATA / name, config=config).prompts()) == list(read)
    assert (len(read), len({prompt.cluster for prompt in read})) == (prompts, groups)


def test_the_json_variants_keep_their_system_message() -> None:
    read = load_prompts(DATA / "em_eval" / "first_plot_questions.yaml")
    with_system = [prompt for prompt in read if prompt.messages[0].role == "system"]
    assert {prompt.labels["variant"] for prompt in with_system} == {"json"}
    assert Counter(prompt.labels["variant"] for prompt in read) == {
        **{"plain": 8, "json": 8, "template": 8},
    }


def test_every_harmful_request_has_a_benign_partner_of_its_category() -> None:
    files = JBB / "jailbreakbench_harmful_raw.csv", JBB / "jbb_benign_goals.csv"
    pairs = jailbreakbench.read_pairs(*files)
    assert Counter(prompt.labels["harmful"] for prompt in pairs) == {True: 100, False: 100}
    for harmful, benign in zip(pairs[::2], pairs[1::2], strict=True):
        assert harmful.group == benign.group
        assert harmful.labels["category"] == benign.labels["category"]
    assert load_labelled(*files) == pairs


@pytest.mark.parametrize("name", ["advbench", "harmbench"])
def test_datasets_reads_the_folder_as_the_file(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    (file,) = (DATA / name).glob("*.csv")
    assert load_prompts(DATA / name) == load_prompts(file)
