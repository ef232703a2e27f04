"""What is fixed before anything of the pairs is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from trait_probe.evidence.splits import Split
from trait_probe.experiments._prefill.cells import Cells, Header
from trait_probe.experiments._prefill.config import Config
from trait_probe.experiments._prefill.pairs import Pairs
from trait_probe.identity import HookedModel, identify
from trait_probe.prompts.contrast import ContrastSet
from trait_probe.prompts.render import Rendered
from trait_probe.vectors.extract import ContrastActivations
from trait_probe.vectors.vector import VectorSet


@dataclass(frozen=True)
class Design:
    """The 2x2 on one model.

    Attributes:
        header: put in again behind every prefill.
        plain: the cells without prefill.
        main: the cells with the prefill that claims are made for.
        others: the other prefills, the refusal last.
        contrasts: of claimed traits and foils, by the trait's name.
        claimed, foils: names of traits in `vectors`.
        fitted_on: `text_id`s of what vectors are fitted on.
        split: pairs for choosing and for reporting; rows are the prompts of the pairs.
    """

    config: Config
    model: HookedModel
    pairs: Pairs
    header: Header
    plain: tuple[Rendered, ...]
    main: Cells
    others: tuple[Cells, ...]
    vectors: VectorSet
    activations: Mapping[str, ContrastActivations]
    contrasts: Mapping[str, ContrastSet]
    claimed: tuple[str, ...]
    foils: tuple[str, ...]
    fitted_on: frozenset[str]
    split: Split

    @property
    def model_id(self) -> str:
        """How statements name the model."""
        return identify(self.model).id
