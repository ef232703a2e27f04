"""Claude as a judge: one rubric, one model, answers scored over the Messages API.

Wrap it in `cache.CachedJudge`: what was paid for once is then never paid for again.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from trait_probe.errors import BadInputError
from trait_probe.judges.cache import Keep, item_key
from trait_probe.judges.claude_api import Api, Pace, RefusedError
from trait_probe.judges.claude_batches import (
    PRICE,
    Batch,
    BatchStore,
    Unremembered,
    collect,
    hand_in,
)
from trait_probe.judges.claude_requests import (
    PROMPT_VERSION,
    REPLY_TOKENS,
    estimated_tokens,
    read_message,
    read_score,
    request_for,
    usage,
)
from trait_probe.judges.cost import Bill, Cost
from trait_probe.judges.judge import Scored, Unscored
from trait_probe.judges.many import Item, judge_all
from trait_probe.judges.rubric import Rubric

MODEL = "claude-haiku-4-5-20251001"

TRIES = 3
"""Times that an answer is put to the judge until its reply holds a score."""


class ClaudeJudge:
    """A Claude model as a judge of one rubric; its key is in ANTHROPIC_API_KEY, and only there.

    Close it, or use it in a `with` block, to give its connections back.

    Args:
        rubric: what to look for, and what 0 and 100 mean.
        model: an id with its date, so that the same judge is asked next year; one without is
            taken, and `identity` says that it is not pinned.
        concurrency: calls at once.
        requests_per_minute: calls begun in a minute, retries included, on all threads together.
        max_retries: attempts after the first, on rate limits, outages and cut connections.
        timeout: seconds for one attempt.
        base_url: another address of the API; None for the SDK's own.
        batches_from: from so many answers on they go as message batches (half the price, up to a
            day); None for never.
        dollars_per_million: prices of a million input and output tokens, for `Cost.dollars`.
        sleep, clock: seconds, as `time.sleep` and `time.monotonic`.

    Raises:
        BadInputError: no key in the environment, or a value outside its range.
    """

    def __init__(
        self,
        rubric: Rubric,
        *,
        model: str = MODEL,
        concurrency: int = 4,
        requests_per_minute: float = 50.0,
        max_retries: int = 6,
        timeout: float = 60.0,
        base_url: str | None = None,
        batches_from: int | None = None,
        dollars_per_million: tuple[float, float] | None = None,
        sleep: Callable[[float], object] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        _require(model.strip() != "", "A judge's model has a name.", model)
        _require(concurrency >= 1, "At least one call runs at a time.", concurrency)
        _require(requests_per_minute > 0, "Calls a minute are above 0.", requests_per_minute)
        _require(max_retries >= 0, "Retries are 0 or more.", max_retries)
        _require(timeout > 0, "A timeout is above 0 seconds.", timeout)
        _require(batches_from is None or batches_from >= 1, "Batches start at 1.", batches_from)
        prices = dollars_per_million or (0.0, 0.0)
        _require(min(prices) >= 0, "Prices are 0 or more.", dollars_per_million)
        self.rubric = rubric
        self.model = model
        self.concurrency = concurrency
        self.batches_from = batches_from
        self.dollars_per_million = dollars_per_million
        self._sleep = sleep
        self._bill = Bill(dollars_per_million)
        pace = Pace(requests_per_minute, concurrency, sleep, clock)
        self._api = Api(
            base_url=base_url, timeout=timeout, max_retries=max_retries, pace=pace, sleep=sleep
        )

    def __repr__(self) -> str:
        return f"ClaudeJudge({self.rubric.name!r}, model={self.model!r})"

    def __enter__(self) -> ClaudeJudge:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close connections; a later call opens new ones."""
        self._api.close()

    @property
    def identity(self) -> dict[str, Any]:
        """What a score depends on besides question and answer, for caches and reports; JSON.

        The API's address is not part of it: a model id means the same model everywhere.
        """
        return {
            "kind": "claude",
            "model": self.model,
            "pinned": is_pinned(self.model),
            "rubric": {"name": self.rubric.name, "sha256": self.rubric.sha256},
            "prompt_version": PROMPT_VERSION,
        }

    @property
    def spent(self) -> Cost:
        """What replies received so far cost, by their `usage`."""
        return self._bill.total

    def estimate(self, items: Sequence[Item]) -> Cost:
        """What judging `items` will cost: an estimate, made without a call.

        Equal items count once, empty answers not at all. Input tokens are a fourth of the
        characters; a reply is 80 tokens. Replies that must be asked for again come on top.
        """
        asked = [item for item in dict.fromkeys(items) if item[1].strip()]
        tokens = estimated_tokens([self.request(*item) for item in asked])
        share = PRICE if self._batched(len(asked)) else 1.0
        bill = Bill(self.dollars_per_million)
        bill.add(tokens, REPLY_TOKENS * len(asked), calls=len(asked), share=share)
        return bill.total

    def request(self, question: str, answer: str) -> dict[str, Any]:
        """Arguments of `messages.create` for one answer."""
        return request_for(self.model, self.rubric, question, answer)

    def __call__(self, question: str, answer: str) -> Scored | Unscored:
        """Judge one answer; Unscored where no reply of three holds a score.

        An empty answer has the rubric's score for it, and is not sent.

        Raises:
            RunError: the API cannot be reached, or is overloaded, through all retries.
            BadInputError: the API refuses the request (key, rights, model), or another model
                replied than the one asked.
        """
        if not answer.strip():
            return self.rubric.of_empty()
        request = self.request(question, answer)
        got: Scored | Unscored = Unscored("the judge was not asked")
        for _ in range(TRIES):
            try:
                message = self._api.call(lambda client: _sent(client, request), read_message)
            except RefusedError as error:
                if not error.too_long:
                    raise
                return Unscored("the answer is too long for the judge")
            got = self._read(message)
            if isinstance(got, Scored):
                return got
        return got

    def judge_many(self, items: Sequence[Item]) -> list[Scored | Unscored]:
        """Judge all, in order; see `judge_keeping`."""
        return self.judge_keeping(items, lambda scores: None, Unremembered())

    def judge_keeping(
        self, items: Sequence[Item], keep: Keep, batches: BatchStore
    ) -> list[Scored | Unscored]:
        """Judge all, in order; each score is handed to `keep` (on any thread) once it is there.

        Batches in the store that hold some of the items are collected first. From `batches_from`
        answers on, the rest is handed in as batches; what these leave out, and fewer, is asked
        one by one, `concurrency` at once.

        Raises:
            RunError, BadInputError: as `__call__`; what was handed to `keep` is not lost.
        """
        distinct = list(dict.fromkeys(items))
        found: dict[Item, Scored | Unscored] = {}

        def note(scores: Mapping[Item, Scored | Unscored]) -> None:
            keep(scores)
            found.update(scores)

        names = {item_key(self.identity, *item): item for item in distinct if item[1].strip()}
        for batch in batches.pending():
            if names.keys() & set(batch.requests):
                self._collect(batch, names, note, batches)
        left = {name: item for name, item in names.items() if item not in found}
        if self._batched(len(left)):
            requests = {name: self.request(*item) for name, item in left.items()}
            for batch in hand_in(self._api, requests, batches):
                self._collect(batch, names, note, batches)
        rest = [item for item in distinct if item not in found]
        judge_all(_Singly(self, note), rest)
        return [found[item] for item in items]

    def _collect(
        self, batch: Batch, names: Mapping[str, Item], note: Keep, batches: BatchStore
    ) -> None:
        """Note the scores of a batch; what it has no score for is left to single calls."""
        messages = collect(self._api, batch, self._sleep)
        scores: dict[Item, Scored | Unscored] = {}
        for name, message in (messages or {}).items():
            score = self._read(message, share=PRICE)
            if name in names and isinstance(score, Scored):
                scores[names[name]] = score
        note(scores)
        if messages is None or names.keys() >= set(batch.requests):
            batches.forget(batch)

    def _read(self, message: Mapping[str, Any], *, share: float = 1.0) -> Scored | Unscored:
        self._bill.add(*usage(message), share=share)
        if is_pinned(self.model) and message.get("model") != self.model:
            raise BadInputError(
                "Another model replied than the one asked; its score is not taken.",
                got=self._api.clean(str(message.get("model"))),
                valid=(self.model,),
                fix="Name the model as the server does.",
            )
        score = read_score(message)
        if isinstance(score, Scored):  # a server may echo what it was sent
            return Scored(score.score, self._api.clean(score.rationale))
        return Unscored(self._api.clean(score.reason))

    def _batched(self, n: int) -> bool:
        return self.batches_from is not None and n >= self.batches_from


class _Singly:
    """The judge one call at a time, so that `judge_all` spreads the calls over threads."""

    def __init__(self, judge: ClaudeJudge, note: Keep) -> None:
        self.concurrency = judge.concurrency
        self._judge = judge
        self._note = note

    def __call__(self, question: str, answer: str) -> Scored | Unscored:
        score = self._judge(question, answer)
        self._note({(question, answer): score})
        return score


def _sent(client: Any, request: Mapping[str, Any]) -> str:
    return str(client.messages.with_raw_response.create(**request).http_response.text)


def is_pinned(model: str) -> bool:
    """Whether a model id ends in a date, so that it names one model for good."""
    return re.search(r"-\d{8}$", model) is not None


def _require(holds: bool, rule: str, got: object) -> None:
    if not holds:
        raise BadInputError(rule, got=got)
