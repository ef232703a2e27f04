"""Bad input to the emergent-misalignment experiment: house-form errors, nothing written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import trait_probe as tp
from trait_probe.errors import BadInputError
from trait_probe.experiments import emergent_misalignment as experiment
from trait_probe.experiments._emergent.presets import PRESETS

PAIR = ("--base", "organism:base", "--variant", "organism:misaligned")


def few(folder: Path) -> str:
    path = folder / "few.jsonl"
    path.write_text('{"id": "a", "messages": [{"role": "user", "content": "Hello"}]}\n')
    return str(path)


def answered(folder: Path) -> str:
    path = folder / "answered.jsonl"
    rows = [
        {"id": f"p{i}", "messages": [{"role": "user", "content": f"q {i}"}], "response": "yes"}
        for i in range(20)
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return str(path)


def fitted_on(folder: Path) -> str:
    path = folder / "fitted.jsonl"
    model = tp.load_model("organism:base")
    asked = {p.messages[-1].content for p in tp.contrast_set("safety/evil", model).positive}
    rows = [
        {"id": f"p{i}", "messages": [{"role": "user", "content": text}]}
        for i, text in enumerate([*sorted(asked), *(f"q {i}" for i in range(16))])
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return str(path)


def grouped(folder: Path, groups: list[str], texts: list[str]) -> str:
    path = folder / "grouped.jsonl"
    rows = [
        {"id": f"p{i}", "messages": [{"role": "user", "content": text}], "group": group}
        for i, (group, text) in enumerate(zip(groups, texts, strict=True))
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return str(path)


def long(folder: Path) -> str:
    words = [f"{i} " + "word " * 3000 for i in range(24)]
    return grouped(folder, [f"g{i}" for i in range(24)], words)


def plain(folder: Path) -> str:
    return grouped(folder, [f"g{i}" for i in range(24)], [f"q {i}" for i in range(24)])


def three_groups(folder: Path) -> str:
    return grouped(folder, [f"g{i % 3}" for i in range(24)], [f"q {i}" for i in range(24)])


def copies(folder: Path) -> str:
    return grouped(folder, [f"g{i}" for i in range(24)], [f"q {i // 2}" for i in range(24)])


BAD = {
    "three groups": ((*PAIR, "--prompts", three_groups), "4 groups or more"),
    "copies": ((*PAIR, "--prompts", copies), "stands in two groups"),
    "draws": ((*PAIR, "--n-random", "100", "--alpha", "0.01"), "299 or more"),
    "preset": (("--preset", "em-qwen"), "There is no such preset"),
    "no variant": (("--base", "organism:base"), "needs a base and a variant"),
    "no base": (("--variant", "organism:misaligned"), "needs a base and a variant"),
    "control alone": (("--control", "organism:clean"), "needs a base and a variant"),
    "two variants": ((*PAIR, "--adapter", "x/y"), "not both"),
    "two sources": ((*PAIR, "--vectors", "a", "--vectors-from", "b"), "not from both"),
    "model": (("--base", "organism:bse", "--variant", "organism:clean"), "organism:base"),
    "trait": ((*PAIR, "--traits", "safety/evli"), "safety/evil"),
    "same trait": ((*PAIR, "--traits", "safety/evil", "--unrelated", "safety/evil"), "each once"),
    "two names": ((*PAIR, "--traits", "safety/evil", "--unrelated", "evil"), "same name"),
    "layers": ((*PAIR, "--layers", "9"), "9"),
    "alpha": ((*PAIR, "--alpha", "0.5"), "alpha"),
    "method": ((*PAIR, "--method", "mean"), "mean_difference"),
    "prompts": ((*PAIR, "--prompts", "nowhere.jsonl"), "nowhere.jsonl"),
    "few": ((*PAIR, "--prompts", few), "16 prompts or more"),
    "answered": ((*PAIR, "--prompts", answered), "each model writes its own"),
    "fitted on": ((*PAIR, "--prompts", fitted_on), "trait vectors are fitted"),
    "vectors": ((*PAIR, "--vectors", "nowhere.safetensors"), "nowhere.safetensors"),
    "transfer": ((*PAIR, "--vectors-from", "organism:nobody"), "organism:"),
    "too long": ((*PAIR, "--prompts", long), "context"),
    "permutations": ((*PAIR, "--n-permutations", "200", "--alpha", "0.01"), "--n-permutations"),
    "shared text alone": ((*PAIR, "--shared-text", plain), "--vectors-from"),
    "shared text is tested": (
        (
            *(*PAIR, "--vectors-from", "organism:clean", "--shared-text", plain),
            *("--prompts", plain, "--traits", "safety/evil", "--unrelated", "safety/harm"),
        ),
        "24 of 24 shared texts are also tested",
    ),
    "config": (("--config", "nowhere.json"), "cannot be read"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_in_words_before_anything_is_written(case, tmp_path, capsys):
    flags, words = BAD[case]
    given = [flag(tmp_path) if callable(flag) else flag for flag in flags]
    out = tmp_path / "run"
    assert experiment.main([*given, "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said
    assert not out.exists()


def test_a_judge_of_what_is_not_claimed_is_refused_before_anything_is_written(tmp_path):
    out = tmp_path / "run"
    with pytest.raises(BadInputError, match="not claimed"):
        experiment.run(
            experiment.Config(layers="0", unrelated=()),
            out,
            judges={"safety/harm": lambda *_: None},
        )
    assert not out.exists()


def test_help_reads_like_documentation_and_needs_no_torch():
    code = (
        "import sys; from trait_probe.experiments import emergent_misalignment as e\n"
        "try: e.main(['--help'])\n"
        "except SystemExit as stop: assert stop.code == 0\n"
        "assert 'torch' not in sys.modules and 'datasets' not in sys.modules"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for words in ("Method.", "What would falsify it", "--control-adapter", "rm-sycophancy-70b"):
        assert words in found.stdout


@pytest.mark.parametrize("name", PRESETS)
def test_presets_resolve_with_their_control_and_sources(name):
    preset = PRESETS[name]
    config = experiment.Config(preset=name).resolved()
    assert config.base == preset.base
    assert (config.variant, config.adapter) == (preset.variant, preset.adapter)
    assert config.control == preset.control
    assert config.traits == preset.traits
    assert config.dtype == "bfloat16"
    assert preset.sources
    assert preset.control or "control-adapter" in preset.about


def test_flags_override_a_preset():
    config = experiment.Config(
        preset="em-qwen-0.5b-medical", control_adapter=("me/benign",), traits=("safety/harm",)
    ).resolved()
    assert config.control_adapter == ("me/benign",)
    assert config.traits == ("safety/harm",)
    assert "safety/evil" in config.unrelated


def test_a_resolved_configuration_resolves_to_itself():
    for config in (experiment.Config(), experiment.Config(preset="em-qwen-coder-32b")):
        assert config.resolved().resolved() == config.resolved()


def test_unknown_step_names_are_refused():
    with pytest.raises(AttributeError):
        _ = experiment.nothing
    with pytest.raises(BadInputError):
        experiment.Config(nothing=1)
