"""Message Batches: many requests handed in at once, at half the price, answered within a day.

A batch is paid for when it is handed in. So its id is remembered in a store before it is waited
for, and a run that was killed in between fetches that batch instead of handing in another. Only a
kill (or a cut connection) between the API taking a batch and its id arriving can pay twice, or two
processes that judge the same answers at the same time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from trait_probe.errors import RunError
from trait_probe.judges.claude_api import Api, RefusedError
from trait_probe.judges.claude_requests import is_message, json_object

PRICE = 0.5
"""Share of the usual price."""

MOST_REQUESTS = 10_000
MOST_CHARACTERS = 50_000_000
"""Of one batch; the API takes 100,000 requests and 256 MB."""

POLL = 30.0
LONGEST = 26 * 3600.0
"""Seconds between looks at a batch, and until it is given up; the API ends each after 24 hours."""


@dataclass(frozen=True)
class Batch:
    """A batch that was handed in: the API's id, and the ids of the requests in it."""

    id: str
    requests: tuple[str, ...]


@runtime_checkable
class BatchStore(Protocol):
    """Where batches are remembered that were handed in and not yet collected."""

    def pending(self) -> Sequence[Batch]: ...

    def remember(self, batch: Batch) -> None: ...

    def forget(self, batch: Batch) -> None: ...


class Unremembered:
    """A store for a judge without a cache: it forgets at once."""

    def pending(self) -> Sequence[Batch]:
        return ()

    def remember(self, batch: Batch) -> None: ...

    def forget(self, batch: Batch) -> None: ...


def hand_in(api: Api, requests: Mapping[str, Mapping[str, Any]], store: BatchStore) -> list[Batch]:
    """Hand in all requests, in as many batches as they need; each is remembered at once.

    Args:
        requests: arguments of `messages.create` by an id of 1 to 64 letters, digits, `_`, `-`.

    Raises:
        RefusedError, RunError: as `Api.call`; and where it is not known whether a batch was taken.
    """
    made = []
    for part in _parts(requests):
        entries = [{"custom_id": name, "params": requests[name]} for name in part]
        batch = Batch(api.call(_creation(entries), _batch_id, once=True), tuple(part))
        store.remember(batch)
        made.append(batch)
    return made


def collect(
    api: Api, batch: Batch, sleep: Callable[[float], object]
) -> dict[str, Mapping[str, Any]] | None:
    """Wait for a batch's end: the `message` objects that came, by request id.

    Requests that the API could not answer, or not in time, are left out. None: the API has no such
    batch (any more).

    Raises:
        RefusedError, RunError: as `Api.call`; and where the batch does not end.
    """
    waited = 0.0
    try:
        while not api.call(_status(batch), _ended):
            if waited >= LONGEST:
                raise RunError(
                    "A message batch did not end within its time.",
                    got=batch.id,
                    fix="Look at it in the Claude Console; it is remembered and not paid again.",
                )
            sleep(POLL)
            waited += POLL
        return api.call(_results(batch), lambda text: _messages(text, batch))
    except RefusedError as error:
        if error.status == 404:
            return None
        raise


def _parts(requests: Mapping[str, Mapping[str, Any]]) -> Iterator[list[str]]:
    part: list[str] = []
    size = 0
    for name, request in requests.items():
        length = len(request["system"]) + len(request["messages"][0]["content"])
        if part and (len(part) == MOST_REQUESTS or size + length > MOST_CHARACTERS):
            yield part
            part, size = [], 0
        part.append(name)
        size += length
    if part:
        yield part


def _creation(entries: Sequence[Mapping[str, Any]]) -> Callable[[Any], str]:
    return lambda client: _body(client.messages.batches.with_raw_response.create(requests=entries))


def _status(batch: Batch) -> Callable[[Any], str]:
    return lambda client: _body(client.messages.batches.with_raw_response.retrieve(batch.id))


def _results(batch: Batch) -> Callable[[Any], str]:
    # Not `batches.results`: it reads the body after the SDK has stopped looking after errors.
    path = f"/v1/messages/batches/{batch.id}/results"
    return lambda client: str(client.get(path, cast_to=str))


def _body(response: Any) -> str:
    return str(response.http_response.text)


def _batch_id(text: str) -> str:
    found = json_object(text).get("id")
    if not isinstance(found, str) or not re.fullmatch(r"[\w.-]+", found, re.ASCII):
        raise ValueError("no batch id")
    return found


def _ended(text: str) -> bool:
    status = json_object(text).get("processing_status")
    if status not in ("in_progress", "canceling", "ended"):
        raise ValueError("no batch")
    return bool(status == "ended")


def _messages(text: str, batch: Batch) -> dict[str, Mapping[str, Any]]:
    """Results by request id; ValueError where one is missing, so that the file is read again."""
    wanted = set(batch.requests)
    found: dict[str, Mapping[str, Any]] = {}
    for line in filter(str.strip, text.split("\n")):
        row = json_object(line)
        name, result = row.get("custom_id"), row.get("result")
        if not isinstance(name, str) or name not in wanted or not isinstance(result, Mapping):
            raise ValueError("no result of this batch")
        wanted.discard(name)
        message = result.get("message")
        if result.get("type") == "succeeded" and is_message(message):
            found[name] = message
    if wanted:
        raise ValueError("results are missing")
    return found
