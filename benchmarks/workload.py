"""The prompts that are timed: random words of known length, and random directions to project on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trait_probe.basis import Site
from trait_probe.prompts.render import Rendered

MEDIAN, SPREAD = 60, 0.7
SHORTEST, LONGEST = 8, 400
N_DIRECTIONS = 8


@dataclass(frozen=True)
class Task:
    """What everyone is asked for: projections of all tokens of these prompts at one site.

    Attributes:
        directions: `[direction d_model]` of length 1, float32.
    """

    prompts: tuple[Rendered, ...]
    directions: Tensor
    site: Site

    @property
    def lengths(self) -> np.ndarray:
        return np.array([len(prompt.token_ids) for prompt in self.prompts])

    @property
    def tokens(self) -> int:
        return int(self.lengths.sum())

    def first(self, count: int) -> Task:
        """The same with fewer prompts."""
        return Task(self.prompts[:count], self.directions, self.site)

    def describe(self) -> dict[str, Any]:
        lengths = self.lengths
        return {
            "prompts": len(lengths),
            "tokens": self.tokens,
            "tokens_median": float(np.median(lengths)),
            "tokens_longest": int(lengths.max()),
            "site": str(self.site),
            "directions": len(self.directions),
        }


def make_task(tokenizer: Any, count: int, d_model: int, site: Site, *, seed: int = 0) -> Task:
    """Prompts of a tokenizer's own words, mixed lengths, in random order."""
    return Task(rendered(tokenizer, count, seed=seed), unit_directions(d_model), site)


def prompt_lengths(rng: np.random.Generator, count: int) -> np.ndarray:
    """Log-normal with a median of 60 tokens, clipped."""
    drawn = np.exp(rng.normal(np.log(MEDIAN), SPREAD, count))
    return np.clip(drawn, SHORTEST, LONGEST).astype(int)


def unit_directions(d_model: int, count: int = N_DIRECTIONS) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    drawn = torch.randn(count, d_model, generator=generator)
    return torch.nn.functional.normalize(drawn, dim=1)


def words_of(tokenizer: Any) -> dict[str, int]:
    """Words that are one token each when they stand behind a space, with their ids."""
    special = set(tokenizer.all_special_ids)
    ids = [index for index in range(len(tokenizer)) if index not in special]
    words = [word.strip() for word in tokenizer.batch_decode([[index] for index in ids])]
    plain = [word for word in dict.fromkeys(words) if word.isascii() and word.isalnum()]
    encoded = tokenizer([f" {word}" for word in plain], add_special_tokens=False)["input_ids"]
    return {word: own[0] for word, own in zip(plain, encoded, strict=True) if len(own) == 1}


def rendered(tokenizer: Any, count: int, *, seed: int = 0) -> tuple[Rendered, ...]:
    """Prompts as token ids: BOS and random words."""
    rng = np.random.default_rng(seed)
    ids = np.array(list(words_of(tokenizer).values()))
    lengths = prompt_lengths(rng, count)
    rows = [(tokenizer.bos_token_id, *rng.choice(ids, length - 1).tolist()) for length in lengths]
    return tuple(_rendered(f"p{index:08d}", row) for index, row in enumerate(rows))


def texts(tokenizer: Any, count: int, *, seed: int = 0) -> Iterator[str]:
    """The same kind of prompts as texts, one after the other: 100,000 need not be kept."""
    rng = np.random.default_rng(seed)
    words = np.array(list(words_of(tokenizer)))
    for length in prompt_lengths(rng, count):
        yield " " + " ".join(rng.choice(words, length - 1))


def _rendered(name: str, ids: Sequence[int]) -> Rendered:
    whole = (0, len(ids))
    spans = {"prompt": whole, "response": (len(ids), len(ids)), "all": whole}
    return Rendered(name, tuple(ids), spans, name)
