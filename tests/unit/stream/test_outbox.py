"""The way out: where records go, how they are signed off, and when they may not go."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from services.shared.codec.headers import CRC32C, REQUEST_ID, TENANT, checksum
from services.shared.codec.records import decode_record
from services.shared.domain.emit import Emit
from services.shared.domain.errors import MustStop, PoisonRecord
from services.shared.domain.events import RequestRouted
from services.shared.domain.ids import partition_for
from services.shared.domain.topics import BATCH_TOPICS, Topic
from services.shared.stream.client import MAX_RECORD_BYTES, Raw
from services.shared.stream.outbox import Fence, Outbox
from tests.support.example_events import batch, missed, routed
from tests.support.fake_clock import FakeClock, run_on_fake_time
from tests.support.memory_log import MemoryCluster

SESSION_S = 10.0
Scenario = Callable[["Bench"], Coroutine[Any, Any, None]]


class Member:
    """A membership as the test wants it."""

    def __init__(self) -> None:
        """Start in good standing."""
        self.confirmed_at_s = 0.0
        self.is_lost = False


class Bench:
    """An outbox on a cluster in memory."""

    def __init__(self, clock: FakeClock) -> None:
        """Make it."""
        self.clock = clock
        self.cluster = MemoryCluster(
            clock,
            topics={
                Topic.ROUTED_REQUESTS: 12,
                Topic.INFERENCE_RESULTS: 12,
                **dict.fromkeys(BATCH_TOPICS, 12),
            },
        )
        self.fence = Fence(clock=clock, session_timeout_s=SESSION_S)
        self.member = Member()
        self.fence.watch(self.member)
        self.fatal: list[Exception] = []
        self.acknowledged = 0
        self.outbox = Outbox(
            service="router",
            producer=self.cluster.log().producer(),
            clock=clock,
            fence=self.fence,
            on_fatal=self.fatal.append,
        )

    async def send(self, emit: Emit, *, source: Raw | None = None) -> None:
        """Send, and count the acknowledgement."""

        def acknowledged() -> None:
            self.acknowledged += 1

        await self.outbox.send(emit, on_acknowledged=acknowledged, source=source)

    def only(self, topic: str) -> Raw:
        """The one record of a topic."""
        [raw] = self.cluster.records(topic)
        return raw


def on_bench(scenario: Scenario) -> None:
    """Run a scenario on fake time."""

    async def run(clock: FakeClock) -> None:
        await scenario(Bench(clock))

    run_on_fake_time(run)


def _emit(number: int = 1, **changes: Any) -> Emit:
    event = routed(number)
    return Emit(
        topic=Topic.ROUTED_REQUESTS,
        key=event.request.request_id,
        event=event,
        request=event.request,
        **changes,
    )


def _source(bench: Bench, topic: str, partition: int) -> Raw:
    bench.cluster.make_topic(topic, partitions=12)
    bench.cluster.append(topic, partition=partition, value=b"source")
    return bench.only(topic)


def test_a_record_carries_its_request_and_its_checksum() -> None:
    """Value, key and headers tell the same story."""

    async def scenario(bench: Bench) -> None:
        emit = _emit()
        await bench.send(emit)
        raw = bench.only(Topic.ROUTED_REQUESTS)
        headers = dict(raw.headers)
        assert raw.value is not None
        assert decode_record(raw.value, RequestRouted) == emit.event
        assert raw.key == headers[REQUEST_ID] == b"request-00000001"
        assert headers[TENANT] == b"acme"
        assert headers[CRC32C] == checksum(raw.value)

    on_bench(scenario)


def test_a_record_of_no_single_request_carries_its_checksum_alone() -> None:
    """A batch belongs to all its members."""

    async def scenario(bench: Bench) -> None:
        event = batch()
        await bench.send(Emit(topic=BATCH_TOPICS[0], key=event.batch_id, event=event))
        assert [name for name, _ in bench.only(BATCH_TOPICS[0]).headers] == [CRC32C]

    on_bench(scenario)


def test_a_request_keeps_its_partition_between_the_topics_that_share_it() -> None:
    """A batch, too, whose key has nothing to do with it."""

    async def scenario(bench: Bench) -> None:
        source = _source(bench, Topic.CACHE_MISSES, 7)
        await bench.send(_emit(), source=source)
        event = batch()
        emit = Emit(topic=BATCH_TOPICS[2], key=event.batch_id, event=event)
        await bench.send(emit, source=source)
        assert bench.only(Topic.ROUTED_REQUESTS).partition == 7
        assert bench.only(BATCH_TOPICS[2]).partition == 7

    on_bench(scenario)


def test_elsewhere_the_key_decides() -> None:
    """All terminals of a request lie on one partition, whoever writes them."""

    async def scenario(bench: Bench) -> None:
        source = _source(bench, Topic.INFERENCE_REQUESTS_P0, 7)
        expected = partition_for("request-00000001", 12)
        await bench.send(_emit(), source=source)
        assert bench.only(Topic.ROUTED_REQUESTS).partition == expected
        miss = missed()
        emit = Emit(topic=Topic.INFERENCE_RESULTS, key="request-00000001", event=miss)
        await bench.send(emit, source=_source(bench, Topic.CACHE_MISSES, 3))
        assert bench.only(Topic.INFERENCE_RESULTS).partition == expected

    on_bench(scenario)


def test_an_explicit_partition_is_obeyed() -> None:
    """As for chunks, which go where the client waits."""

    async def scenario(bench: Bench) -> None:
        await bench.send(_emit(partition=11), source=_source(bench, Topic.CACHE_MISSES, 3))
        assert bench.only(Topic.ROUTED_REQUESTS).partition == 11

    on_bench(scenario)


def test_an_acknowledgement_comes_when_the_record_is_durable() -> None:
    """Handing over does not wait for it."""

    async def scenario(bench: Bench) -> None:
        bench.cluster.ack_delay_s = 3.0
        await bench.send(_emit())
        await asyncio.sleep(2.9)
        assert bench.acknowledged == 0
        await asyncio.sleep(0.2)
        assert bench.acknowledged == 1

    on_bench(scenario)


def test_a_broker_that_is_away_is_waited_for() -> None:
    """Also when enough is kept already: the sender waits, and nothing is lost or repeated."""

    async def scenario(bench: Bench) -> None:
        bench.cluster.stop_broker()
        sends = [asyncio.ensure_future(bench.send(_emit(i))) for i in range(1200)]
        for _ in range(100):
            await asyncio.sleep(1)
            bench.member.confirmed_at_s = bench.clock.monotonic_s()
            bench.fence.tick()
        assert not all(send.done() for send in sends)
        bench.cluster.start_broker()
        await asyncio.gather(*sends)
        await asyncio.sleep(0.1)
        assert bench.acknowledged == len(bench.cluster.records(Topic.ROUTED_REQUESTS)) == 1200

    on_bench(scenario)


def test_a_record_that_is_too_large_is_poison() -> None:
    """Whoever emitted it is told."""

    async def scenario(bench: Bench) -> None:
        event = routed(lane="x" * MAX_RECORD_BYTES)
        with pytest.raises(PoisonRecord) as refused:
            await bench.send(Emit(topic=Topic.ROUTED_REQUESTS, key="k", event=event))
        assert refused.value.reason == "oversize"
        assert bench.fatal == []

    on_bench(scenario)


def test_a_lost_acknowledgement_shuts_the_way_out() -> None:
    """Nobody knows whether the record was written, so nothing may be written after it."""

    async def scenario(bench: Bench) -> None:
        bench.cluster.acks_to_fail = 1
        await bench.send(_emit())
        await asyncio.sleep(0.01)
        [why] = bench.fatal
        assert isinstance(why, MustStop)
        with pytest.raises(MustStop):
            await bench.send(_emit(2))
        assert len(bench.cluster.records(Topic.ROUTED_REQUESTS)) == 1

    on_bench(scenario)


def test_a_lost_membership_shuts_the_way_out() -> None:
    """The write fails, the process is told to end, and no later sign opens it again."""

    async def scenario(bench: Bench) -> None:
        bench.member.is_lost = True
        with pytest.raises(MustStop):
            await bench.send(_emit())
        assert [type(why) for why in bench.fatal] == [MustStop]
        bench.member.is_lost = False
        assert not bench.fence.is_open()
        with pytest.raises(MustStop):
            await bench.send(_emit())
        assert bench.cluster.records(Topic.ROUTED_REQUESTS) == []

    on_bench(scenario)


def test_an_unconfirmed_membership_holds_writes_until_it_is_confirmed() -> None:
    """The longest silence that is borne is a session."""

    async def scenario(bench: Bench) -> None:
        for _ in range(20):
            await asyncio.sleep(0.5)
            bench.fence.tick()
        assert bench.fence.is_open()
        await asyncio.sleep(0.5)
        bench.fence.tick()
        assert not bench.fence.is_open()
        send = asyncio.ensure_future(bench.send(_emit()))
        await asyncio.sleep(1)
        bench.fence.tick()
        assert not send.done()
        bench.member.confirmed_at_s = bench.clock.monotonic_s()
        await asyncio.sleep(0.2)
        assert send.done()
        assert bench.fatal == []

    on_bench(scenario)


def test_a_membership_that_is_lost_while_a_write_waits_ends_it() -> None:
    """It does not slip through when the silence ends badly."""

    async def scenario(bench: Bench) -> None:
        for _ in range(22):
            await asyncio.sleep(0.5)
            bench.fence.tick()
        send = asyncio.ensure_future(bench.send(_emit()))
        await asyncio.sleep(0.5)
        bench.fence.tick()
        bench.member.is_lost = True
        await asyncio.sleep(0.2)
        with pytest.raises(MustStop):
            await send
        assert bench.cluster.records(Topic.ROUTED_REQUESTS) == []

    on_bench(scenario)


def test_a_process_that_stood_still_does_not_write() -> None:
    """Whichever wakes up first, the tick or the write, sees it."""

    async def scenario(bench: Bench) -> None:
        bench.fence.tick()
        bench.clock.advance(SESSION_S + 0.01)
        bench.member.confirmed_at_s = bench.clock.monotonic_s()
        with pytest.raises(MustStop, match="stood still"):
            await bench.send(_emit())
        with pytest.raises(MustStop, match="stood still"):
            bench.fence.tick()

    on_bench(scenario)


def test_ticks_keep_the_fence_open() -> None:
    """A process that turns may write for ever."""

    async def scenario(bench: Bench) -> None:
        for _ in range(100):
            bench.clock.advance(SESSION_S * 0.9)
            bench.member.confirmed_at_s = bench.clock.monotonic_s()
            bench.fence.tick()
            assert bench.fence.is_open()
        assert bench.fence.silence_s == 0

    on_bench(scenario)
