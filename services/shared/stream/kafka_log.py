"""The log on a real Kafka, by aiokafka."""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import (
    KafkaError,
    MessageSizeTooLargeError,
    OffsetOutOfRangeError,
    UnknownMemberIdError,
)
from aiokafka.helpers import create_ssl_context
from aiokafka.structs import RecordMetadata, TopicPartition

from services.shared.domain.errors import PoisonRecord, Unavailable
from services.shared.stream.client import OnPartitions, Polled

MAX_RECORD_BYTES = 8 * 1024 * 1024
_FETCH_BYTES = 16 * 1024 * 1024
_FETCH_WAIT_MS = 500
_HEARTBEATS_A_SESSION = 4
_BATCH_BYTES = 64 * 1024


class KafkaConnection(msgspec.Struct, frozen=True, kw_only=True):
    """Where Kafka is and how to speak to it.

    Attributes:
        bootstrap: ``host:port`` pairs, separated by commas.
        security_protocol: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.
        sasl_mechanism: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.
        sasl_username: User name for SASL.
        sasl_password: Password for SASL.
        ca_file: Certificate authorities to trust; empty = the system's.
        session_timeout_s: Silence after which a group gives a member's partitions away.
        client_id: Name in the broker's logs.
    """

    bootstrap: str
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = "SCRAM-SHA-512"
    sasl_username: str = ""
    sasl_password: str = ""
    ca_file: str = ""
    session_timeout_s: float = 10.0
    client_id: str = "millrace"

    def options(self) -> dict[str, Any]:
        """Keyword arguments that all of aiokafka's clients share."""
        options: dict[str, Any] = {
            "bootstrap_servers": self.bootstrap,
            "client_id": self.client_id,
            "security_protocol": self.security_protocol,
        }
        if self.security_protocol.endswith("SSL"):
            options["ssl_context"] = create_ssl_context(cafile=self.ca_file or None)
        if self.security_protocol.startswith("SASL"):
            options |= {
                "sasl_mechanism": self.sasl_mechanism,
                "sasl_plain_username": self.sasl_username,
                "sasl_plain_password": self.sasl_password,
            }
        return options


class KafkaLog:
    """Makes clients of one Kafka cluster."""

    def __init__(self, connection: KafkaConnection, *, topics: Iterable[str]) -> None:
        """Remember the cluster and the topics that producers will write to."""
        self._connection = connection
        self._topics = tuple(topics)

    def consumer(self, *, topic: str, group: str, instance_id: str | None) -> "KafkaConsumer":
        """A consumer of one topic in a group."""
        return KafkaConsumer(self._connection, topic=topic, group=group, instance_id=instance_id)

    def producer(self) -> "KafkaProducer":
        """An idempotent producer."""
        return KafkaProducer(self._connection, topics=self._topics)

    def reader(self) -> "KafkaReader":
        """A reader without a group."""
        return KafkaReader(self._connection)


class _WatchedMembership:
    """Sees every heartbeat of a consumer.

    aiokafka tells nobody how a heartbeat went; its coordinator's method is wrapped. A contract
    test against the real broker fails when a new version calls it otherwise.
    """

    def __init__(self) -> None:
        self.confirmed_at_s = time.monotonic()
        self.is_lost = False

    def watch(self, consumer: AIOKafkaConsumer) -> None:
        """Wrap the heartbeat of a started consumer."""
        coordinator = consumer._coordinator  # noqa: SLF001  # see the class
        send_heartbeat = coordinator._do_heartbeat  # noqa: SLF001
        send_request = coordinator._send_req  # noqa: SLF001

        async def watched_heartbeat() -> bool:
            confirmed: bool = await send_heartbeat()
            if confirmed:
                self.confirmed_at_s = time.monotonic()
            return confirmed

        async def watched_request(request: Any) -> Any:
            response = await send_request(request)
            code = getattr(response, "error_code", 0)
            if code == UnknownMemberIdError.errno and "Heartbeat" in type(response).__name__:
                self.is_lost = True
            return response

        coordinator._do_heartbeat = watched_heartbeat  # noqa: SLF001
        coordinator._send_req = watched_request  # noqa: SLF001
        self.confirmed_at_s = time.monotonic()


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # untyped base
    def __init__(self, consumer: "KafkaConsumer", assigned: OnPartitions, revoked: OnPartitions):
        self._consumer = consumer
        self._assigned = assigned
        self._revoked = revoked

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        await self._revoked(frozenset(revoked))

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        partitions = frozenset(assigned)
        await self._consumer.place(partitions)
        await self._assigned(partitions)


class KafkaConsumer:
    """One member of a consumer group on one topic."""

    def __init__(
        self, connection: KafkaConnection, *, topic: str, group: str, instance_id: str | None
    ) -> None:
        """Prepare; ``start`` connects."""
        session_ms = int(connection.session_timeout_s * 1000)
        self.membership = _WatchedMembership()
        self._topic = topic
        self._on_reset: OnPartitions | None = None
        self._consumer = AIOKafkaConsumer(
            **connection.options(),
            group_id=group,
            group_instance_id=instance_id,
            auto_offset_reset="none",
            enable_auto_commit=False,
            isolation_level="read_committed",
            fetch_max_wait_ms=_FETCH_WAIT_MS,
            fetch_max_bytes=_FETCH_BYTES,
            max_partition_fetch_bytes=MAX_RECORD_BYTES,
            session_timeout_ms=session_ms,
            heartbeat_interval_ms=session_ms // _HEARTBEATS_A_SESSION,
        )

    async def start(
        self, *, on_assigned: OnPartitions, on_revoked: OnPartitions, on_reset: OnPartitions
    ) -> None:
        """Join the group."""
        self._on_reset = on_reset
        self._consumer.subscribe([self._topic], listener=_Listener(self, on_assigned, on_revoked))
        try:
            await self._consumer.start()
        except KafkaError as error:
            raise Unavailable("kafka", repr(error)) from error
        self.membership.watch(self._consumer)

    async def place(self, partitions: frozenset[TopicPartition]) -> None:
        """Stand at the log's start where the group has no offset yet."""
        fresh = [tp for tp in partitions if await self._consumer.committed(tp) is None]
        if fresh:
            for partition, offset in (await self._consumer.beginning_offsets(fresh)).items():
                self._consumer.seek(partition, offset)

    async def poll(self, *, timeout_s: float, max_records: int) -> Polled:
        """Wait for records."""
        try:
            polled: Polled = await self._consumer.getmany(
                timeout_ms=int(timeout_s * 1000), max_records=max_records
            )
        except OffsetOutOfRangeError as error:
            await self._restart(frozenset(error.args[0]))
            return {}
        except KafkaError as error:
            raise Unavailable("kafka", repr(error)) from error
        return polled

    async def _restart(self, partitions: frozenset[TopicPartition]) -> None:
        await self._consumer.seek_to_beginning(*partitions)
        if self._on_reset is not None:
            await self._on_reset(partitions)

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        """Stop handing out records of these partitions."""
        self._consumer.pause(*partitions)

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        """Hand out records of these partitions again."""
        self._consumer.resume(*partitions)

    def assignment(self) -> frozenset[TopicPartition]:
        """Partitions this member owns now."""
        return frozenset(self._consumer.assignment())

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Commit positions."""
        try:
            await self._consumer.commit(dict(offsets))
        except KafkaError as error:
            raise Unavailable("kafka", repr(error)) from error

    async def backlog(self, partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, int]:
        """End offsets of those partitions that hold uncommitted records."""
        wanted = list(partitions)
        ends: dict[TopicPartition, int] = await self._consumer.end_offsets(wanted)
        starts: dict[TopicPartition, int] = await self._consumer.beginning_offsets(wanted)
        return {
            tp: end
            for tp, end in ends.items()
            if end > max(await self._consumer.committed(tp) or 0, starts[tp])
        }

    def lag(self) -> Mapping[TopicPartition, int]:
        """Records not yet handed out, as far as the last fetch knows."""
        lags = {}
        for partition in self._consumer.assignment():
            end = self._consumer.highwater(partition)
            state = self._consumer._subscription.subscription.assignment  # noqa: SLF001
            position = state.state_value(partition)._position if state else None  # noqa: SLF001
            if end is not None and position is not None:
                lags[partition] = max(0, end - position)
        return lags

    async def stop(self) -> None:
        """Leave; a static member keeps its place for a session timeout."""
        await self._consumer.stop()


class KafkaReader:
    """Reads partitions with no group."""

    def __init__(self, connection: KafkaConnection) -> None:
        """Prepare; ``start`` connects."""
        self._consumer = AIOKafkaConsumer(
            **connection.options(),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            fetch_max_wait_ms=_FETCH_WAIT_MS,
            fetch_max_bytes=_FETCH_BYTES,
            max_partition_fetch_bytes=MAX_RECORD_BYTES,
        )

    async def start(self, partitions: Iterable[TopicPartition]) -> None:
        """Connect and stand at the end of each partition."""
        try:
            await self._consumer.start()
            wanted = list(partitions)
            self._consumer.assign(wanted)
            for partition, end in (await self._consumer.end_offsets(wanted)).items():
                self._consumer.seek(partition, end)
        except KafkaError as error:
            raise Unavailable("kafka", repr(error)) from error

    async def seek_to_time(self, partition: TopicPartition, at_ms: int) -> None:
        """Stand at the first record of this time or later, or at the end."""
        try:
            found = (await self._consumer.offsets_for_times({partition: at_ms}))[partition]
            if found is None:
                end = (await self._consumer.end_offsets([partition]))[partition]
                self._consumer.seek(partition, end)
            else:
                self._consumer.seek(partition, found.offset)
        except KafkaError as error:
            raise Unavailable("kafka", repr(error)) from error

    async def end_offsets(self) -> Mapping[TopicPartition, int]:
        """End of each partition."""
        try:
            ends: dict[TopicPartition, int] = await self._consumer.end_offsets(
                list(self._consumer.assignment())
            )
        except KafkaError as error:
            raise Unavailable("kafka", repr(error)) from error
        return ends

    async def position(self, partition: TopicPartition) -> int:
        """Offset of the next record it will hand out."""
        return int(await self._consumer.position(partition))

    async def poll(self, *, timeout_s: float, max_records: int) -> Polled:
        """Wait for records."""
        try:
            polled: Polled = await self._consumer.getmany(
                timeout_ms=int(timeout_s * 1000), max_records=max_records
            )
        except KafkaError as error:
            raise Unavailable("kafka", repr(error)) from error
        return polled

    async def stop(self) -> None:
        """Disconnect."""
        await self._consumer.stop()


class KafkaProducer:
    """An idempotent producer, acknowledged by all in-sync replicas."""

    def __init__(self, connection: KafkaConnection, *, topics: Sequence[str]) -> None:
        """Prepare; ``start`` connects."""
        self._topics = topics
        self._partitions: dict[str, int] = {}
        self._producer = AIOKafkaProducer(
            **connection.options(),
            acks="all",
            enable_idempotence=True,
            linger_ms=0,
            max_batch_size=_BATCH_BYTES,
            max_request_size=MAX_RECORD_BYTES,
        )

    async def start(self) -> None:
        """Connect and learn the partition counts."""
        try:
            await self._producer.start()
            for topic in self._topics:
                self._partitions[topic] = len(await self._producer.partitions_for(topic))
        except KafkaError as error:
            await self._producer.stop()
            raise Unavailable("kafka", repr(error)) from error

    def partition_count(self, topic: str) -> int:
        """Number of partitions of a topic, read at start."""
        return self._partitions[topic]

    async def send(
        self,
        topic: str,
        *,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]],
    ) -> "asyncio.Future[RecordMetadata]":
        """Hand over a record; the future resolves when it is acknowledged."""
        try:
            future: asyncio.Future[RecordMetadata] = await self._producer.send(
                topic, value, key, partition, headers=list(headers)
            )
        except MessageSizeTooLargeError as error:
            size = len(value or b"")
            raise PoisonRecord("oversize", f"{size} bytes for {topic}") from error
        except KafkaError as error:
            raise Unavailable("kafka", repr(error)) from error
        return future

    async def stop(self) -> None:
        """Send what is buffered and disconnect."""
        await self._producer.stop()
