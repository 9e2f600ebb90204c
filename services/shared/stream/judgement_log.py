"""Follows ``cache-judgements``: all of it from its start, then each new record.

There is no group: every process reads everything, in the order of the log.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator

from services.shared.codec.records import decode_record
from services.shared.domain.errors import PoisonRecord, Unavailable
from services.shared.domain.events import CandidateJudged
from services.shared.domain.topics import Topic
from services.shared.stream.client import Log, Polled, TopicPartition
from services.shared.stream.reading import FromOffset, all_read, begun

_LOG = logging.getLogger(__name__)
_POLL_S = 1.0
_POLL_RECORDS = 200  # some ms, then others have their turn
_RETRY_S = 0.2


async def follow_judgements(
    log: Log,
    *,
    partitions: int,
    hear: Callable[[CandidateJudged], None],
    caught_up: Callable[[], None],
) -> None:
    """Hand on every record, until cancelled; a broker that is away is waited for.

    Args:
        log: The log.
        partitions: How many the topic has.
        hear: Takes a record. Must not raise.
        caught_up: Called once all records that were there at the start have been handed on.
    """
    where = [TopicPartition(Topic.CACHE_JUDGEMENTS, number) for number in range(partitions)]
    starts = dict.fromkeys(where, FromOffset(0))
    reader, ends = await begun(log, starts, what="judgements")
    try:
        while True:
            try:
                if ends and await all_read(reader, ends):
                    ends = {}
                    caught_up()
                polled = await reader.poll(timeout_s=_POLL_S, max_records=_POLL_RECORDS)
            except Unavailable as error:
                _LOG.warning("judgements cannot be read", extra={"why": str(error)})
                await asyncio.sleep(_RETRY_S)
                continue
            for judged in _judged(polled):
                hear(judged)
            await asyncio.sleep(0)  # fetched ahead, a poll does not let others run
    finally:
        await reader.stop()


def _judged(polled: Polled) -> Iterator[CandidateJudged]:
    """The records of a poll; nobody may learn from what is no judgement."""
    for raws in polled.values():
        for raw in raws:
            try:
                yield decode_record(raw.value or b"", CandidateJudged)
            except PoisonRecord:
                _LOG.error("a record is no judgement", extra={"offset": raw.offset})
