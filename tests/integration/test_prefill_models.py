"""The prefill experiment on hub-shaped folders with their own templates, and on bad input."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from models import build_folder
from prefill_runs import pair_file, run, tiny_flags

import trait_probe as tp
from trait_probe.evidence.estimate import Unscored
from trait_probe.experiments import prefill_attack
from trait_probe.judges.judge import Scored
from trait_probe.prompts.prompt import PromptSet


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["llama", "qwen2", "gemma2"])
def test_a_random_model_goes_through_and_recognizes_nothing(tmp_path, shape):
    folder = build_folder(shape, tmp_path / "model")
    out = tmp_path / "run"
    flags = ("--model", str(folder), "--harmful", pair_file(tmp_path), *tiny_flags(tmp_path))
    results = run(out, *flags)
    assert set(results["verdicts"].values()) <= {"not supported", "inconclusive", "not testable"}
    assert results["pairs"]["matched"] == 20
    assert "unscored" in results["behaviour"][0]["harmful"]["refusal"]
    assert results["header"]["token_ids"]
    expected = {"llama": "[assistant]\n", "gemma2": "<assistant>"}
    expected["qwen2"] = "<|im_start|>assistant\n<think>\n\n</think>\n\n"
    assert results["header"]["text"] == expected[shape]
    assert (out / "report.html").is_file()


def test_the_header_is_the_end_of_every_prompt_and_bos_stands_once(tmp_path):
    for shape in ("llama", "gemma2", "qwen2"):
        model = tp.load_model(str(build_folder(shape, tmp_path / shape)))
        prompts = PromptSet.from_jsonl(pair_file(tmp_path))
        config = prefill_attack.Config(harmful="handed")
        pairs = prefill_attack.load_pairs(config, model, prompts, ())
        header = prefill_attack.assistant_header(model, pairs)
        cells = prefill_attack.prefilled_cells(model, pairs, "ok so", 8)
        assert cells.shared
        for plain, forced in zip(
            prefill_attack.plain_cells(model, pairs, 8), cells.rendered, strict=True
        ):
            assert plain.token_ids[-len(header.ids) :] == header.ids
            assert forced.token_ids[: len(plain.token_ids)] == plain.token_ids
            assert plain.token_ids.count(model.tokenizer.bos_token_id) <= 1
            again = header.after([forced])[0]
            assert again.token_ids == (*forced.token_ids, *header.ids)


@pytest.mark.slow
def test_a_judge_scores_refusals_and_what_it_cannot_score_is_counted(tmp_path):
    model = tp.load_model(str(build_folder("llama", tmp_path / "model")))
    pair_file(tmp_path)

    def judge(question: str, answer: str) -> Scored | Unscored:
        if "hat" in question:
            return Unscored("no hats")
        return Scored(100.0 if question.startswith("burn") else 0.0, "by the verb")

    config = config_of(tmp_path)
    prompts = PromptSet.from_jsonl(tmp_path / "pairs.jsonl")
    found = prefill_attack.run(config, tmp_path / "run", model=model, prompts=prompts, judge=judge)
    behaviour = found.results["behaviour"][0]
    assert behaviour["harmful"]["refusal"]["value"] == 1.0
    assert behaviour["benign"]["refusal"]["value"] == 0.0
    assert behaviour["harmful"]["unscored"] == behaviour["benign"]["unscored"] == 1
    written = json.loads((tmp_path / "run" / "config.json").read_text())
    assert written["model"].startswith("handed in: ")
    assert written["harmful"] == f"handed in: {prompts.hash}"


def config_of(folder) -> prefill_attack.Config:
    flags = tiny_flags(folder)
    return prefill_attack.Config(
        traits=(flags[1],),
        foils=(flags[3],),
        prefills=("ok so",),
        refusal_prefill="no",
        n_lengths=2,
        continuation=2,
        max_new_tokens=4,
        n_shuffled=0,
        n_boot=200,
        n_permutations=200,
        n_random=100,
    )


@pytest.mark.slow
def test_targets_of_the_prompts_as_prefills_and_pairs_dealt_where_none_match(tmp_path):
    folder = build_folder("llama", tmp_path / "model")
    pairs = pair_file(tmp_path, grouped=False, target=True)
    flags = ("--model", str(folder), "--harmful", pairs, "--target-prefill", "True")
    results = run(tmp_path / "run", *flags, *tiny_flags(tmp_path))
    assert results["pairs"] | {"matched": 0, "dealt": 20} == results["pairs"]
    assert not results["prefill"]["same_words_in_both_cells"]
    assert "supported" not in results["verdicts"].values()
    page = (tmp_path / "run" / "report.html").read_text()
    assert "put together by chance" in page
    assert "Prefills differ between prompts" in page


def refused(capsys, out, *flags: str) -> str:
    """Run, expect a refusal, and return what was said."""
    assert prefill_attack.main([*flags, "--out", str(out)]) == 2
    assert not out.exists()
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert len(said.splitlines()) < 25
    return said


@pytest.mark.parametrize(
    ("flags", "sentences"),
    [
        (("--model", "organism:bse"), ("no organism of this name", "organism:base")),
        (("--harmful", "nowhere.jsonl"), ("nowhere.jsonl", "jailbreakbench")),
        (("--harmful", "organism-crosed"), ("organism-crosed",)),
        (("--benign", "xstest"), ("without harmful ones", "--harmful")),
        (("--prefills", " "), ("text with words",)),
        (("--prefills", "Sure,", "Sure,"), ("named once",)),
        (("--foils", "safety/harm"), ("not its own foil",)),
        (("--foils", "safety/refusal"), ("pairs are left to test on", "other traits")),
        (("--traits", "safety/harmm"), ("safety/harm",)),
        (("--layers", "9"), ("has 4 layers",)),
        (("--n-lengths", "1"), ("n_lengths",)),
        (("--alpha", "0.1"), ("alpha", "0.05")),
        (("--max-new-tokens", "5000"), ("leave",)),
        (("--target-prefill", "True"), ("No prompt has a target",)),
    ],
)
def test_it_says_what_is_wrong(tmp_path, capsys, monkeypatch, flags, sentences):
    monkeypatch.chdir(tmp_path)
    said = refused(capsys, tmp_path / "run", *flags)
    for sentence in sentences:
        assert sentence in said


def test_a_model_without_built_in_pairs_needs_a_source(tmp_path, capsys):
    folder = build_folder("qwen2", tmp_path / "model")
    said = refused(capsys, tmp_path / "run", "--model", str(folder), *tiny_flags(tmp_path))
    assert "--harmful jailbreakbench" in said


def test_a_model_without_chat_template_is_refused(tmp_path, capsys):
    folder = build_folder("gpt2", tmp_path / "model")
    flags = ("--model", str(folder), "--harmful", pair_file(tmp_path))
    said = refused(capsys, tmp_path / "run", *flags)
    assert "no chat template" in said


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"messages": None, "text": "burn it"}, "plain texts"),
        ({"prefill": "ok"}, "have a prefill or a response already"),
        ({"response": "ok"}, "have a prefill or a response already"),
        ({"labels": {}}, "label"),
    ],
)
def test_prompts_that_do_not_fit_are_named(tmp_path, capsys, change, sentence):
    pair_file(tmp_path)
    lines = (tmp_path / "pairs.jsonl").read_text().splitlines()
    first = {k: v for k, v in (json.loads(lines[0]) | change).items() if v is not None}
    (tmp_path / "pairs.jsonl").write_text("\n".join([json.dumps(first), *lines[1:]]) + "\n")
    said = refused(capsys, tmp_path / "run", "--harmful", str(tmp_path / "pairs.jsonl"))
    assert sentence in said
    assert "red-burn" in said


def test_help_reads_like_documentation_and_needs_no_torch():
    code = (
        "import sys\n"
        "from trait_probe.experiments import prefill_attack\n"
        "try: prefill_attack.main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for words in ("What would falsify it", "--prefills", "--target-prefill", "Any-Depth"):
        assert words in done.stdout
