"""The way to the Messages API: key, pace, retries. What cannot be mended by waiting is refused.

The key is read from the environment and given to the SDK's client, nowhere else. Errors of the SDK
hold requests (with the key) and whatever a server wrote, so they are turned into words here, with
the key struck out, and none of them is chained to the errors that leave this module.
"""

from __future__ import annotations

import contextlib
import math
import os
import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from trait_probe.errors import BadInputError, RunError

KEY = "ANTHROPIC_API_KEY"
KEY_FIX = f"Set the environment variable {KEY} to a key from the Claude Console."

LONGEST_BACKOFF = 60.0
LONGEST_WAIT = 600.0
"""Seconds; a `retry-after` beyond it ends the run."""

PASSING = (408, 409, 429)
"""Statuses below 500 that may go away by themselves."""

SLOW_DOWN = (429, 503, 529)
"""Statuses that tell all threads to wait, not only the one that was refused."""

_FIXES = {
    401: KEY_FIX,
    402: "Add credit to the key's organization.",
    403: "Use a key that may use this model.",
    404: "Check the model's name; see the models page of the API's documentation.",
}
_FIX = "Check the model's name, and that it takes structured output (`output_config`)."

T = TypeVar("T")


class RefusedError(BadInputError):
    """The API will not do this, however often it is asked.

    Attributes:
        status: of its response.
        too_long: whether the reason is this request's length.
    """

    status: int
    too_long: bool


@dataclass(frozen=True)
class Fault:
    """A call without a usable response: why, its status if any, and how long to wait (seconds)."""

    reason: str
    status: int | None = None
    retry_after: float | None = None

    @property
    def passing(self) -> bool:
        """Whether asking again may help."""
        return self.status is None or self.status in PASSING or self.status >= 500


class Pace:
    """A token bucket that all threads share: `per_minute` calls, at most `burst` of them at once.

    Args:
        sleep, clock: seconds, as `time.sleep` and `time.monotonic`.
    """

    def __init__(
        self,
        per_minute: float,
        burst: int,
        sleep: Callable[[float], object],
        clock: Callable[[], float],
    ) -> None:
        self._interval = 60.0 / per_minute
        self._ahead = (burst - 1) * self._interval
        self._sleep = sleep
        self._clock = clock
        self._lock = threading.Lock()
        self._due = self._held = -math.inf

    def take(self) -> None:
        """Wait for this call's turn."""
        with self._lock:
            now = self._clock()
            start = max(now, self._due - self._ahead, self._held)
            self._due = max(self._due, start) + self._interval
        if start > now:
            self._sleep(start - now)

    def hold(self, seconds: float) -> None:
        """Begin no call, on any thread, for so long."""
        with self._lock:
            self._held = max(self._held, self._clock() + seconds)


class Api:
    """Calls with retries; safe to share between threads.

    Args:
        base_url: None for the SDK's own.
        timeout: seconds for one attempt.
        max_retries: attempts after the first.
        pace: asked before every attempt.
        sleep: waits so many seconds.

    Raises:
        BadInputError: no usable key in the environment.
    """

    def __init__(
        self,
        *,
        base_url: str | None,
        timeout: float,
        max_retries: int,
        pace: Pace,
        sleep: Callable[[float], object],
    ) -> None:
        self._key = _key()
        self._base_url = base_url
        self._timeout = timeout
        self._max_retries = max_retries
        self._pace = pace
        self._sleep = sleep
        self._jitter = random.Random()
        self._lock = threading.Lock()
        self._client: Any = None

    def call(
        self, send: Callable[[Any], str], read: Callable[[str], T], *, once: bool = False
    ) -> T:
        """What `read` makes of the body that `send(client)` gets.

        Asked again after 429 and 5xx (when `retry-after` says), timeouts, cut connections, and a
        body that `read` raises ValueError on; with doubling waits, half of each by chance.

        Args:
            once: whether what is asked for must not be done twice: then nothing is sent again
                unless the API said that it did not do it.

        Raises:
            RefusedError: another 4xx, at once.
            RunError: none of `1 + max_retries` attempts had a usable response, or the API asks
                to be left alone for more than ten minutes.
        """
        for attempt in range(1, self._max_retries + 2):
            self._pace.take()
            got = self._attempt(send)
            fault = got if isinstance(got, Fault) else Fault("a response of another form")
            if isinstance(got, str):
                with contextlib.suppress(ValueError):
                    return read(got)
            if not fault.passing:
                raise _refused(fault)
            if once and fault.status is None:
                raise _unknown(fault)
            if attempt > self._max_retries or (fault.retry_after or 0.0) > LONGEST_WAIT:
                break
            self._wait(fault, attempt)
        raise RunError(
            f"The judge's API gave no usable response ({attempt} attempts); "
            "scores that a CachedJudge has kept are not lost.",
            got=fault.reason,
            fix="Run the same command again later, or with a lower requests_per_minute.",
        )

    def close(self) -> None:
        """Close connections; a later call opens new ones."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def clean(self, text: str) -> str:
        """At most 300 characters of what a server wrote, without the key should it repeat it."""
        return text.replace(self._key, "[key]")[:300]

    def _attempt(self, send: Callable[[Any], str]) -> str | Fault:
        import anthropic

        client = self._opened()
        try:
            return send(client)
        except anthropic.APIStatusError as error:
            said = self.clean(_said(error.body))
            after = _seconds(error.response.headers.get("retry-after"))
            said += "" if after is None else f" (retry after {after:g} s)"
            return Fault(f"HTTP {error.status_code}: {said}", error.status_code, after)
        except anthropic.APITimeoutError:
            return Fault(f"no response within {self._timeout:g} s")
        except anthropic.APIConnectionError as error:
            return Fault(f"the connection failed or was cut ({type(error.__cause__).__name__})")

    def _wait(self, fault: Fault, attempt: int) -> None:
        backoff = min(LONGEST_BACKOFF, 2.0 ** (attempt - 1)) * (0.5 + self._jitter.random() / 2)
        seconds = fault.retry_after or backoff
        if fault.status in SLOW_DOWN:
            self._pace.hold(seconds)  # the next turn of any thread comes after it
        else:
            self._sleep(seconds)

    def _opened(self) -> Any:
        import anthropic

        with self._lock:
            if self._client is None:
                self._client = anthropic.Anthropic(
                    api_key=self._key,
                    base_url=self._base_url,
                    timeout=self._timeout,
                    max_retries=0,
                )
            return self._client


def _key() -> str:
    key = os.environ.get(KEY, "").strip()
    if not key:
        raise BadInputError("A Claude judge needs an API key.", got=f"no {KEY}", fix=KEY_FIX)
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise BadInputError(
            f"The key in {KEY} holds characters that no key has (not shown).", fix=KEY_FIX
        )
    return key


def _refused(fault: Fault) -> RefusedError:
    status = fault.status or 0
    fix = _FIXES[402] if "credit balance" in fault.reason else _FIXES.get(status, _FIX)
    error = RefusedError("The judge's API refused the request.", got=fault.reason, fix=fix)
    error.status = status
    error.too_long = status == 413 or (status == 400 and "too long" in fault.reason)
    return error


def _unknown(fault: Fault) -> RunError:
    return RunError(
        "It is not known whether the judge's API took a batch; to hand it in again may pay twice.",
        got=fault.reason,
        fix="Look at the batches in the Claude Console; the same command hands it in anew.",
    )


def _said(body: object) -> str:
    error = body.get("error") if isinstance(body, Mapping) else None
    said = error.get("message") if isinstance(error, Mapping) else None
    return said if isinstance(said, str) else "no reason given"


def _seconds(header: str | None) -> float | None:
    """Seconds in a `retry-after` header; None where it has no positive number."""
    try:
        seconds = float(header or "")
    except ValueError:
        return None
    return seconds if seconds > 0 and math.isfinite(seconds) else None
