"""What several property tests compare with."""

from __future__ import annotations

import pytest
from models import hugging_face


@pytest.fixture(scope="session")
def oracles(folders):
    """Hugging Face's own model of each folder."""
    return {name: hugging_face(folder) for name, folder in folders.items()}


@pytest.fixture
def oracle(shape, oracles):
    return oracles[shape]
