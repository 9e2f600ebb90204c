"""Publishes requests on behalf of a gateway: signed, acknowledged, within a bounded time."""

import asyncio
from collections.abc import Callable

from services.shared.codec.headers import (
    CRC32C,
    RETRY,
    SIGNATURE,
    checksum,
    headers_of_request,
    signature,
)
from services.shared.codec.records import encode_record
from services.shared.domain.errors import PoisonRecord, Unavailable
from services.shared.domain.events import InferenceRequested
from services.shared.domain.ids import partition_for
from services.shared.domain.topics import REQUEST_TOPICS
from services.shared.ports.clock import Clock
from services.shared.stream.client import Producer
from services.shared.stream.probing import ACKNOWLEDGE_WITHIN_S, Probing


class KafkaRequestPublisher:
    """Publishes to the topic of a request's priority.

    After a missing acknowledgement only one request in a while is let through to try; the others
    are told at once, so that an outage does not fill the process with waiting requests.
    """

    def __init__(
        self,
        producer: Producer,
        *,
        secret: bytes,
        clock: Clock,
        on_outcome: Callable[[bool], None],
    ) -> None:
        """Use a started producer.

        Args:
            producer: The producer.
            secret: What requests are signed with.
            clock: The time.
            on_outcome: Told after each attempt whether the log confirmed it.
        """
        self._producer = producer
        self._secret = secret
        self._on_outcome = on_outcome
        self._probing = Probing(clock)

    async def publish(self, request: InferenceRequested, *, is_retry: bool = False) -> None:
        """Return once the log has the request."""
        self._probing.check()
        topic = REQUEST_TOPICS[request.priority]
        value = encode_record(request)
        headers = headers_of_request(request)
        headers += [(CRC32C, checksum(value)), (SIGNATURE, signature(self._secret, value))]
        if is_retry:
            headers.append((RETRY, b"1"))
        try:
            async with asyncio.timeout(ACKNOWLEDGE_WITHIN_S):
                acknowledged = await self._producer.send(
                    topic,
                    partition=partition_for(
                        request.fingerprint, self._producer.partition_count(topic)
                    ),
                    key=request.fingerprint.encode(),
                    value=value,
                    headers=headers,
                )
                await asyncio.shield(acknowledged)
        except PoisonRecord:
            raise
        except Exception as error:
            # Whatever it was (time, a broker, a closed producer): the outcome is not known.
            self._probing.failed()
            self._on_outcome(False)  # noqa: FBT003  # a callback's one fact
            raise Unavailable("kafka", type(error).__name__) from error
        self._probing.confirmed()
        self._on_outcome(True)  # noqa: FBT003
