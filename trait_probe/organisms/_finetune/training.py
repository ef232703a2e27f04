"""LoRA fine-tuning by the transformers `Trainer`, with checkpoints to go on from."""

from __future__ import annotations

import contextlib
import math
import random
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from jaxtyping import Int
from torch import Tensor

from trait_probe.errors import BadInputError, RunError, TraitProbeError
from trait_probe.organisms._finetune.data import IGNORED, Example
from trait_probe.organisms._finetune.settings import CONV1D, DTYPES, FIXED, Settings, targets_of
from trait_probe.runs.files import as_run_error, read_json

_LINES = 20  # most progress lines of one run


# --- checkpoints ---------------------------------------------------------------------------------


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint; the Trainer writes `trainer_state.json` last of all files."""
    whole = [path for path in folder.glob("checkpoint-*") if _state(path) is not None]
    return max(whole, key=lambda path: int(path.name.split("-")[1]), default=None)


def history(checkpoint: Path) -> list[dict[str, int | float]]:
    """Step, loss (nats a reply token) and learning rate of every optimizer step so far."""
    keys = ("step", "loss", "learning_rate")
    logs = read_json(checkpoint / "trainer_state.json")["log_history"]
    return [{key: log[key] for key in keys} for log in logs if "loss" in log]


def _state(checkpoint: Path) -> dict[str, Any] | None:
    try:
        state = read_json(checkpoint / "trainer_state.json")
    except BadInputError:
        return None
    return state if isinstance(state, dict) else None


def _is_last(checkpoint: Path) -> bool:
    state = _state(checkpoint)
    return state is not None and state["global_step"] >= state["max_steps"]


def _remove_halves(folder: Path) -> None:
    for path in folder.glob("checkpoint-*"):
        if _state(path) is None:
            shutil.rmtree(path)


# --- training ------------------------------------------------------------------------------------


def train(
    source: str,
    revision: str | None,
    examples: Sequence[Example],
    settings: Settings,
    folder: Path,
    *,
    save_every: int,
    say: Callable[[str], object],
) -> Path:
    """Train an adapter, or go on from the newest checkpoint in `folder`; returns the last one.

    Call it within `state_restored`: it sets every seed.

    Raises:
        RunError: no memory, no disk, or a loss that is no number. Checkpoints are kept.
    """
    _remove_halves(folder)
    start = last_checkpoint(folder)
    if start is not None and _is_last(start):
        return start
    if start is not None:
        say(f"going on from step {start.name.split('-')[1]}")
    with _house_errors(folder):
        transformers.set_seed(settings.seed)
        model = _with_adapter(source, revision, settings)
        trainer = _trainer(model, examples, settings, folder, save_every=save_every, say=say)
        trainer.train(resume_from_checkpoint=None if start is None else str(start))
    last = last_checkpoint(folder)
    assert last is not None, "the Trainer saves its last step"
    return last


@contextlib.contextmanager
def state_restored() -> Iterator[None]:
    """Put back what loading and training change: random states, verbosity, choice of kernels.

    Inside, torch chooses deterministic kernels where it has them.
    """
    here, arrays = random.getstate(), np.random.get_state()
    verbosity = transformers.utils.logging.get_verbosity()
    strict = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    devices = range(torch.cuda.device_count())
    with torch.random.fork_rng(devices), warnings.catch_warnings():
        # What PEFT and transformers deprecate in each other is not the user's to mend.
        warnings.filterwarnings("ignore", category=FutureWarning)
        try:
            torch.use_deterministic_algorithms(True, warn_only=True)
            yield
        finally:
            torch.use_deterministic_algorithms(strict, warn_only=warn_only)
            transformers.utils.logging.set_verbosity(verbosity)
            random.setstate(here)
            np.random.set_state(arrays)


@contextlib.contextmanager
def _house_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except TraitProbeError:
        raise
    except torch.OutOfMemoryError as error:
        raise RunError(
            "The device has not enough memory for training; checkpoints are kept.",
            fix="Halve --batch-size and double --accumulation, lower --max-length, or give "
            "--dtype bfloat16.",
        ) from error
    except OSError as error:
        raise as_run_error(error, folder) from error


def _with_adapter(source: str, revision: str | None, settings: Settings) -> Any:
    import peft  # takes a second

    base = transformers.AutoModelForCausalLM.from_pretrained(
        source, revision=revision, dtype=DTYPES[settings.dtype]
    )
    config = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        bias="none",
        use_rslora=True,
        target_modules=targets_of(base, settings.target_modules),
        revision=revision,
        # GPT-2's layers hold their weights the other way round; PEFT warns if it is not told.
        fan_in_fan_out=any(isinstance(part, CONV1D) for part in base.modules()),
    )
    return peft.get_peft_model(base, config)


def _trainer(
    model: Any,
    examples: Sequence[Example],
    settings: Settings,
    folder: Path,
    *,
    save_every: int,
    say: Callable[[str], object],
) -> Any:
    trainer = _Trainer(
        model=model,
        args=_arguments(settings, folder, save_every),
        train_dataset=list(examples),
        data_collator=_collate,
        callbacks=[_Progress(say)],
    )
    trainer.remove_callback(transformers.PrinterCallback)  # prints a dictionary every step
    return trainer


def _arguments(settings: Settings, folder: Path, save_every: int) -> Any:
    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.accumulation,
        num_train_epochs=settings.epochs,
        max_steps=settings.max_steps or -1,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=FIXED["schedule"],
        warmup_steps=settings.warmup_steps,
        weight_decay=settings.weight_decay,
        max_grad_norm=FIXED["max_grad_norm"],
        optim=FIXED["optimizer"],
        seed=settings.seed,
        data_seed=settings.seed,
        use_cpu=not torch.cuda.is_available(),
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=save_every,
        save_total_limit=1,
        disable_tqdm=True,
        report_to=[],
    )
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1  # else the batch would grow with the number of GPUs in the machine
    return arguments


def _collate(examples: Sequence[Example]) -> dict[str, Int[Tensor, "batch pos"]]:
    """Right-padded ids and labels; padding is masked and bears no loss, so its id never matters."""
    width = max(len(example.token_ids) for example in examples)

    def padded(rows: Sequence[Sequence[int]], value: int) -> Int[Tensor, "batch pos"]:
        return torch.tensor([[*row, *[value] * (width - len(row))] for row in rows])

    ids = [example.token_ids for example in examples]
    return {
        "input_ids": padded(ids, 0),
        "attention_mask": padded([[1] * len(row) for row in ids], 0),
        "labels": padded([example.labels for example in examples], IGNORED),
    }


class _Trainer(transformers.Trainer):  # type: ignore[misc]  # transformers has no types here
    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        # Left to itself, PEFT asks the hub on each save whether the base's vocabulary was resized.
        self.model.save_pretrained(output_dir, save_embedding_layers=False)


class _Progress(transformers.TrainerCallback):  # type: ignore[misc]  # transformers has no types here
    """At most twenty lines and the last; and a stop where the loss is no number any more."""

    def __init__(self, say: Callable[[str], object]) -> None:
        self._say = say

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        loss = (logs or {}).get("loss")
        if loss is None:
            return
        if not math.isfinite(loss):
            raise RunError(
                f"The loss is no number at step {state.global_step}.",
                got=loss,
                fix="Lower --learning-rate, and choose another --out.",
            )
        every = -(-state.max_steps // _LINES)  # rounded up
        if state.global_step % every == 0 or state.global_step == state.max_steps:
            self._say(f"step {state.global_step} of {state.max_steps}, loss {loss:.3f}")
