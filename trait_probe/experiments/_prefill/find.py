"""Steps 2 to 7 in order: what is said, what is read, what is chosen, opened and compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from trait_probe.evidence.claims import Claim
from trait_probe.experiments._prefill import compare
from trait_probe.experiments._prefill.behaviour import Answers, Behaviour, Rates, answer, rates
from trait_probe.experiments._prefill.cells import BEFORE_RULE, PROMPT_RULE
from trait_probe.experiments._prefill.compare import Compared, Path, Variant
from trait_probe.experiments._prefill.design import Design
from trait_probe.experiments._prefill.outcome import Forced, Outcomes, most_balanced, outcomes
from trait_probe.experiments._prefill.reading import (
    HEADER,
    LAST,
    POSITIONS,
    Read,
    embedding_scores,
    read_cells,
    study_bank,
    without_random,
)
from trait_probe.experiments._prefill.study import Studied, study
from trait_probe.identity import tokenizer_of
from trait_probe.prompts.render import Rendered
from trait_probe.runs.openings import OpenedSplit, record_openings
from trait_probe.runs.rundir import Run
from trait_probe.vectors.bank import Bank

REINJECTED = "the first prefill, then the header put in again"


@dataclass(frozen=True)
class Condition:
    """What the model does in one condition, harmful and benign prompts apart.

    Attributes:
        tokens: of the prefill.
        answers: kept for the report's examples.
    """

    name: str
    tokens: int
    harmful: Rates
    benign: Rates
    answers: Answers


@dataclass(frozen=True)
class TraitFound:
    """Everything about one claimed trait; layers and sites by position."""

    layers: Mapping[str, int]
    sites: Mapping[str, str]
    compared: tuple[Compared, ...]
    path: Path
    foil_path: Path
    variants: tuple[Variant, ...]
    sweep: tuple[Variant, ...]
    outcomes: Outcomes


@dataclass(frozen=True)
class Found:
    """Everything the run found, before it is written.

    Attributes:
        conditions: without prefill, the first prefill, the others, and the header put in again.
        lengths: conditions of the length sweep, none and all of the first prefill included.
        opened: what the report pairs were opened for, by position; no part of the results.
    """

    design: Design
    conditions: tuple[Condition, ...]
    lengths: tuple[Condition, ...]
    study: Studied
    traits: Mapping[str, TraitFound]
    left_out: int
    opened: tuple[OpenedSplit, ...]

    @property
    def claims(self) -> tuple[Claim, ...]:
        """All of them, trait by trait."""
        return tuple(
            self.study.claims[trait, at] for trait in self.design.claimed for at in POSITIONS
        )

    def claim(self, trait: str, position: str) -> Claim:
        """About a trait at a position."""
        return self.study.claims[trait, position]

    def supported(self, trait: str, position: str | None = None) -> bool:
        """Whether the claim holds, at one position or at any."""
        return any(
            claim.verdict == "supported"
            for (name, at), claim in self.study.claims.items()
            if name == trait and position in (None, at)
        )


def find(opened: Run, design: Design, judge: Behaviour) -> Found:
    """Answers, readings and claims; every forward pass is a resumable stage."""
    conditions, sweep = _behaviour(opened, design, judge)
    banks = _banks(design)
    read = _read_positions(opened, design, banks)
    # The header's own topic direction serves at a prompt's own header too.
    few = without_random(banks[HEADER])
    plain = read_cells(opened, "none", design.model, design.plain, few, (PROMPT_RULE,))
    walked = compare.continued(opened, design, conditions[1].answers, few)
    others, shorter = compare.variant_reads(opened, design, few)
    claimed = {name: design.contrasts[name] for name in design.claimed}
    embedding = embedding_scores(design.model, claimed, design.main.rendered)
    studied = study(design, read, embedding)
    split = tuple(record_openings(opened, lock) for lock in studied.locks)
    labels = _path_labels(design, walked)
    balanced = most_balanced(design, _forced(design, conditions, sweep, read, others, shorter))
    traits = {}
    for trait in design.claimed:
        layers = {at: studied.layers[trait, at] for at in POSITIONS}
        variants = [
            compare.variant(design, found, cells.prefill, compare.longest(cells), trait, layers)
            for cells, found in zip(design.others, others.values(), strict=True)
        ]
        lengths = [
            compare.variant(design, found, design.main.prefill, n, trait, layers)
            for n, found in shorter.items()
        ]
        rows = compare.compared(design, read, plain, layers)
        foil = compare.strongest_foil(design, rows, LAST).direction
        traits[trait] = TraitFound(
            layers=layers,
            sites={at: str(few.sites[layer]) for at, layer in layers.items()},
            compared=rows,
            foil_path=compare.path(design, walked, foil, layers[LAST], labels),
            path=compare.path(design, walked, trait, layers[LAST], labels),
            variants=tuple(variants),
            sweep=(compare.no_prefill(design, plain, trait, layers[HEADER]), *lengths),
            outcomes=outcomes(design, balanced, trait, layers),
        )
    return Found(design, conditions, sweep, studied, traits, walked.left_out, split)


def _banks(design: Design) -> dict[str, Bank]:
    """One a position: random directions vary as the activations at the very place do."""
    chosen = design.split.selection
    prompts = design.header.after([design.main.rendered[i] for i in chosen])
    return {
        position: study_bank(
            design.model,
            design.vectors,
            prompts,
            design.pairs.harmful[chosen],
            rule=rule,
            n_random=design.config.n_random,
            seed=design.config.seed,
        )
        for position, rule in POSITIONS.items()
    }


def _read_positions(opened: Run, design: Design, banks: Mapping[str, Bank]) -> Read:
    """The cells with the first prefill, at every position with its own directions."""
    prompts = design.header.after(design.main.rendered)
    found = [
        read_cells(opened, stage, design.model, prompts, banks[position], (rule,))
        for stage, (position, rule) in zip(("last-token", "header"), POSITIONS.items(), strict=True)
    ]
    return Read(tuple(POSITIONS.values()), tuple(item.scores[0] for item in found))


def _forced(
    design: Design,
    conditions: Sequence[Condition],
    sweep: Sequence[Condition],
    read: Read,
    others: Mapping[str, Read],
    shorter: Mapping[int, Read],
) -> list[Forced]:
    """Every prefill but the refusal, and every shorter piece of the first."""
    after = design.header.after
    first = conditions[1]
    found = [Forced(first.name, first.answers, read, after(design.main.rendered))]
    for cells, condition in zip(design.others[:-1], conditions[2:], strict=False):
        found.append(
            Forced(cells.prefill, condition.answers, others[cells.prefill], after(cells.rendered))
        )
    for condition in sweep[1:-1]:
        prompts = after(compare.shortened(design.main, condition.tokens))
        found.append(Forced(condition.name, condition.answers, shorter[condition.tokens], prompts))
    return found


def _behaviour(
    opened: Run, design: Design, judge: Behaviour
) -> tuple[tuple[Condition, ...], tuple[Condition, ...]]:
    def condition(name: str, stage: str, tokens: int, prompts: tuple[Rendered, ...]) -> Condition:
        answers = answer(
            opened,
            stage,
            design.model,
            design.pairs,
            prompts,
            judge,
            max_new_tokens=design.config.max_new_tokens,
        )
        harmful, benign = (rates(answers, design.pairs, harmful=side) for side in (True, False))
        return Condition(name, tokens, harmful, benign, answers)

    none = condition("no prefill", "none", 0, design.plain)
    every = (design.main, *design.others)
    forced = [
        condition(cells.prefill, f"prefill-{number}", compare.longest(cells), cells.rendered)
        for number, cells in enumerate(every)
    ]
    again = condition(
        REINJECTED,
        "header",
        forced[0].tokens,
        tuple(_as_prompt(item) for item in design.header.after(design.main.rendered)),
    )
    inner = [
        condition(
            f"the first {n} tokens of it", f"length-{n}", n, compare.shortened(design.main, n)
        )
        for n in compare.sweep(design)[1:-1]
    ]
    return (none, *forced, again), (none, *inner, forced[0])


def _as_prompt(item: Rendered) -> Rendered:
    """What was appended as a response, taken as a part of the prompt to go on from."""
    end = len(item.token_ids)
    spans = {**item.spans, "prompt": (0, end), "response": (end, end)}
    return replace(item, spans=spans)


def _path_labels(design: Design, walked: compare.Continued) -> tuple[str, ...]:
    tokenizer = tokenizer_of(design.model)
    tokens = [tokenizer.decode([design.main.tokens[at]]) for at in design.main.read]
    if not design.main.shared:
        tokens = ["(differ)"]
    assert walked.read.rules[0] == BEFORE_RULE
    return ("header", *tokens, *(f"+{at + 1}" for at in range(walked.continuation)))
