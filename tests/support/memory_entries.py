"""The topic ``cache-entries`` of a cluster in memory, as ``millrace cache`` needs it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from io import StringIO

from rich.console import Console

from services.cli.cache.desk import Desk
from services.shared.codec.records import decode_record, encode_record
from services.shared.domain.errors import Unavailable
from services.shared.domain.events import AnswerCached, CacheEntry
from services.shared.domain.topics import Topic
from services.shared.ports.response_cache import ResponseCache
from services.shared.stream.entry_bulk import Held
from tests.support.memory_cache import MemoryCache
from tests.support.memory_log import MemoryCluster


class MemoryEntryLog:
    """The entries of a cluster in memory.

    Attributes:
        is_cut: Tombstones cannot be written.
    """

    def __init__(self, cluster: MemoryCluster) -> None:
        """Connect."""
        self.is_cut = False
        self._cluster = cluster

    def held(self) -> dict[str, Held]:
        """See ``Log``."""
        held: dict[str, Held] = {}
        for raw in self._cluster.records(Topic.CACHE_ENTRIES):
            entry_id = (raw.key or b"").decode()
            held.pop(entry_id, None)
            if raw.value is not None:
                held[entry_id] = Held(decode_record(raw.value, AnswerCached), raw.partition)
        return held

    def bury(self, purged: Sequence[Held]) -> None:
        """See ``Log``."""
        if self.is_cut:
            raise Unavailable("kafka", "cut")
        for it in purged:
            self._cluster.append(
                Topic.CACHE_ENTRIES,
                partition=it.partition,
                key=it.entry.entry_id.encode(),
                value=None,
                headers=(),
            )


class CacheDesk:
    """A desk on a cluster and a cache in memory.

    Attributes:
        log: The entries.
        cache: The answers.
        desk: What commands work with.
    """

    def __init__(self, cluster: MemoryCluster, cache: MemoryCache, *, now_ms: float) -> None:
        """Sit down."""
        self.log = MemoryEntryLog(cluster)
        self.cache = cache
        self._cluster = cluster
        self._printed = StringIO()
        console = Console(file=self._printed, width=200)

        @asynccontextmanager
        async def connect() -> AsyncIterator[ResponseCache]:
            yield cache

        self.desk = Desk(
            log=self.log, bodies=connect, console=console, errors=console, now_ms=lambda: now_ms
        )

    def admit(self, entry: AnswerCached) -> None:
        """Keep an answer as the cache writer does."""
        body = CacheEntry(
            fingerprint=entry.fingerprint,
            tenant=entry.tenant,
            request_id=entry.entry_id,
            operation=entry.operation,
            response=b"{}",
            stored_at=entry.stored_at,
        )
        self.cache.entries[entry.fingerprint] = encode_record(body)
        self._cluster.append(
            Topic.CACHE_ENTRIES,
            partition=0,
            key=entry.entry_id.encode(),
            value=encode_record(entry),
            headers=(),
        )

    def printed(self) -> str:
        """What was printed since the last call."""
        text = self._printed.getvalue()
        self._printed.seek(0)
        self._printed.truncate()
        return text
