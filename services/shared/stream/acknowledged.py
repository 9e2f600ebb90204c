"""Publishes one record by itself, acknowledged within a bounded time."""

import asyncio

from services.shared.codec.headers import CRC32C, REQUEST_ID, TENANT, checksum
from services.shared.codec.records import encode_record
from services.shared.domain.errors import Unavailable
from services.shared.domain.events import ControlRequested, FeedbackGiven
from services.shared.domain.ids import partition_for
from services.shared.domain.topics import Topic
from services.shared.stream.client import Producer
from services.shared.stream.probing import ACKNOWLEDGE_WITHIN_S


async def publish_acknowledged(
    producer: Producer, topic: Topic, event: ControlRequested | FeedbackGiven, *, key: str
) -> None:
    """Return once the log has it.

    Args:
        producer: A started producer.
        topic: Where to.
        event: What, of one request.
        key: The record's key, by which it is placed.

    Raises:
        Unavailable: The log did not confirm it in time; whether it has it is unknown.
    """
    value = encode_record(event)
    try:
        async with asyncio.timeout(ACKNOWLEDGE_WITHIN_S):
            acknowledged = await producer.send(
                topic,
                partition=partition_for(key, producer.partition_count(topic)),
                key=key.encode(),
                value=value,
                headers=[
                    (REQUEST_ID, event.request_id.encode()),
                    (TENANT, event.tenant.encode()),
                    (CRC32C, checksum(value)),
                ],
            )
            await asyncio.shield(acknowledged)
    except Exception as error:
        # Whatever it was (time, a broker, a closed producer): the outcome is not known.
        raise Unavailable("kafka", type(error).__name__) from error
