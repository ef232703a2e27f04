"""What stands beside the claim of a gain: by hand, and where there is nothing to say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from optimization_runs import small
from scipy import stats

from trait_probe import load_model
from trait_probe.errors import BadInputError
from trait_probe.evidence.distribution import upper_tail
from trait_probe.evidence.estimate import Estimate, Unscored
from trait_probe.evidence.ratios import ratio_of_means
from trait_probe.experiments._optimization import arms as at
from trait_probe.experiments._optimization import gap
from trait_probe.experiments._optimization.geometry import N_COMPONENTS_SHOWN, geometry_of
from trait_probe.experiments._optimization.judging import planned_answers
from trait_probe.experiments.vector_optimization import find_trait, prepare, set_up
from trait_probe.judges import instrument
from trait_probe.runs.rundir import open_run
from trait_probe.vectors import panel as measuring
from trait_probe.vectors.panel import Measured
from trait_probe.vectors.subspace import Subspace

N = 12
IDS = tuple(f"q{i}" for i in range(N))
GROUPS = tuple(f"g{i // 2}" for i in range(N))
ROWS = {
    at.UNSTEERED: 1,
    at.EXTRACTED: 1,
    at.STRENGTH: 1,
    at.SEARCHED: 3,
    at.RANDOM: 3,
    at.PROMPT: 1,
}
"""Rows of every arm that the claim compares."""


def judged(trait: Any, **overrides: Any) -> at.Tested:
    """Coherent answers with these scores, one row a steering."""
    scores = np.atleast_2d(np.asarray(trait, dtype=np.float64))
    fields: dict[str, Any] = {
        "trait": scores,
        "coherence": np.ones(scores.shape),
        "scored": np.ones(scores.shape, dtype=np.bool_),
        "cut": np.zeros(scores.shape, dtype=np.bool_),
        "texts": tuple(tuple("answer" for _ in row) for row in scores),
        "kl": np.full(len(scores), 0.1),
        "tokens": 7,
        "reasons": (),
    }
    return at.Tested(Measured(**{**fields, **overrides}))


def without_score(trait: Any, row: int, question: int, reason: str) -> at.Tested:
    scored = np.ones(np.shape(trait), dtype=np.bool_)
    scored[row, question] = False
    return judged(trait, scored=scored, reasons=(reason,))


def everything(**scores: Any) -> dict[str, at.Tested]:
    """All compared arms and the null at 0.5, but for those that are named."""
    plain = {name: judged(np.full((n, N), 0.5)) for name, n in {**ROWS, at.NULL: 4}.items()}
    return plain | {getattr(at, name): judged(values) for name, values in scores.items()}


def questions_of(tested: Mapping[str, at.Tested], groups: Sequence[str] = GROUPS) -> Any:
    return gap.scored_everywhere(tested, IDS, groups)


def estimate(found: object) -> Estimate:
    assert isinstance(found, Estimate)
    return found


# --- questions that count -------------------------------------------------------------------------


def test_a_question_without_a_score_in_one_row_of_one_arm_is_left_out_of_all() -> None:
    tested = everything()
    tested[at.RANDOM] = without_score(np.full((3, N), 0.5), 1, 2, "the judge refused")
    tested[at.PROMPT] = without_score(np.full((1, N), 0.5), 0, 7, "no number")
    found = questions_of(tested)
    assert found.ids == tuple(name for name in IDS if name not in ("q2", "q7"))
    assert found.groups == tuple(g for i, g in enumerate(GROUPS) if i not in (2, 7))
    assert np.flatnonzero(~found.kept).tolist() == [2, 7]
    assert found.unscored == {
        name: (int(name in (at.RANDOM, at.PROMPT)), n * N) for name, n in ROWS.items()
    }
    assert found.left_out == pytest.approx(2 / N)
    assert found.reasons == ("no number", "the judge refused")
    assert gap.arm_score(at.EXTRACTED, tested[at.EXTRACTED], found).score.n == N - 2


@pytest.mark.parametrize("name", ROWS)
def test_every_compared_arm_counts(name: str) -> None:
    tested = everything()
    tested[name] = without_score(np.full((ROWS[name], N), 0.5), 0, 4, "none")
    found = questions_of(tested)
    assert "q4" not in found.ids
    assert found.unscored[name] == (1, ROWS[name] * N)


@pytest.mark.parametrize("name", [at.REST, at.NULL])
def test_an_arm_that_the_claim_does_not_compare_leaves_no_question_out_but_its_own(
    name: str,
) -> None:
    tested = everything()
    scores = np.linspace(0.0, 1.0, N)[None]
    tested[name] = without_score(scores, 0, N - 1, "none")
    found = questions_of(tested)
    assert (found.ids, found.left_out, found.reasons) == (IDS, 0.0, ())
    own = estimate(gap.arm_score(name, tested[name], found).score)
    assert own.n == N - 1
    assert own.value == pytest.approx(scores[0, :-1].mean())


def test_the_arm_that_lacks_most_is_named_or_else_the_questions_that_all_of_them_lose() -> None:
    tested = everything()
    assert questions_of(tested).lacking(0.0) is None
    scored = np.ones((3, N), dtype=np.bool_)
    scored[1, 1] = scored[2, 2] = False
    tested[at.SEARCHED] = judged(np.full((3, N), 0.5), scored=scored, reasons=("refused",))
    tested[at.PROMPT] = without_score(np.full((1, N), 0.5), 0, 0, "refused")
    found = questions_of(tested)
    assert found.lacking(0.0) == "1 of 12 answers of the arm 'prompt' have no score (refused)"
    assert found.lacking(0.1) == "3 of 12 questions lack a score in some arm (refused)"
    assert found.lacking(0.25) is None


def test_an_arms_figures_are_means_over_rows_and_its_divergence_the_largest() -> None:
    table = np.stack([np.linspace(0.0, 0.4, N), np.linspace(0.2, 1.0, N)])
    coherence = np.ones((2, N))
    coherence[1, :6] = 0.4  # incoherent: counts 0
    cut = np.zeros((2, N), dtype=np.bool_)
    cut[0, :3] = True
    one = judged(table, coherence=coherence, kl=np.array([0.7, 0.2]), cut=cut)
    found = gap.arm_score(at.SHARED, one, questions_of(everything()))
    expected = (table[0] + np.where(coherence[1] >= 0.5, table[1], 0.0)) / 2
    assert estimate(found.score).value == pytest.approx(expected.mean())
    assert estimate(found.score).n_clusters == N // 2
    assert estimate(found.coherent).value == pytest.approx(0.75)
    assert (found.kl, found.cut, found.n_rows) == (0.7, 3 / (2 * N), 2)
    assert set(found.to_json()) == {"score", "coherent", "kl_p95", "cut_off", "rows"}
    asked = gap.arm_score(at.PROMPT, judged(table[:1]), questions_of(everything()))
    assert asked.kl == Unscored("nothing is steered")


def test_questions_of_one_group_give_no_interval_and_no_claim() -> None:
    tested = everything(EXTRACTED=np.linspace(0.1, 0.9, N))
    alone = questions_of(tested, ("one",) * N)
    assert isinstance(gap.arm_score(at.EXTRACTED, tested[at.EXTRACTED], alone).score, Unscored)
    assert all(isinstance(one, Unscored) for one in gap.deltas(tested, alone).values())
    assert isinstance(gap.relative_gain(tested, alone), Unscored)
    assert claim_of(tested, ("one",) * N).verdict == "not testable"


# --- gains ----------------------------------------------------------------------------------------


def test_the_relative_gain_is_a_share_of_what_the_extracted_vector_adds() -> None:
    effect = np.full(N, 0.4)
    tested = everything(
        UNSTEERED=np.full((1, N), 0.1),
        EXTRACTED=0.1 + effect,
        SEARCHED=0.1 + np.outer([1.0, 1.25, 1.5], effect),  # of three seeds
    )
    found = estimate(gap.relative_gain(tested, questions_of(tested)))
    assert found.value == pytest.approx(0.25)
    assert found.n_clusters == N // 2
    # Over questions nothing varies; over seeds the share has a standard deviation of 0.25.
    half = stats.t.ppf(0.975, 2) * 0.25 / np.sqrt(3)
    assert (found.low, found.high) == pytest.approx((0.25 - half, 0.25 + half))


def test_the_interval_of_a_relative_gain_holds_the_shares_that_cannot_be_told_from_it() -> None:
    """Fieller's definition, at both ends: the difference left is as large as its own bound."""
    rng = np.random.default_rng(1)
    effect = rng.uniform(0.2, 0.6, N)
    searched = 1.3 * effect + 0.1 * rng.standard_normal(N)
    tested = everything(
        UNSTEERED=np.zeros((1, N)), EXTRACTED=effect, SEARCHED=np.tile(searched, (3, 1))
    )
    alone = questions_of(tested, IDS)
    found = estimate(gap.relative_gain(tested, alone))
    assert found.low < found.value < found.high
    for end in (found.low, found.high):
        left = searched - effect - end * effect
        bound = stats.t.ppf(0.975, N - 1) * left.std(ddof=1) / np.sqrt(N)
        assert abs(left.mean()) == pytest.approx(bound)


def test_a_loss_is_below_zero_and_nothing_is_divided_by_an_effect_that_may_be_none() -> None:
    effect = np.linspace(0.2, 0.6, N)
    plain = np.zeros((1, N))
    tested = everything(UNSTEERED=plain, EXTRACTED=effect, SEARCHED=np.tile(0.5 * effect, (3, 1)))
    assert estimate(gap.relative_gain(tested, questions_of(tested))).value == pytest.approx(-0.5)
    for added in (np.zeros(N), np.where(np.arange(N) % 4 < 2, 0.1, -0.09)):
        tested = everything(UNSTEERED=plain + 0.3, EXTRACTED=0.3 + added)
        found = gap.relative_gain(tested, questions_of(tested))
        assert isinstance(found, Unscored)
        assert "nothing to divide by" in found.reason


def test_deltas_are_differences_to_the_unsteered_model_on_the_questions_that_count() -> None:
    rng = np.random.default_rng(0)
    tables = {name: rng.random((ROWS[getattr(at, name)], N)) for name in ("UNSTEERED", "EXTRACTED")}
    tables["SEARCHED"] = rng.random((3, N))
    tested = everything(**tables)
    tested[at.STRENGTH] = without_score(np.full((1, N), 0.5), 0, 0, "none")
    found = gap.deltas(tested, questions_of(tested))
    assert list(found) == [at.EXTRACTED, at.SEARCHED]
    for name, arm in (("EXTRACTED", at.EXTRACTED), ("SEARCHED", at.SEARCHED)):
        expected = tables[name][:, 1:].mean() - tables["UNSTEERED"][:, 1:].mean()
        one = estimate(found[arm])
        assert one.value == pytest.approx(expected)
        assert one.low < one.value < one.high


def test_over_rows_is_the_mean_of_each_question() -> None:
    np.testing.assert_allclose(gap.over_rows(np.array([[0.0, 1.0], [1.0, 0.5]])), [0.5, 0.75])


# --- the claim ------------------------------------------------------------------------------------


def claim_of(tested: Mapping[str, at.Tested], groups: Sequence[str] = IDS) -> Any:
    return gap.gain_of(
        "safety/evil",
        "a model",
        tested,
        questions_of(tested, groups),
        ("train-0",),
        looks=1,
        alpha=0.05,
        most_unscored=0.1,
        most_kl=0.5,
        least_coherence=0.8,
    )


def clear_gain() -> dict[str, at.Tested]:
    rng = np.random.default_rng(0)
    return everything(SEARCHED=0.8 + 0.05 * rng.standard_normal((3, N)))


def failed(claim: Any) -> list[str]:
    return [check.name for check in claim.checks if check.status == "failed"]


def test_a_clear_gain_is_supported_and_one_that_is_paid_for_is_not() -> None:
    tested = clear_gain()
    assert claim_of(tested).verdict == "supported"
    scores, coherence = tested[at.SEARCHED].found.trait, np.ones((3, N))
    coherence[:, :4] = 0.0
    for change, name in (
        ({"kl": np.array([0.1, 0.1, 0.7])}, "matched divergence"),
        ({"coherence": coherence, "trait": scores + 0.5}, "matched coherence"),
    ):
        paid = judged(**{"trait": scores, **change})
        claim = claim_of({**tested, at.SEARCHED: paid})
        assert claim.verdict == "not supported"
        assert name in failed(claim)


def test_too_many_answers_without_a_score_are_not_testable_and_few_are_left_out() -> None:
    tested = clear_gain()
    few = without_score(np.full((1, N), 0.5), 0, 3, "the judge refused")
    claim = claim_of({**tested, at.PROMPT: few})
    assert (claim.verdict, claim.effect.n_clusters) == ("supported", N - 1)
    scored = np.zeros((1, N), dtype=np.bool_)
    scored[0, :2] = True
    many = judged(np.full((1, N), 0.5), scored=scored, reasons=("the judge refused",))
    claim = claim_of({**tested, at.PROMPT: many})
    assert claim.verdict == "not testable"
    assert "10 of 12 answers of the arm 'prompt' have no score" in claim.reasons[0]


def test_random_directions_without_a_score_are_no_draws_and_without_any_there_is_no_rank() -> None:
    tested = clear_gain()
    draws = np.repeat([[0.9], [0.1], [0.2], [0.3]], N, axis=1)
    one = without_score(draws, 0, 5, "the judge refused")
    rank = claim_of({**tested, at.NULL: one}).to_json()["nulls"]["random directions"]
    whole = claim_of({**tested, at.NULL: judged(draws)}).to_json()["nulls"]["random directions"]
    assert rank["percentile"] == 1.0
    assert whole["percentile"] == 0.75
    none = judged(draws, scored=np.zeros((4, N), dtype=np.bool_))
    claim = claim_of({**tested, at.NULL: none})
    assert isinstance(claim.nulls["random directions"], Unscored)
    assert claim.verdict == "supported"


@pytest.mark.parametrize(
    ("optimized", "own", "status"),
    [
        ((0.2, 0.2, 0.62), 0.1, "passed"),  # at most 1.25 * 0.5
        ((0.2, 0.2, 0.63), 0.1, "failed"),
        ((0.6, 0.6, 0.74), 0.6, "passed"),  # the extracted vector's own is beyond the bound
        ((0.6, 0.6, 0.76), 0.6, "failed"),
    ],
)
def test_divergence_is_that_of_the_worst_seed_against_the_bound_or_the_extracted_vectors(
    optimized: tuple[float, ...], own: float, status: str
) -> None:
    tested = everything()
    tested[at.SEARCHED] = judged(np.full((3, N), 0.5), kl=np.array(optimized))
    tested[at.EXTRACTED] = judged(np.full((1, N), 0.5), kl=np.array([own]))
    check = gap.matched_divergence(tested, 0.5)
    assert (check.name, check.status) == ("matched divergence", status)
    assert f"{max(optimized):g} nats (largest over seeds); extracted {own:g}" in check.observed


@pytest.mark.parametrize(
    ("optimized", "own", "status"),
    [
        ((3, 3, 3), 0, "passed"),  # 25 % incoherent, of at most 1.25 * 20 %
        ((9, 0, 0), 0, "passed"),  # of all seeds together
        ((3, 3, 4), 0, "failed"),
        ((7, 7, 8), 6, "passed"),  # the extracted vector's own, 50 %, is beyond the bound
        ((8, 8, 8), 6, "failed"),
    ],
)
def test_coherence_is_matched_over_all_seeds(
    optimized: tuple[int, ...], own: int, status: str
) -> None:
    def broken(counts: Sequence[int]) -> at.Tested:
        coherence = np.ones((len(counts), N))
        for row, n in zip(coherence, counts, strict=True):
            row[:n] = 0.0
        return judged(np.full(coherence.shape, 0.5), coherence=coherence)

    tested = {**everything(), at.SEARCHED: broken(optimized), at.EXTRACTED: broken([own])}
    check = gap.matched_coherence(tested, 0.8)
    assert (check.name, check.status) == ("matched coherence", status)
    assert f"extracted {100 * own / N:.3g} %" in check.observed


# --- where directions lie -------------------------------------------------------------------------

EXTRACTED = torch.tensor([0.6, 0.0, 0.0, 0.8])
"""Of which 0.36 lies within the first three axes, along the first one."""


def axes(n: int = 3, width: int = 4) -> Subspace:
    return Subspace(
        basis=torch.eye(width, dtype=torch.float64)[:n],
        explained=torch.arange(n, 0, -1, dtype=torch.float64) / (2 * n),
        n=100,
    )


def arm(rows: Sequence[Sequence[float]], strengths: tuple[float, ...]) -> at.Arm:
    return at.Arm(at.SEARCHED, torch.tensor(rows), strengths)


SEEDS = ((1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.8, 0.6, 0.0, 0.0))


def test_cosines_by_hand_and_a_seed_that_came_to_nothing_has_none() -> None:
    found = geometry_of(axes(), EXTRACTED, arm(SEEDS, (0.5, 0.0, -0.7)))
    assert found.cosines == (pytest.approx(0.6), None, pytest.approx(0.48))
    assert found.inside == (pytest.approx(1.0), None, pytest.approx(0.8))
    assert found.between_seeds == (pytest.approx(0.8),)
    assert found.start_inside == pytest.approx(0.36)
    every = geometry_of(axes(), EXTRACTED, arm(SEEDS, (0.5, 0.5, 0.5)))
    assert every.between_seeds == pytest.approx((0.0, 0.8, 0.6), abs=1e-7)


def test_the_random_level_is_what_one_in_twenty_directions_of_the_subspace_exceed() -> None:
    """In three dimensions the size of a coordinate is uniform; of the vector 0.6 lies inside."""
    found = geometry_of(axes(), EXTRACTED, arm(SEEDS, (0.5,) * 3))
    assert found.random == pytest.approx(0.6 * 0.95, abs=0.015)
    assert geometry_of(axes(), EXTRACTED, arm(SEEDS, (0.5,) * 3)).random == found.random


def test_components_come_by_their_mean_difference_with_a_coordinate_for_each_steering_seed() -> (
    None
):
    found = geometry_of(axes(), EXTRACTED, arm(SEEDS, (0.5, 0.0, 0.7))).components
    assert [one.number for one in found] == [1, 0, 2]
    assert [one.explained for one in found] == pytest.approx([2 / 6, 3 / 6, 1 / 6])
    assert [one.extracted for one in found] == pytest.approx([0.0, 1.0, 0.0])
    assert [one.optimized for one in found] == [
        pytest.approx((0.0, 0.6)),
        pytest.approx((1.0, 0.8)),
        pytest.approx((0.0, 0.0)),
    ]


def test_differences_that_cancel_over_seeds_come_last_and_ten_are_shown() -> None:
    width = 14
    extracted = torch.eye(width)[0]
    rows = torch.zeros(2, width)
    rows[:, 0], rows[:, 1] = 0.6, torch.tensor([0.8, -0.8])
    shown = geometry_of(
        axes(width, width),
        extracted,
        at.Arm(at.SEARCHED, rows, (0.5, 0.5)),
    ).components
    assert len(shown) == N_COMPONENTS_SHOWN == 10
    assert shown[0].number == 0
    assert shown[1].optimized == pytest.approx((0.8, -0.8))  # of equal ones the first


def test_where_no_seed_came_to_anything_there_is_no_cosine_and_no_component() -> None:
    found = geometry_of(axes(), EXTRACTED, arm(SEEDS, (0.0, 0.0, 0.0)))
    assert found.cosines == found.inside == (None, None, None)
    assert found.between_seeds == found.components == ()
    assert found.to_json()["components"] == []


# --- arms -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1.0, 7.5])
def test_the_part_along_the_extracted_vector_and_the_rest_give_the_whole(length: float) -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.nn.functional.normalize(torch.randn(5, 16, generator=generator), dim=-1)
    own = torch.randn(16, generator=generator)
    whole = at.Arm(at.SEARCHED, rows, (0.5, -0.3, 1.2, 0.0, 0.8))
    shared, rest = at.parts(whole, own * length)
    assert (shared.name, rest.name) == (at.SHARED, at.REST)
    for i, strength in enumerate(whole.strengths):
        total = shared.strengths[i] * shared.directions[i] + rest.strengths[i] * rest.directions[i]
        torch.testing.assert_close(total, strength * rows[i])
        assert float(rest.directions[i] @ own) == pytest.approx(0.0, abs=1e-5)
    for one in (shared, rest):
        torch.testing.assert_close(one.directions.norm(dim=-1), torch.ones(5))


def test_the_extracted_vector_itself_has_no_rest() -> None:
    own = torch.nn.functional.normalize(torch.randn(16, generator=torch.manual_seed(0)), dim=0)
    shared, rest = at.parts(at.Arm(at.SEARCHED, torch.stack([own, -own]), (0.5, 0.5)), own)
    assert shared.strengths == pytest.approx((0.5, -0.5))
    assert rest.strengths == (0.0, 0.0)
    torch.testing.assert_close(rest.directions.norm(dim=-1), torch.ones(2))


def test_the_best_instruction_is_that_of_highest_score_among_the_coherent() -> None:
    scores = np.repeat([[0.2], [0.9], [0.6]], N, axis=1)
    coherence = np.ones((3, N))
    coherence[1, 0] = 0.4
    found = judged(scores, coherence=coherence).found
    assert at.best_instruction(found, 0.9) == 1
    assert at.best_instruction(found, 0.95) == 2
    broken = judged(scores, coherence=np.zeros((3, N))).found
    assert at.best_instruction(broken, 0.5) == 0


def test_an_instruction_whose_answers_have_no_score_is_not_the_best() -> None:
    scored = np.ones((2, N), dtype=np.bool_)
    scored[0] = False
    found = judged(np.repeat([[1.0], [0.3]], N, axis=1), scored=scored).found
    assert at.best_instruction(found, 0.5) == 1


def test_rows_of_a_call_keep_their_answers_and_divergence() -> None:
    whole = judged(
        [[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]],
        texts=(("a", "b"), ("c", "d"), ("e", "f")),
        kl=np.array([0.1, 0.2, 0.3]),
    ).found
    found = at.rows_of(whole, [2, 0])
    assert found.trait.tolist() == [[0.5, 0.6], [0.1, 0.2]]
    assert found.texts == (("e", "f"), ("a", "b"))
    assert (found.kl.tolist(), found.tokens) == ([0.3, 0.1], 7)


# --- ratios and tails -----------------------------------------------------------------------------


@pytest.mark.parametrize("alone", [0.0, -0.1])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_resample_with_nothing_to_divide_by_leaves_the_ratio_unscored(
    alone: float, sign: float
) -> None:
    """Two large groups and a small one, which now and then is drawn three times."""
    whole = sign * np.array([1.0] * 20 + [alone])
    clusters = ["a"] * 10 + ["b"] * 10 + ["c"]

    def ratio(rows: np.ndarray) -> Estimate | Unscored:
        return ratio_of_means(0.5 * rows, rows, clusters, n_boot=400, seed=0, unit="share")

    found = ratio(whole)
    assert isinstance(found, Unscored)
    assert "a resample has nothing to divide by" in found.reason
    kept = estimate(ratio(np.where(whole == sign * alone, sign * 0.1, whole)))
    assert (kept.value, kept.low, kept.high) == pytest.approx((0.5, 0.5, 0.5))


def test_the_upper_tail_is_the_value_that_the_share_exceeds() -> None:
    values = np.arange(101.0)
    assert upper_tail(values[::-1].copy()) == pytest.approx(95.0)
    assert upper_tail(values, 0.5) == pytest.approx(50.0)
    assert upper_tail(np.array([0.0, 1.0])) == pytest.approx(0.95)
    assert upper_tail(np.array([3.0])) == 3.0
    with pytest.raises(BadInputError, match="at least 1 rows"):
        upper_tail(np.zeros(0))
    with pytest.raises(BadInputError, match="finite"):
        upper_tail(np.array([0.0, np.nan]))


# --- what judging can cost ------------------------------------------------------------------------


def test_planned_answers_are_all_that_the_small_run_judges(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With answers of one token: how many are judged does not depend on what they say."""
    config = small(max_new_tokens=1, judge_repeats=2).resolved()
    model = load_model("organism:base")
    design = prepare(config, model, None)
    (questions,), (judges,), (panels,) = design.questions, design.judges, design.panels
    judge_all, put = measuring.judge_all, {judges.trait: 0, judges.coherence: 0}

    def counting(judge: Any, items: Any) -> Any:
        put[judge] += len(items)
        return judge_all(judge, items)

    for module in (measuring, instrument):
        monkeypatch.setattr(module, "judge_all", counting)
    with open_run(tmp_path / "run", experiment="any", config=config.stored()) as opened:
        setting = set_up(opened, config, questions, panels, design.vectors)
        find_trait(opened, config, setting, looks=1)
    planned = planned_answers(config, questions, n_layers=1)
    # Less: a first generation has no best candidate to evaluate again, a short search fewer
    # finalists, and answers of one token repeat themselves.
    assert 0.85 * planned < put[judges.coherence] < put[judges.trait] <= planned
