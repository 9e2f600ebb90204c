"""Follows ``control``: what somebody wants of running requests. Every process reads all of it."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from services.shared.codec.records import decode_record
from services.shared.domain.errors import PoisonRecord, Unavailable
from services.shared.domain.events import ControlRequested
from services.shared.domain.topics import Topic
from services.shared.stream.client import Log, TopicPartition
from services.shared.stream.reading import FromTime, begun

_LOG = logging.getLogger(__name__)
KEPT_MS = 3_600_000
_POLL_S = 1.0
_POLL_RECORDS = 1000
_RETRY_S = 0.2


async def follow_control(
    log: Log, *, partitions: int, now_ms: float, hear: Callable[[ControlRequested], None]
) -> None:
    """Hand on every wish of the last hour and then each new one, until cancelled.

    Args:
        log: The log.
        partitions: How many the topic has.
        now_ms: Unix ms.
        hear: Takes a wish. Must not raise.
    """
    where = [TopicPartition(Topic.CONTROL, number) for number in range(partitions)]
    starts = dict.fromkeys(where, FromTime(int(now_ms) - KEPT_MS))
    reader, _ = await begun(log, starts, what="control")
    try:
        while True:
            try:
                polled = await reader.poll(timeout_s=_POLL_S, max_records=_POLL_RECORDS)
            except Unavailable as error:
                _LOG.warning("control cannot be read", extra={"why": str(error)})
                await asyncio.sleep(_RETRY_S)
                continue
            for raws in polled.values():
                for raw in raws:
                    with suppress(PoisonRecord):  # whoever wrote it is no gateway of ours
                        hear(decode_record(raw.value or b"", ControlRequested))
    finally:
        await reader.stop()
