"""Finds records of one request in the topics, from the time in its id on."""

from typing import TypeVar

from services.shared.codec.records import decode_record
from services.shared.domain.errors import PoisonRecord
from services.shared.domain.events import CacheMissed, Event, InferenceFinished
from services.shared.domain.ids import origin_from_request_id, partition_for
from services.shared.domain.topics import Topic
from services.shared.stream.client import Log, Producer, Raw, TopicPartition

E = TypeVar("E", bound=Event)
_CLOCK_SKEW_MS = 10_000
_POLL_S = 1.0
_POLL_RECORDS = 1000
_MAX_RECORDS = 500_000
"""A look-up reads no further than this; a request so far back is as good as forgotten."""


class KafkaRecordFinder:
    """Reads the one partition of a request from the time of its acceptance to the end."""

    def __init__(self, log: Log, producer: Producer) -> None:
        """Use a log; the started producer knows its partition counts."""
        self._log = log
        self._producer = producer

    async def find_terminal(self, request_id: str) -> InferenceFinished | None:
        """The first terminal record of a request."""
        return await self._find(request_id, Topic.INFERENCE_RESULTS, InferenceFinished)

    async def find_miss(self, request_id: str) -> CacheMissed | None:
        """What the cache passed on of a request."""
        return await self._find(request_id, Topic.CACHE_MISSES, CacheMissed)

    async def _find(self, request_id: str, topic: Topic, event_type: type[E]) -> E | None:
        origin = origin_from_request_id(request_id)
        if origin is None:
            return None
        count = self._producer.partition_count(topic)
        partition = TopicPartition(topic, partition_for(request_id, count))
        reader = self._log.reader()
        try:
            await reader.start([partition])
            end = (await reader.end_offsets())[partition]
            await reader.seek_to_time(partition, origin.accepted_at_ms - _CLOCK_SKEW_MS)
            read = 0
            while await reader.position(partition) < end and read < _MAX_RECORDS:
                polled = await reader.poll(timeout_s=_POLL_S, max_records=_POLL_RECORDS)
                for raw in polled.get(partition, ()):
                    read += 1
                    found = _match(raw, request_id, event_type)
                    if found is not None:
                        return found
        finally:
            await reader.stop()
        return None


def _match(raw: Raw, request_id: str, event_type: type[E]) -> E | None:
    if raw.key != request_id.encode() or raw.value is None:
        return None
    try:
        return decode_record(raw.value, event_type)
    except PoisonRecord:
        return None  # its dead letter is somebody else's duty
