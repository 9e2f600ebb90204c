"""Waiting for the chunks of an answer."""

import asyncio

import pytest

from services.gateway.replies import Replies
from services.gateway.waiter import (
    MAX_WAITING_BYTES,
    MAX_WAITING_CHUNKS,
    RIVAL_GRACE_S,
    Abandoned,
    Waiter,
)
from services.shared.domain.errors import PublicError
from services.shared.domain.events import ChunkKind, ResultChunk
from tests.support.fake_clock import clock_of_loop
from tests.support.gateway_desk import (
    REQUEST_ID,
    chunk,
    deliver,
    on_fake_time,
    record_of,
    settled,
)

LEAVING = PublicError(code="server_shutting_down", message="Bye.", retry_after_ms=1500)


def error_code(ended: ResultChunk) -> str:
    """The code of the error that ended an answer."""
    assert ended.kind == ChunkKind.ERROR
    return ended.payload.decode().partition('"code":"')[2].partition('"')[0]


async def all_of(waiter: Waiter) -> list[ResultChunk]:
    """Everything up to the end."""
    chunks = [await waiter.next(timeout_s=1)]
    while chunks[-1].kind == ChunkKind.DELTA:
        chunks.append(await waiter.next(timeout_s=1))
    return chunks


@on_fake_time
async def test_chunks_come_in_order_before_and_while_they_are_waited_for() -> None:
    """Chunks that are there are given at once; for the next one is waited."""
    replies = Replies()
    waiter = replies.expect(REQUEST_ID)
    deliver(replies, chunk(0), chunk(1))
    assert (await waiter.next(timeout_s=1)).seq == 0
    assert (await waiter.next(timeout_s=1)).seq == 1
    waiting = asyncio.create_task(waiter.next(timeout_s=1))
    await settled()
    assert not waiting.done()
    deliver(replies, chunk(2, ChunkKind.END))
    assert (await waiting).kind == ChunkKind.END
    assert clock_of_loop().monotonic_s() == 0


@on_fake_time
async def test_silence_is_a_timeout_after_which_one_may_wait_again() -> None:
    """A timeout loses no chunk."""
    replies = Replies()
    waiter = replies.expect(REQUEST_ID)
    with pytest.raises(TimeoutError):
        await waiter.next(timeout_s=15)
    assert clock_of_loop().monotonic_s() == pytest.approx(15)
    deliver(replies, chunk(0))
    assert (await waiter.next(timeout_s=15)).seq == 0


@on_fake_time
async def test_chunks_of_others_are_passed_over() -> None:
    """A reply partition is shared: only requests of this process are looked at."""
    replies = Replies()
    waiter = replies.expect(REQUEST_ID)
    replies.deliver(record_of(b"req_of_another_gateway", b"not even Avro"))
    deliver(replies, chunk(0, ChunkKind.END))
    assert [each.seq for each in await all_of(waiter)] == [0]


@on_fake_time
async def test_nothing_follows_the_end() -> None:
    """Repeated endings, late chunks and a shutdown change nothing about an answer that ended."""
    replies = Replies()
    waiter = replies.expect(REQUEST_ID)
    deliver(replies, chunk(0, ChunkKind.END), chunk(0, ChunkKind.END), chunk(1))
    replies.end_all(LEAVING)
    assert (await waiter.next(timeout_s=1)).kind == ChunkKind.END
    with pytest.raises(TimeoutError):
        await waiter.next(timeout_s=5)


@on_fake_time
async def test_a_gap_ends_the_answer_with_an_error() -> None:
    """What came before the gap is given; then the error, never the chunk behind it."""
    replies = Replies()
    waiter = replies.expect(REQUEST_ID)
    deliver(replies, chunk(0), chunk(2), chunk(3, ChunkKind.END))
    first, ended = await all_of(waiter)
    assert first.seq == 0
    assert (error_code(ended), ended.status) == ("stream_interrupted", 502)
    assert ended.headers["x-should-retry"] == "true"


@on_fake_time
async def test_an_unreadable_chunk_ends_only_the_answer_it_belongs_to() -> None:
    """A poison chunk is an error for its request; others go on."""
    replies = Replies()
    broken, whole = replies.expect(REQUEST_ID), replies.expect("req_other")
    replies.deliver(record_of(REQUEST_ID.encode(), b"\x00\x00\x00\x00\x00rubbish"))
    deliver(replies, chunk(0, ChunkKind.END, request_id="req_other"))
    assert error_code(await broken.next(timeout_s=1)) == "stream_interrupted"
    assert (await whole.next(timeout_s=1)).kind == ChunkKind.END


@on_fake_time
async def test_a_silent_run_is_given_up_once_another_one_answers() -> None:
    """The process that answered died and another began anew: the client is told within seconds."""
    replies = Replies()
    waiter = replies.expect(REQUEST_ID)
    deliver(replies, chunk(0, run="dead"), chunk(0, run="new"), chunk(1, ChunkKind.END, run="new"))
    assert (await waiter.next(timeout_s=60)).run == "dead"
    ended = await waiter.next(timeout_s=60)
    assert error_code(ended) == "stream_interrupted"
    assert clock_of_loop().monotonic_s() == pytest.approx(RIVAL_GRACE_S)


@on_fake_time
async def test_a_run_that_goes_on_is_not_given_up_for_its_rival() -> None:
    """A caller that only seemed dead keeps its stream as long as it speaks."""
    replies = Replies()
    waiter = replies.expect(REQUEST_ID)
    deliver(replies, chunk(0, run="slow"), chunk(0, run="new"))
    await asyncio.sleep(RIVAL_GRACE_S / 2)
    deliver(replies, chunk(1, run="slow"))
    await asyncio.sleep(RIVAL_GRACE_S * 2)
    deliver(replies, chunk(2, ChunkKind.END, run="slow"))
    assert [(each.run, each.seq) for each in await all_of(waiter)] == [
        ("slow", 0),
        ("slow", 1),
        ("slow", 2),
    ]


@pytest.mark.parametrize(
    ("payload", "count"),
    [
        pytest.param(b"x", MAX_WAITING_CHUNKS + 1, id="chunks"),
        pytest.param(b"x" * (MAX_WAITING_BYTES // 4 + 1), 5, id="bytes"),
    ],
)
@on_fake_time
async def test_a_reader_that_falls_behind_is_cut_off(payload: bytes, count: int) -> None:
    """What waits for one reader is bounded by number and by size; beyond that he gets an error."""
    replies = Replies()
    waiter = replies.expect(REQUEST_ID)
    deliver(replies, *(chunk(seq, payload=payload) for seq in range(count)))
    *given, ended = await all_of(waiter)
    assert len(given) <= MAX_WAITING_CHUNKS
    assert sum(len(each.payload) for each in given) <= MAX_WAITING_BYTES
    assert error_code(ended) == "stream_interrupted"


@on_fake_time
async def test_one_large_chunk_passes_to_a_reader_who_keeps_up() -> None:
    """A whole answer may be larger than what may wait: it waits alone."""
    replies = Replies()
    waiter = replies.expect(REQUEST_ID)
    large = b"x" * (MAX_WAITING_BYTES + 1)
    deliver(replies, chunk(0, payload=large))
    assert len((await waiter.next(timeout_s=1)).payload) == len(large)
    deliver(replies, chunk(1, ChunkKind.END, payload=large))
    assert len((await waiter.next(timeout_s=1)).payload) == len(large)


@on_fake_time
async def test_shutdown_ends_every_wait_with_a_retriable_error() -> None:
    """Streams that are still open when the time is over say why they end, and when to retry."""
    replies = Replies()
    open_stream, silent = replies.expect(REQUEST_ID), replies.expect("req_other")
    deliver(replies, chunk(0))
    replies.end_all(LEAVING)
    assert error_code((await all_of(open_stream))[-1]) == "server_shutting_down"
    ended = await silent.next(timeout_s=1)
    assert (ended.status, ended.headers["retry-after"]) == (503, "2")


@on_fake_time
async def test_a_client_that_left_is_not_waited_for() -> None:
    """Abandoning ends a wait at once, also one that begins later, whatever is there."""
    replies = Replies()
    waiter = replies.expect(REQUEST_ID)
    waiting = asyncio.create_task(waiter.next(timeout_s=600))
    await settled()
    waiter.abandon()
    with pytest.raises(Abandoned):
        await waiting
    deliver(replies, chunk(0))
    with pytest.raises(Abandoned):
        await waiter.next(timeout_s=600)
    assert clock_of_loop().monotonic_s() == 0


@on_fake_time
async def test_forgotten_requests_leave_nothing_behind() -> None:
    """Neither an entry nor a timer stays, and forgetting twice is fine."""
    replies = Replies()
    replies.expect(REQUEST_ID)
    assert replies.count == 1
    deliver(replies, chunk(0, run="a"), chunk(0, run="b"))
    replies.forget(REQUEST_ID)
    replies.forget(REQUEST_ID)
    assert replies.count == 0
    deliver(replies, chunk(1, run="a"))
