"""Make your own pair: fine-tune a variant with LoRA, and its benign twin on matched data.

    python -m trait_probe.organisms.finetune --base google/gemma-2-2b-it --data evil.jsonl
        --twin benign.jsonl --out runs/pair [--learning-rate 1e-5] [--rank 32] [--seed 0] ...

`--base` is a hub id, a Hugging Face folder or an organism (`organism:base`). The data are chat
JSONL, one `{"messages": [{"role": ..., "content": ...}, ...]}` a line: the schema of the published
emergent-misalignment and backdoor files. Loss falls on the assistant's replies alone, each with its
end-of-turn token. The defaults are the open-model settings of Betley et al. 2025, arXiv 2502.17424:
rsLoRA of rank 32 and alpha 64 on the seven projections, one epoch, learning rate 1e-5 with 5 steps
of warm-up and linear decay, weight decay 0.01, batches of 2 x 8, at most 2,048 tokens. Their
optimizer was `adamw_8bit`, which needs CUDA; here it is torch's AdamW.

The twin is the control that the claims of this package ask for: the same prompts in the same order
with benign replies, trained with the same settings and seed from the same start. Files that do not
match row by row are refused unless `--allow-unmatched` is given, which is recorded.

Writes `OUT/variant` and `OUT/twin`, PEFT adapter folders that load as

    trait_probe.load_model(BASE, adapter="OUT/variant")

Each has `adapter_model.safetensors`, `adapter_config.json` and `trait_probe.json`: settings,
SHA-256 of the data, identities of the base and of the model with the adapter, loss of each step,
how well the twin is matched, versions.

While training, checkpoints lie in `OUT/variant/checkpoints` (every `--save-every` steps). The same
command after a kill goes on from the last one and ends with the same bytes; a finished adapter is
left alone; a folder with other settings, data or base is refused. On a CPU the weights are the same
bytes for one seed, one version of torch and one number of threads; on a GPU deterministic kernels
are asked for, and a run may still differ in the last bits where torch has none.

Exit codes: 0 done; 2 bad input, full disk or memory; 130 after Ctrl-C. Bad input is refused before
anything is written, a sequence longer than `--max-length` or the model's context too.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import transformers

from trait_probe.basis import ModelIdentity
from trait_probe.errors import BadInputError, TraitProbeError
from trait_probe.identity import context_length, identify, tokenizer_of
from trait_probe.models import load_model
from trait_probe.organisms._finetune.data import Chat, Example, encode, read_chats
from trait_probe.organisms._finetune.folder import (
    CHECKPOINTS,
    METADATA,
    Request,
    Role,
    begin,
    clean,
    copy_adapter,
    finish,
    state_of,
)
from trait_probe.organisms._finetune.matching import match, require_match
from trait_probe.organisms._finetune.settings import DTYPES, Settings, targets_of
from trait_probe.organisms._finetune.training import history, state_restored, train
from trait_probe.organisms.registry import PREFIX, organism_path
from trait_probe.runs.files import as_run_error, canonical_sha256, file_sha256
from trait_probe.runs.lock import FolderLock

__all__ = ["METADATA", "Settings", "finetune", "main"]

PROG = "python -m trait_probe.organisms.finetune"
SAVE_EVERY = 50
_VERSIONED = ("torch", "transformers", "peft", "accelerate", "tokenizers")


@dataclass(frozen=True)
class _Base:
    """What fine-tuning needs to know of the base model once it is unloaded."""

    name: str
    revision: str | None
    source: str
    identity: ModelIdentity
    tokenizer: Any
    context: int


@dataclass(frozen=True)
class _Job:
    """One adapter to make."""

    folder: Path
    request: Request
    chats: list[Chat]
    examples: list[Example]


def finetune(
    base: str,
    data: Path,
    out: Path,
    settings: Settings | None = None,
    *,
    twin: Path | None = None,
    allow_unmatched: bool = False,
    revision: str | None = None,
    save_every: int = SAVE_EVERY,
    say: Callable[[str], object] = print,
) -> dict[Role, Path]:
    """Fine-tune a variant, and its twin if data are given; returns the adapters' folders.

    What is finished is left alone and what was begun is gone on with, so that the same call can be
    repeated until it returns.

    Args:
        base: a hub id, a local Hugging Face folder, or `organism:NAME`.
        data: chat JSONL of the variant.
        out: gets the folders `variant` and `twin`.
        settings: default: the published ones (see `Settings`).
        twin: chat JSONL of the benign control, matched row by row.
        allow_unmatched: take a twin with other prompts or another number of rows.
        revision: hub commit, tag or branch of the base.
        save_every: optimizer steps from checkpoint to checkpoint; does not change the result.
        say: takes each line of progress.

    Raises:
        BadInputError: base, data or settings that do not fit, or a folder that holds something
            else; nothing was written.
        RunError: memory or disk ran out, or the loss is no number; checkpoints are kept.
    """
    settings = settings or Settings()
    if save_every < 1:
        raise BadInputError("Checkpoints are at least one step apart.", got=save_every)
    chats: dict[Role, tuple[Path, list[Chat]]] = {"variant": (data, read_chats(data))}
    if twin is not None:
        chats["twin"] = (twin, read_chats(twin))
    with state_restored():
        known = _read_base(base, revision, settings)
        jobs = [_job(role, *found, known, settings, out) for role, found in chats.items()]
        matched = _matched(jobs, allow_unmatched, say)
        if out.exists() and not out.is_dir():
            raise BadInputError(
                "The output folder is a file.", got=str(out), fix="Choose another --out."
            )
        for job in jobs:
            state_of(job.folder, job.request)
        _make_all(jobs, known, matched, out, save_every, say)
    return {job.request.role: job.folder for job in jobs}


def _read_base(name: str, revision: str | None, settings: Settings) -> _Base:
    """Load the base as every study will, and let it go again."""
    model = load_model(name, revision=revision, dtype=settings.dtype)
    path = organism_path(name) if name.startswith(PREFIX) else Path(name).expanduser()
    source = str(path) if path.is_dir() else name
    with torch.device("meta"):  # the names of its layers, without their weights
        config = transformers.AutoConfig.from_pretrained(source, revision=revision)
        targets_of(transformers.AutoModelForCausalLM.from_config(config), settings.target_modules)
    return _Base(
        name, revision, source, identify(model), tokenizer_of(model), context_length(model)
    )


def _job(
    role: Role, data: Path, chats: list[Chat], base: _Base, settings: Settings, out: Path
) -> _Job:
    examples = encode(base.tokenizer, chats, min(settings.max_length, base.context))
    tokens = canonical_sha256([[example.token_ids, example.labels] for example in examples])
    request = Request(
        role, base.identity, settings, data.name, file_sha256(data), len(chats), tokens
    )
    return _Job(out / role, request, chats, examples)


def _matched(
    jobs: Sequence[_Job], allow_unmatched: bool, say: Callable[[str], object]
) -> dict[str, Any] | None:
    """How well the twin is matched, for people and for its metadata; None without a twin."""
    if len(jobs) < 2:
        return None
    variant, twin = jobs
    found = match(variant.chats, variant.examples, twin.chats, twin.examples)
    require_match(found, variant.chats, twin.chats, allow_unmatched=allow_unmatched)
    say(f"data: {found}")
    return {**found.to_dict(), "allow_unmatched": allow_unmatched}


def _make_all(
    jobs: Sequence[_Job],
    base: _Base,
    matched: dict[str, Any] | None,
    out: Path,
    save_every: int,
    say: Callable[[str], object],
) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise as_run_error(error, out) from error
    lock = FolderLock(out / ".lock")
    lock.acquire()
    try:
        for job in jobs:
            matching = matched if job.request.role == "twin" else None
            _make(job, base, matching, save_every, say)
    finally:
        lock.release()


def _make(
    job: _Job,
    base: _Base,
    matching: dict[str, Any] | None,
    save_every: int,
    say: Callable[[str], object],
) -> None:
    role, folder = job.request.role, job.folder
    if state_of(folder, job.request) == "finished":
        say(f"{role}: {folder} is already trained")
        clean(folder)
        return
    begin(folder, job.request)
    last = train(
        base.source,
        base.revision,
        job.examples,
        job.request.settings,
        folder / CHECKPOINTS,
        save_every=save_every,
        say=lambda line: say(f"{role}: {line}"),
    )
    copy_adapter(last, folder)
    finish(folder, job.request, _made(job, base, last) | {"matching": matching})
    say(f"{role}: wrote {folder}")


def _made(job: _Job, base: _Base, last: Path) -> dict[str, Any]:
    """What is known once the adapter is there; loading it as a study will is its last check."""
    settings = job.request.settings
    merged = load_model(
        base.name, revision=base.revision, dtype=settings.dtype, adapter=str(job.folder)
    )
    losses = history(last)
    return {
        "identity": identify(merged).to_dict(),
        "sequences": len(job.examples),
        "tokens": sum(len(example.token_ids) for example in job.examples),
        "reply_tokens": sum(example.reply_tokens for example in job.examples),
        "steps": len(losses),
        "loss": losses,
        "environment": {
            "python": platform.python_version(),
            **{name: version(name) for name in _VERSIONED},
            "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
            "threads": torch.get_num_threads(),
        },
    }


# --- the command ---------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> int:
    """Parse flags, fine-tune, and return the exit code: 0, 2 for bad input, 130 after Ctrl-C."""
    args = _parser().parse_args(argv)
    transformers.utils.logging.disable_progress_bar()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # deterministic products on CUDA
    try:
        if args.threads is not None:
            _set_threads(args.threads)
        finetune(
            args.base,
            args.data,
            args.out,
            _settings(args),
            twin=args.twin,
            allow_unmatched=args.allow_unmatched,
            revision=args.revision,
            save_every=args.save_every,
            say=lambda line: print(line, flush=True),
        )
    except TraitProbeError as error:
        print(f"{PROG}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            f"{PROG}: stopped. The same command goes on from its last checkpoint.", file=sys.stderr
        )
        return 130
    return 0


def _set_threads(threads: int) -> None:
    if threads < 1:
        raise BadInputError("Training needs at least one thread.", got=threads)
    torch.set_num_threads(threads)


def _settings(args: argparse.Namespace) -> Settings:
    values = {item.name: getattr(args, item.name) for item in fields(Settings)}
    targets = values["target_modules"]
    return Settings(**values | {"target_modules": None if targets is None else tuple(targets)})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROG, description=(__doc__ or "").split("\n\n")[0], allow_abbrev=False
    )
    parser.add_argument("--base", required=True, help="hub id, folder or organism:NAME")
    parser.add_argument("--data", type=Path, required=True, help="chat JSONL of the variant")
    parser.add_argument("--twin", type=Path, help="chat JSONL of the benign control, row by row")
    parser.add_argument("--out", type=Path, required=True, help="gets variant/ and twin/")
    parser.add_argument("--revision", help="hub commit, tag or branch of the base")
    parser.add_argument(
        "--allow-unmatched", action="store_true", help="take a twin whose prompts differ"
    )
    for item in fields(Settings):
        if item.metadata:
            _add_number(
                parser, item.name, item.default, item.metadata["kind"], item.metadata["help"]
            )
    parser.add_argument("--dtype", default="float32", help=" or ".join(DTYPES))
    parser.add_argument(
        "--target-modules",
        nargs="+",
        metavar="NAME",
        help="layers to update, or all-linear (default: the published seven, else all-linear)",
    )
    _add_number(parser, "save_every", SAVE_EVERY, int, "steps from checkpoint to checkpoint")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's)")
    return parser


def _add_number(
    parser: argparse.ArgumentParser, name: str, default: object, kind: Any, about: str
) -> None:
    shown = "none" if default is None else f"{default:g}"
    parser.add_argument(
        f"--{name.replace('_', '-')}",
        type=kind,
        default=default,
        help=f"{about} (default: {shown})",
    )


if __name__ == "__main__":
    sys.exit(main())
