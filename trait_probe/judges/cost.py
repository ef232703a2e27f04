"""What calls of a paid judge cost."""

from __future__ import annotations

import threading
from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """What calls cost.

    Attributes:
        calls: replies, each paid for.
        input_tokens, output_tokens: of all of them.
        dollars: None where no prices were given.
    """

    calls: int
    input_tokens: int
    output_tokens: int
    dollars: float | None

    def to_json(self) -> dict[str, object]:
        """Plain fields."""
        return {
            "calls": self.calls,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "dollars": self.dollars,
        }


class Bill:
    """A running total, safe to share between threads.

    Args:
        dollars_per_million: prices of a million input and output tokens; None for unknown.
    """

    def __init__(self, dollars_per_million: tuple[float, float] | None) -> None:
        self._prices = dollars_per_million
        self._lock = threading.Lock()
        self.total = Cost(0, 0, 0, None if dollars_per_million is None else 0.0)

    def add(self, read: int, written: int, *, calls: int = 1, share: float = 1.0) -> None:
        """Put calls on the bill: tokens read and written, at a share of the usual price."""
        with self._lock:
            old, dollars = self.total, None
            if self._prices is not None and old.dollars is not None:
                price = (read * self._prices[0] + written * self._prices[1]) / 1e6
                dollars = old.dollars + price * share
            tokens = old.input_tokens + read, old.output_tokens + written
            self.total = Cost(old.calls + calls, *tokens, dollars)
