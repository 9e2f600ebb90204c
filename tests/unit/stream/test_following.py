"""Following a topic without a group, and publishing feedback, on the log in memory."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from services.shared.codec.headers import TENANT
from services.shared.codec.records import decode_record, encode_record
from services.shared.domain.events import FeedbackGiven, ProviderHealth
from services.shared.domain.topics import Topic
from services.shared.stream.feedback_publisher import KafkaFeedbackPublisher
from services.shared.stream.following import follow_topic
from tests.support.fake_clock import FakeClock, run_on_fake_time
from tests.support.memory_log import MemoryCluster

PARTITIONS = 2


def health(number: int) -> ProviderHealth:
    """A record that can be told from others."""
    return ProviderHealth(provider="p", model="m", state="open", at=number)


def append(cluster: MemoryCluster, number: int) -> None:
    """Write a record, to the partitions in turn."""
    cluster.append(
        Topic.PROVIDER_HEALTH, value=encode_record(health(number)), partition=number % PARTITIONS
    )


@asynccontextmanager
async def followed(
    cluster: MemoryCluster, *, since_ms: int = 0
) -> AsyncIterator[Callable[[], list[int]]]:
    """Follow while the block runs; yields what tells the numbers that were handed on, sorted."""
    seen: list[int] = []
    work = follow_topic(
        lambda each: seen.append(each.at),
        ProviderHealth,
        log=cluster.log(),
        places=(Topic.PROVIDER_HEALTH, PARTITIONS),
        since_ms=since_ms,
    )
    task = asyncio.create_task(work)
    try:
        yield lambda: sorted(seen)
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def test_all_of_a_topic_is_handed_on_from_a_time_on() -> None:
    """What was there already and what comes later; not what is older."""

    async def scenario(clock: FakeClock) -> None:
        cluster = MemoryCluster(clock, topics={Topic.PROVIDER_HEALTH: PARTITIONS})
        append(cluster, 1)
        await asyncio.sleep(10)
        since_ms = int(clock.now_ms())
        append(cluster, 2)
        async with followed(cluster, since_ms=since_ms) as seen:
            await asyncio.sleep(5)
            append(cluster, 3)
            await asyncio.sleep(5)
            assert seen() == [2, 3]

    run_on_fake_time(scenario)


def test_a_broker_that_was_away_makes_nothing_count_twice() -> None:
    """Reading goes on where it was, since what is learnt is added up."""

    async def scenario(clock: FakeClock) -> None:
        cluster = MemoryCluster(clock, topics={Topic.PROVIDER_HEALTH: PARTITIONS})
        for number in (1, 2, 3):
            append(cluster, number)
        async with followed(cluster) as seen:
            await asyncio.sleep(5)
            cluster.stop_broker()
            await asyncio.sleep(30)
            cluster.start_broker()
            append(cluster, 4)
            await asyncio.sleep(60)
            assert seen() == [1, 2, 3, 4]

    run_on_fake_time(scenario)


def test_what_cannot_be_read_is_passed_by() -> None:
    """A poison record or a tombstone is nothing to learn from."""

    async def scenario(clock: FakeClock) -> None:
        cluster = MemoryCluster(clock, topics={Topic.PROVIDER_HEALTH: PARTITIONS})
        cluster.append(Topic.PROVIDER_HEALTH, value=b"poison")
        cluster.append(Topic.PROVIDER_HEALTH, key=b"p/m")
        append(cluster, 2)
        async with followed(cluster) as seen:
            await asyncio.sleep(5)
            assert seen() == [2]

    run_on_fake_time(scenario)


def test_feedback_stands_on_its_topic_once_it_is_confirmed() -> None:
    """Keyed by tenant, with the headers of its request."""

    async def scenario(clock: FakeClock) -> None:
        cluster = MemoryCluster(clock, topics={Topic.FEEDBACK: PARTITIONS})
        producer = cluster.log().producer()
        await producer.start()
        given = FeedbackGiven(
            feedback_id="req_1-user",
            request_id="req_1",
            tenant="acme",
            source="user",
            score=1.0,
            at=7,
        )
        await KafkaFeedbackPublisher(producer).publish(given)
        (raw,) = cluster.records(Topic.FEEDBACK)
        assert decode_record(raw.value or b"", FeedbackGiven) == given
        assert raw.key == b"acme"
        assert dict(raw.headers)[TENANT] == b"acme"
        await producer.stop()

    run_on_fake_time(scenario)
