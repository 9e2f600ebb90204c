"""Follows the reply partition of a gateway."""

import asyncio
import logging
from collections.abc import Callable

from services.shared.domain.errors import Unavailable
from services.shared.domain.topics import Topic
from services.shared.stream.client import Log, Raw, Reader, TopicPartition

_LOG = logging.getLogger(__name__)
_POLL_S = 1.0
_POLL_RECORDS = 2000
_RETRY_S = 0.2

Deliver = Callable[[Raw], None]
"""Takes a record; its key is the request id. Must not raise."""


async def open_reply_partition(log: Log, partition: int) -> Reader:
    """A reader at the end of a reply partition: whatever is asked from now on is seen.

    Raises:
        Unavailable: No broker answers. Retriable.
    """
    reader = log.reader()
    try:
        await reader.start([TopicPartition(Topic.RESULT_CHUNKS, partition)])
    except Unavailable:
        await reader.stop()
        raise
    return reader


async def follow(reader: Reader, deliver: Deliver) -> None:
    """Hand on every chunk until cancelled; a broker that is away is waited for."""
    while True:
        try:
            polled = await reader.poll(timeout_s=_POLL_S, max_records=_POLL_RECORDS)
        except Unavailable as error:
            _LOG.warning("reply partition cannot be read", extra={"why": str(error)})
            await asyncio.sleep(_RETRY_S)
            continue
        for records in polled.values():
            for record in records:
                deliver(record)
