"""Shared pytest set-up: one hypothesis profile, no network, small thread pools."""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

from hypothesis import settings

settings.register_profile("house", deadline=None, max_examples=50, print_blob=True)
settings.load_profile("house")
