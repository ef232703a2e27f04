"""Judged texts as data: between lines that no text can imitate."""

from __future__ import annotations

import hashlib

DIGITS = 12


def fence(question: str, answer: str) -> str:
    """A line's beginning that occurs in neither text: `#` and hex digits of their hash.

    The same texts have the same fence, so that a request can be made again word for word.
    """
    data = f"{len(question)}:{question}{answer}".encode("utf-8", "surrogatepass")
    while (mark := f"#{hashlib.sha256(data).hexdigest()[:DIGITS]}") in question or mark in answer:
        data = mark.encode() + data
    return mark


def fenced(question: str, answer: str) -> str:
    """Both texts as they are, between three lines that begin with their fence."""
    mark = fence(question, answer)
    return f"{mark} question\n{question}\n{mark} answer\n{answer}\n{mark} end"
