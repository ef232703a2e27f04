"""Step 6: the cells against each other, on the report pairs, at the places that were chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from trait_probe.evidence.crossed import (
    Crossed,
    Trajectory,
    crossed,
    pair_means,
    trajectory,
    within_sd,
)
from trait_probe.evidence.estimate import Estimate
from trait_probe.evidence.means import standardized_difference
from trait_probe.evidence.shortcuts import clustered_auc
from trait_probe.experiments._prefill.behaviour import Answers
from trait_probe.experiments._prefill.cells import (
    BEFORE_RULE,
    PROMPT_RULE,
    Cells,
    cut,
    lengths,
)
from trait_probe.experiments._prefill.design import Design
from trait_probe.experiments._prefill.reading import (
    HEADER,
    LAST,
    POSITIONS,
    TOPIC,
    Read,
    read_cells,
)
from trait_probe.forward.generate import with_responses
from trait_probe.prompts.render import Rendered
from trait_probe.runs.rundir import Run
from trait_probe.vectors.bank import Bank

FEW_SHORT = 0.1
"""Share of pairs that may be left out of a trajectory because their continuations end early."""


@dataclass(frozen=True)
class Separated:
    """How far apart harmful and benign prompts lie along one direction at one place.

    Attributes:
        d: Cohen's d of the two cells, in SD.
        auroc: of harmful against benign prompts.
    """

    d: Estimate
    auroc: Estimate

    def to_json(self) -> dict[str, object]:
        return {"d": self.d.to_json(), "auroc": self.auroc.to_json()}


@dataclass(frozen=True)
class Compared:
    """One direction where a claimed trait is read, by position, and the 2x2 at the header."""

    direction: str
    at: Mapping[str, Separated]
    crossed: Crossed


def separated(design: Design, scores: Float[np.ndarray, " prompt"]) -> Separated:
    """C2 against C4 (or C1 against C3) on the report pairs, clustered by pair."""
    rows = design.split.report
    labels, values = design.pairs.harmful[rows], scores[rows].astype(np.float64)
    names = np.array(design.pairs.names)[rows]
    d = standardized_difference(
        values[labels],
        values[~labels],
        positive_clusters=names[labels].tolist(),
        negative_clusters=names[~labels].tolist(),
        corrected=False,
        n_boot=design.config.n_boot,
        seed=design.config.seed,
    )
    return Separated(d, clustered_auc(values, labels, names.tolist()))


def compared(
    design: Design, read: Read, plain: Read, layers: Mapping[str, int]
) -> tuple[Compared, ...]:
    """The claimed traits, the foils and the topic direction, where one trait is read.

    Args:
        read: at the rules of `POSITIONS`, in their order.
        plain: the cells without prefill, at `prompt[-1]`: the header in its own place.
        layers: of the trait, by position.
    """
    found = []
    for name in (*design.claimed, *design.foils, TOPIC):
        last, header = (read.trait(name, i, layers[at]) for i, at in enumerate(POSITIONS))
        without = plain.trait(name, 0, layers[HEADER])
        found.append(
            Compared(
                name,
                {LAST: separated(design, last), HEADER: separated(design, header)},
                crossed_at(design, without, header),
            )
        )
    return tuple(found)


def strongest_foil(design: Design, rows: Sequence[Compared], position: str) -> Compared:
    """The foil (or topic) that is furthest apart where the trait is read, in either direction."""
    foils = [row for row in rows if row.direction not in design.claimed]
    return max(foils, key=lambda row: abs(row.at[position].d.value))


def crossed_at(
    design: Design,
    without: Float[np.ndarray, " prompt"],
    with_prefill: Float[np.ndarray, " prompt"],
) -> Crossed:
    """The 2x2 on the report pairs; the unit is the SD within the cells of the selection pairs."""
    both = np.stack([without, with_prefill], axis=1).astype(np.float64)
    rows, chosen = design.split.report, design.split.selection
    harmful, names = design.pairs.harmful, np.array(design.pairs.names)
    cells = [f"{column} {harmful[row]}" for column in range(2) for row in chosen]
    unit = float(within_sd(both[chosen].T.reshape(-1, 1), cells)[0])
    means = pair_means(both[rows], harmful[rows], names[rows].tolist())
    return crossed(
        (means.positive[:, 0], means.positive[:, 1], means.negative[:, 0], means.negative[:, 1]),
        means.pairs,
        unit=unit,
        n=design.config.n_permutations,
        seed=design.config.seed,
    )


# --- along the prefill and the continuation -------------------------------------------------------


@dataclass(frozen=True)
class Path:
    """One direction token by token: what stands at each place, and the paired differences."""

    trait: str
    layer: int
    labels: tuple[str, ...]
    found: Trajectory


@dataclass(frozen=True)
class Continued:
    """The cells with a prefill, each with its own continuation, read token by token.

    Attributes:
        kept: prompts of the pairs whose continuations are all long enough.
        left_out: pairs that are not.
        continuation: tokens of the continuation that are read.
    """

    read: Read
    kept: Int[np.ndarray, " _prompt"]
    left_out: int
    continuation: int


def continued(run: Run, design: Design, answers: Answers, bank: Bank) -> Continued:
    """Every named direction at the header, along the prefill, and along the continuation."""
    cells = design.main
    shortest: dict[str, int] = {}
    for name, ids in zip(design.pairs.names, answers.ids, strict=True):
        shortest[name] = min(shortest.get(name, len(ids)), len(ids))
    allowed = int(FEW_SHORT * len(shortest))
    n = min(design.config.continuation, sorted(shortest.values())[allowed])
    kept = np.array([i for i, name in enumerate(design.pairs.names) if shortest[name] >= n])
    prompts = with_responses([cells.rendered[i] for i in kept], [answers.ids[i][:n] for i in kept])
    rules = (BEFORE_RULE, *cells.rules, *(f"response[{at}]" for at in range(n)))
    read = read_cells(run, "trajectory", design.model, prompts, bank, rules)
    left_out = sum(1 for length in shortest.values() if length < n)
    return Continued(read, kept, left_out, n)


def path(design: Design, walked: Continued, trait: str, layer: int, labels: Sequence[str]) -> Path:
    """Paired differences C2 - C4 of the report pairs at each place."""
    kept, harmful = walked.kept, design.pairs.harmful[walked.kept]
    names = np.array(design.pairs.names)[kept]
    scores = np.stack(
        [walked.read.scores[i].trait(trait)[:, layer] for i in range(len(walked.read.rules))],
        axis=1,
    ).astype(np.float64)
    chosen = np.isin(kept, design.split.selection)
    unit = within_sd(scores[chosen], [str(label) for label in harmful[chosen]])
    means = pair_means(scores[~chosen], harmful[~chosen], names[~chosen].tolist())
    alike = [True, *(design.main.shared for _ in design.main.rules)]
    alike += [False] * walked.continuation
    found = trajectory(
        means.difference,
        means.pairs,
        alike,
        unit=unit,
        n=design.config.n_permutations,
        seed=design.config.seed,
    )
    return Path(trait, layer, tuple(labels), found)


# --- other prefills and lengths -------------------------------------------------------------------


@dataclass(frozen=True)
class Variant:
    """One direction behind another prefill, or behind a part of it.

    Attributes:
        tokens: how many the prefill has (the longest, where they differ).
        at_last, at_header: None for no prefill at all: there is one header and no last token.
    """

    prefill: str
    tokens: int
    at_last: Separated | None
    at_header: Separated


def variant_reads(run: Run, design: Design, bank: Bank) -> tuple[dict[str, Read], dict[int, Read]]:
    """The other prefills, and the lengths of the first one above none."""
    others = {
        cells.prefill: _read_variant(run, design, f"prefill-{number}", cells.rendered, bank)
        for number, cells in enumerate(design.others, start=1)
    }
    shorter = {
        n: _read_variant(run, design, f"length-{n}", shortened(design.main, n), bank)
        for n in sweep(design)
        if n > 0
    }
    return others, shorter


def sweep(design: Design) -> tuple[int, ...]:
    """Lengths of the first prefill, in tokens."""
    return lengths(longest(design.main), design.config.n_lengths)


def longest(cells: Cells) -> int:
    """Tokens of the longest prefill."""
    return max(item.spans["prefill"][1] - item.spans["prefill"][0] for item in cells.rendered)


def shortened(cells: Cells, n: int) -> tuple[Rendered, ...]:
    """The cells with the first `n` tokens of their prefill."""
    return tuple(cut(item, n) for item in cells.rendered)


def _read_variant(
    run: Run, design: Design, name: str, prompts: Sequence[Rendered], bank: Bank
) -> Read:
    rules = tuple(POSITIONS.values())
    return read_cells(run, name, design.model, design.header.after(prompts), bank, rules)


def variant(
    design: Design, read: Read, prefill: str, tokens: int, trait: str, layers: Mapping[str, int]
) -> Variant:
    """One trait at the last token and at the header, each at its layer."""
    last, header = (
        separated(design, read.trait(trait, i, layers[at])) for i, at in enumerate(POSITIONS)
    )
    return Variant(prefill, tokens, last, header)


def no_prefill(design: Design, plain: Read, trait: str, layer: int) -> Variant:
    """One trait at the header in its own place: C1 against C3."""
    assert plain.rules == (PROMPT_RULE,)
    return Variant("", 0, None, separated(design, plain.trait(trait, 0, layer)))
