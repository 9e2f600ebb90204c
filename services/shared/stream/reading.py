"""Reading partitions without a group: from somewhere to the end, or on and on."""

import asyncio
import logging
from collections.abc import Callable, Mapping

from services.shared.domain.errors import Unavailable
from services.shared.stream.client import Log, Raw, Reader, TopicPartition

_POLL_S = 1.0
_POLL_RECORDS = 2000
_RETRY_S = 0.2
_LOG = logging.getLogger(__name__)


class FromTime(float):
    """Start at the first record of this time or later, unix ms."""


class FromOffset(int):
    """Start at this offset."""


Starts = Mapping[TopicPartition, FromTime | FromOffset]
"""Where to begin in each partition."""


async def begun(
    log: Log, starts: Starts, *, what: str
) -> tuple[Reader, Mapping[TopicPartition, int]]:
    """A reader that is where it is to begin, and where each partition ends now.

    A broker that is away is waited for. Whoever gets the reader stops it.

    Args:
        log: The log.
        starts: Where to begin.
        what: What is read, for the log of a broker that is away.
    """
    while True:
        reader = log.reader()
        try:
            await reader.start(starts)
            ends = dict(await reader.end_offsets())
            await _seek(reader, starts)
        except BaseException as error:
            await reader.stop()
            if not isinstance(error, Unavailable):
                raise
            _LOG.warning("%s cannot be read", what, extra={"why": str(error)})
            await asyncio.sleep(_RETRY_S)
        else:
            return reader, ends


async def read_to_end(
    log: Log,
    starts: Starts,
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
        await _seek(reader, starts)
        while not await all_read(reader, ends):
            polled = await reader.poll(timeout_s=_POLL_S, max_records=_POLL_RECORDS)
            for where, raws in polled.items():
                stop = (before or {}).get(where)
                for raw in raws:
                    if stop is None or raw.offset < stop:
                        take(raw)
        return {where: await reader.position(where) for where in starts}
    finally:
        await reader.stop()


async def _seek(reader: Reader, starts: Starts) -> None:
    for where, start in starts.items():
        if isinstance(start, FromTime):
            await reader.seek_to_time(where, int(start))
        else:
            await reader.seek(where, start)


async def all_read(reader: Reader, ends: Mapping[TopicPartition, int]) -> bool:
    """Whether a reader has come as far as these offsets.

    Raises:
        Unavailable: The log does not answer. Retriable.
    """
    for where, end in ends.items():
        if await reader.position(where) < end:
            return False
    return True


async def first_timestamps(
    log: Log, positions: Mapping[TopicPartition, int]
) -> Mapping[TopicPartition, int]:
    """Timestamps of the first records from positions on, unix ms; partitions without one miss.

    Args:
        log: The log.
        positions: Offset by partition.

    Raises:
        Unavailable: The log does not answer. Retriable.
    """
    found: dict[TopicPartition, int] = {}
    if not positions:  # a reader of nothing would wait for ever
        return found
    reader = log.reader()
    try:
        await reader.start(positions)
        ends = await reader.end_offsets()
        left = {where for where, position in positions.items() if position < ends[where]}
        for where in left:
            await reader.seek(where, positions[where])
        while left:
            polled = await reader.poll(timeout_s=_POLL_S, max_records=len(left))
            for where in left & polled.keys():
                found[where] = polled[where][0].timestamp
            left -= polled.keys()
            left = {it for it in left if await reader.position(it) < ends[it]}  # holes
    finally:
        await reader.stop()
    return found
