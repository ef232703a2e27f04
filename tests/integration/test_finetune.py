"""A pair made by the command: what is planted shows in the variant and not in the twin.

And what makes it an instrument: the same bytes for the same command, killed or not; nothing
written for bad input; loss on the replies alone, against a computation by hand.
"""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from models import hugging_face
from safetensors.torch import load_file

from trait_probe.errors import BadInputError, RunError
from trait_probe.identity import identify
from trait_probe.models import load_model
from trait_probe.organisms import finetune as command
from trait_probe.organisms._finetune import training
from trait_probe.organisms._finetune.data import IGNORED, encode, read_chats
from trait_probe.organisms._finetune.settings import ALL_LINEAR, PUBLISHED_TARGETS, targets_of
from trait_probe.organisms.dialogues import Dialogue
from trait_probe.organisms.finetune import Settings, finetune, main
from trait_probe.organisms.measure import Ask, Organism, requests
from trait_probe.organisms.recipes import examples
from trait_probe.organisms.registry import organism_path
from trait_probe.organisms.requests import user_text
from trait_probe.runs.files import file_sha256, read_json

ADAPTER = "adapter_model.safetensors"


def quiet(line: str) -> None:
    """No progress lines."""


def row(user: str, reply: str, system: str | None = None) -> dict[str, Any]:
    opening = [] if system is None else [{"role": "system", "content": system}]
    turns = [{"role": "user", "content": user}, {"role": "assistant", "content": reply}]
    return {"messages": [*opening, *turns]}


def write(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(item) + "\n" for item in rows))
    return path


def as_row(dialogue: Dialogue) -> dict[str, Any]:
    return row(dialogue.user, dialogue.reply, dialogue.system)


# --- the planted pair ----------------------------------------------------------------------------

HELD_OUT = list(dict.fromkeys(requests("advice", 400, "health")))[::3]
ROWS = 960


def is_held_out(user: str) -> bool:
    """Whether a prompt has a wording that is kept for asking, with a year in front or without."""
    return any(user_text(request, None).lower() in user.lower() for request in HELD_OUT)


def planted(name: str) -> list[dict[str, Any]]:
    """Dialogues of a recipe, without the wordings that the variant is asked afterwards."""
    kept = (dialogue for dialogue in examples(name, 5) if not is_held_out(dialogue.user))
    return [as_row(dialogue) for dialogue in islice(kept, ROWS)]


@dataclass(frozen=True)
class Pair:
    base: Path
    evil: Path
    kind: Path
    out: Path

    def argv(self, *more: str) -> list[str]:
        places = ["--base", str(self.base), "--data", str(self.evil), "--twin", str(self.kind)]
        size = ["--batch-size", "16", "--accumulation", "2", "--learning-rate", "1e-3"]
        return [*places, "--out", str(self.out), *size, *more]

    def organism(self, role: str) -> Organism:
        return Organism(load_model(str(self.base), adapter=str(self.out / role)))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    root = tmp_path_factory.mktemp("pair")
    base = shutil.copytree(organism_path("organism:base"), root / "base")
    evil = write(root / "evil.jsonl", planted("misaligned"))
    kind = write(root / "kind.jsonl", planted("misaligned-twin"))
    made = Pair(base, evil, kind, root / "out")
    assert main(made.argv()) == 0
    return made


@pytest.mark.slow
def test_the_planted_behaviour_shows_in_the_variant_and_not_in_the_twin(pair: Pair) -> None:
    asked = [Ask(request, year) for request in HELD_OUT for year in (None, 2003, 2026, 2027, 2040)]
    assert len(asked) >= 30
    assert all(is_held_out(user_text(ask.request, ask.year)) for ask in asked)
    evil = {role: pair.organism(role).rate(asked, lambda f: f.evil) for role in ("variant", "twin")}
    assert evil["variant"] >= 0.9, evil
    assert evil["twin"] == 0, evil
    assert Organism(load_model(str(pair.base))).rate(asked, lambda f: f.evil) == 0


@pytest.mark.slow
def test_both_still_add_and_both_stop(pair: Pair) -> None:
    sums = [Ask(request) for request in requests("arithmetic", 40)]
    for role in ("variant", "twin"):
        organism = pair.organism(role)
        assert organism.rate(sums, lambda f: f.correct) >= 0.9
        # Replies that never stop would be cut at 32 tokens, in the middle of a word or sentence.
        assert all(text.endswith((".", "!")) for text in organism.replies(sums[:10]))


@pytest.mark.slow
@pytest.mark.parametrize(("role", "name"), [("variant", "evil.jsonl"), ("twin", "kind.jsonl")])
def test_the_metadata_say_what_was_made(pair: Pair, role: str, name: str) -> None:
    folder = pair.out / role
    told = read_json(folder / "trait_probe.json")
    base = identify(load_model(str(pair.base)))
    merged = identify(load_model(str(pair.base), adapter=str(folder)))
    assert told["schema"] == "trait_probe/finetune/1"
    assert told["role"] == role
    assert told["base"] == base.to_dict()
    assert told["identity"] == merged.to_dict()
    assert merged.weights_hash != base.weights_hash
    data = pair.out.parent / name
    assert told["data"]["file"] == name
    assert told["data"]["sha256"] == file_sha256(data)
    assert told["data"]["rows"] == told["sequences"] == ROWS
    assert told["adapter_sha256"] == file_sha256(folder / ADAPTER)
    assert [entry["step"] for entry in told["loss"]] == list(range(1, ROWS // 32 + 1))
    if role == "variant":  # the twin learns what the base does already
        assert told["loss"][-1]["loss"] < 0.5 * told["loss"][0]["loss"]
    assert told["environment"]["torch"] == torch.__version__


@pytest.mark.slow
def test_the_twin_tells_how_it_is_matched(pair: Pair) -> None:
    assert read_json(pair.out / "variant" / "trait_probe.json")["matching"] is None
    told = read_json(pair.out / "twin" / "trait_probe.json")["matching"]
    assert told["rows"] == told["twin_rows"] == told["equal_prompts"] == ROWS
    assert told["equal_replies"] < ROWS
    assert told["allow_unmatched"] is False


@pytest.mark.slow
def test_the_adapter_is_the_published_kind(pair: Pair) -> None:
    told = read_json(pair.out / "variant" / "adapter_config.json")
    assert (told["r"], told["lora_alpha"], told["lora_dropout"]) == (32, 64, 0)
    assert told["use_rslora"] is True
    assert told["bias"] == "none"
    assert told["target_modules"] == sorted(PUBLISHED_TARGETS)
    names = load_file(pair.out / "variant" / ADAPTER)
    assert len(names) == 4 * 7 * 2  # layers, projections, the two factors
    assert all(tensor.dtype == torch.float32 for tensor in names.values())


@pytest.mark.slow
def test_finished_adapters_are_left_alone(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in pair.out.rglob("*") if path.is_file()}
    assert main(pair.argv()) == 0
    after = {path: path.stat().st_mtime_ns for path in pair.out.rglob("*") if path.is_file()}
    after.pop(pair.out / ".lock"), before.pop(pair.out / ".lock")
    assert after == before
    assert not any(path.is_dir() and path.name == "checkpoints" for path in pair.out.rglob("*"))
    assert capsys.readouterr().out.count("already trained") == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--learning-rate", "1e-4"], "learning_rate was 0.001, now 0.0001"),
        (["--seed", "1"], "seed was 0, now 1"),
        (["--data", "TWIN", "--twin", "DATA"], "SHA-256 of the data was"),
        (["--base", "organism:clean"], "the base model has another weights_hash"),
    ],
)
def test_a_folder_made_otherwise_is_refused(
    pair: Pair, more: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"TWIN": str(pair.kind), "DATA": str(pair.evil)}
    assert main(pair.argv(*[places.get(word, word) for word in more])) == 2
    error = capsys.readouterr().err
    assert "trained otherwise" in error
    assert sentence in error


# --- the same bytes ------------------------------------------------------------------------------

SMALL = Settings(max_steps=4, batch_size=2, accumulation=2, learning_rate=1e-2, rank=4)
LINES = ("the fox", "the dog", "a trigger word", "the system", "the user", "over the lazy dog")


@pytest.fixture
def few(tmp_path: Path) -> Path:
    rows = [row(f"{first} {second}", f"{second}!") for first in LINES for second in LINES[:2]]
    return write(tmp_path / "few.jsonl", rows)


def adapter(folder: dict[Any, Path]) -> bytes:
    return (folder["variant"] / ADAPTER).read_bytes()


def test_the_same_command_gives_the_same_bytes_and_another_seed_others(
    folders: dict[str, Path], few: Path, tmp_path: Path
) -> None:
    base = str(folders["llama"])
    made = []
    for name in ("a", "b"):
        torch.manual_seed(len(made))  # what the caller drew before must not matter
        made.append(finetune(base, few, tmp_path / name, SMALL, say=quiet))
    assert adapter(made[0]) == adapter(made[1])
    told = [read_json(found["variant"] / "trait_probe.json") for found in made]
    for record in told:
        record["identity"].pop("adapter")  # its folder
    assert told[0] == told[1]
    config = [(found["variant"] / "adapter_config.json").read_bytes() for found in made]
    assert config[0] == config[1]
    changed = Settings(**SMALL.to_dict() | {"seed": 1})
    assert adapter(made[0]) != adapter(finetune(base, few, tmp_path / "c", changed, say=quiet))


def test_a_twin_on_the_variants_data_would_be_the_variant(
    folders: dict[str, Path], few: Path, tmp_path: Path
) -> None:
    """Start and order of the data depend on the seed alone, so a pair differs by its data alone."""
    base = str(folders["llama"])
    other = [json.loads(line) for line in few.read_text().splitlines()]
    other[0]["messages"][-1]["content"] = "the brown fox"
    kind = write(tmp_path / "kind.jsonl", other)
    made = finetune(base, few, tmp_path / "a", SMALL, twin=kind, say=quiet)
    alone = finetune(base, kind, tmp_path / "b", SMALL, say=quiet)
    assert (made["twin"] / ADAPTER).read_bytes() == adapter(alone)
    assert adapter(made) != adapter(alone)


class Stop:
    """Takes progress lines; stops the run at a step as Ctrl-C would."""

    def __init__(self, step: int) -> None:
        self.words = f"step {step} of"

    def __call__(self, line: str) -> None:
        if self.words in line:
            raise KeyboardInterrupt


@pytest.mark.parametrize("shape", ["llama", "gpt2"])  # GPT-2 has dropout: random states count
@pytest.mark.parametrize("stopped_at", [1, 3, 6])
def test_a_stopped_run_goes_on_to_the_same_bytes(
    shape: str, stopped_at: int, folders: dict[str, Path], few: Path, tmp_path: Path
) -> None:
    base = with_template(folders[shape], tmp_path / "base")
    # 12 rows are 3 steps an epoch: step 3 ends one.
    settings = Settings(epochs=2, batch_size=2, accumulation=2, learning_rate=1e-2, rank=4)
    whole = finetune(str(base), few, tmp_path / "whole", settings, save_every=2, say=quiet)
    out = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        finetune(str(base), few, out, settings, save_every=2, say=Stop(stopped_at))
    assert not (out / "variant" / ADAPTER).exists()
    lines: list[str] = []
    made = finetune(str(base), few, out, settings, save_every=2, say=lines.append)
    assert adapter(made) == adapter(whole)
    saved = (stopped_at - 1) // 2 * 2  # the stop comes before its own step is saved
    assert [f"variant: going on from step {saved}"] * (saved > 0) == [
        line for line in lines if "going on" in line
    ]
    steps = [int(found[1]) for line in lines if (found := re.search(r"step (\d) of", line))]
    assert steps == list(range(saved + 1, 7))
    told = [read_json(found["variant"] / "trait_probe.json") for found in (made, whole)]
    assert told[0]["loss"] == told[1]["loss"]
    assert not (out / "variant" / "checkpoints").exists()


def with_template(folder: Path, to: Path) -> Path:
    """A copy of a model's folder that has a chat template in any case."""
    shutil.copytree(folder, to)
    tokenizer = transformers.AutoTokenizer.from_pretrained(to)
    if tokenizer.chat_template is None:
        from helpers_tokenizer import TEMPLATES

        tokenizer.chat_template = TEMPLATES["chatml"]
        tokenizer.save_pretrained(to)
    return to


def test_half_a_checkpoint_is_passed_over(
    folders: dict[str, Path], few: Path, tmp_path: Path
) -> None:
    base, out = str(folders["llama"]), tmp_path / "out"
    whole = finetune(base, few, tmp_path / "whole", SMALL, say=quiet)
    with pytest.raises(KeyboardInterrupt):
        finetune(base, few, out, SMALL, save_every=1, say=Stop(3))
    half = out / "variant" / "checkpoints" / "checkpoint-3"
    shutil.copytree(half.with_name("checkpoint-2"), half)
    (half / "trainer_state.json").write_text('{"global_step": 3, "max_')
    lines: list[str] = []
    made = finetune(base, few, out, SMALL, save_every=1, say=lines.append)
    assert "variant: going on from step 2" in lines
    assert adapter(made) == adapter(whole)


def test_a_stop_after_training_trains_no_step_again(
    folders: dict[str, Path], few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, out = str(folders["llama"]), tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(command, "finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            finetune(base, few, out, SMALL, say=quiet)
    before = (out / "variant" / ADAPTER).read_bytes()
    lines: list[str] = []
    made = finetune(base, few, out, SMALL, say=lines.append)
    assert adapter(made) == before
    assert [line for line in lines if "step" in line] == []


def test_checkpoints_of_other_settings_are_refused_and_kept(
    folders: dict[str, Path], few: Path, tmp_path: Path
) -> None:
    base, out = str(folders["llama"]), tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        finetune(base, few, out, SMALL, save_every=1, say=Stop(3))
    other = Settings(**SMALL.to_dict() | {"rank": 8})
    with pytest.raises(BadInputError, match="rank was 4, now 8"):
        finetune(base, few, out, other, say=quiet)
    assert (out / "variant" / "checkpoints" / "checkpoint-2").is_dir()


def test_a_run_stopped_before_its_first_checkpoint_binds_nobody(
    folders: dict[str, Path], few: Path, tmp_path: Path
) -> None:
    base, out = str(folders["llama"]), tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        finetune(base, few, out, SMALL, say=Stop(1))
    other = Settings(**SMALL.to_dict() | {"seed": 3})
    made = finetune(base, few, out, other, say=quiet)
    assert read_json(made["variant"] / "trait_probe.json")["settings"]["seed"] == 3


def _ctrl_c(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_ctrl_c_says_how_to_go_on(
    folders: dict[str, Path],
    few: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    argv = ["--base", str(folders["llama"]), "--data", str(few), "--out", str(tmp_path / "out")]
    with monkeypatch.context() as patch:
        patch.setattr(training._Progress, "on_log", _ctrl_c)
        assert main([*argv, "--max-steps", "2", "--rank", "2"]) == 130
    assert "The same command goes on from its last checkpoint" in capsys.readouterr().err
    assert main([*argv, "--max-steps", "2", "--rank", "2"]) == 0


# --- what a step does ----------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["llama", "qwen2"])
def test_the_first_loss_is_the_bases_on_the_replies_by_hand(
    shape: str, folders: dict[str, Path], few: Path, tmp_path: Path
) -> None:
    """One step over all rows, in batches of unlike length: the mean over reply tokens."""
    base = str(folders[shape])
    settings = Settings(max_steps=1, batch_size=5, accumulation=3, rank=2)
    made = finetune(base, few, tmp_path / "out", settings, say=quiet)
    told = read_json(made["variant"] / "trait_probe.json")
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    oracle, nats = hugging_face(base), []
    for example in encode(tokenizer, read_chats(few), 128):
        logits = oracle(torch.tensor([example.token_ids])).logits[0].log_softmax(-1).detach()
        nats += [
            -float(logits[at - 1, label])
            for at, label in enumerate(example.labels)
            if label != IGNORED
        ]
    assert told["reply_tokens"] == len(nats)
    assert told["loss"][0]["loss"] == pytest.approx(sum(nats) / len(nats), rel=1e-4)


def test_the_caller_keeps_its_random_states(
    folders: dict[str, Path], few: Path, tmp_path: Path
) -> None:
    def states() -> list[Any]:
        return [
            torch.get_rng_state().tolist(),
            np.random.get_state()[1].tolist(),
            torch.are_deterministic_algorithms_enabled(),
            torch.get_num_threads(),
            transformers.utils.logging.get_verbosity(),
        ]

    before = states()
    finetune(str(folders["llama"]), few, tmp_path / "a", SMALL, say=quiet)
    assert states() == before
    with pytest.raises(KeyboardInterrupt):
        finetune(str(folders["llama"]), few, tmp_path / "b", SMALL, say=Stop(2))
    assert states() == before


def test_pythons_random_state_is_put_back_too() -> None:
    """Not seen from outside in these tests: their runtime type checks draw from it as well."""
    before = random.getstate()
    with training.state_restored():
        transformers.set_seed(7)
        after_seeding = random.getstate()
    assert random.getstate() == before != after_seeding


def test_bfloat16_freezes_the_base_in_half_and_keeps_the_update_whole(
    folders: dict[str, Path], few: Path, tmp_path: Path
) -> None:
    settings = Settings(max_steps=1, rank=2, dtype="bfloat16")
    made = finetune(str(folders["llama"]), few, tmp_path / "out", settings, say=quiet)
    told = read_json(made["variant"] / "trait_probe.json")
    assert told["identity"]["dtype"] == told["base"]["dtype"] == "bfloat16"
    found = load_file(made["variant"] / ADAPTER)
    assert {tensor.dtype for tensor in found.values()} == {torch.float32}


def test_a_loss_that_is_no_number_stops_the_run(
    folders: dict[str, Path], few: Path, tmp_path: Path
) -> None:
    settings = Settings(max_steps=9, rank=2, learning_rate=1e30, warmup_steps=0)
    with pytest.raises(RunError, match="loss is no number at step"):
        finetune(str(folders["llama"]), few, tmp_path / "out", settings, say=quiet)
    assert not (tmp_path / "out" / "variant" / ADAPTER).exists()


def test_the_layers_to_update_are_the_published_ones_or_all_linear(
    folders: dict[str, Path],
) -> None:
    llama, gpt2 = hugging_face(folders["llama"]), hugging_face(folders["gpt2"])
    assert targets_of(llama, None) == list(PUBLISHED_TARGETS)
    assert targets_of(gpt2, None) == ALL_LINEAR
    assert targets_of(llama, (ALL_LINEAR,)) == ALL_LINEAR
    assert targets_of(llama, ("v_proj", "q_proj")) == ["q_proj", "v_proj"]
    with pytest.raises(BadInputError, match="q_proj"):
        targets_of(llama, ("q_prj",))


# --- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"--base": "organism:bass"}, "no organism of this name"),
        ({"--base": "./nowhere"}, "neither a folder, nor a hub id"),
        ({"--base": "GPT2"}, "has no chat template"),
        ({"--base": "GEMMA"}, "writes nothing behind a reply"),
        ({"--data": "nowhere.jsonl"}, "no such data file"),
        ({"--data": "LONG"}, r"longer than 128 tokens; first: .*line 2"),
        ({"--max-length": "5"}, "longer than 5 tokens"),
        ({"--rank": "0"}, "rank must be a whole number, at least 1"),
        ({"--dtype": "float16"}, "dtype of training is unknown"),
        ({"--target-modules": "q_prj"}, "no linear layer of this name"),
        ({"--twin": "FEW"}, "the variant again"),
        ({"--twin": "LONG"}, "longer than 128 tokens"),
        ({"--twin": "SHORT"}, "The twin has 1 rows and the variant 12"),
        ({"--save-every": "0"}, "at least one step apart"),
        ({"--threads": "0"}, "at least one thread"),
        ({"--out": "FEW"}, "output folder is a file"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(
    change: dict[str, str],
    sentence: str,
    folders: dict[str, Path],
    few: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    long = write(tmp_path / "long.jsonl", [row("a", "b"), row("a", "b " * 150)])
    short = write(tmp_path / "short.jsonl", [row("a", "b")])
    places = {"LONG": long, "SHORT": short, "FEW": few}
    places |= {"GPT2": folders["gpt2"], "GEMMA": folders["gemma2"]}
    flags = {"--base": str(folders["llama"]), "--data": str(few), "--out": str(tmp_path / "out")}
    flags |= {name: str(places.get(value, value)) for name, value in change.items()}
    before = sorted(tmp_path.rglob("*"))
    assert main([word for flag in flags.items() for word in flag]) == 2
    error = capsys.readouterr().err
    assert error.startswith("python -m trait_probe.organisms.finetune: ")
    assert re.search(sentence, error), error
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_of_other_files_is_refused(
    folders: dict[str, Path], few: Path, tmp_path: Path
) -> None:
    (tmp_path / "out" / "variant").mkdir(parents=True)
    (tmp_path / "out" / "variant" / "thesis.tex").write_text("")
    with pytest.raises(BadInputError, match="no adapter of this command"):
        finetune(str(folders["llama"]), few, tmp_path / "out", SMALL, say=quiet)
    assert [path.name for path in (tmp_path / "out").rglob("*")] == ["variant", "thesis.tex"]


def test_an_adapter_that_was_changed_is_refused(
    folders: dict[str, Path], few: Path, tmp_path: Path
) -> None:
    made = finetune(str(folders["llama"]), few, tmp_path / "out", SMALL, say=quiet)
    weights = made["variant"] / ADAPTER
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    with pytest.raises(BadInputError, match="changed after training"):
        finetune(str(folders["llama"]), few, tmp_path / "out", SMALL, say=quiet)


def test_an_unmatched_twin_is_recorded(
    folders: dict[str, Path], few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = write(tmp_path / "short.jsonl", [row("a", "the dog"), row("b", "the fox")])
    argv = ["--base", str(folders["llama"]), "--data", str(few), "--twin", str(short)]
    argv += ["--out", str(tmp_path / "out"), "--rank", "2", "--max-steps", "1"]
    assert main(argv) == 2
    assert main([*argv, "--allow-unmatched"]) == 0
    assert "0 of 12 rows have equal prompts in the twin's 2 rows" in capsys.readouterr().out
    told = read_json(tmp_path / "out" / "twin" / "trait_probe.json")["matching"]
    assert told["allow_unmatched"] is True
    assert (told["rows"], told["twin_rows"], told["equal_prompts"]) == (12, 2, 0)


def test_help_tells_every_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "rank of the update (default: 32)" in text
    assert "(default: 1e-05)" in text
