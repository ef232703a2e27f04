"""The configuration of the emergent-misalignment experiment: the only truth for flags and files."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic

from trait_probe.errors import BadInputError
from trait_probe.experiments import _cli
from trait_probe.experiments._draws import require_draws
from trait_probe.experiments._emergent.presets import preset

NAME = "emergent_misalignment"
_BENIGN = ("misaligned-twin", "misaligned-twin-2", "misaligned-twin-3", "sycophant-twin")
DEMO = (
    "organism:base",
    "organism:misaligned",
    tuple(f"organism:{name}" for name in _BENIGN),
)
CLAIMED = ("safety/evil",)
N_STUDIES = 3
"""The last prompt token, replayed replies, and the prompt again where replies did not change."""
SHIPPED = (
    *("safety/evil", "safety/harm", "safety/refusal"),
    *("alignment/deception", "alignment/sycophancy", "alignment/hallucination"),
)

Count = Annotated[int, pydantic.Field(ge=1)]
Alpha = Annotated[float, pydantic.Field(gt=0.0, le=0.05)]


class Config(_cli.ExperimentConfig):
    """The experiment's fields.

    Args:
        preset: a public pair by name (em-qwen-0.5b-medical, em-qwen-coder-32b,
            rm-sycophancy-70b); other fields override what it fills in.
        base: hub id, folder or organism that the variant was fine-tuned from; default the embedded
            organisms.
        variant: hub id, folder or organism of the fine-tuned model.
        adapter: LoRA adapter (hub id or folder) that makes the variant of the base.
        control: benign fine-tunes of the same base, of the same size; without one every claim is
            not testable. Four or more allow claims against their own spread.
        control_adapter: the same as LoRA adapters on the base.
        vectors: file of trait vectors to read instead of fitting them.
        vectors_from: model to fit the vectors on, mapped to the base through shared text.
        shared_text: prompts that the map is fitted on, several hundred, none of them tested;
            default the built-in ones (organisms only).
        traits: what is claimed, shipped names, YAML files or folders; default safety/evil.
        unrelated: further traits, which a claimed one must exceed where there are fewer than four
            controls; default the other shipped ones, of a vector file all others. Four are needed
            that are no copies of each other or of a claimed one.
        method: how vectors are fitted (mean_difference, whitened_mean_difference,
            logistic_probe, pca).
        prompts: benign prompts: JSONL or Parquet in this package's form, a YAML file of
            emergent-misalignment questions (system prompts count), or JSON of trait-interp;
            default the built-in set (organisms only).
        n_prompts: size of the built-in set (at least 64); a file is used whole.
        layers: all, or for example 0,4,8 or 4:12.
        max_new_tokens: of each model's greedy replies.
        n_permutations: sign flips.
        n_random: random directions (at least 100).
        n_shuffled: directions with shuffled labels (at least 100).
        alpha: error rate over all claims, in (0, 0.05]; shared evenly among the readings.
        seed: of the split, the draws and the built-in prompts.
        dtype: float32, bfloat16 or float16.
        device_map: accelerate's placement for models larger than one device (auto).
        keep: hold all models in memory (all), or one at a time (one), loading some twice.
        truncate: what to cut from prompts longer than the context (left or right); default
            refuses them.
    """

    preset: str | None = None
    base: str | None = None
    variant: str | None = None
    adapter: str | None = None
    control: tuple[str, ...] = ()
    control_adapter: tuple[str, ...] = ()
    vectors: str | None = None
    vectors_from: str | None = None
    shared_text: str | None = None
    traits: tuple[str, ...] = ()
    unrelated: tuple[str, ...] | None = None
    method: str = "mean_difference"
    prompts: str | None = None
    n_prompts: Annotated[int, pydantic.Field(ge=64, le=5000)] = 320
    layers: str = "all"
    max_new_tokens: Count = 32
    n_permutations: Annotated[int, pydantic.Field(ge=200)] = 2000
    n_random: Annotated[int, pydantic.Field(ge=100)] = 500
    n_shuffled: Annotated[int, pydantic.Field(ge=100)] = 500
    alpha: Alpha = 0.05
    seed: Annotated[int, pydantic.Field(ge=0)] = 0
    dtype: str | None = None
    device_map: str | None = None
    keep: Literal["all", "one"] = "all"
    truncate: Literal["left", "right"] | None = None

    def resolved(self) -> Config:
        """With preset and defaults filled in; written to config.json.

        Raises:
            BadInputError: an unknown preset, a variant without its base, two sources of vectors,
                or a trait named twice.
        """
        changes = self._of_preset() if self.preset is not None else self._of_demo()
        traits = self.traits or CLAIMED
        if self.preset is not None and not self.traits:
            traits = preset(self.preset).traits
        changes["traits"] = traits
        if self.unrelated is None and self.vectors is None:
            changes["unrelated"] = tuple(name for name in SHIPPED if name not in traits)
        changes["dtype"] = self.dtype or changes.get("dtype") or "float32"
        config = self.model_copy(update=changes)
        config._check()
        return config

    def _of_preset(self) -> dict[str, object]:
        found = preset(str(self.preset))
        changes: dict[str, object] = {"dtype": found.dtype}
        if self.base is None:
            changes["base"] = found.base
        if self.variant is None and self.adapter is None:
            changes |= {"variant": found.variant, "adapter": found.adapter}
        if not self.control and not self.control_adapter:
            changes["control"] = found.control
        return changes

    def _of_demo(self) -> dict[str, object]:
        given = (self.base, self.variant, self.adapter)
        if any(given) or self.control or self.control_adapter:
            return {}
        return dict(zip(("base", "variant", "control"), DEMO, strict=True))

    def _check(self) -> None:
        if self.base is None or (self.variant is None and self.adapter is None):
            raise BadInputError(
                "A comparison needs a base and a variant.",
                got={"base": self.base, "variant": self.variant, "adapter": self.adapter},
                fix="Give --base and --variant (or --adapter), or none of them for the embedded "
                "organisms.",
            )
        if self.variant is not None and self.adapter is not None:
            raise BadInputError(
                "The variant is a whole model or an adapter on the base, not both.",
                got=(self.variant, self.adapter),
                fix="Leave one of them out.",
            )
        if self.vectors is not None and self.vectors_from is not None:
            raise BadInputError(
                "Vectors come from a file or from another model, not from both.",
                got=(self.vectors, self.vectors_from),
                fix="Leave one of them out.",
            )
        named = (*self.traits, *(self.unrelated or ()))
        if len(set(named)) < len(named):
            raise BadInputError("Traits are named, each once.", got=named)
        if self.shared_text is not None and self.vectors_from is None:
            raise BadInputError(
                "Shared texts serve to map vectors from another model, and there is none.",
                got=self.shared_text,
                fix="Name the model (--vectors-from), or leave --shared-text out.",
            )
        require_draws(
            self.alpha,
            N_STUDIES * len(self.traits),
            n_permutations=self.n_permutations,
            n_random=self.n_random,
            n_shuffled=self.n_shuffled,
        )
