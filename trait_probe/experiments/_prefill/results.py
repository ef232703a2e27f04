"""Step 8: what a run found, as data: results.json, condition_comparison.json, the criteria."""

from __future__ import annotations

from collections.abc import Mapping

from trait_probe.evidence.claims import TEXT_BASELINE
from trait_probe.evidence.estimate import Estimate, strict_object
from trait_probe.experiments._prefill.compare import Compared, Path, Variant
from trait_probe.experiments._prefill.criteria import criteria, percent, shuffled_json
from trait_probe.experiments._prefill.find import Condition, Found, TraitFound

WHOLE_TEXT = "embeddings of the whole text"  # key of a claim's shortcuts


def results_json(found: Found) -> dict[str, object]:
    """`results.json`: strict JSON, the same bytes for the same configuration and model."""
    design = found.design
    content = {
        "schema": "trait_probe.prefill_attack/1",
        "model": design.model_id,
        "pairs": {
            "matched": design.pairs.matched,
            "dealt": design.pairs.dealt,
            "left_out_as_fitted": design.pairs.fitted,
            "unused_prompts": design.pairs.unused,
            "prompts": len(design.pairs.prompts),
            **design.split.to_json(),
        },
        "header": {"text": design.header.text, "token_ids": list(design.header.ids)},
        "prefill": {
            "text": design.main.prefill,
            "tokens": found.conditions[1].tokens,
            "same_words_in_both_cells": design.main.shared,
        },
        "behaviour": [condition_json(item) for item in found.conditions],
        "length_sweep": [condition_json(item) for item in found.lengths],
        "traits": {name: _trait_json(item) for name, item in found.traits.items()},
        "pairs_left_out_of_trajectory": found.left_out,
        "shuffled_labels": shuffled_json(found),
        "criteria": criteria(found),
        "verdicts": {claim.id: claim.verdict for claim in found.claims},
    }
    return strict_object(content)


def condition_json(condition: Condition) -> dict[str, object]:
    """Rates of harmful and of benign prompts in one condition."""
    return {
        "condition": condition.name,
        "tokens": condition.tokens,
        "harmful": condition.harmful,
        "benign": condition.benign,
    }


def _trait_json(item: TraitFound) -> dict[str, object]:
    return {
        "sites": dict(item.sites),
        "trajectory": _path_json(item.path),
        "foil_trajectory": {"foil": item.foil_path.trait, **_path_json(item.foil_path)},
        "other_prefills": [_variant_json(variant) for variant in item.variants],
        "length_sweep": [_variant_json(variant) for variant in item.sweep],
        "outcome_within_c2": item.outcomes,
    }


def _path_json(path: Path) -> dict[str, object]:
    return {"places": list(path.labels), **path.found.to_json()}


def _variant_json(variant: Variant) -> dict[str, object]:
    return {
        "prefill": variant.prefill,
        "tokens": variant.tokens,
        "last_token": variant.at_last,
        "header": variant.at_header,
    }


def comparison_json(found: Found) -> dict[str, object]:
    """`condition_comparison.json`: the four cells, by every direction, with the controls."""
    return strict_object(
        {
            "schema": "trait_probe.condition_comparison/1",
            "cells": {
                "C1": "harmful, no prefill",
                "C2": f"harmful, prefill {found.design.main.prefill!r}",
                "C3": "benign, no prefill",
                "C4": f"benign, prefill {found.design.main.prefill!r}",
            },
            "behaviour": {
                "without": condition_json(found.conditions[0]),
                "with": condition_json(found.conditions[1]),
            },
            "traits": {name: _comparison(found, name) for name in found.traits},
            "criteria": criteria(found),
        }
    )


def _comparison(found: Found, trait: str) -> dict[str, object]:
    item = found.traits[trait]
    return {
        "positions": {
            at: {"site": site, **_controls(found, trait, at)} for at, site in item.sites.items()
        },
        "directions": {row.direction: _compared_json(row) for row in item.compared},
        "shuffled_labels": shuffled_json(found)[trait],
    }


def _controls(found: Found, trait: str, position: str) -> dict[str, object]:
    claim = found.claim(trait, position)
    return {
        "verdict": claim.verdict,
        "text_only_auroc": claim.shortcuts.get(TEXT_BASELINE),
        "embedding_layer_auroc": claim.shortcuts.get("embedding layer"),
        "whole_text_embeddings_auroc": claim.shortcuts.get(WHOLE_TEXT),
        "length_auroc": claim.shortcuts.get("length"),
        "best_foil": claim.controls.get("foil"),
        "best_foil_auroc": claim.shortcuts.get("foil"),
    }


def _compared_json(row: Compared) -> dict[str, object]:
    return {
        **{f"C2 against C4, {at}": found for at, found in row.at.items()},
        "2x2 at the header": row.crossed,
    }


def verdict_line(found: Found) -> str:
    """The answer in one sentence."""
    held = [claim.id for claim in found.claims if claim.verdict == "supported"]
    rate = percent(found.conditions[1].harmful.compliance)
    forced = f"Behind {found.design.main.prefill!r} the harmful prompts are complied with: {rate}."
    if held:
        return (
            f"{found.design.model_id} still tells harmful from benign prompts inside "
            f"({'; '.join(held)}). {forced}{_words_do_as_well(found)}"
        )
    verdicts = "; ".join(f"{claim.id}: {claim.verdict}" for claim in found.claims)
    return (
        f"Nothing supported: no evidence that {found.design.model_id} recognizes harm behind the "
        f"prefill beyond what the controls give ({verdicts}). {forced}"
    )


def _words_do_as_well(found: Found) -> str:
    """A sentence where supported claims read what the embeddings of the prompt tell already."""
    areas = [
        claim.shortcuts[WHOLE_TEXT]
        for claim in found.claims
        if claim.verdict == "supported"
        and isinstance(claim.effect, Estimate)
        and isinstance(area := claim.shortcuts.get(WHOLE_TEXT), float)
        and area >= claim.effect.low
    ]
    if not areas:
        return ""
    return (
        " What is told there may be no more than the words: their embeddings, averaged over the "
        f"prompt, do about as well (AUROC {', '.join(f'{area:.3f}' for area in areas)})."
    )


def notes(found: Found) -> Mapping[str, str]:
    """What a reader must know about the pairs and the words."""
    design = found.design
    pairs = design.pairs
    words = (
        "All prompts have the same prefill tokens, so at every place that is read both cells have "
        "the same token."
        if design.main.shared
        else "Prefills differ between prompts, and with them the words just before the places "
        "that are read: only the last token and the header are."
    )
    made = f"{pairs.matched} pairs matched by topic"
    if pairs.dealt:
        made += f", {pairs.dealt} put together by chance (their source matches none)"
    return {
        "pairs": f"{made}; {len(pairs.prompts)} prompts. {pairs.fitted} pairs left out because a "
        f"vector is fitted on one of their texts, {pairs.unused} prompts unused.",
        "words": words,
    }
