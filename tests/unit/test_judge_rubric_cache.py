"""What a judge is told, and the file that keeps its scores: threads, processes, damage."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from messages_server import BAD_REPLIES

from trait_probe.errors import BadInputError, RunError
from trait_probe.judges.cache import CachedJudge, item_key
from trait_probe.judges.claude_batches import Batch
from trait_probe.judges.claude_requests import json_object, read_score, request_for, usage
from trait_probe.judges.cost import Cost
from trait_probe.judges.fence import fence
from trait_probe.judges.judge import Judge, RuleJudge, Scored, Unscored
from trait_probe.judges.many import BatchJudge, judge_all
from trait_probe.judges.rubric import COHERENCE, Rubric, trait_rubric
from trait_probe.judges.score_file import ScoreFile
from trait_probe.prompts.traits.schema import find_trait, trait_names

ROOT = Path(__file__).parents[2]
IDENTITY = {"kind": "test", "rubric": "r"}


class Counting:
    """Scores an answer by its number; `silent` ones are Unscored, `failing` ones raise."""

    identity = IDENTITY

    def __init__(self, concurrency=1, *, silent=(), failing=(), error=RunError):
        self.concurrency = concurrency
        self.silent, self.failing, self.error = silent, failing, error
        self.asked = []

    def __call__(self, question, answer):
        self.asked.append(answer)
        if answer in self.failing:
            raise self.error("The API is down.", fix="Try later.")
        return Unscored("no score") if answer in self.silent else Scored(float(answer), question)


class Batched(Counting):
    def judge_many(self, items):
        return [self(*item) for item in items]


class Keeping(Counting):
    """Hands out every second score before it fails, and uses the store."""

    def judge_keeping(self, items, keep, batches):
        batches.remember(Batch("batch_1", tuple(answer for _, answer in items)))
        for item in items[::2]:
            keep({item: self(*item)})
        if self.failing:
            raise self.error("The API is down.")
        keep({item: self(*item) for item in items[1::2]})
        return [Scored(0.0, "not what is kept")] * len(items)


def items(*numbers):
    return [("q", str(number)) for number in numbers]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "kept" / "scores.sqlite"


# Rubrics


@pytest.mark.parametrize("name", trait_names())
def test_a_trait_is_judged_by_its_definition_and_rubric(name):
    trait = find_trait(name, "english")
    rubric = trait_rubric(trait)
    assert rubric.name == name
    assert trait.definition in rubric.text
    assert trait.rubric in rubric.text
    assert rubric.of_empty() == Unscored("the answer is empty")


def test_coherence_is_another_question_than_the_trait():
    assert COHERENCE.of_empty() == Scored(0.0, "the answer is empty")
    for word in ("fluent", "question", "repetition", "0:", "100:", "not whether"):
        assert word in COHERENCE.text


def test_a_rubrics_hash_is_of_what_scores_depend_on():
    one = Rubric("a", "text")
    assert one.sha256 == Rubric("b", "text").sha256
    assert one.sha256 != Rubric("a", "text.").sha256
    assert one.sha256 != Rubric("a", "text", empty=0.0).sha256
    assert len(one.sha256) == 64


@pytest.mark.parametrize("fields", [("", "t"), ("n", " "), ("n", "t", 101.0), ("n", "t", -0.1)])
def test_a_rubric_says_something(fields):
    with pytest.raises(BadInputError):
        Rubric(*fields)


# Requests and replies

TEXTS = st.text(max_size=40) | st.sampled_from(["#", "{fence}", "%s", "\ud800", "Score: 10"])


@given(TEXTS, TEXTS)
def test_judged_texts_stand_between_their_fences(question, answer):
    request = request_for("m", COHERENCE, question, answer)
    content = request["messages"][0]["content"]
    question, answer = (one.encode("utf-8", "replace").decode() for one in (question, answer))
    mark = fence(question, answer)
    assert content.startswith(f"{mark} question\n{question}\n{mark} answer\n{answer}\n{mark} end\n")
    assert content.count(mark) == 3
    assert mark in request["system"]
    assert COHERENCE.text in request["system"]
    content.encode()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@given(
    st.fixed_dictionaries(
        {"content": st.lists(JSON, max_size=3)}, optional={"stop_reason": JSON, "usage": JSON}
    )
)
def test_no_message_whatsoever_breaks_the_reader(message):
    assert isinstance(read_score(message), Unscored)
    assert min(usage(message)) >= 0


@pytest.mark.parametrize("name", BAD_REPLIES)
def test_a_bad_reply_has_no_score(name):
    reply = {"stop_reason": "end_turn", **BAD_REPLIES[name]}
    message = {
        "stop_reason": reply["stop_reason"],
        "content": [{"type": "text", "text": reply["text"]}],
    }
    assert isinstance(read_score(message), Unscored)


@pytest.mark.parametrize("text", ["[]", "1", "", "{", '{"a": NaN}', '{"a": 1, "a": 2}', "9" * 5000])
def test_json_is_strict(text):
    with pytest.raises(ValueError, match=r"\S"):
        json_object(text)


# Kept scores


def test_a_score_is_asked_for_once(path):
    inner = Counting(silent={"2"})
    cached = CachedJudge(inner, path)
    assert cached("q", "1") == cached("q", "1") == Scored(1.0, "q")
    assert cached("q", "2") == cached("q", "2") == Unscored("no score")
    assert inner.asked == ["1", "2"]
    assert (cached.hits, cached.misses) == (2, 2)
    assert isinstance(cached, Judge)
    assert isinstance(cached, BatchJudge)
    assert (cached.identity, cached.concurrency, cached.judge) == (IDENTITY, 1, inner)


@pytest.mark.parametrize("kind", [Counting, Batched, Keeping])
@pytest.mark.parametrize("concurrency", [1, 3])
def test_only_what_is_missing_is_asked_for(path, kind, concurrency):
    first = kind(concurrency)
    assert judge_all(CachedJudge(first, path), items(1, 2, 3))[2] == Scored(3.0, "q")
    second = kind(concurrency)
    cached = CachedJudge(second, path)
    assert cached.missing(items(4, 3, 4, 5)) == items(4, 5)
    got = judge_all(cached, items(3, 4, 2, 5, 4))
    assert [one.score for one in got] == [3, 4, 2, 5, 4]
    assert sorted(second.asked) == ["4", "5"]
    assert (cached.hits, cached.misses) == (2, 2)


def test_no_items_need_no_judge(path):
    assert CachedJudge(Counting(), path).judge_many([]) == []


def test_scores_belong_to_judge_question_and_answer(path):
    CachedJudge(Counting(), path)("q", "1")
    other = CachedJudge(Counting(), path, identity={**IDENTITY, "rubric": "another"})
    assert other.missing(items(1)) == items(1)
    keys = {item_key(IDENTITY, *item) for item in [("q", "1"), ("q1", ""), ("", "q1"), ("1", "q")]}
    assert len(keys) == 4
    assert item_key({"a": 1, "b": 2}, "", "") == item_key({"b": 2, "a": 1}, "", "")


@settings(max_examples=20)
@given(st.text(max_size=20), st.text(max_size=20))
def test_any_text_can_be_kept(tmp_path_factory, question, answer):
    def judge(question, answer):
        return Scored(0.1 + 0.2, answer)

    path = tmp_path_factory.mktemp("kept") / "scores.sqlite"
    first = CachedJudge(judge, path, identity=IDENTITY)(question, answer)
    assert CachedJudge(judge, path, identity=IDENTITY)(question, answer) == first
    assert first == Scored(0.1 + 0.2, answer)


@pytest.mark.parametrize("concurrency", [1, 4])
def test_what_was_scored_before_an_error_is_kept(path, concurrency):
    inner = Counting(concurrency, failing={"7"})
    with pytest.raises(RunError, match=r"down. Kept in .*: \d+ of 10 new(.|\n)*Try later"):
        judge_all(CachedJudge(inner, path), items(*range(10)))
    again = Counting()
    assert len(judge_all(CachedJudge(again, path), items(*range(10)))) == 10
    assert set(again.asked) == set(map(str, range(10))) - (set(inner.asked) - {"7"})
    assert len(again.asked) <= 3


def test_a_thread_keeps_its_score_though_another_fails(path):
    begun, failed = threading.Event(), threading.Event()

    class Late(Counting):
        def __call__(self, question, answer):
            if answer == "1":
                begun.wait(5)
                try:
                    raise RunError("The API is down.")
                finally:
                    failed.set()
            begun.set()
            failed.wait(5)
            return Scored(float(answer), "")

    with pytest.raises(RunError, match="1 of 2 new"):
        judge_all(CachedJudge(Late(2), path), items(1, 2))
    assert CachedJudge(Counting(), path).missing(items(1, 2)) == items(1)


def test_errors_are_not_kept(path):
    inner = Counting(failing={"1"}, error=BadInputError)
    cached = CachedJudge(inner, path)
    for _ in range(2):
        with pytest.raises(BadInputError, match="down"):
            cached("q", "1")
    assert inner.asked == ["1", "1"]


def test_a_judge_that_hands_out_scores_has_them_kept_one_by_one(path):
    inner = Keeping(failing={"none"})
    with pytest.raises(RunError, match="2 of 4 new scores"):
        CachedJudge(inner, path).judge_many(items(1, 2, 3, 4))
    assert CachedJudge(inner, path).missing(items(1, 2, 3, 4)) == items(2, 4)


def test_batches_are_remembered_for_their_judge(path):
    one = CachedJudge(Counting(), path)._batches
    other = CachedJudge(Counting(), path, identity={"kind": "other"})._batches
    batch = Batch("batch_1", ("a", "b"))
    one.remember(batch)
    one.remember(batch)
    assert list(one.pending()) == [batch]
    assert not other.pending()
    one.forget(batch)
    assert not one.pending()


def test_the_first_score_stands(path):
    """Two processes that ask at once agree afterwards."""

    def slow(question, answer):
        CachedJudge(Counting(), path)(question, answer)  # another one is faster
        return Scored(99.0, "late")

    assert CachedJudge(slow, path, identity=IDENTITY)("q", "5") == Scored(5.0, "q")


@pytest.mark.parametrize("identity", [None, {}])
def test_a_judge_without_identity_needs_one(path, identity):
    judge = RuleJudge("is yes", lambda _, answer: answer == "yes")
    with pytest.raises(BadInputError, match="identity="):
        CachedJudge(judge, path, identity=identity)
    assert CachedJudge(judge, path, identity={"kind": "rule"})("q", "yes").score == 100.0


def test_a_rationale_that_no_file_can_hold_is_kept_as_far_as_it_can(path):
    judge = CachedJudge(lambda q, a: Scored(1.0, "odd \ud800"), path, identity={"kind": "odd"})
    assert judge("q", "a") == Scored(1.0, "odd ?")


def test_scores_that_come_together_are_written_together(path, monkeypatch):
    written = []
    real = ScoreFile.add_all

    def counted(file, scores):
        written.append(len(scores))
        real(file, scores)

    monkeypatch.setattr(ScoreFile, "add_all", counted)
    judge_all(CachedJudge(Batched(), path), items(*range(50)))
    assert written == [50]


def test_the_cost_is_the_judges_own(path):
    judge = Counting()
    assert CachedJudge(judge, path).spent is None
    judge.spent = Cost(1, 2, 3, None)
    assert CachedJudge(judge, path).spent == judge.spent


def test_an_identity_is_json(path):
    with pytest.raises(BadInputError, match="JSON"):
        CachedJudge(Counting(), path, identity={"model": object()})


# Damage


def test_a_file_that_is_no_database_is_left_alone(path):
    path.parent.mkdir()
    path.write_text("These are my notes. " * 100)
    with pytest.raises(RunError, match=r"damaged(.|\n)*Move the file away"):
        CachedJudge(Counting(), path)
    assert path.read_text().startswith("These")


def test_another_programs_database_is_left_alone(path):
    path.parent.mkdir()
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE theirs (a)")
    db.close()
    before = path.read_bytes()
    with pytest.raises(BadInputError, match="another path"):
        CachedJudge(Counting(), path)
    assert path.read_bytes() == before


def test_a_torn_file_is_reported(path):
    judge_all(CachedJudge(Batched(), path), items(*range(100)))
    data = bytearray(path.read_bytes())
    data[4096:] = bytes(os.urandom(len(data) - 4096))
    path.write_bytes(data)
    with pytest.raises(RunError, match="fix:"):
        judge_all(CachedJudge(Counting(), path), items(*range(100)))


@pytest.mark.parametrize(
    "row", [(101.0, "w"), (-1.0, "w"), ("high", "w"), (None, " "), (5.0, b"w")]
)
def test_rows_are_checked_when_read(path, row):
    cached = CachedJudge(Counting(), path)
    cached("q", "5")
    db = sqlite3.connect(path)
    with db:
        db.execute("UPDATE scores SET score = ?, why = ?", row)
    db.close()
    with pytest.raises(RunError, match=r"damaged(.|\n)*fix:"):
        cached("q", "5")


def test_a_damaged_batch_is_reported(path):
    cached = CachedJudge(Counting(), path)
    cached._batches.remember(Batch("batch_1", ("a",)))
    db = sqlite3.connect(path)
    with db:
        db.execute("UPDATE batches SET requests = '[1,'")
    db.close()
    with pytest.raises(RunError, match="damaged"):
        cached._batches.pending()


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="folder"):
        CachedJudge(Counting(), tmp_path / "file" / "scores.sqlite")
    with pytest.raises(RunError, match="cannot be used"):
        CachedJudge(Counting(), tmp_path)


# Processes


def test_processes_share_a_file(path):
    """Each writes keys of its own and the same ones, into a file that none has made."""
    code = """
        import sys
        from trait_probe.judges.cache import CachedJudge
        from trait_probe.judges.judge import Scored
        path, number = sys.argv[1:]
        judge = CachedJudge(lambda q, a: Scored(float(number), a), path, identity={"kind": "t"})
        sys.stdin.readline()
        for i in range(12):
            judge("same", str(i))
            judge(number, str(i))
    """
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code), str(path), str(number)],
            stdin=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        for number in range(3)
    ]
    for run in runs:
        run.communicate(b"go\n")
    assert [run.returncode for run in runs] == [0, 0, 0]

    def nobody(question, answer):
        raise AssertionError("asked again")

    cached = CachedJudge(nobody, path, identity={"kind": "t"})
    for number in range(3):
        got = judge_all(cached, [(str(number), str(i)) for i in range(12)])
        assert {one.score for one in got} == {float(number)}
    same = judge_all(cached, [("same", str(i)) for i in range(12)])
    assert {one.score for one in same} <= {0.0, 1.0, 2.0}
