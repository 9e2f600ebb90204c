"""Every test of this folder runs on each semantic index.

Qdrant's runs on a small server of our own, which is strict about what is sent, and on what Qdrant's
client has instead of a server, which is Qdrant's own idea of what is answered.
"""

import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from services.shared.adapters.numpy_semantic_index import NumpySemanticIndex
from services.shared.ports.semantic_index import SemanticIndex
from tests.support.fake_clock import FakeClock
from tests.support.fake_qdrant import FakeQdrant, fake_qdrant
from tests.support.semantic_entries import DIMENSIONS

if (
    TYPE_CHECKING
):  # Qdrant's client takes two seconds to import, which other tests need not wait for
    from qdrant_client import AsyncQdrantClient

    from services.shared.adapters.qdrant_semantic_index import QdrantSemanticIndex

MAX_ENTRIES = 8
_PATIENT_S = 20.0  # the machine may be busy


@asynccontextmanager
async def index_on(
    server: FakeQdrant, clock: FakeClock, *, read_s: float = _PATIENT_S, build: str = "fake-1"
) -> AsyncIterator["QdrantSemanticIndex"]:
    """An index on a server."""
    from qdrant_client import AsyncQdrantClient  # noqa: PLC0415

    client = AsyncQdrantClient(url=server.url, check_compatibility=False)
    async with index_of(client, clock, read_s=read_s, build=build) as made:
        yield made


@asynccontextmanager
async def index_of(
    client: "AsyncQdrantClient",
    clock: FakeClock,
    *,
    read_s: float = _PATIENT_S,
    build: str = "fake-1",
) -> AsyncIterator["QdrantSemanticIndex"]:
    """An index that a client reaches."""
    from services.shared.adapters.qdrant_semantic_index import (  # noqa: PLC0415
        QdrantSemanticIndex,
    )

    try:
        yield QdrantSemanticIndex(
            client,
            build=build,
            dimensions=DIMENSIONS,
            max_entries=MAX_ENTRIES,
            clock=clock,
            read_s=read_s,
        )
    finally:
        await client.close()


@pytest.fixture(params=["numpy", "qdrant", "qdrant-local"])
async def index(request: pytest.FixtureRequest) -> AsyncIterator[SemanticIndex]:
    """An empty index whose scopes hold ``MAX_ENTRIES``."""
    if request.param == "numpy":
        yield NumpySemanticIndex(max_entries=MAX_ENTRIES)
        return
    if request.param == "qdrant-local":
        from qdrant_client import AsyncQdrantClient  # noqa: PLC0415

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Payload indexes have no effect in the local")
            async with index_of(AsyncQdrantClient(":memory:"), FakeClock()) as made:
                yield made
        return
    async with fake_qdrant() as server, index_on(server, FakeClock()) as made:
        yield made
