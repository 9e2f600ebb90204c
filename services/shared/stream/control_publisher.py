"""Publishes what is wanted of running requests, acknowledged within a bounded time."""

import asyncio

from services.shared.codec.headers import CRC32C, REQUEST_ID, TENANT, checksum
from services.shared.codec.records import encode_record
from services.shared.domain.errors import Unavailable
from services.shared.domain.events import ControlRequested
from services.shared.domain.ids import partition_for
from services.shared.domain.topics import Topic
from services.shared.stream.client import Producer
from services.shared.stream.probing import ACKNOWLEDGE_WITHIN_S


class KafkaControlPublisher:
    """Publishes to the topic ``control``."""

    def __init__(self, producer: Producer) -> None:
        """Use a started producer."""
        self._producer = producer

    async def publish(self, control: ControlRequested) -> None:
        """Return once the log has it."""
        value = encode_record(control)
        count = self._producer.partition_count(Topic.CONTROL)
        try:
            async with asyncio.timeout(ACKNOWLEDGE_WITHIN_S):
                acknowledged = await self._producer.send(
                    Topic.CONTROL,
                    partition=partition_for(control.request_id, count),
                    key=control.request_id.encode(),
                    value=value,
                    headers=[
                        (REQUEST_ID, control.request_id.encode()),
                        (TENANT, control.tenant.encode()),
                        (CRC32C, checksum(value)),
                    ],
                )
                await asyncio.shield(acknowledged)
        except Exception as error:
            # Whatever it was (time, a broker, a closed producer): the outcome is not known.
            raise Unavailable("kafka", type(error).__name__) from error
