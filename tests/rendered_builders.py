"""Builders of rendered prompts from token ids alone, and readings of them one at a time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from hypothesis import strategies as st

from trait_probe.basis import Site
from trait_probe.hooks.capture import capture_sites
from trait_probe.prompts.render import Rendered

D_VOCAB = 330
RULES = ("all[:]", "response[:]", "prompt[-1]", "prompt[1:4]", "after(mark)[:3]", "all[::2]")


def rendered(ids: Sequence[int], *, answer: int = 0, mark: int = 1, name: str = "p") -> Rendered:
    """A prompt of these ids, the last `answer` of which are its response.

    The span `mark` is its first `mark` tokens.
    """
    end = len(ids)
    start = end - answer
    spans = {
        "mark": (0, min(mark, start)),
        "prompt": (0, start),
        "response": (start, end),
        "all": (0, end),
    }
    return Rendered(name, tuple(int(token) for token in ids), spans, name)


def random_ids(length: int, seed: int = 0) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return [int(i) for i in torch.randint(0, D_VOCAB, (length,), generator=generator)]


@st.composite
def prompts(draw: st.DrawFn, *, max_length: int = 20, answers: bool = True) -> list[Rendered]:
    """One to six prompts of unequal lengths, some of them the same tokens with other spans."""
    lengths = draw(st.lists(st.integers(1, max_length), min_size=1, max_size=6))
    seeds = draw(st.lists(st.integers(0, 3), min_size=len(lengths), max_size=len(lengths)))
    made = []
    for place, (length, seed) in enumerate(zip(lengths, seeds, strict=True)):
        answer = draw(st.integers(0, length - 1)) if answers else 0
        mark = draw(st.integers(1, length))
        ids = random_ids(length, seed)
        made.append(rendered(ids, answer=answer, mark=mark, name=f"p{place}"))
    return made


def one_at_a_time(model: object, prompt: Rendered, site: Site) -> torch.Tensor:
    """All positions of one prompt, alone, without batching, padding or mask: `[pos d_model]`."""
    return capture_sites(model, torch.tensor([prompt.token_ids]), [site])[0][site][0]
