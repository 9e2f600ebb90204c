"""The stream of chunks of one attempt, on fake time."""

import asyncio
from collections.abc import Awaitable

import pytest

from services.model_caller.chunks import MAX_GATHERED_BYTES, ChunkStream
from services.shared.domain.emit import Emit
from services.shared.domain.errors import MustStop, PublicError
from services.shared.domain.events import InferenceRequested, ResultChunk
from services.shared.domain.terminal import chunk_emit, is_leaving, leaving_chunk
from services.shared.domain.topics import Topic
from services.shared.ports.work import Written
from tests.support.example_events import requested
from tests.support.open_record import written_at

GATHER_S = 0.025
BROKEN = PublicError(code="stream_interrupted", message="It broke off.")


class Log:
    """Takes chunks, slowly or not at all.

    Attributes:
        chunks: What it took, with the time at which it did.
        delay_s: How long it takes for each.
        failing: Raised at the next.
    """

    def __init__(self) -> None:
        """Start empty and fast."""
        self.chunks: list[tuple[float, ResultChunk]] = []
        self.delay_s = 0.0
        self.failing: Exception | None = None

    async def send(self, emit: Emit) -> Awaitable[Written]:
        """Take a record."""
        assert (emit.topic, emit.partition) == (Topic.RESULT_CHUNKS, 3)
        assert isinstance(emit.event, ResultChunk)
        await asyncio.sleep(self.delay_s)
        if self.failing is not None:
            raise self.failing
        self.chunks.append((asyncio.get_running_loop().time(), emit.event))
        return written_at(len(self.chunks))

    @property
    def payloads(self) -> list[bytes]:
        """What the chunks say."""
        return [chunk.payload for _, chunk in self.chunks]

    def check_order(self) -> None:
        """Chunks are numbered from 0 without gaps; the first alone has headers."""
        assert [chunk.seq for _, chunk in self.chunks] == list(range(len(self.chunks)))
        assert [bool(chunk.headers) for _, chunk in self.chunks[1:]] == [False] * (
            len(self.chunks) - 1
        )


def stream_to(log: Log, request: InferenceRequested | None = None) -> ChunkStream:
    """A stream of a request whose client waits on partition 3."""
    return ChunkStream(
        request or requested(reply_partition=3),
        run="run-1",
        attempt=2,
        headers={"x-cache": "miss"},
        gather_s=GATHER_S,
        send=log.send,
    )


async def test_the_first_output_leaves_at_once_and_the_rest_is_gathered() -> None:
    """Nobody waits for the first word; later ones share a record."""
    log = Log()
    stream = stream_to(log)
    await stream.delta(b"a")
    assert log.payloads == [b"a"]
    await stream.delta(b"b")
    await asyncio.sleep(GATHER_S / 2)
    await stream.delta(b"c")
    assert log.payloads == [b"a"]
    await asyncio.sleep(GATHER_S)
    assert log.payloads == [b"a", b"b\nc"]
    await stream.end(b"d")
    assert [(chunk.kind, chunk.payload) for _, chunk in log.chunks[2:]] == [("end", b"d")]
    assert {(chunk.run, chunk.attempt, chunk.status) for _, chunk in log.chunks} == {
        ("run-1", 2, 200)
    }
    log.check_order()


async def test_the_end_takes_along_what_was_gathered() -> None:
    """No record of its own for the last words, and none after the end."""
    log = Log()
    stream = stream_to(log)
    for fragment in (b"a", b"b", b"c"):
        await stream.delta(fragment)
    await stream.end(b"d", b"e")
    await asyncio.sleep(1)
    assert log.payloads == [b"a", b"b\nc\nd\ne"]
    log.check_order()


async def test_an_unstreamed_answer_is_one_chunk() -> None:
    """It is the first and the last, with the headers."""
    log = Log()
    await stream_to(log).end(b"all of it")
    ((_, chunk),) = log.chunks
    assert (chunk.kind, chunk.payload, chunk.headers) == ("end", b"all of it", {"x-cache": "miss"})


async def test_chunks_keep_their_order_on_a_slow_log() -> None:
    """While a record is on its way nothing overtakes it; what comes meanwhile is gathered."""
    log = Log()
    log.delay_s = 0.2
    stream = stream_to(log)
    for number in range(20):
        await stream.delta(b"%d" % number)
        await asyncio.sleep(0.01)
    await stream.end()
    assert b"\n".join(log.payloads) == b"\n".join(b"%d" % number for number in range(20))
    assert len(log.chunks) < 6
    log.check_order()


async def test_gathered_output_leaves_although_nothing_follows() -> None:
    """A pause of the provider does not hold back what it said before, however slow the log was."""
    log = Log()
    log.delay_s = 0.03
    stream = stream_to(log)
    await stream.delta(b"a")
    await stream.delta(b"b")
    await asyncio.sleep(GATHER_S + 0.01)  # "b" is on its way
    await stream.delta(b"c")
    await asyncio.sleep(1)
    assert log.payloads == [b"a", b"b", b"c"]


async def test_much_output_is_not_gathered_into_more_than_a_record() -> None:
    """A flood leaves in bounded records."""
    log = Log()
    stream = stream_to(log)
    fragment = b"x" * 100_000
    for _ in range(30):
        await stream.delta(fragment)
    await stream.end()
    assert max(map(len, log.payloads)) <= MAX_GATHERED_BYTES + len(fragment) + 10
    assert sum(payload.count(b"x") for payload in log.payloads) == 30 * len(fragment)
    log.check_order()


async def test_an_error_closes_the_stream_after_what_was_said() -> None:
    """The words gathered come before it; status and retry advice come with it."""
    log = Log()
    stream = stream_to(log)
    for fragment in (b"a", b"b"):
        await stream.delta(fragment)
    await stream.fail(BROKEN)
    assert [chunk.kind for _, chunk in log.chunks] == ["delta", "delta", "error"]
    assert log.payloads[1] == b"b"
    (_, last) = log.chunks[-1]
    assert (last.seq, last.status, last.run, last.attempt) == (2, 502, "run-1", 2)
    assert last.headers["x-should-retry"] == "true"


async def test_where_nobody_waits_nothing_is_sent() -> None:
    """A Kafka producer's request has no chunks."""
    log = Log()
    stream = stream_to(log, requested())
    await stream.delta(b"a")
    await stream.end(b"b")
    await stream.fail(BROKEN)
    assert log.chunks == []


async def test_a_record_that_cannot_be_sent_is_not_passed_over() -> None:
    """What a flush in the background raised, the next piece raises: no stream has a gap."""
    log = Log()
    stream = stream_to(log)
    await stream.delta(b"a")
    await stream.delta(b"b")
    log.failing = MustStop("fenced")
    await asyncio.sleep(1)
    log.failing = None
    with pytest.raises(MustStop):
        await stream.delta(b"c")
    assert log.payloads == [b"a"]


async def test_the_end_raises_what_a_flush_raised() -> None:
    """An answer with a hole does not end as if it were whole."""
    log = Log()
    stream = stream_to(log)
    await stream.delta(b"a")
    await stream.delta(b"b")
    log.failing = MustStop("fenced")
    await asyncio.sleep(1)
    log.failing = None
    with pytest.raises(MustStop):
        await stream.end(b"c")
    assert log.payloads == [b"a"]


@pytest.mark.parametrize("closes_with_an_error", [False, True])
async def test_who_leaves_is_told_only_before_the_end(closes_with_an_error: bool) -> None:  # noqa: FBT001
    """In the log as in the answer: an end that was begun comes first, and is the end."""
    log, request = Log(), requested(reply_partition=3)
    stream = stream_to(log, request)
    leaving = chunk_emit(request, leaving_chunk(request, headers={}, attempt=2))
    await stream.delta(b"a")
    assert await stream.leave(leaving)
    log.delay_s = 1.0
    closing = asyncio.create_task(
        stream.fail(BROKEN) if closes_with_an_error else stream.end(b"all")
    )
    await asyncio.sleep(0)
    assert not await stream.leave(leaving)
    await closing
    assert [is_leaving(chunk) for _, chunk in log.chunks] == [False, True, False]
