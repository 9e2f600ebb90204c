"""What only an index on a server does: collections, aliases, checks of what comes back, outages."""

from collections.abc import AsyncIterator

import msgspec
import pytest

from services.shared.domain.errors import Unavailable
from tests.contract.semantic_index.conftest import index_on
from tests.support.fake_clock import START_MS, FakeClock
from tests.support.fake_qdrant import FakeQdrant, fake_qdrant
from tests.support.semantic_entries import direction, entry_of, key_of

_ALIAS = "millrace-semantic-fake-1"
_KEY = key_of(direction(1))


@pytest.fixture
async def server() -> AsyncIterator[FakeQdrant]:
    """An empty server."""
    async with fake_qdrant() as running:
        yield running


async def test_each_build_has_a_collection_behind_an_alias(server: FakeQdrant) -> None:
    """Made once, with an index for every field that is filtered or ordered by."""
    clock = FakeClock()
    async with index_on(server, clock) as one, index_on(server, clock, build="fake-2") as two:
        await one.put([entry_of(1)])
        await two.put([entry_of(2)])
        await one.put([entry_of(3)])
    assert server.aliases == {
        _ALIAS: f"{_ALIAS}-v1",
        "millrace-semantic-fake-2": "millrace-semantic-fake-2-v1",
    }
    assert len(server.collections[f"{_ALIAS}-v1"].points) == 2
    indexes = server.collections[f"{_ALIAS}-v1"].indexes
    assert set(indexes) == {"scope", "tenant", "entry_id", "expires_at", "stored_at"}
    assert indexes["scope"] == {"type": "keyword", "is_tenant": True}
    assert server.calls.count(f"PUT /collections/{_ALIAS}-v1") == 1


async def test_an_alias_that_points_elsewhere_is_let_be(server: FakeQdrant) -> None:
    """An operator has put another collection in its place; a second process does not undo it."""
    async with index_on(server, FakeClock()) as index:
        await index.put([entry_of(1)])
    server.collections["mine"] = server.collections[f"{_ALIAS}-v1"]
    server.aliases[_ALIAS] = "mine"
    async with index_on(server, FakeClock()) as index:
        (nears,) = await index.nearest([_KEY], most=5, now_ms=START_MS)
    assert len(nears) == 1
    assert server.aliases[_ALIAS] == "mine"


async def test_what_a_server_mixes_up_is_not_believed(server: FakeQdrant) -> None:
    """Scope, encoder and expiry are checked again; what is no entry is passed over."""
    async with index_on(server, FakeClock()) as index:
        await index.put([entry_of(it) for it in range(1, 6)])
        points = server.collections[f"{_ALIAS}-v1"].points
        spoilt = [
            msgspec.json.encode(it).decode()
            for it in (
                entry_of(1, scope="scope-b"),
                entry_of(2, semantic=key_of(direction(2), encoder="fake-0")),
                entry_of(3, expires_at=int(START_MS)),
            )
        ]
        for (_, payload), entry in zip(points.values(), (*spoilt, "{"), strict=False):
            payload["entry"] = entry
        (nears,) = await index.nearest([_KEY], most=5, now_ms=START_MS)
    assert [near.entry.entry_id for near in nears] == [entry_of(5).entry_id]


async def test_a_server_that_hangs_is_unavailable_soon_and_then_left_alone(
    server: FakeQdrant,
) -> None:
    """Bounded by the time of a query; after five failures one probe a second."""
    clock = FakeClock()
    async with index_on(server, clock, read_s=0.02) as index:
        server.hangs = True
        for _ in range(5):
            with pytest.raises(Unavailable):
                await index.nearest([_KEY], most=5, now_ms=START_MS)
        clock.advance(1.1)
        with pytest.raises(Unavailable):  # the probe
            await index.nearest([_KEY], most=5, now_ms=START_MS)
        calls = len(server.calls)
        with pytest.raises(Unavailable, match="left alone"):
            await index.nearest([_KEY], most=5, now_ms=START_MS)
        assert len(server.calls) == calls


async def test_a_server_that_is_back_is_used_again(server: FakeQdrant) -> None:
    """The collection is made when it can be."""
    async with index_on(server, FakeClock()) as index:
        server.fails = True
        with pytest.raises(Unavailable):
            await index.put([entry_of(1)])
        with pytest.raises(Unavailable):
            await index.remove([entry_of(1).entry_id])
        server.fails = False
        await index.put([entry_of(1)])
        (nears,) = await index.nearest([_KEY], most=5, now_ms=START_MS)
    assert len(nears) == 1
