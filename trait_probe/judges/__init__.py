"""Judges: what scores an answer."""
