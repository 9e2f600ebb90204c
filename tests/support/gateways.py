"""Gateways on the log in memory: whole applications that share what is in the topics and no more.

``Chunks`` writes chunks as the stages do; ``Gateway`` answers HTTP requests from them.
"""

import asyncio
import os
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from typing import Any

from prometheus_client import CollectorRegistry

from services.gateway.app import GatewayApp
from services.gateway.desk import MS_PER_S, Desk, InferenceMetrics
from services.gateway.health_api import HealthApi
from services.gateway.replies import Replies
from services.gateway.routes import routes
from services.gateway.streams import Streams
from services.shared.codec.headers import DEADLINE, STREAM, TENANT
from services.shared.codec.records import encode_record
from services.shared.domain.admission.limits import Limits
from services.shared.domain.events import ChunkKind, ResultChunk
from services.shared.domain.ids import RANDOM_BYTES, new_request_id
from services.shared.domain.name_patterns import NamePatterns
from services.shared.domain.topics import Topic
from services.shared.ports.chunk_cursors import ChunkRecord
from services.shared.stream.chunk_cursors import KafkaChunkCursors
from services.shared.stream.chunk_reader import follow, open_reply_partition
from services.shared.stream.claim_log import ClaimLog
from services.shared.stream.client import Reader, TopicPartition
from services.shared.stream.control_publisher import KafkaControlPublisher
from services.shared.stream.feedback_publisher import KafkaFeedbackPublisher
from services.shared.stream.publisher import KafkaRequestPublisher
from services.shared.stream.record_finder import KafkaRecordFinder
from tests.support.claims import idempotency_of
from tests.support.fake_clock import FakeClock
from tests.support.gateway_desk import KEY, KEYS, MODELS, FakeExchange, Sent, http_request
from tests.support.memory_log import MemoryCluster, MemoryLog
from tests.support.stages import SECRET


class CountedLog(MemoryLog):
    """A log that knows how many readers it was asked for.

    Attributes:
        readers: So many.
    """

    def __init__(self, cluster: MemoryCluster) -> None:
        """Connect."""
        super().__init__(cluster)
        self.readers = 0

    def reader(self) -> Any:
        """One more reader."""
        self.readers += 1
        return super().reader()


class Gateway:
    """One gateway process.

    Attributes:
        log: Its connection.
        desk: Its desk.
        streams: What it follows.
    """

    log: CountedLog
    desk: Desk
    streams: Streams

    def __init__(
        self, cluster: MemoryCluster, *, partition: int, retention_s: float = 1_800.0
    ) -> None:
        """Prepare one that reads its answers on a partition; ``start`` starts it."""
        self._retention_ms = retention_s * MS_PER_S
        self._cluster = cluster
        self._clock: FakeClock = cluster.clock
        self._partition = partition

    async def start(self) -> "Gateway":
        """Start it as ``__main__`` does."""
        self.log = CountedLog(self._cluster)
        producer = self.log.producer()
        await producer.start()
        self._reader: Reader = await open_reply_partition(self.log, self._partition)
        count = producer.partition_count(Topic.RESULT_CHUNKS)
        where = TopicPartition(Topic.RESULT_CHUNKS, self._partition)
        self.streams = Streams(
            KafkaChunkCursors(self.log, partition_count=count),
            own_partition=self._partition,
            live_from=await self._reader.position(where),
            clock=self._clock,
            retention_ms=self._retention_ms,
        )
        replies = Replies(lead=self.streams.lead)

        def deliver(record: ChunkRecord) -> None:
            replies.deliver(record)
            self.streams.deliver(record)

        self._following = asyncio.ensure_future(follow(self._reader, deliver))
        claims = ClaimLog(self._cluster.log(), producer, clock=self._clock)
        self._claims_following = asyncio.ensure_future(claims.follow())
        publisher = KafkaRequestPublisher(
            producer, secret=SECRET, clock=self._clock, on_outcome=lambda _: None
        )
        finder = KafkaRecordFinder(self.log, producer)
        self.desk = Desk(
            publisher=publisher,
            controls=KafkaControlPublisher(producer),
            feedback=KafkaFeedbackPublisher(producer),
            replies=replies,
            streams=self.streams,
            keys=KEYS,
            models=NamePatterns(MODELS),
            limits=Limits(),
            reply_partition=self._partition,
            clock=self._clock,
            metrics=InferenceMetrics(CollectorRegistry()),
            idempotency=idempotency_of(
                book=claims,
                finder=finder,
                publisher=publisher,
                clock=self._clock,
                streams=self.streams,
            ),
            pass_by=lambda _place: None,
        )
        table = routes(
            self.desk,
            models=MODELS,
            finder=finder,
            health=HealthApi(registry=CollectorRegistry(), checks={}),
        )
        self._app = GatewayApp(table, new_request_id=self._new_request_id)
        return self

    async def stop(self) -> None:
        """End it."""
        await self.streams.close()
        for following in (self._following, self._claims_following):
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following
        await self._reader.stop()

    def ask(  # a request has these parts
        self,
        path: str,
        *,
        method: str = "GET",
        key: str = KEY,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        query: str = "",
        exchange: FakeExchange | None = None,
        send: Any = None,
    ) -> "Asked":
        """Begin to answer a request."""
        lines = {"authorization": f"Bearer {key}", **(headers or {})}
        request = http_request(path, method=method, headers=lines, body=body, exchange=exchange)
        request.scope["query_string"] = query.encode()
        return Asked(self._app, request.scope, request.receive, send or WatchedSent())

    async def events(self, request_id: str, **options: Any) -> Sent:
        """The whole answer to a request for events."""
        return await self.ask(f"/v1/requests/{request_id}/events", **options).answered()

    def _new_request_id(self) -> str:
        return new_request_id(
            now_ms=int(self._clock.now_ms()),
            random=os.urandom(RANDOM_BYTES),
            reply_partition=self._partition,
        )


class WatchedSent(Sent):
    """What was sent, and news of it."""

    def __init__(self) -> None:
        """Nothing was sent yet."""
        super().__init__()
        self._news = asyncio.Event()

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        """Take a message."""
        await super().__call__(message)
        self._news.set()

    async def has_parts(self, number: int = 1) -> None:
        """Wait until the body was written to so often."""
        while len(self.parts) < number:
            self._news.clear()
            await self._news.wait()


class Asked:
    """A request that is being answered.

    Attributes:
        sent: What its client has got.
    """

    def __init__(self, app: GatewayApp, scope: Any, receive: Any, sent: Any) -> None:
        """Begin."""
        self.sent = sent
        self._task = asyncio.ensure_future(app(scope, receive, sent))

    async def answered(self, *, within_s: float = 600.0) -> Sent:
        """What its client has got when the answer has ended."""
        async with asyncio.timeout(within_s):
            await self._task
        sent: Sent = self.sent
        return sent

    async def give_up(self) -> None:
        """End it."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task


class Chunks:
    """Writes the chunks of requests as the stages do."""

    def __init__(self, cluster: MemoryCluster) -> None:
        """Use a log."""
        self._cluster = cluster

    def write(  # a chunk has these parts
        self,
        request_id: str,
        seq: int,
        kind: ChunkKind = ChunkKind.DELTA,
        *,
        payload: bytes = b"",
        tenant: str = "acme",
        is_streamed: bool = True,
        **changes: Any,
    ) -> int:
        """Write a chunk to the partition that its request's id names; returns its offset."""
        fields: dict[str, Any] = {
            "run": "run-1",
            "attempt": 1,
            "payload": payload or b'{"n":%d}' % seq,
        }
        chunk = ResultChunk(request_id=request_id, seq=seq, kind=kind.value, **fields | changes)
        deadline_at = int(self._cluster.clock.now_ms()) + 60_000
        headers = [(TENANT, tenant.encode()), (DEADLINE, b"%d" % deadline_at)]
        if is_streamed:
            headers.append((STREAM, b"1"))
        return self._cluster.append(
            Topic.RESULT_CHUNKS,
            partition=int(request_id[-2:], 16),
            key=request_id.encode(),
            value=encode_record(chunk),
            headers=headers,
        )

    def join(self, request_id: str, leader: str, **changes: Any) -> int:
        """Say that a request's answer is that of another one."""
        return self.write(
            request_id, 0, ChunkKind.JOINED, payload=leader.encode(), attempt=0, run="", **changes
        )

    def close(self, request_id: str) -> int:
        """Say that a request that joined another one ends as that one does."""
        return self.write(request_id, 1, ChunkKind.JOINED, payload=b"", attempt=0, run="")

    def whole(self, request_id: str, *, count: int = 3) -> None:
        """Write a whole stream of so many deltas, and its end."""
        for seq in range(count):
            self.write(request_id, seq)
        self.write(request_id, count, ChunkKind.END)


def data_lines(body: bytes) -> list[bytes]:
    """The ``data:`` lines of an answer."""
    return [line for line in body.split(b"\n") if line.startswith(b"data:")]


def ids(body: bytes) -> list[str]:
    """The ids of an answer's events."""
    return [line[4:].decode() for line in body.split(b"\n") if line.startswith(b"id: ")]
