"""Entries of the cache on a real broker and a real Redis: followed, purged, rolled back."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from services.cli.__main__ import app
from services.cli.cache.bodies import bodies_at
from services.cli.invocation import Invocation
from services.shared.adapters.numpy_semantic_index import NumpySemanticIndex
from services.shared.adapters.system_clock import SystemClock
from services.shared.codec.records import encode_record
from services.shared.codec.topics import packaged_topics
from services.shared.domain.errors import Unavailable
from services.shared.domain.events import AnswerCached, CacheEntry
from services.shared.domain.topics import Topic
from services.shared.ports.response_cache import Stored
from services.shared.stream.admin import apply_topics
from services.shared.stream.bulk import BulkReader, BulkWriter, Position
from services.shared.stream.entry_bulk import EntryLog
from services.shared.stream.entry_log import EntryFollower
from services.shared.stream.kafka_connection import KafkaConnection
from services.shared.stream.kafka_log import KafkaLog
from tests.support.kafka_broker import kafka_server
from tests.support.redis_server import redis_server
from tests.support.semantic_entries import direction, entry_of, key_of

pytestmark = pytest.mark.kafka

_WAIT_S = 60.0
_LOOK_AGAIN_S = 0.02


class Cluster:
    """A broker, a Redis, and a terminal."""

    def __init__(self, bootstrap: str, redis_url: str) -> None:
        self.bootstrap = bootstrap
        self.bodies = bodies_at(redis_url)
        self._redis_url = redis_url

    def call(self, *arguments: str) -> Result:
        """Run ``millrace cache``; for programs, unasked."""
        console = Console(file=StringIO(), width=80)
        invocation = Invocation(environ={}, folder=Path(), console=console, errors=console)
        where = ("--bootstrap", self.bootstrap, "--redis", self._redis_url)
        result = CliRunner().invoke(
            app, ["cache", *arguments, "--yes", "--json", *where], obj=invocation
        )
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    async def admit(self, *entries: AnswerCached) -> None:
        """Keep answers as the cache writer does."""
        bodies = [
            CacheEntry(
                fingerprint=entry.fingerprint,
                tenant=entry.tenant,
                request_id=entry.entry_id,
                operation=entry.operation,
                response=b"{}",
                stored_at=entry.stored_at,
            )
            for entry in entries
        ]
        async with self.bodies() as cache:
            await cache.write(
                [Stored(key=it.fingerprint, value=encode_record(it), ttl_s=600) for it in bodies]
            )
        await asyncio.to_thread(self._write, entries)

    async def kept(self, *entries: AnswerCached) -> list[bool]:
        """Whether Redis has the answers of entries."""
        async with self.bodies() as cache:
            values = await cache.read([entry.fingerprint for entry in entries])
        return [value is not None for value in values]

    @asynccontextmanager
    async def followed(self) -> AsyncIterator[NumpySemanticIndex]:
        """An index that follows the topic, as each look-up has one."""
        index = NumpySemanticIndex(max_entries=1_000)
        log = KafkaLog(KafkaConnection(bootstrap=self.bootstrap), topics=[Topic.CACHE_ENTRIES])
        follower = EntryFollower(log, index, partition_count=1, clock=SystemClock())
        following = asyncio.ensure_future(follower.follow())
        try:
            await until(lambda: _is(follower.read_ratio == 1.0))
            yield index
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)

    def _write(self, entries: tuple[AnswerCached, ...]) -> None:
        writer = BulkWriter(self.bootstrap)
        for entry in entries:
            writer.write(
                Topic.CACHE_ENTRIES,
                key=entry.entry_id.encode(),
                value=encode_record(entry),
                headers=[],
                on_acknowledged=lambda why: None,
            )
        assert writer.flush() == 0


async def _is(holds: bool) -> bool:  # noqa: FBT001  # lifts a value into a coroutine
    return holds


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Look again and again until something holds."""
    async with asyncio.timeout(_WAIT_S):
        while not await holds():  # noqa: ASYNC110  # nobody tells what another process has read
            await asyncio.sleep(_LOOK_AGAIN_S)


async def found(index: NumpySemanticIndex) -> list[str]:
    """Ids of all entries of the usual scope."""
    now_ms = SystemClock().now_ms()
    (nears,) = await index.nearest([key_of(direction(1))], most=100, now_ms=now_ms)
    return sorted(near.entry.entry_id for near in nears)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A broker and a Redis of this module's own."""
    topic = str(Topic.CACHE_ENTRIES)
    with kafka_server() as server, redis_server() as redis:
        apply_topics(server.bootstrap, {topic: packaged_topics()[topic]}, partitions=1)
        give_up_at_s = time.monotonic() + _WAIT_S
        while True:
            try:
                BulkReader(server.bootstrap, topic, position=Position()).close()
            except Unavailable:
                assert time.monotonic() < give_up_at_s, "no leader"
                time.sleep(_LOOK_AGAIN_S)
            else:
                break
        yield Cluster(server.bootstrap, redis.url)


def _entry(number: int, *, age_s: int = 0, quotes: tuple[str, ...] = ()) -> AnswerCached:
    now_ms = int(SystemClock().now_ms())
    return entry_of(
        number,
        semantic=key_of(direction(number), quotes=quotes),
        stored_at=now_ms - age_s * 1000,
        expires_at=now_ms + 600_000,
    )


async def test_entries_are_followed_purged_and_rolled_back(cluster: Cluster) -> None:
    """A look-up sees an entry soon after it was written, and no more once it was purged."""
    old, parent = _entry(1, age_s=7_200), _entry(2, age_s=1_000)
    child = _entry(3, age_s=900, quotes=(parent.answer_hash,))
    new = _entry(4)
    await cluster.admit(old, parent, child)
    async with cluster.followed() as index:
        assert await found(index) == [old.entry_id, parent.entry_id, child.entry_id]
        await cluster.admit(new)
        written_s = time.monotonic()
        await until(lambda: _has(index, new))
        print(f"seen {time.monotonic() - written_s:.3f} s after it was written")

        result = await asyncio.to_thread(
            cluster.call, "purge", parent.entry_id, "unknown-id", "--descendants"
        )
        told = json.loads(result.stdout)
        assert (result.exit_code, told["unknown"], told["answers_deleted"]) == (
            1,
            ["unknown-id"],
            2,
        )
        assert await cluster.kept(old, parent, child, new) == [True, False, False, True]
        await until(lambda: _are(index, old, new))

        result = await asyncio.to_thread(cluster.call, "rollback", "--to", "1h")
        assert (result.exit_code, len(json.loads(result.stdout)["entries"])) == (0, 1)
        assert await cluster.kept(old, new) == [True, False]
        await until(lambda: _are(index, old))
    held = await asyncio.to_thread(EntryLog(cluster.bootstrap).held)
    assert list(held) == [old.entry_id]
    async with cluster.followed() as afresh:
        assert await found(afresh) == [old.entry_id]


async def _has(index: NumpySemanticIndex, entry: AnswerCached) -> bool:
    return entry.entry_id in await found(index)


async def _are(index: NumpySemanticIndex, *entries: AnswerCached) -> bool:
    return await found(index) == [entry.entry_id for entry in entries]
