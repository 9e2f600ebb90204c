"""How long streams can be attached to, by the times that the log has written down."""

import asyncio

import pytest

from services.gateway.streams import Streams
from services.shared.codec.records import encode_record
from services.shared.domain.configuration import MIN_STREAM_RETENTION_S
from services.shared.domain.events import ChunkKind, ResultChunk
from services.shared.domain.ids import RANDOM_BYTES, new_request_id
from services.shared.domain.topics import Topic
from services.shared.stream.chunk_cursors import KafkaChunkCursors
from tests.support.log_backend import LogBackend

RETENTION_MS = MIN_STREAM_RETENTION_S * 1_000
MARGIN_MS = 30_000
"""More than any broker takes to answer."""


@pytest.mark.parametrize(
    ("ago_ms", "ends"),
    [(RETENTION_MS - MARGIN_MS, [200, 200]), (RETENTION_MS + 1, [410])],
    ids=["kept", "expired"],
)
async def test_a_stream_can_be_read_again_until_its_first_chunk_is_too_old(
    backend: LogBackend, ago_ms: int, ends: list[int]
) -> None:
    """The log has all of it; its last chunk is new."""
    await backend.make_topics({Topic.RESULT_CHUNKS: 1})
    now_ms = int(backend.clock.now_ms())
    request_id = new_request_id(
        now_ms=now_ms - ago_ms, random=bytes(RANDOM_BYTES), reply_partition=0
    )
    for seq, kind, at_ms in ((0, ChunkKind.DELTA, now_ms - ago_ms), (1, ChunkKind.END, now_ms)):
        chunk = ResultChunk(
            request_id=request_id, attempt=1, seq=seq, kind=kind.value, payload=b"1"
        )
        await backend.append(
            Topic.RESULT_CHUNKS,
            encode_record(chunk),
            key=request_id.encode(),
            partition=0,
            timestamp_ms=at_ms,
        )
    streams = Streams(
        KafkaChunkCursors(backend.connect(), partition_count=1),
        own_partition=1,
        live_from=0,
        clock=backend.clock,
        retention_ms=RETENTION_MS,
    )
    waiter = streams.attach(request_id)
    try:
        async with asyncio.timeout(60):
            assert [(await waiter.next(timeout_s=60)).status for _ in ends] == ends
    finally:
        streams.detach(waiter)
        await streams.close()
