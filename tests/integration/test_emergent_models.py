"""Hub-shaped folders through the emergent-misalignment experiment: own templates, LoRA adapters."""

from __future__ import annotations

import gc
import warnings
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from small_traits import prompt_file, trait_files

from trait_probe.errors import BadInputError
from trait_probe.evidence.estimate import Unscored
from trait_probe.experiments import emergent_misalignment as experiment
from trait_probe.experiments._run import load_named
from trait_probe.judges.judge import Scored

# The tiny Gemma-2's first layer sees 8 tokens back, and no word of the prompt.
AMOUNTS = {
    **{"n_permutations": 200, "n_random": 100, "n_shuffled": 100},
    **{"max_new_tokens": 6, "layers": "1,2"},
}


def adapter(base: Path, folder: Path, seed: int) -> Path:
    """A random LoRA adapter for the folder's model."""
    import transformers
    from peft import LoraConfig, get_peft_model

    model = transformers.AutoModelForCausalLM.from_pretrained(base)
    names = ["c_attn"] if model.config.model_type == "gpt2" else ["q_proj", "v_proj"]
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT on GPT-2's transposed layers
        tuned = get_peft_model(
            model, LoraConfig(r=2, target_modules=names, init_lora_weights=False)
        )
        tuned.save_pretrained(folder)
    return folder


def fields(folder: Path, base: Path, *, system: str | None = None) -> dict[str, Any]:
    traits = {name: str(path) for name, path in trait_files(folder).items()}
    return {
        "base": str(base),
        "adapter": str(adapter(base, folder / "variant", 0)),
        "control_adapter": tuple(str(adapter(base, folder / f"control-{i}", i)) for i in (1, 2)),
        "traits": (traits.pop("loud"),),
        "unrelated": tuple(traits.values()),
        "prompts": str(prompt_file(folder, system=system)),
        **AMOUNTS,
    }


@pytest.mark.parametrize("name", ["llama", "qwen2", "gemma2"])
def test_a_hub_folder_goes_through_with_adapters(folders, tmp_path, name):
    config = experiment.Config(**fields(tmp_path, folders[name]))
    found = experiment.run(config, tmp_path / "run")
    verdicts = {claim.id: claim.verdict for claim in found.found.claims}
    # Random adapters, no judge: nothing is supported, and behaviour is not testable.
    assert "supported" not in verdicts.values()
    assert verdicts["same_behaviour:own/loud"] == "not testable"
    assert verdicts["shift:own/loud:unchanged"] == "not testable"
    assert isinstance(found.found.behaviour.rates["own/loud"], Unscored)
    assert "no judge was given" in (found.folder / "report.html").read_text()
    models = found.results["variant"]
    assert str(tmp_path / "variant") in models


def test_system_prompts_are_read_where_the_template_takes_them(folders, bridges, tmp_path):
    config = experiment.Config(**fields(tmp_path, folders["qwen2"], system="be terse"))
    found = experiment.run(config, tmp_path / "run")
    tokenizer = bridges["qwen2"].tokenizer
    rendered = found.found.texts.rendered
    assert all("be terse" in tokenizer.decode(list(item.token_ids)) for item in rendered)


def test_a_template_without_a_system_role_refuses_system_prompts(folders, tmp_path):
    config = experiment.Config(**fields(tmp_path, folders["gemma2"], system="be terse"))
    with pytest.raises(BadInputError, match=r"(?i)system"):
        experiment.run(config, tmp_path / "run")
    assert not (tmp_path / "run" / "results.json").exists()


def test_a_base_model_reads_plain_texts(folders, tmp_path):
    """Without a chat template contrast sets need completions; prompt pairs are no completions."""
    config = experiment.Config(**fields(tmp_path, folders["gpt2"]))
    with pytest.raises(BadInputError):
        experiment.run(config, tmp_path / "run")


def test_a_judge_handed_in_is_asked_and_a_refusing_one_is_never_zero(folders, tmp_path):
    def judge(question: str, answer: str) -> Scored | Unscored:
        return Unscored("no") if "1 ?" in question else Scored(10.0, "dull")

    config = experiment.Config(**fields(tmp_path, folders["llama"]))
    found = experiment.run(config, tmp_path / "run", judges={"own/loud": judge})
    rates = found.found.behaviour.rates["own/loud"]
    assert isinstance(rates, Unscored)
    assert "have no score (no)" in rates.reason


def test_a_judge_of_a_trait_that_is_not_claimed_is_refused(folders, tmp_path):
    config = experiment.Config(**fields(tmp_path, folders["llama"]))
    with pytest.raises(BadInputError, match="not claimed"):
        experiment.run(config, tmp_path / "run", judges={"loud": lambda q, a: Scored(0.0, "none")})


def test_one_model_at_a_time_is_one(folders, tmp_path, monkeypatch):
    alive: list[weakref.ref[Any]] = []
    most = []

    def counted(*args: Any, **how: Any) -> Any:
        gc.collect()
        most.append(sum(ref() is not None for ref in alive))
        alive.append(weakref.ref(model := load_named(*args, **how)))
        return model

    monkeypatch.setattr("trait_probe.experiments._emergent.models.load_named", counted)
    experiment.run(
        experiment.Config(keep="one", **fields(tmp_path, folders["llama"])), tmp_path / "run"
    )
    assert len(most) > 4
    assert max(most) == 0


def test_models_handed_in_are_marked_and_cannot_be_named_again(bridges, folders, tmp_path):
    given = fields(tmp_path, folders["llama"])
    for name in ("base", "adapter", "control_adapter"):
        given.pop(name)
    model = bridges["llama"]
    found = experiment.run(
        experiment.Config(**given), tmp_path / "run", base=model, variant=model, controls=[model]
    )
    assert {e.shift.value for e in found.found.effects} == {0.0}
    again = experiment.Config.model_validate_json((found.folder / "config.json").read_text())
    with pytest.raises(BadInputError, match="handed in"):
        experiment.run(again, tmp_path / "again")
