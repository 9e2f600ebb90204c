"""Reading stretches of partitions, from somewhere to the end."""

from collections.abc import Callable, Mapping

from services.shared.stream.client import Log, Raw, Reader, TopicPartition

_POLL_S = 1.0
_POLL_RECORDS = 2000


class FromTime(float):
    """Start at the first record of this time or later, unix ms."""


class FromOffset(int):
    """Start at this offset."""


async def read_to_end(
    log: Log,
    starts: Mapping[TopicPartition, FromTime | FromOffset],
    take: Callable[[Raw], object],
    *,
    before: Mapping[TopicPartition, int] | None = None,
) -> Mapping[TopicPartition, int]:
    """Hand on all records of partitions that are there now; return where each reading ended.

    Args:
        log: The log.
        starts: Where to begin in each partition.
        take: Is handed each record.
        before: Offsets at which to stop, where the end is too far.

    Raises:
        Unavailable: The log does not answer. Retriable.
    """
    reader = log.reader()
    try:
        await reader.start(starts)
        ends = {**await reader.end_offsets(), **(before or {})}
        for where, start in starts.items():
            if isinstance(start, FromTime):
                await reader.seek_to_time(where, int(start))
            else:
                await reader.seek(where, start)
        while not await _all_read(reader, ends):
            for raws in (await reader.poll(timeout_s=_POLL_S, max_records=_POLL_RECORDS)).values():
                for raw in raws:
                    take(raw)
        return {where: await reader.position(where) for where in starts}
    finally:
        await reader.stop()


async def _all_read(reader: Reader, ends: Mapping[TopicPartition, int]) -> bool:
    for where, end in ends.items():
        if await reader.position(where) < end:
            return False
    return True
