"""A member of a consumer group, by aiokafka."""

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import (
    IllegalStateError,
    KafkaError,
    NoError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
from aiokafka.protocol.group import HeartbeatRequest, JoinGroupRequest, SyncGroupRequest

from services.shared.domain.errors import MustStop, Unavailable
from services.shared.stream.client import (
    OnAssigned,
    OnPartitions,
    Polled,
    TopicPartition,
    restart_offset,
)
from services.shared.stream.kafka_closing import closed_soon
from services.shared.stream.kafka_connection import KafkaConnection

_HEARTBEATS_A_SESSION = 4
_COMMIT_S = 3.0
_FENCED_INSTANCE_ID = 82
_NEVER_IDLE_MS = 24 * 3600 * 1000


class WatchedMembership:
    """Sees every answer of a consumer's group coordinator.

    aiokafka tells nobody how a heartbeat went; its coordinator's method is wrapped. A contract
    test against the real broker fails when a new version calls it otherwise.

    Attributes:
        confirmed_at_s: When the coordinator last answered as to a member, monotonic.
        is_lost: It said once that it does not know the member.
    """

    def __init__(self) -> None:
        """Start in good standing."""
        self.confirmed_at_s = time.monotonic()
        self.is_lost = False

    def watch(self, coordinator: Any) -> None:
        """Wrap the way to a started consumer's coordinator."""
        send = coordinator._send_req  # noqa: SLF001  # see the class

        async def watched(request: Any) -> Any:
            response = await send(request)
            if isinstance(request, HeartbeatRequest):
                self._heard(response.error_code)
            elif isinstance(request, JoinGroupRequest | SyncGroupRequest):
                self._joined(response.error_code)
            return response

        coordinator._send_req = watched  # noqa: SLF001
        self.confirmed_at_s = time.monotonic()

    def _heard(self, code: int) -> None:
        if code in (NoError.errno, RebalanceInProgressError.errno):
            self.confirmed_at_s = time.monotonic()
        elif code in (UnknownMemberIdError.errno, _FENCED_INSTANCE_ID):
            self.is_lost = True

    def _joined(self, code: int) -> None:
        if code == NoError.errno:
            self.confirmed_at_s = time.monotonic()
        elif code == _FENCED_INSTANCE_ID:
            self.is_lost = True


class KafkaConsumer:
    """One member of a consumer group on one topic."""

    def __init__(
        self, connection: KafkaConnection, *, topic: str, group: str, instance_id: str | None
    ) -> None:
        """Prepare; ``start`` connects."""
        session_ms = int(connection.session_timeout_s * 1000)
        self.membership = WatchedMembership()
        self._topic = topic
        self._options = {
            **connection.options(),
            **connection.fetch_options(),
            "group_id": group,
            "group_instance_id": instance_id,
            "auto_offset_reset": "none",
            "enable_auto_commit": False,
            "session_timeout_ms": session_ms,
            "heartbeat_interval_ms": session_ms // _HEARTBEATS_A_SESSION,
            # A full process does not poll for as long as its records take; that the event loop
            # turns is watched by `Fence`.
            "max_poll_interval_ms": _NEVER_IDLE_MS,
        }
        self._started: AIOKafkaConsumer | None = None
        self._on_reset: OnPartitions | None = None
        self._failure: Exception | None = None
        self._is_placed = asyncio.Event()

    @property
    def _consumer(self) -> AIOKafkaConsumer:
        if self._started is None:
            raise Unavailable("kafka", "not connected")
        return self._started

    async def start(
        self, *, on_assigned: OnAssigned, on_revoked: OnPartitions, on_reset: OnPartitions
    ) -> None:
        """Join the group."""
        self._on_reset = on_reset
        consumer = self._started = AIOKafkaConsumer(**self._options)
        consumer.subscribe([self._topic], listener=_Listener(self, on_assigned, on_revoked))
        try:
            await consumer.start()
            await self._is_placed.wait()  # the listener may still be at work
        except BaseException as error:
            await self.stop()
            if isinstance(error, KafkaError):
                raise Unavailable("kafka", repr(error)) from error
            raise
        self.membership.watch(consumer._coordinator)  # noqa: SLF001  # see WatchedMembership

    async def place(self, partitions: frozenset[TopicPartition]) -> Mapping[TopicPartition, int]:
        """Stand where the group is, or at the log's start where it has no offset yet.

        Nothing is handed out before: the partitions are paused until the owner resumes them.
        """
        consumer = self._consumer
        consumer.pause(*partitions)
        found = {where: await consumer.committed(where) for where in sorted(partitions)}
        positions = {where: offset for where, offset in found.items() if offset is not None}
        fresh = [where for where, offset in found.items() if offset is None]
        if fresh:
            positions |= await consumer.beginning_offsets(fresh)
        for where, offset in positions.items():
            consumer.seek(where, offset)
        return positions

    def placed(self) -> None:
        """The owner knows what it was assigned."""
        self._is_placed.set()

    def fail(self, error: Exception) -> None:
        """Remember what went wrong in a rebalance; ``poll`` tells it."""
        self._failure = error
        self._is_placed.set()

    async def poll(self, *, timeout_s: float, max_records: int) -> Polled:
        """Wait for records."""
        if self._failure is not None:
            raise MustStop(f"a rebalance failed: {self._failure!r}") from self._failure
        try:
            polled: Polled = await self._consumer.getmany(
                timeout_ms=int(timeout_s * 1000), max_records=max_records
            )
        except OffsetOutOfRangeError as error:
            await self._restart(error.args[0])
            return {}
        except NoOffsetForPartitionError:
            return {}  # `place` is about to give it one
        except KafkaError as error:
            raise Unavailable("kafka", repr(error)) from error
        return polled

    async def _restart(self, offsets: Mapping[TopicPartition, int]) -> None:
        owned = self.assignment() & offsets.keys()
        try:
            starts = await self._consumer.beginning_offsets(list(owned))
            ends = await self._consumer.end_offsets(list(owned))
        except KafkaError as error:
            raise Unavailable("kafka", repr(error)) from error
        owned &= self.assignment()
        for where in owned:
            at = restart_offset(offsets[where], start=starts[where], end=ends[where])
            self._consumer.seek(where, at)
        if owned and self._on_reset is not None:
            await self._on_reset(owned)

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        """Stop handing out records of these partitions."""
        self._consumer.pause(*partitions)

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        """Hand out records of these partitions again."""
        self._consumer.resume(*partitions)

    def assignment(self) -> frozenset[TopicPartition]:
        """Partitions this member owns now."""
        return frozenset() if self._started is None else frozenset(self._started.assignment())

    def position(self, partition: TopicPartition) -> int:
        """Offset of the next record it will hand out."""
        position = self._position(partition)
        if position is None:
            raise Unavailable("kafka", f"no position in {partition} yet")
        return position

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Commit positions."""
        try:
            async with asyncio.timeout(_COMMIT_S):
                await self._consumer.commit(dict(offsets))
        except (KafkaError, IllegalStateError, TimeoutError) as error:
            raise Unavailable("kafka", repr(error)) from error

    async def backlog(self, partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, int]:
        """End offsets of those partitions that hold uncommitted records."""
        wanted = list(partitions)
        consumer = self._consumer
        try:
            ends: dict[TopicPartition, int] = await consumer.end_offsets(wanted)
            starts: dict[TopicPartition, int] = await consumer.beginning_offsets(wanted)
            committed = {where: await consumer.committed(where) or 0 for where in wanted}
        except KafkaError as error:
            raise Unavailable("kafka", repr(error)) from error
        return {
            where: end for where, end in ends.items() if end > max(committed[where], starts[where])
        }

    def lag(self) -> Mapping[TopicPartition, int]:
        """Records not yet handed out, as far as the last fetch knows."""
        lags = {}
        for where in self.assignment():
            end, position = self._consumer.highwater(where), self._position(where)
            if end is not None and position is not None:
                lags[where] = max(0, end - position)
        return lags

    async def leave(self) -> None:
        """Leave for good: only members without a name say goodbye as they stop."""
        coordinator: Any = getattr(self._started, "_coordinator", None)
        if coordinator is not None:
            coordinator._group_instance_id = None  # noqa: SLF001  # no other way
        await self.stop()
        if coordinator is not None and coordinator._heartbeat_task is not None:  # noqa: SLF001
            coordinator._heartbeat_task.cancel()  # noqa: SLF001  # the end was cut short

    async def stop(self) -> None:
        """Leave; a static member keeps its place for a session timeout."""
        consumer, self._started = self._started, None
        if consumer is not None:
            await closed_soon(consumer)

    def _position(self, partition: TopicPartition) -> int | None:
        # `AIOKafkaConsumer.position` waits where there is none; this only looks.
        subscription: Any = self._consumer._subscription.subscription  # noqa: SLF001
        assignment = None if subscription is None else subscription.assignment
        state = None if assignment is None else assignment.state_value(partition)
        return state.position if state is not None and state.has_valid_position else None


class _Listener(ConsumerRebalanceListener):
    """Passes rebalances on; aiokafka would only log what a listener raises."""

    def __init__(self, consumer: KafkaConsumer, assigned: OnAssigned, revoked: OnPartitions):
        self._consumer = consumer
        self._assigned = assigned
        self._revoked = revoked

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        partitions = frozenset(revoked)
        try:
            if partitions:  # it is also called when there was nothing to lose
                await self._revoked(partitions)
        except Exception as error:  # noqa: BLE001  # told by `poll`
            self._consumer.fail(error)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        try:
            await self._assigned(await self._consumer.place(frozenset(assigned)))
            self._consumer.placed()
        except Exception as error:  # noqa: BLE001  # told by `poll`
            self._consumer.fail(error)
