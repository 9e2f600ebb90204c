"""What a reader without a group promises."""

from services.shared.stream.client import Reader, TopicPartition
from tests.support.log_backend import LogBackend

TOPIC = "things"
PLACE = TopicPartition(TOPIC, 0)
_END_BEHIND_HOLES = 3
"""One record, one aborted, one marker."""


async def _values(reader: Reader, count: int) -> list[bytes | None]:
    values: list[bytes | None] = []
    while len(values) < count:
        polled = await reader.poll(timeout_s=1, max_records=100)
        values += [raw.value for raws in polled.values() for raw in raws]
    return values


async def _started(backend: LogBackend) -> Reader:
    reader = backend.connect().reader()
    await reader.start([PLACE])
    return reader


async def test_it_starts_at_the_end(backend: LogBackend) -> None:
    """Only what is written from now on is read."""
    await backend.make_topic(TOPIC)
    await backend.append(TOPIC, b"old")
    reader = await _started(backend)
    assert await reader.position(PLACE) == 1
    await backend.append(TOPIC, b"new")
    assert await _values(reader, 1) == [b"new"]
    await reader.stop()


async def test_it_seeks_to_a_time(backend: LogBackend) -> None:
    """It stands at the first record of that time or later; after the last one, at the end."""
    await backend.make_topic(TOPIC)
    for at_ms in (1000, 2000, 2000, 3000):
        await backend.append(TOPIC, b"%d" % at_ms, timestamp_ms=at_ms)
    reader = await _started(backend)
    positions = []
    for at_ms in (0, 1000, 1001, 2000, 3000, 3001):
        await reader.seek_to_time(PLACE, at_ms)
        positions.append(await reader.position(PLACE))
    assert positions == [0, 0, 1, 1, 3, 4]
    await reader.seek_to_time(PLACE, 1500)
    assert await _values(reader, 3) == [b"2000", b"2000", b"3000"]
    await reader.stop()


async def test_it_seeks_to_an_offset(backend: LogBackend) -> None:
    """Back and forth; where an offset is no longer kept, it stands at the first that is."""
    await backend.make_topic(TOPIC)
    for i in range(4):
        await backend.append(TOPIC, b"%d" % i)
    reader = await _started(backend)
    for offset in (2, 0, 3):
        await reader.seek(PLACE, offset)
        assert await reader.position(PLACE) == offset
        assert await _values(reader, 4 - offset) == [b"%d" % i for i in range(offset, 4)]
    await backend.truncate(TOPIC, before=2)
    await reader.seek(PLACE, 1)
    assert await _values(reader, 2) == [b"2", b"3"]
    await reader.stop()


async def test_it_reads_to_an_end_behind_holes(backend: LogBackend) -> None:
    """Aborted records and markers are passed, so a reader reaches the end that it was told."""
    await backend.make_topic(TOPIC)
    await backend.append(TOPIC, b"read")
    transaction = await backend.begin(TOPIC)
    await transaction.append(b"aborted")
    await transaction.abort()
    reader = await _started(backend)
    while (end := (await reader.end_offsets())[PLACE]) < _END_BEHIND_HOLES:
        pass  # a broker writes the marker of an abort after it has confirmed it
    await reader.seek_to_time(PLACE, 0)
    values = []
    while await reader.position(PLACE) < end:
        polled = await reader.poll(timeout_s=0.1, max_records=10)
        values += [raw.value for raws in polled.values() for raw in raws]
    assert (values, end) == ([b"read"], _END_BEHIND_HOLES)
    await reader.stop()


async def test_it_sees_no_undecided_record(backend: LogBackend) -> None:
    """The end is the last stable one: what a transaction may still take back is not there."""
    await backend.make_topic(TOPIC)
    transaction = await backend.begin(TOPIC)
    await transaction.append(b"undecided")
    reader = await _started(backend)
    assert await reader.end_offsets() == {PLACE: 0}
    await transaction.commit()
    assert await _values(reader, 1) == [b"undecided"]
    await reader.stop()


async def test_it_goes_on_at_the_start_of_what_is_left(backend: LogBackend) -> None:
    """Records that were forgotten before they were read are passed over."""
    await backend.make_topic(TOPIC)
    reader = await _started(backend)
    for i in range(4):
        await backend.append(TOPIC, b"%d" % i)
    await backend.truncate(TOPIC, before=3)
    await reader.seek_to_time(PLACE, 0)
    assert await _values(reader, 1) == [b"3"]
    await reader.stop()
