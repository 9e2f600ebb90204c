"""Following streams from the log: from the first chunk on, live, by readers that all share."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count

import pytest

from services.gateway.feed import IDLE_S
from services.gateway.sse import EventId
from services.gateway.waiter import (
    MAX_WAITING_ATTACHED_BYTES,
    RIVAL_GRACE_S,
    Exhausted,
    Waiter,
)
from services.shared.domain.errors import PublicError, error_document
from services.shared.domain.events import ChunkKind, ResultChunk
from services.shared.domain.ids import NO_REPLY, RANDOM_BYTES, new_request_id
from services.shared.domain.topics import Topic
from tests.support.fake_clock import FakeClock, run_on_fake_time
from tests.support.gateways import Chunks, Gateway
from tests.support.memory_log import MemoryCluster

OWN, OTHER = 3, 5
PARTITIONS = {str(topic): 16 if topic == Topic.RESULT_CHUNKS else 1 for topic in Topic}
LEAVING = PublicError(code="server_shutting_down", message="Bye.")
_numbers = count(1)


class Rig:
    """A gateway on a log to which a test writes.

    Attributes:
        cluster: The broker.
        gateway: The gateway.
        chunks: Writes as the stages do.
    """

    def __init__(self, clock: FakeClock) -> None:
        """Start the broker."""
        self.cluster = MemoryCluster(clock, topics=PARTITIONS)
        self.gateway = Gateway(self.cluster, partition=OWN)
        self.chunks = Chunks(self.cluster)

    def request_id(self, partition: int = OTHER) -> str:
        """The id of a request that is accepted now."""
        return new_request_id(
            now_ms=int(self.cluster.clock.now_ms()),
            random=next(_numbers).to_bytes(RANDOM_BYTES, "big"),
            reply_partition=partition,
        )

    def attach(self, request_id: str, *, after: EventId | None = None) -> Waiter:
        """Follow a request."""
        return self.gateway.streams.attach(request_id, after=after)


def rigged(test: Callable[[Rig], Awaitable[None]]) -> Callable[[], None]:
    """Run a test on fake time with a started gateway."""

    async def scenario(clock: FakeClock) -> None:
        rig = Rig(clock)
        await rig.gateway.start()
        await test(rig)
        await rig.gateway.stop()

    def run() -> None:
        run_on_fake_time(scenario)

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


async def taken(waiter: Waiter, number: int = 0) -> list[ResultChunk]:
    """So many chunks, or all up to the end."""
    chunks = [await waiter.next(timeout_s=60)]
    while len(chunks) != number and chunks[-1].kind == ChunkKind.DELTA:
        chunks.append(await waiter.next(timeout_s=60))
    return chunks


def numbers(chunks: list[ResultChunk]) -> list[int]:
    """Their places in the stream."""
    return [chunk.seq for chunk in chunks]


def code(chunk: ResultChunk) -> str:
    """The code of an error."""
    assert chunk.kind == ChunkKind.ERROR
    return chunk.payload.decode().partition('"code":"')[2].partition('"')[0]


@pytest.mark.parametrize("partition", [OWN, OTHER])
def test_a_stream_is_read_from_its_first_chunk_on_and_then_live(partition: int) -> None:
    """Whatever was there when it was attached to, on one's own partition and on another's."""

    @rigged
    async def run(rig: Rig) -> None:
        for written in range(5):
            request_id = rig.request_id(partition)
            for seq in range(written):
                rig.chunks.write(request_id, seq)
            waiter = rig.attach(request_id)
            for seq in range(written, 5):
                rig.chunks.write(request_id, seq)
                await asyncio.sleep(0.3)
            rig.chunks.write(request_id, 5, ChunkKind.END)
            assert numbers(await taken(waiter)) == list(range(6))
            rig.gateway.streams.detach(waiter)

    run()


@pytest.mark.parametrize("partition", [OWN, OTHER])
def test_nothing_is_lost_or_doubled_where_catching_up_ends(partition: int) -> None:
    """Streams that run on while many others are attached to, at every moment of catching up."""

    @rigged
    async def run(rig: Rig) -> None:
        request_ids = [rig.request_id(partition) for _ in range(40)]
        waiters: list[Waiter] = []
        for seq in range(60):
            for request_id in request_ids:
                rig.chunks.write(request_id, seq, ChunkKind.END if seq == 59 else ChunkKind.DELTA)
                if seq % 2 == 0:
                    await asyncio.sleep(0)
            if seq < 40:
                waiters.append(rig.attach(request_ids[seq]))
        for waiter in waiters:
            assert numbers(await taken(waiter)) == list(range(60))

    run()


@rigged
async def test_however_many_follow_they_share_the_readers(rig: Rig) -> None:
    """Two readers for a partition that is not ours, one for ours; none once nobody follows."""
    await asyncio.sleep(1)  # the gateway's own readers are open by now
    before = rig.gateway.log.readers
    request_ids = [rig.request_id(partition) for partition in (OWN, OTHER) for _ in range(100)]
    for request_id in request_ids:
        rig.chunks.whole(request_id)
    waiters = [rig.attach(request_id) for request_id in request_ids for _ in range(2)]
    for waiter in waiters:
        assert numbers(await taken(waiter)) == [0, 1, 2, 3]
    assert rig.gateway.log.readers - before == 3
    assert rig.gateway.streams.count == 400
    for waiter in waiters:
        rig.gateway.streams.detach(waiter)
    assert rig.gateway.streams.count == 0
    await asyncio.sleep(IDLE_S * 2)
    again = rig.attach(request_ids[-1])
    assert numbers(await taken(again)) == [0, 1, 2, 3]
    assert rig.gateway.log.readers - before == 5, "the others were closed"


@rigged
async def test_what_is_far_back_is_not_read(rig: Rig) -> None:
    """Reading begins ten seconds before the id's time, so a stream elsewhere in the log is free."""
    early = rig.request_id()
    await asyncio.sleep(60)
    rig.chunks.whole(early)
    await asyncio.sleep(60)
    late = rig.request_id()
    rig.chunks.whole(late)
    given = []
    waiter = rig.attach(late)
    feed = rig.gateway.streams._feeds[OTHER]
    give = feed._give

    async def noted(follower: object, record: object) -> None:
        given.append(record)
        await give(follower, record)  # type: ignore[arg-type]

    feed._give = noted  # type: ignore[method-assign]
    await taken(waiter)
    assert len(given) == 4


@rigged
async def test_a_slow_reader_holds_little_and_misses_nothing(rig: Rig) -> None:
    """What he does not take is read again when he does; others are not held up by him."""
    large = b"x" * 40_000
    slow_id, quick_id = rig.request_id(), rig.request_id()
    slow, quick = rig.attach(slow_id), rig.attach(quick_id)
    late = rig.attach(slow_id)
    for seq in range(50):
        kind = ChunkKind.END if seq == 49 else ChunkKind.DELTA
        rig.chunks.write(slow_id, seq, kind, payload=large)
        rig.chunks.write(quick_id, seq, kind)
        if seq % 10 == 0:
            await asyncio.sleep(0.1)
    assert numbers(await taken(quick)) == list(range(50))
    held = sum(len(chunk.payload) for chunk, _ in slow._chunks)
    assert held <= MAX_WAITING_ATTACHED_BYTES + len(large)
    assert numbers(await taken(slow)) == list(range(50))
    assert numbers(await taken(late)) == list(range(50))


@rigged
async def test_whoever_leaves_gets_nothing_more(rig: Rig) -> None:
    """At any time: before, while and after he is read up, and while he is parked."""
    request_id = rig.request_id()
    for seq in range(20):
        rig.chunks.write(request_id, seq, payload=b"x" * 40_000)
    for turns in (0, 1, 2, 3, 5, 8, 13, 40):
        waiter = rig.attach(request_id)
        for _ in range(turns):
            await asyncio.sleep(0)
        rig.gateway.streams.detach(waiter)
        rig.gateway.streams.detach(waiter)
        assert not waiter._chunks
    feed = rig.gateway.streams._feeds[OTHER]
    await asyncio.sleep(1)
    assert not feed._waiting
    assert not feed._reading
    assert not feed._live


@rigged
async def test_a_broker_that_is_away_is_waited_for(rig: Rig) -> None:
    """Nobody is told anything until it is back; then all goes on where it stood."""
    request_id = rig.request_id()
    rig.chunks.write(request_id, 0)
    rig.cluster.stop_broker()
    waiter = rig.attach(request_id)
    await asyncio.sleep(5)
    rig.cluster.start_broker()
    assert numbers(await taken(waiter, 1)) == [0]
    rig.cluster.stop_broker()
    again = rig.attach(request_id)
    await asyncio.sleep(5)
    rig.cluster.start_broker()
    rig.chunks.write(request_id, 1, ChunkKind.END)
    assert numbers(await taken(waiter)) == [1]
    assert numbers(await taken(again)) == [0, 1]


@rigged
async def test_whether_there_are_chunks_is_read_anew(rig: Rig) -> None:
    """Also while those who follow the request have not got them yet; nothing is left behind."""
    request_id = rig.request_id()
    waiter = rig.attach(request_id)
    assert not await rig.gateway.streams.has_chunks(request_id)
    rig.cluster.unreadable.add(Topic.RESULT_CHUNKS)
    rig.chunks.write(request_id, 0)
    looking = asyncio.create_task(rig.gateway.streams.has_chunks(request_id))
    await asyncio.sleep(60)
    assert not looking.done()
    rig.cluster.unreadable.clear()
    assert await looking
    assert numbers(await taken(waiter, 1)) == [0]
    assert rig.gateway.streams.count == 1


@rigged
async def test_a_reader_may_leave_out_what_he_has(rig: Rig) -> None:
    """Up to the chunk of the event that he names; of a chunk with more fragments, all comes."""
    request_id = rig.request_id()
    offsets = [rig.chunks.write(request_id, seq) for seq in range(3)]
    offsets.append(rig.chunks.write(request_id, 3, ChunkKind.END))
    for seq, offset in enumerate(offsets[:-1]):
        rest = rig.attach(request_id, after=EventId(seq, OTHER, offset))
        assert numbers(await taken(rest)) == list(range(seq + 1, 4))
        rest = rig.attach(request_id, after=EventId(seq, OTHER, offset, 0))
        assert numbers(await taken(rest)) == list(range(seq, 4))
        assert rest.at == EventId(3, OTHER, offsets[3])
    nothing = rig.attach(request_id, after=EventId(3, OTHER, offsets[3]))
    with pytest.raises(Exhausted):
        await nothing.next(timeout_s=60)


@rigged
async def test_a_cursor_of_another_stream_is_refused(rig: Rig) -> None:
    """Another offset, sequence number or partition, of this log or of none; running or ended."""
    running, ended, other = rig.request_id(), rig.request_id(), rig.request_id()
    foreign = rig.chunks.write(other, 0)
    rig.chunks.write(running, 0)
    own = rig.chunks.write(running, 1)
    rig.chunks.whole(ended)
    for cursor in (
        EventId(0, OTHER, foreign),
        EventId(1, OTHER, own + 1),
        EventId(0, OTHER, own),
        EventId(1, OWN, own),
        EventId(1, 99, own),
        EventId(1, OTHER, 10**17),
    ):
        for request_id in (running, ended):
            waiter = rig.attach(request_id, after=cursor)
            assert code(await waiter.next(timeout_s=60)) == "invalid_cursor"
            assert waiter.at is None


@rigged
async def test_a_stream_without_its_first_chunks_has_expired(rig: Rig) -> None:
    """What is left of it is never shown as if it were the beginning."""
    request_id = rig.request_id()
    rig.chunks.whole(request_id)
    rig.cluster.truncate(Topic.RESULT_CHUNKS, partition=OTHER, before=1)
    for cursor in (None, EventId(2, OTHER, 2)):
        waiter = rig.attach(request_id, after=cursor)
        ended = await waiter.next(timeout_s=60)
        assert (code(ended), ended.status) == ("stream_expired", 410)
        assert f"/v1/requests/{request_id}" in ended.payload.decode()


@rigged
async def test_a_joiner_is_not_told_that_it_was_cancelled_when_its_leader_was(rig: Rig) -> None:
    """Its stream was cut off, for whoever reads it when."""
    leader, joiner = rig.request_id(), rig.request_id()
    cancelled = error_document(PublicError(code="request_cancelled", message="Ended."))
    live = rig.attach(joiner)
    rig.chunks.join(joiner, leader)
    rig.chunks.write(leader, 0)
    rig.chunks.write(leader, 1, ChunkKind.ERROR, payload=cancelled)
    for waiter in (live, rig.attach(joiner)):
        first, ended = await taken(waiter)
        assert (first.request_id, code(ended)) == (leader, "stream_interrupted")
    assert [code(it) for it in (await taken(rig.attach(leader)))[1:]] == ["request_cancelled"]


@rigged
async def test_an_id_without_a_place_is_no_stream(rig: Rig) -> None:
    """A producer's request has no chunks; the id of a bigger cluster names none of ours."""
    for request_id in (rig.request_id(NO_REPLY), rig.request_id(16), "nonsense"):
        assert not rig.gateway.streams.can_find(request_id)
        assert code(await rig.attach(request_id).next(timeout_s=1)) == "stream_interrupted"
    assert rig.gateway.streams.can_find(rig.request_id())


@rigged
async def test_a_run_that_died_long_ago_is_given_up_once_all_is_read(rig: Rig) -> None:
    """Its rival is met on the way; the time of grace begins when there is nothing more to read."""
    request_id = rig.request_id()
    rig.chunks.write(request_id, 0, run="dead")
    rig.chunks.write(request_id, 0, run="new")
    for seq in range(1, 400):
        rig.chunks.write(request_id, seq, run="dead")
    waiter = rig.attach(request_id)
    assert numbers(await taken(waiter, 400)) == list(range(400))
    rig.chunks.write(request_id, 1, run="new")
    began_ms = rig.cluster.clock.now_ms()
    assert code(await waiter.next(timeout_s=60)) == "stream_interrupted"
    waited_s = (rig.cluster.clock.now_ms() - began_ms) / 1000
    assert waited_s == pytest.approx(RIVAL_GRACE_S, abs=0.1)
    late = rig.attach(request_id)
    assert numbers(await taken(late, 400)) == list(range(400))


@rigged
async def test_the_facts_of_a_request_are_known_from_its_first_chunk(rig: Rig) -> None:
    """Or it is known that there is none."""
    request_id = rig.request_id()
    rig.chunks.write(request_id, 0, tenant="acme", is_streamed=False)
    facts = await rig.attach(request_id).known(timeout_s=60)
    assert facts is not None
    assert (facts.tenant, facts.is_streamed) == ("acme", False)
    assert facts.deadline_at == int(rig.cluster.clock.now_ms()) + 60_000
    assert await rig.attach(rig.request_id()).known(timeout_s=60) is None
    rig.cluster.stop_broker()
    with pytest.raises(TimeoutError):
        await rig.attach(rig.request_id(7)).known(timeout_s=5)


@rigged
async def test_shutdown_ends_every_stream_with_a_retriable_error(rig: Rig) -> None:
    """Also those that were not read up yet."""
    waiters = [rig.attach(rig.request_id()) for _ in range(3)]
    rig.gateway.streams.end_all(LEAVING)
    for waiter in waiters:
        assert code(await waiter.next(timeout_s=1)) == "server_shutting_down"


@rigged
async def test_a_chunk_that_cannot_be_read_ends_its_stream_only(rig: Rig) -> None:
    """Others go on."""
    broken, sound = rig.request_id(), rig.request_id()
    rig.cluster.append(Topic.RESULT_CHUNKS, partition=OTHER, key=broken.encode(), value=b"rubbish")
    rig.chunks.whole(sound)
    assert code(await rig.attach(broken).next(timeout_s=60)) == "stream_interrupted"
    assert numbers(await taken(rig.attach(sound))) == [0, 1, 2, 3]


# -- joined requests -------------------------------------------------------------------------------


@pytest.mark.parametrize("partition", [OWN, OTHER])
def test_a_joiner_follows_its_leader_from_the_first_chunk_on(partition: int) -> None:
    """Whatever its leader had said before, and wherever; then live."""

    @rigged
    async def run(rig: Rig) -> None:
        leader, joiner = rig.request_id(partition), rig.request_id(OWN)
        rig.chunks.write(leader, 0)
        waiter = rig.gateway.desk.replies.expect(joiner)
        rig.chunks.join(joiner, leader)
        rig.chunks.write(leader, 1)
        assert numbers(await taken(waiter, 2)) == [0, 1]
        last = rig.chunks.write(leader, 2, ChunkKind.END)
        rig.chunks.close(joiner)
        assert numbers(await taken(waiter)) == [2]
        assert waiter.at == EventId(2, partition, last)
        rig.gateway.desk.replies.forget(joiner)
        assert rig.gateway.streams._leaders == {}

    run()


@rigged
async def test_a_joiner_whose_leader_failed_early_is_answered_anew(rig: Rig) -> None:
    """The leader's error is not shown; the joiner's own answer, or its next leader's, is."""
    for is_late in (False, True):
        leader, following, joiner = (rig.request_id() for _ in range(3))
        waiter = None if is_late else rig.attach(joiner)
        rig.chunks.join(joiner, leader)
        rig.chunks.write(leader, 0, ChunkKind.ERROR)
        await asyncio.sleep(1)
        rig.chunks.join(joiner, following)
        rig.chunks.write(following, 0, ChunkKind.ERROR)
        await asyncio.sleep(1)
        rig.chunks.write(joiner, 0, run="own")
        await asyncio.sleep(1)
        rig.chunks.write(joiner, 1, ChunkKind.END, run="own")
        chunks = await taken(waiter or rig.attach(joiner))
        assert [(it.run, it.seq) for it in chunks] == [("own", 0), ("own", 1)]


@rigged
async def test_a_joiner_ended_after_output_is_ended_there_for_every_reader(rig: Rig) -> None:
    """A reader that comes later sees what was shown at the time, not what its leader said after."""
    leader, joiner = rig.request_id(), rig.request_id(7)
    live = rig.attach(joiner)
    rig.chunks.join(joiner, leader)
    rig.chunks.write(leader, 0)
    await asyncio.sleep(1)
    rig.chunks.write(joiner, 0, ChunkKind.ERROR, payload=b'{"error":{"code":"own"}}', attempt=0)
    await asyncio.sleep(1)
    rig.chunks.write(leader, 1, ChunkKind.END)
    await asyncio.sleep(1)
    for waiter in (live, rig.attach(joiner)):
        first, ended = await taken(waiter)
        assert (first.request_id, first.seq) == (leader, 0)
        assert (ended.request_id, code(ended)) == (joiner, "own")


@rigged
async def test_a_leader_that_is_no_request_ends_its_joiner(rig: Rig) -> None:
    """It cannot be followed."""
    joiner = rig.request_id()
    rig.chunks.join(joiner, "nonsense")
    assert code(await rig.attach(joiner).next(timeout_s=60)) == "stream_interrupted"
