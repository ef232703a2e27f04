"""What a run found, as data: results.json, beavertails_results.json, failure_cases.json."""

from __future__ import annotations

from collections.abc import Mapping

from trait_probe.evidence.estimate import Unscored, strict_object
from trait_probe.experiments._external.categories import CategoryFound, Cell, predictors
from trait_probe.experiments._external.compare import WORDS, Compared
from trait_probe.experiments._external.criteria import category_words, criteria, short
from trait_probe.experiments._external.failures import Failure
from trait_probe.experiments._external.find import Found, LevelFound
from trait_probe.experiments._external.levels import RESPONSE
from trait_probe.experiments._external.severity import Severity
from trait_probe.experiments._external.study import KINDS
from trait_probe.experiments._external.thresholds import Calibrated
from trait_probe.experiments._external.whole import Whole

SCHEMA = "trait_probe.external_datasets/1"


def results_json(found: Found) -> dict[str, object]:
    """`results.json`: strict JSON, the same bytes for the same configuration, data and model."""
    content = {
        **data_json(found),
        "criteria": criteria(found),
        "verdicts": {claim.id: claim.verdict for claim in found.claims},
    }
    return strict_object(content)


def data_json(found: Found) -> dict[str, object]:
    """`beavertails_results.json`, whatever the data set: everything but criteria and verdicts."""
    design = found.design
    rows = design.rows
    content = {
        "schema": SCHEMA,
        "model": design.model_id,
        "data": {
            **design.about,
            "rows": len(rows.harmful),
            "harmful": int(rows.harmful.sum()),
            "groups": int(rows.group.max()) + 1,
            "left_out_as_fitted": int(rows.fitted.sum()),
            "traits_fitted_on_unknown_texts": list(design.unknown),
            "sampled": len(design.sampled),
            "per_category": design.config.per_category,
            "repeated_pairs": rows.repeated,
            "repeated_pairs_labelled_both_ways": rows.disagreeing,
            "safe_but_flagged": rows.unlike,
        },
        "levels": {name: _level(found, name, level) for name, level in found.levels.items()},
        "levels_left_out": dict(design.left_out),
        "whole": None if found.whole is None else _whole(found.whole),
    }
    return strict_object(content)


def _level(found: Found, name: str, level: LevelFound) -> dict[str, object]:
    scored = level.scored
    return {
        "position": found.design.directions[name].rule,
        "rows": len(scored.level.harmful),
        "harmful": int(scored.level.harmful.sum()),
        **scored.split.to_json(),
        "layers": {trait: list(scored.layers(trait)) for trait in scored.z},
        "claims": {
            trait: {kind: found.claim(name, trait, kind).verdict for kind in KINDS}
            for trait in level.claimed
        },
        "detectors": {one.name: _detector(one) for one in level.compared.values()},
        "categories": {
            trait: {one.category: category_json(one) for one in every}
            for trait, every in level.categories.items()
        },
        "categories_found_by_random_directions": dict(level.random),
        "matrix": {
            category: {trait: _cell(cell) for trait, cell in row.items()}
            for category, row in level.cells.items()
        },
        "best_predictor": predictors(level.cells),
        "thresholds": {
            trait: [threshold_json(one) for one in every]
            for trait, every in level.thresholds.items()
        },
        "severity": {trait: _severity(one) for trait, one in level.severity.items()},
        "shuffled_labels": shuffled_json(level),
    }


def _detector(one: Compared) -> dict[str, object]:
    return {"rated": one.rated, "auroc_over_words": one.over_words}


def category_json(one: CategoryFound) -> dict[str, object]:
    """One category of one trait."""
    return {
        "state": one.state,
        "why": one.why,
        "flagged": one.n,
        "groups": one.groups,
        "against_all_safe": one.rated,
        "words_against_all_safe": one.words,
        "random_directions": one.random,
        "shortcuts_that_reach_the_bounds": list(one.as_well),
        "within_its_groups": {"safe": one.n_within, "auroc": one.within},
        "mean_projection": {"flagged": one.mean_flagged, "safe_in_its_groups": one.mean_safe},
    }


def _cell(cell: Cell) -> dict[str, object]:
    return {"auroc": cell.auroc, "differs_from_chance": cell.significant}


def threshold_json(one: Calibrated) -> dict[str, object]:
    """One threshold."""
    return {
        "false_positive_rate": one.fpr,
        "threshold_sd": one.threshold,
        "caught": one.caught,
        "flagged_safe": one.flagged_safe,
        "flagged_benign": dict(one.flagged_benign),
    }


def _severity(one: Severity) -> dict[str, object]:
    return {
        "severity": one.what,
        "harmful_rows_without": one.missing,
        "spearman": one.spearman,
        "trend": one.trend,
        "rises": one.rises,
    }


def shuffled_json(level: LevelFound) -> dict[str, dict[str, dict[str, object]]]:
    """By trait and kind: draws of labels that mean nothing, how many supported, the largest."""
    out: dict[str, dict[str, dict[str, object]]] = {}
    for trait in level.claimed:
        out[trait] = {}
        for kind in KINDS:
            own = [o for o in level.studied.shuffled if (o.trait, o.kind) == (trait, kind)]
            values = [one.value for one in own if one.value is not None]
            out[trait][kind] = {
                "draws": len(own),
                "supported": sum(one.verdict == "supported" for one in own),
                "not_testable": sum(one.verdict == "not testable" for one in own),
                "largest": max(values) if values else None,
            }
    return out


def _whole(whole: Whole) -> dict[str, object]:
    return {
        "rows": whole.n,
        "outside_the_sample": whole.n_rest,
        "groups": whole.n_groups,
        "traits": dict(whole.rated),
        "categories": {name: dict(row) for name, row in whole.categories.items()},
    }


def failures_json(found: Found) -> dict[str, object]:
    """`failure_cases.json`: the worst rows of each level, text included."""
    return strict_object(
        {
            "schema": "trait_probe.failure_cases/1",
            "note": notes(found)["noise"],
            "levels": {
                name: {
                    trait: [_failure(one) for one in every]
                    for trait, every in level.failures.items()
                }
                for name, level in found.levels.items()
            },
        }
    )


def _failure(one: Failure) -> dict[str, object]:
    return {
        **{key: value for key, value in vars(one).items() if key not in ("neighbours",)},
        "categories": list(one.categories),
        "neighbours": [
            {**vars(near), "categories": list(near.categories)} for near in one.neighbours
        ],
    }


def verdict_line(found: Found) -> str:
    """The answer in a few sentences: harm, beyond the words, and where it fails."""
    name, level = found.main.level.name, found.main
    parts = []
    for trait in level.claimed:
        claims = [found.claim(name, trait, kind) for kind in KINDS]
        told = level.compared[trait].rated
        area = told if isinstance(told, Unscored) else told.auroc
        words = level.compared[WORDS].rated
        said = words if isinstance(words, Unscored) else words.auroc
        what = "harm in answers" if name == RESPONSE else "harm in prompts"
        parts.append(
            f"{trait} and {what}: separation {claims[0].verdict} (AUROC {short(area)}; words alone "
            f"{short(said)}), beyond the text {claims[1].verdict}. Categories: "
            f"{category_words(level.categories[trait])}."
        )
    return " ".join(parts)


def notes(found: Found) -> Mapping[str, str]:
    """What a reader must know about the data."""
    design = found.design
    rows = design.rows
    main = found.main.level
    unit = "answers" if rows.answered else "prompts"
    data = (
        f"{len(rows.harmful)} {unit} of {design.data_id}, {int(rows.harmful.sum())} labelled "
        f"harmful; {int(rows.fitted.sum())} left out because a vector is fitted on a prompt of "
        f"their group or on their answer. The sample: {len(main.harmful)} {unit}, "
        f"{int(main.harmful.sum())} of them harmful, in {len(set(main.groups))} groups."
    )
    if skipped := design.about.get("skipped_empty"):
        data += f" {skipped} rows with an empty prompt or answer were skipped."
    if design.unknown:
        data += (
            f" What {', '.join(design.unknown)} was fitted on is not known here: tested rows may "
            "be among it, and nothing is left out for it."
        )
    for name, why in design.left_out.items():
        data += f" The level of {name}s is not read: {why}."
    return {"data": data, "noise": _noise(found)}


def _noise(found: Found) -> str:
    rows = found.design.rows
    words = (
        "Labels are taken as they are; about 6 % of BeaverTails' are said to be wrong. "
        if rows.answered
        else "Labels are taken as they are. "
    )
    if rows.repeated:
        words += (
            f"{rows.disagreeing} of {rows.repeated} pairs of prompt and answer that come more than "
            "once are labelled both ways. "
        )
    if rows.unlike:
        words += f"{rows.unlike} rows are labelled safe and flagged in a category. "
    every = [one for some in found.main.failures.values() for one in some]
    unlike = sum(one.other_label == len(one.neighbours) > 0 for one in every)
    return words + (
        f"Of the {len(every)} worst rows, {unlike} have only neighbours of the other label: there "
        "the label may be wrong rather than the projection."
    )
