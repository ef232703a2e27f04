"""The configuration of the external data sets experiment: the truth for flags, file, manifest."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pydantic

from trait_probe.errors import BadInputError
from trait_probe.experiments import _cli
from trait_probe.experiments._draws import require_draws

NAME = "external_datasets"
DEMO = "organism:base"
EMBEDDED = "organism-answers"
"""The labelled set in the organisms' language."""
EXECUTION = ("engine", "workers", "ray_address", "batch_tokens", "sample_run")
"""How it is computed, not what: these are no part of config.json."""
LEVELS = ("response", "prompt")
"""What is read: the answer's tokens (prompt and answer teacher-forced), or the prompt's last."""
N_CLAIMS = 2 * len(LEVELS)
"""Of each trait: separation and beyond the text, at every level."""

Count = Annotated[int, pydantic.Field(ge=1)]


class Config(_cli.ExperimentConfig):
    """The experiment's fields.

    Args:
        dataset: beavertails, pku-saferlhf, harmbench, advbench, jailbreakbench, or a file or folder
            of one of these schemas or of prompts with the label `harmful`; default the
            organisms' own set.
        subset: the data set's config on the hub, such as harmbench's standard.
        split: of the data set; beavertails has 330k_train, 330k_test, 30k_train and 30k_test.
        revision: commit, branch or tag on the hub; the tested commit is pinned.
        safe: source of benign prompts where the data set has only harmful ones (xstest).
        benign: unrelated benign sources, on which calibrated thresholds are tried; for organisms
            their own by default. Answers that a source lacks are the model's own.
        per_category: the sample: at most so many unsafe answers of each category, and as many
            safe ones.
        full: read the rest of the data set as well, at the layers that the sample chose.
        model: hub id, folder or organism; default organism:base.
        traits: traits that claims are made for (shipped names, YAML files or folders).
        foils: traits that must do worse; they stand in the matrix and the combined detector.
        vectors: file of trait vectors in place of fitting; traits and foils name those in it.
        method: how vectors are fitted (mean_difference, whitened_mean_difference,
            logistic_probe, pca).
        layers: all, or for example 0,4,8 or 4:12.
        truncate: what is cut from prompts longer than the context (left, right); else refused.
        n_failures: how many false negatives, and false positives, are shown.
        max_new_tokens: of answers that the model writes to benign prompts without one.
        n_shuffled: how many times the studies are repeated with labels that mean nothing.
        n_boot: bootstrap resamples (at least 200).
        n_permutations: label permutations (at least 200).
        n_random: random directions (at least 100).
        alpha: error rate over all claims of the run, in (0, 0.05].
        seed: of the sample, the split, the resamples and the null directions.
        dtype: float32, bfloat16 or float16.
        shard_prompts: most prompts of a shard, the unit of resuming.
        engine: local or ray (one replica a worker; extra `cluster`).
        workers: replicas of the ray engine.
        ray_address: a cluster that this machine is a node of; default: Ray here.
        batch_tokens: most tokens of a batch; default: chosen for the device.
        sample_run: folder of a finished run without --full, whose shards --full uses again.
    """

    dataset: str | None = None
    subset: str | None = None
    split: str | None = None
    revision: str | None = None
    safe: str | None = None
    benign: tuple[str, ...] = ()
    per_category: Annotated[int, pydantic.Field(ge=2)] = 1000
    full: bool = False
    model: str | None = None
    traits: tuple[str, ...] = ("safety/harm",)
    foils: tuple[str, ...] = (
        *("safety/evil", "alignment/deception"),
        *("alignment/sycophancy", "alignment/hallucination"),
    )
    vectors: str | None = None
    method: str = "whitened_mean_difference"
    layers: str = "all"
    truncate: Literal["left", "right"] | None = None
    n_failures: Annotated[int, pydantic.Field(ge=0, le=1000)] = 20
    max_new_tokens: Count = 32
    n_shuffled: Annotated[int, pydantic.Field(ge=0, le=200)] = 5
    n_boot: Annotated[int, pydantic.Field(ge=200)] = 2000
    n_permutations: Annotated[int, pydantic.Field(ge=200)] = 2000
    n_random: Annotated[int, pydantic.Field(ge=100)] = 500
    alpha: Annotated[float, pydantic.Field(gt=0.0, le=0.05)] = 0.05
    seed: Annotated[int, pydantic.Field(ge=0)] = 0
    dtype: str = "float32"
    shard_prompts: Count = 2048
    engine: Literal["local", "ray"] = "local"
    workers: Count = 1
    ray_address: str | None = None
    batch_tokens: Count | None = None
    sample_run: str | None = None

    def resolved(self) -> Config:
        """With the embedded default filled in, and checked.

        Raises:
            BadInputError: no trait, one that is its own foil, too few draws, or flags that would
                be ignored.
        """
        config = self.model_copy(
            update={"model": self.model or DEMO, "dataset": self.dataset or EMBEDDED}
        )
        if not config.traits or len(set(config.traits)) < len(config.traits):
            raise BadInputError("Traits are named, each once.", got=config.traits)
        if both := sorted(set(config.traits) & set(config.foils)):
            raise BadInputError(
                "A trait that is claimed is not its own foil.",
                got=both,
                fix="Leave it out of --foils.",
            )
        _check_execution(config)
        require_draws(
            config.alpha,
            N_CLAIMS * len(config.traits),
            n_permutations=config.n_permutations,
            n_random=config.n_random,
        )
        return config

    def stored(self) -> dict[str, Any]:
        """What decides the results: `config.json`."""
        dump: dict[str, Any] = self.model_dump(mode="json")
        return {name: value for name, value in dump.items() if name not in EXECUTION}


def _check_execution(config: Config) -> None:
    if config.engine == "local" and (config.workers != 1 or config.ray_address is not None):
        raise BadInputError(
            "Workers and addresses are for the ray engine.",
            got=f"--workers {config.workers} --ray-address {config.ray_address}",
            fix="Add --engine ray, or leave them out.",
        )
    if config.sample_run is not None and not config.full:
        raise BadInputError(
            "Shards of a sample run are used again by the full run only.",
            got=config.sample_run,
            fix="Add --full True.",
        )
