"""Where requests spent their time, from the terminal records."""

from collections import defaultdict
from itertools import islice

import msgspec

from services.shared.codec.records import decode_record
from services.shared.domain.events import InferenceFinished
from services.shared.domain.topics import Topic
from services.shared.stream.bulk import BulkReader, Position, Read
from tests.load.distribution import Distribution, Summary

_MOST_RECORDS = 20_000


class HopTimes(msgspec.Struct, frozen=True, kw_only=True):
    """One stage of the pipeline.

    Attributes:
        service: Its name.
        waited: From the stage before until this one had the record.
        worked: Until it passed it on.
    """

    service: str
    waited: Summary
    worked: Summary


def read_hops(bootstrap: str, *, since_ms: int) -> list[HopTimes]:
    """The stages that the requests accepted since then passed, in their order.

    Args:
        bootstrap: Kafka.
        since_ms: Unix ms.
    """
    waited: defaultdict[str, Distribution] = defaultdict(Distribution)
    worked: defaultdict[str, Distribution] = defaultdict(Distribution)
    reader = BulkReader(bootstrap, Topic.INFERENCE_RESULTS, position=Position(since_ms=since_ms))
    try:
        batches = (record for batch in reader.batches(follow=False) for record in batch)
        for record in islice(batches, _MOST_RECORDS):
            _count(record, since_ms=since_ms, waited=waited, worked=worked)
    finally:
        reader.close()
    return [
        HopTimes(service=name, waited=waited[name].summary(), worked=worked[name].summary())
        for name in waited
    ]


def _count(
    record: Read,
    *,
    since_ms: int,
    waited: defaultdict[str, Distribution],
    worked: defaultdict[str, Distribution],
) -> None:
    if record.value is None:
        return
    finished = decode_record(record.value, InferenceFinished)
    if finished.accepted_at < since_ms:
        return
    left_at_ms = 0.0
    for hop in finished.hops:
        waited[hop.service].record(hop.received_ms - left_at_ms)
        worked[hop.service].record(hop.finished_ms - hop.received_ms)
        left_at_ms = hop.finished_ms
