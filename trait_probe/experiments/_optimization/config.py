"""The configuration of the vector-optimization experiment: the only truth for flags and files."""

from __future__ import annotations

from typing import Annotated

import pydantic

from trait_probe.errors import BadInputError
from trait_probe.experiments import _cli

NAME = "vector_optimization"
TRAITS = ("safety/evil", "alignment/sycophancy")
KEPT = ("alignment/deception", "alignment/hallucination")
STRENGTHS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.5)

PACE = ("judge_cache", "judge_requests_per_minute", "judge_batches_from")

Count = Annotated[int, pydantic.Field(ge=1)]
Share = Annotated[float, pydantic.Field(ge=0.0, le=1.0)]
Positive = Annotated[float, pydantic.Field(gt=0.0)]


class Config(_cli.ExperimentConfig):
    """The experiment's fields.

    Args:
        model: hub id, folder or organism; default the embedded base organism. It needs a chat
            template.
        traits: what is searched for, shipped names, YAML files or folders; each needs
            instructions. Two or more allow the plan's "consistent pattern".
        vectors: file of trait vectors to start from instead of extracting them.
        questions: prompts to search and test on, one JSONL or Parquet file per trait, in their
            order; default the trait file's (organisms: many more of the same language).
        kept: traits whose evaluation questions are to be answered as before, or files of prompts:
            the divergence of the model's predictions is measured there.
        n_kept: prompts of those, half for choosing (every other one while searching) and half for
            the test.
        layers: where vectors are extracted, all or for example 0,4,8 or 4:12; the search goes on
            at the layer where the extracted vector steers best on validation questions.
        position: where the contrast is read, such as prompt[-1] or response[:].
        method: how vectors are extracted (mean_difference, whitened_mean_difference,
            logistic_probe, pca).
        strengths: fractions of a token's norm that are tried for the extracted vector; the
            smallest and the largest bound the search (validation may choose weaker ones).
        most_kl: bound on strength: the 95th percentile, over tokens of kept answers, of the
            divergence from the unsteered predictions (nats). All arms share it.
        least_coherence: share of answers that have to be coherent, likewise.
        components: principal components of activations that the search goes through.
        popsize: candidates of a generation.
        iterations: most generations.
        patience: the search stops where this many generations bring less than `tolerance` more
            than as many before.
        tolerance: in units of the fitness.
        step: expected distance of the first candidates from the unit start vector.
        questions_per_generation: training questions, drawn anew for each generation.
        graded_weight: of the margin between trait-typical and neutral answers in the fitness.
        penalty: of going beyond the two bounds, per e-fold of divergence and per unit of share.
        finalists: candidates of each search that are tried on the validation questions.
        seeds: searches of each kind; a claim needs three.
        random_directions: of the null, within the subspace.
        max_new_tokens: longest answer; default 32 for organisms, else 128. How many answers are cut
            off is reported.
        judge: rule (organisms), claude, or local:MODEL.
        judge_model: id of the judging Claude model.
        judge_cache: file that keeps the scores of claude or local judges over runs; default
            judged.sqlite in the run.
        judge_requests_per_minute: limit on calls begun by each judge.
        judge_batches_from: from so many answers at once on they go as message batches (half the
            price, slower); default never.
        gold: JSON lines of {question, answer, score} by people, one file per trait in their order:
            how far the judge of the trait agrees is reported.
        judge_repeats: how often the judge is asked again about the extracted vector's test answers,
            past its cache, to report how its scores scatter; 0 for not at all, else 2 or more.
        most_unscored: share of answers without a score from which a claim is not testable.
        alpha: error rate over all claims, in (0, 0.05].
        seed: of splits and searches.
        dtype: float32, bfloat16 or float16.
    """

    model: str = "organism:base"
    traits: tuple[str, ...] = TRAITS
    vectors: str | None = None
    questions: tuple[str, ...] = ()
    kept: tuple[str, ...] = KEPT
    n_kept: Annotated[int, pydantic.Field(ge=4)] = 24
    layers: str = "all"
    position: str = "prompt[-1]"
    method: str = "mean_difference"
    strengths: tuple[Positive, ...] = STRENGTHS
    most_kl: Positive = 0.5
    least_coherence: Share = 0.8
    components: Annotated[int, pydantic.Field(ge=2)] = 100
    popsize: Annotated[int, pydantic.Field(ge=4)] = 20
    iterations: Count = 200
    patience: Count = 8
    tolerance: Annotated[float, pydantic.Field(ge=0.0)] = 0.01
    step: Positive = 0.5
    questions_per_generation: Count = 12
    graded_weight: Annotated[float, pydantic.Field(ge=0.0)] = 0.5
    penalty: Annotated[float, pydantic.Field(ge=0.0)] = 1.0
    finalists: Count = 5
    seeds: Count = 3
    random_directions: Annotated[int, pydantic.Field(ge=2)] = 20
    max_new_tokens: Count | None = None
    judge: str = "rule"
    judge_model: str = "claude-haiku-4-5-20251001"
    judge_cache: str | None = None
    judge_requests_per_minute: Count = 50
    judge_batches_from: Count | None = None
    gold: tuple[str, ...] = ()
    judge_repeats: Annotated[int, pydantic.Field(ge=0)] = 0
    most_unscored: Share = 0.05
    alpha: Annotated[float, pydantic.Field(gt=0.0, le=0.05)] = 0.05
    seed: Annotated[int, pydantic.Field(ge=0)] = 0
    dtype: str = "float32"

    def resolved(self) -> Config:
        """Checked as a whole; written to config.json.

        Raises:
            BadInputError: no trait, one twice, strengths that are not a ladder, or question files
                that are not one per trait.
        """
        if not self.traits or len(set(self.traits)) < len(self.traits):
            raise BadInputError("Traits are one or more, each named once.", got=self.traits)
        if len(set(self.strengths)) < 2 or sorted(self.strengths) != list(self.strengths):
            raise BadInputError(
                "Strengths are two or more, ascending: they bound the search.", got=self.strengths
            )
        for name in ("questions", "gold"):
            files = getattr(self, name)
            if files and len(files) != len(self.traits):
                raise BadInputError(
                    f"There is one file of {name} per trait, or none.",
                    got=f"{len(files)} files for {len(self.traits)} traits",
                    fix=f"Give --{name} one file for each of --traits, in their order.",
                )
        if self.judge_repeats == 1:
            raise BadInputError(
                "How scores scatter shows when a judge is asked at least twice.",
                got=1,
                fix="Give --judge-repeats 0 or 2.",
            )
        if not self.kept:
            raise BadInputError(
                "The divergence of predictions is measured on kept prompts.",
                got=self.kept,
                fix="Name traits whose questions are kept (--kept), or a file of prompts.",
            )
        return self.model_copy(update={"max_new_tokens": self.longest})

    @property
    def longest(self) -> int:
        """Most new tokens of an answer."""
        return self.max_new_tokens or (32 if "organism:" in self.model else 128)

    def stored(self) -> dict[str, object]:
        """What a run is known by: how fast a judge may be asked, and where its scores are kept,
        may change between a run and its resumption."""
        return self.model_dump(mode="json", exclude=set(PACE))
