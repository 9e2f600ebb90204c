"""Every test of this folder runs on each semantic index."""

from collections.abc import AsyncIterator

import pytest

from services.shared.adapters.numpy_semantic_index import NumpySemanticIndex
from services.shared.ports.semantic_index import SemanticIndex

MAX_ENTRIES = 8


@pytest.fixture(params=["numpy"])
async def index(request: pytest.FixtureRequest) -> AsyncIterator[SemanticIndex]:
    """An empty index whose scopes hold ``MAX_ENTRIES``."""
    del request
    yield NumpySemanticIndex(max_entries=MAX_ENTRIES)
