"""Follows a topic without a group: every process sees all of its records."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import TypeVar

from services.shared.codec.records import decode_record
from services.shared.domain.errors import PoisonRecord, Unavailable
from services.shared.domain.events import Event
from services.shared.domain.topics import Topic
from services.shared.stream.backoff import backoff_s
from services.shared.stream.client import Log, Polled, Reader, TopicPartition

E = TypeVar("E", bound=Event)

_LOG = logging.getLogger(__name__)
_POLL_S = 1.0
_POLL_RECORDS = 500  # some ten ms, then others have their turn
_REST_S = 0.05
"""Rest between two polls: a poll costs a hundred times what a record in it costs."""


async def follow_topic(
    take: Callable[[E], None],
    event_type: type[E],
    *,
    log: Log,
    places: tuple[Topic, int],
    since_ms: int,
) -> None:
    """Hand on what a topic holds from a time on, and what comes, until cancelled.

    A broker that is away is waited for; every record is handed on once.

    Args:
        take: Told each record that can be read; what cannot be is its consumer's duty.
        event_type: Its type.
        log: To read with.
        places: The topic, and how many partitions it has.
        since_ms: The time, unix ms.
    """
    topic, count = places
    partitions = [TopicPartition(topic, index) for index in range(count)]
    next_offsets: dict[TopicPartition, int] = {}
    attempt = 0
    while True:
        reader = log.reader()
        try:
            await reader.start(partitions)
            await _seek(reader, partitions, next_offsets, since_ms)
            while True:
                polled = await reader.poll(timeout_s=_POLL_S, max_records=_POLL_RECORDS)
                _hand_on(polled, take, event_type, next_offsets)
                attempt = 0
                await asyncio.sleep(_REST_S)
        except Unavailable as error:  # what is known already holds meanwhile
            _LOG.warning("%s cannot be read", topic.value, extra={"why": str(error)})
            await asyncio.sleep(backoff_s(attempt))
            attempt += 1
        finally:
            with contextlib.suppress(Unavailable):
                await reader.stop()


async def _seek(
    reader: Reader,
    partitions: list[TopicPartition],
    next_offsets: dict[TopicPartition, int],
    since_ms: int,
) -> None:
    for place in partitions:
        if place in next_offsets:
            await reader.seek(place, next_offsets[place])
        else:
            await reader.seek_to_time(place, since_ms)


def _hand_on(
    polled: Polled,
    take: Callable[[E], None],
    event_type: type[E],
    next_offsets: dict[TopicPartition, int],
) -> None:
    for place, raws in polled.items():
        for raw in raws:
            next_offsets[place] = raw.offset + 1
            if raw.value is None:
                continue
            try:
                event = decode_record(raw.value, event_type)
            except PoisonRecord as poison:  # its dead letter is its consumer's duty
                _LOG.warning(
                    "a record of %s cannot be read",
                    place.topic,
                    extra={"offset": raw.offset, "why": str(poison)},
                )
                continue
            take(event)
