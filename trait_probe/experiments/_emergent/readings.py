"""The readings: which directions, at which tokens, in which model.

- `prompt`: the last prompt token, before any reply; the text is the same for every model.
- `replay`: reply tokens of the base's replies, the same token ids for every model.
- `replay_variant`: the same with the variant's replies, for the 2x2 of text and model.
- `own`: every model on its own replies; words and model differ together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from trait_probe.evidence.studies.models import Grid, ModelScores
from trait_probe.experiments._emergent.config import Config
from trait_probe.experiments._emergent.directions import AT_PROMPT, AT_REPLY, Directions
from trait_probe.experiments._emergent.models import BASE, VARIANT, Pool
from trait_probe.experiments._emergent.texts import Texts
from trait_probe.prompts.render import Rendered
from trait_probe.runs.rundir import Run
from trait_probe.vectors.bank import Bank, BankScores, make_bank, read_bank

PROMPT, REPLAY, REPLAY_VARIANT, OWN = "prompt", "replay", "replay_variant", "own"
RULES: Mapping[str, str] = {
    PROMPT: AT_PROMPT,
    REPLAY: AT_REPLY,
    REPLAY_VARIANT: AT_REPLY,
    OWN: AT_REPLY,
}
WORDS: Mapping[str, str] = {
    PROMPT: "last prompt token",
    REPLAY: "the base's replies, replayed",
    REPLAY_VARIANT: "the variant's replies, replayed",
    OWN: "each model's own replies",
}


@dataclass(frozen=True)
class Scores:
    """What every model scores: by reading, by role."""

    by_reading: Mapping[str, Mapping[str, BankScores]]
    controls: tuple[str, ...]

    def bank(self, reading: str) -> Bank:
        """The directions of a reading."""
        return next(iter(self.by_reading[reading].values())).bank

    def models(self, reading: str, trait: str) -> ModelScores:
        """One trait in all models."""
        found = self.by_reading[reading]
        return self._models({role: found[role].trait(trait) for role in found})

    def random(self, reading: str) -> ModelScores:
        """The random directions in all models."""
        return self._models({r: s.random for r, s in self.by_reading[reading].items()})

    def shuffled(self, reading: str) -> ModelScores | None:
        """The directions with shuffled labels; None where there are none."""
        if not self.bank(reading).shuffled.shape[1]:
            return None
        return self._models({r: s.shuffled for r, s in self.by_reading[reading].items()})

    def _models(self, by_role: Mapping[str, Grid]) -> ModelScores:
        controls = tuple(by_role[role] for role in self.controls)
        return ModelScores(by_role[BASE], by_role[VARIANT], controls)


def make_banks(config: Config, pool: Pool, directions: Directions, texts: Texts) -> dict[str, Bank]:
    """One bank a rule: the traits there with null directions of the base's activations there."""
    base, banks = pool.get(BASE), {}
    for rule, prompts in (
        (RULES[PROMPT], list(texts.rendered)),
        (RULES[REPLAY], texts.with_replies_of(BASE)),
    ):
        mine = directions.activations[rule]
        banks[rule] = make_bank(
            base,
            directions.vectors[rule],
            {name: mine[name] for name in directions.claimed if name in mine},
            prompts,
            positions=[rule],
            n_random=config.n_random,
            n_shuffled=config.n_shuffled,
            method=directions.method,
            seed=config.seed,
        )
    return banks


def read_all(run: Run, pool: Pool, texts: Texts, banks: Mapping[str, Bank]) -> Scores:
    """Every reading in every model, one model after the other; resumable stages."""
    prompts = {
        PROMPT: list(texts.rendered),
        REPLAY: texts.with_replies_of(BASE),
        REPLAY_VARIANT: texts.with_replies_of(VARIANT),
    }
    found: dict[str, dict[str, BankScores]] = {name: {} for name in prompts}
    for role in pool.roles:
        for reading, rendered in prompts.items():
            bank = banks[RULES[reading]]
            found[reading][role] = _read(run, pool, role, reading, rendered, bank)
    # Base and variant have read their own replies already.
    found[OWN] = {BASE: found[REPLAY][BASE], VARIANT: found[REPLAY_VARIANT][VARIANT]}
    for role in pool.controls:
        own = texts.with_replies_of(role)
        found[OWN][role] = _read(run, pool, role, OWN, own, banks[RULES[OWN]])
    return Scores(found, pool.controls)


def _read(
    run: Run, pool: Pool, role: str, reading: str, rendered: Sequence[Rendered], bank: Bank
) -> BankScores:
    def compute() -> pa.Table:
        (scores,) = read_bank(
            pool.get(role),
            rendered,
            bank,
            positions=[RULES[reading]],
            label=f"{role}: {WORDS[reading]}",
        )
        return scores.to_table(rendered)

    return BankScores.from_table(run.stage(f"scores/{reading}/{role}", compute), bank)
