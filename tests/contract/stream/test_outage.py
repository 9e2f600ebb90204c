"""What clients do while no broker answers, and afterwards."""

import asyncio

import pytest

from services.shared.domain.errors import Unavailable
from services.shared.stream.client import Consumer, Producer
from tests.contract.stream.members import GROUP, TOPIC, Member, place
from tests.support.log_backend import LogBackend

_SOON_S = 5.0


async def test_records_sent_in_an_outage_arrive_after_it(stoppable_backend: LogBackend) -> None:
    """A send is kept, once and in order; its acknowledgement comes when the broker is back."""
    backend = stoppable_backend
    await backend.make_topic(TOPIC)
    producer = backend.connect().producer()
    await producer.start()
    await (await producer.send(TOPIC, partition=0, key=b"k", value=b"before", headers=[]))
    async with backend.outage():
        futures = [
            await producer.send(TOPIC, partition=0, key=b"k", value=b"%d" % i, headers=[])
            for i in range(10)
        ]
        await asyncio.sleep(0.5)
        assert not any(future.done() for future in futures)
    async with asyncio.timeout(20):
        await asyncio.gather(*futures)
    values = [raw.value for raw in await backend.records(TOPIC)]
    assert values == [b"before", *(b"%d" % i for i in range(10))]
    await producer.stop()


async def test_a_poll_in_an_outage_brings_nothing_and_ends(stoppable_backend: LogBackend) -> None:
    """It says so or returns nothing, in its time; afterwards records come again."""
    backend = stoppable_backend
    await backend.make_topic(TOPIC)
    member = await Member(backend).join()
    async with backend.outage():
        assert await member.poll_for(0.5) == []
    await backend.append(TOPIC, b"after")
    assert await member.take(1) == [b"after"]
    await member.consumer.stop()


async def test_a_commit_in_an_outage_fails_in_bounded_time(stoppable_backend: LogBackend) -> None:
    """It is retriable, and works when the broker is back."""
    backend = stoppable_backend
    await backend.make_topic(TOPIC)
    await backend.append(TOPIC, b"0")
    member = await Member(backend).join()
    await member.take(1)
    async with backend.outage(), asyncio.timeout(_SOON_S):
        with pytest.raises(Unavailable):
            await member.consumer.commit({place(): 1})

    async def commit_goes_through() -> bool:
        try:
            await member.consumer.commit({place(): 1})
        except Unavailable:
            return False
        return True

    await backend.until(commit_goes_through)
    assert await backend.committed(GROUP, TOPIC) == 1
    await member.consumer.stop()


async def test_an_unconfirmed_membership_is_seen(stoppable_backend: LogBackend) -> None:
    """In an outage nobody confirms it; it is not called lost for that."""
    backend = stoppable_backend
    await backend.make_topic(TOPIC)
    member = await Member(backend).join()
    async with backend.outage():
        await backend.until(
            lambda: (
                backend.clock.monotonic_s() - member.consumer.membership.confirmed_at_s
                > backend.session_timeout_s * 0.45
            )
        )
        assert not member.consumer.membership.is_lost
    await member.consumer.stop()


async def test_stopping_in_an_outage_takes_no_more_than_a_moment(
    stoppable_backend: LogBackend,
) -> None:
    """A consumer and a producer with unsent records end in bounded time."""
    backend = stoppable_backend
    await backend.make_topic(TOPIC)
    member = await Member(backend).join()
    producer = member.log.producer()
    await producer.start()
    async with backend.outage():
        await producer.send(TOPIC, partition=0, key=b"k", value=b"unsent", headers=[])
        async with asyncio.timeout(_SOON_S):
            await member.consumer.stop()
            await producer.stop()


async def _start_consumer(consumer: Consumer) -> None:
    async def ignore(_told: object) -> None:
        return

    await consumer.start(on_assigned=ignore, on_revoked=ignore, on_reset=ignore)


async def test_starting_without_a_broker_is_unavailable(backend: LogBackend) -> None:
    """Every client says so at once, and can be started when there is one."""
    await backend.make_topic(TOPIC)
    log = backend.connect_to_nobody()
    producer: Producer = log.producer()
    with pytest.raises(Unavailable):
        await producer.start()
    consumer = log.consumer(topic=TOPIC, group=GROUP, instance_id=None)
    with pytest.raises(Unavailable):
        await _start_consumer(consumer)
    reader = log.reader()
    with pytest.raises(Unavailable):
        await reader.start([place()])
    await reader.stop()
