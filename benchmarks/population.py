"""A generation of a search: the whole population in one call, against one candidate at a time.

Twenty candidates around the extracted vector of the embedded organism, twelve questions each:
answers, likelihoods of given answers, divergence on kept ones, judged by rule. Beside it the same
prompt by prompt. Answers and scores have to be identical.

`python -m benchmarks.population --out FILE.json [--quick]`
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from benchmarks import record
from benchmarks.record import Bar, BenchError
from benchmarks.timing import Summary, interleave, ratios
from trait_probe import contrast_set, extract, load_model
from trait_probe.experiments.vector_optimization import Config, judges_for, questions_of, traits_of
from trait_probe.vectors.panel import Measured, Panel, measure, panel
from trait_probe.vectors.steered import Steerings

BAR = 5.0
POPSIZE, QUESTIONS, KEPT = 20, 12, 12
STRENGTH, NOISE = 0.8, 0.5


def population(n: int) -> tuple[Panel, Steerings]:
    """The panel, and candidates drawn around the extracted vector as a search's first ones are."""
    config = Config(traits=("safety/evil",)).resolved()
    model = load_model(config.model)
    (trait,) = traits_of(config, model)
    questions = questions_of(config, model, trait, None)
    judges = judges_for(config, questions)
    found = panel(
        model,
        questions.train[:QUESTIONS],
        trait=judges.trait,
        coherence=judges.coherence,
        kept=questions.kept_choice[:KEPT],
    )
    contrast = contrast_set(trait.name, model, source="instructions")
    vector = extract(model, contrast, layers=0, position=config.position)[0]
    noise = torch.randn(n, len(vector.direction), generator=torch.Generator().manual_seed(0))
    directions = vector.direction + NOISE * noise / noise.shape[1] ** 0.5
    return found, Steerings(vector.site, directions, (STRENGTH,) * n)


def one(steerings: Steerings, index: int) -> Steerings:
    return replace(
        steerings,
        directions=steerings.directions[[index]],
        strengths=steerings.strengths[index : index + 1],
    )


def by_candidate(asked: Panel, steerings: Steerings) -> list[Measured]:
    return [measure(asked, one(steerings, i)) for i in range(len(steerings))]


def by_prompt(asked: Panel, steerings: Steerings) -> list[Measured]:
    return [
        measure(asked, one(steerings, i), [number])
        for i in range(len(steerings))
        for number in range(len(asked.questions))
    ]


def run(rounds: int, n: int) -> dict[str, Any]:
    asked, steerings = population(n)
    whole = measure(asked, steerings)
    apart = by_candidate(asked, steerings)
    same = {
        "answers": whole.texts == tuple(found.texts[0] for found in apart),
        "scores": np.array_equal(whole.score, np.concatenate([f.score for f in apart])),
        "largest_kl_difference": float(
            np.abs(whole.kl - np.concatenate([found.kl for found in apart])).max()
        ),
    }
    if not (same["answers"] and same["scores"]):
        raise BenchError("one at a time, candidates answer otherwise than together")
    seconds = interleave(
        {
            "population": lambda: measure(asked, steerings),
            "one candidate at a time": lambda: by_candidate(asked, steerings),
            "one prompt at a time": lambda: by_prompt(asked, steerings),
        },
        rounds,
    )
    return {
        "same": same,
        "seconds": seconds,
        "over_candidates": ratios(
            seconds["one candidate at a time"], seconds["population"]
        ).to_dict(),
        "over_prompts": ratios(seconds["one prompt at a time"], seconds["population"]).to_dict(),
    }


def main() -> None:
    arguments = record.parser(__doc__)
    arguments.add_argument("--rounds", type=int, default=5)
    given = arguments.parse_args()
    rounds, n = (1, 3) if given.quick else (given.rounds, POPSIZE)
    results = run(rounds, n)
    bars = [
        Bar("population over one candidate at a time", BAR, results["over_candidates"]["median"]),
        Bar("population over one prompt at a time", BAR, results["over_prompts"]["median"]),
    ]
    settings = {
        **{"quick": given.quick, "rounds": rounds, "popsize": n, "questions": QUESTIONS},
        **{"kept": KEPT, "threads": torch.get_num_threads()},
    }
    data = record.as_json("population", settings, results, bars)
    record.write(given.out, data)
    rows = [
        (name, *Summary.of(took).to_dict().values()) for name, took in results["seconds"].items()
    ]
    record.print_rows("population: seconds", ("way", "median", "min", "max"), rows)
    record.print_bars(data["bars"])


if __name__ == "__main__":
    main()
