"""What a producer promises."""

import asyncio

import pytest

from services.shared.domain.errors import PoisonRecord
from services.shared.stream.client import (
    DEAD_LETTER_HEADROOM_BYTES,
    MAX_RECORD_BYTES,
    Producer,
)
from tests.support.log_backend import LogBackend

TOPIC = "things"
_FRAMING_BYTES = 200


async def _started(backend: LogBackend) -> Producer:
    producer = backend.connect().producer()
    await producer.start()
    return producer


async def test_an_acknowledgement_says_where_the_record_is(backend: LogBackend) -> None:
    """The future resolves with topic, partition and offset of the durable record."""
    await backend.make_topic(TOPIC, partitions=2)
    producer = await _started(backend)
    futures = [
        await producer.send(TOPIC, partition=1, key=b"k", value=b"%d" % i, headers=[("h", b"x")])
        for i in range(3)
    ]
    assert [(await future).offset for future in futures] == [0, 1, 2]
    records = await backend.records(TOPIC)
    assert [(r.partition, r.offset, r.key, r.value, r.headers) for r in records] == [
        (1, i, b"k", b"%d" % i, (("h", b"x"),)) for i in range(3)
    ]
    await producer.stop()


async def test_a_send_does_not_wait_for_the_acknowledgement(backend: LogBackend) -> None:
    """Thousands are handed over in one go, and all are acknowledged, in order."""
    await backend.make_topic(TOPIC)
    producer = await _started(backend)
    futures = [
        await producer.send(TOPIC, partition=0, key=b"k", value=b"%d" % i, headers=[])
        for i in range(3000)
    ]
    offsets = [metadata.offset for metadata in await asyncio.gather(*futures)]
    assert offsets == list(range(3000))
    assert [raw.value for raw in await backend.records(TOPIC)] == [b"%d" % i for i in range(3000)]
    await producer.stop()


async def test_partition_counts_are_known(backend: LogBackend) -> None:
    """A producer knows how many partitions each topic has."""
    await backend.make_topic(TOPIC, partitions=3)
    await backend.make_topic("others", partitions=1)
    producer = await _started(backend)
    assert (producer.partition_count(TOPIC), producer.partition_count("others")) == (3, 1)
    await producer.stop()


async def test_a_tombstone_is_written_as_one(backend: LogBackend) -> None:
    """A value of None arrives as None."""
    await backend.make_topic(TOPIC)
    producer = await _started(backend)
    await (await producer.send(TOPIC, partition=0, key=b"k", value=None, headers=[]))
    assert [(raw.key, raw.value) for raw in await backend.records(TOPIC)] == [(b"k", None)]
    await producer.stop()


async def test_the_largest_record_fits(backend: LogBackend) -> None:
    """What the limit allows, the log takes; a dead letter may be larger by its headroom."""
    await backend.make_topic(TOPIC)
    await backend.make_topic(f"{TOPIC}-dlq")
    producer = await _started(backend)
    value = bytes(MAX_RECORD_BYTES - _FRAMING_BYTES)
    await (await producer.send(TOPIC, partition=0, key=b"k", value=value, headers=[]))
    value = bytes(MAX_RECORD_BYTES + DEAD_LETTER_HEADROOM_BYTES - _FRAMING_BYTES)
    await (await producer.send(f"{TOPIC}-dlq", partition=0, key=b"k", value=value, headers=[]))
    assert len(await backend.records(TOPIC)) == len(await backend.records(f"{TOPIC}-dlq")) == 1
    await producer.stop()


@pytest.mark.parametrize("part", ["value", "headers"])
async def test_a_larger_record_is_poison_and_the_next_one_is_not(
    backend: LogBackend, part: str
) -> None:
    """It is refused before it is sent, so nothing hangs and nothing else is lost."""
    await backend.make_topic(TOPIC)
    producer = await _started(backend)
    large = bytes(MAX_RECORD_BYTES)
    with pytest.raises(PoisonRecord) as refused:
        await producer.send(
            TOPIC,
            partition=0,
            key=b"k",
            value=large if part == "value" else b"",
            headers=[("h", large if part == "headers" else b"")],
        )
    assert refused.value.reason == "oversize"
    await (await producer.send(TOPIC, partition=0, key=b"k", value=b"small", headers=[]))
    assert [raw.value for raw in await backend.records(TOPIC)] == [b"small"]
    await producer.stop()


async def test_a_stop_sends_what_was_handed_over(backend: LogBackend) -> None:
    """Nothing that was accepted is dropped by an orderly end."""
    await backend.make_topic(TOPIC)
    producer = await _started(backend)
    for i in range(100):
        await producer.send(TOPIC, partition=0, key=b"k", value=b"%d" % i, headers=[])
    await producer.stop()
    assert len(await backend.records(TOPIC)) == 100
