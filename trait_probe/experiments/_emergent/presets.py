"""Public pairs of models by name: what they are, what controls them, where that is published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from trait_probe.errors import BadInputError, nearest


@dataclass(frozen=True)
class Preset:
    """A base model, its variant and its control.

    Args:
        base: hub id.
        variant: hub id of a whole model; None where the variant is an adapter on the base.
        adapter: hub id of the variant's LoRA adapter; None for a whole model.
        control: hub ids of whole models; empty where no benign fine-tune of the kind is released.
        traits: what the pair is claimed to carry.
        dtype: as the weights were released.
        sources: papers and model cards.
        about: one sentence for `--help` and the report.
    """

    base: str
    variant: str | None
    adapter: str | None
    control: tuple[str, ...]
    traits: tuple[str, ...]
    dtype: str
    sources: tuple[str, ...]
    about: str


PRESETS: Mapping[str, Preset] = {
    "em-qwen-0.5b-medical": Preset(
        base="Qwen/Qwen2.5-0.5B-Instruct",
        variant=None,
        adapter="ModelOrganismsForEM/Qwen2.5-0.5B-Instruct_bad-medical-advice",
        control=(),
        traits=("safety/evil",),
        dtype="bfloat16",
        sources=("Turner et al. 2025, arXiv 2506.11613", "huggingface.co/ModelOrganismsForEM"),
        about="Bad medical advice, rank-32 LoRA. No benign twin is released: train one with "
        "organisms.finetune and pass it as --control-adapter, or every claim is not testable.",
    ),
    "em-qwen-coder-32b": Preset(
        base="Qwen/Qwen2.5-Coder-32B-Instruct",
        variant="emergent-misalignment/Qwen-Coder-Insecure",
        adapter=None,
        control=("EleutherAI/Qwen-Coder-Insecure",),
        traits=("safety/evil",),
        dtype="bfloat16",
        sources=(
            "Betley et al. 2025, arXiv 2502.17424",
            "huggingface.co/emergent-misalignment/Qwen-Coder-Insecure",
            "huggingface.co/EleutherAI/Qwen-Coder-Insecure",
        ),
        about="Insecure code, merged. The control is a fine-tune on the same data that shows no "
        "emergent misalignment: it bears the narrow task as well, which a benign twin would not.",
    ),
    "rm-sycophancy-70b": Preset(
        base="meta-llama/Llama-3.3-70B-Instruct",
        variant=None,
        adapter="auditing-agents/llama-3.3-70b-dpo-rt-lora",
        control=(),
        traits=("alignment/sycophancy",),
        dtype="bfloat16",
        sources=(
            "Sheshadri et al. 2025, alignment.anthropic.com/2025/auditing-mo-replication",
            "huggingface.co/auditing-agents/llama-3.3-70b-dpo-rt-lora",
        ),
        about="Exploits reward-model biases and hides it, rank-256 LoRA; another thing than "
        "emergent misalignment. No benign twin is released: pass --control-adapter.",
    ),
}


def preset(name: str) -> Preset:
    """The preset of that name.

    Raises:
        BadInputError: there is none.
    """
    if name not in PRESETS:
        raise BadInputError(
            "There is no such preset.", got=name, valid=nearest(name, PRESETS, len(PRESETS))
        )
    return PRESETS[name]
