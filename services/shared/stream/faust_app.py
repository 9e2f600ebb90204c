"""A Faust application that folds one topic into one table."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, cast

import faust
from faust.types import TP, AppT, EventT, Message, StreamT
from mode import ServiceT

from services.shared.domain.errors import MustStop
from services.shared.stream.faust_transport import Clients, Consumer, transport_type

COMMIT_INTERVAL_S = 5.0
"""Committed offsets are for those who watch the lag; nothing depends on them."""

_BUFFERED_RECORDS = 1_024
_POLLED_RECORDS = 200
"""Fewer than fit into the buffer behind the mark (80 %) at which Faust pauses the partition."""

_URL = "kafka://as-the-clients-say"

TakeEvent = Callable[[EventT[bytes]], Awaitable[None]]


class TableApp(faust.App):
    """The parts of Faust that fold a topic into a table, and no others.

    There is no web server, no leader election, no monitor (it costs as much as the counting) and
    no folder: tables are in memory, recovered from their changelog.
    """

    def __init__(self, name: str, *, clients: Clients, partitions: int) -> None:
        """Prepare.

        Args:
            name: Consumer group, and prefix of changelog topics.
            clients: What to connect with.
            partitions: Partitions of the source, and so of the changelog.
        """
        self._transport_type = transport_type(clients)
        session_s = clients.connection.session_timeout_s
        super().__init__(
            name,
            broker=_URL,
            store="memory://",
            autodiscover=False,
            web_enabled=False,
            topic_disable_leader=True,
            topic_partitions=partitions,
            broker_commit_interval=COMMIT_INTERVAL_S,
            broker_session_timeout=session_s,
            broker_request_timeout=max(90.0, session_s + 1),
            broker_max_poll_records=_POLLED_RECORDS,
            stream_buffer_maxsize=_BUFFERED_RECORDS,
            stream_wait_empty=False,  # the table says what was folded; nothing is waited for
            stream_recovery_delay=0.0,
        )

    def on_init_dependencies(self) -> Iterable[ServiceT]:
        """Start the services of a worker, without the monitor."""
        return self.boot_strategy.server()

    def on_rebalance_start(self) -> None:
        """Begin a rebalance; without a monitor its state is empty, which Faust warns about."""
        super().on_rebalance_start()
        self._rebalancing_sensor_state = {"monitor": None}

    def is_next(self, partition: TP, expected: int, offset: int) -> bool:
        """Whether Kafka holds no record from an expected offset up to another one."""
        return cast(Consumer, self.consumer).holes.is_next(partition, expected, offset)

    def ask_again(self, partition: TP, offset: int) -> None:
        """Go on from an offset, as some record of it was not delivered."""
        cast(Consumer, self.consumer).ask_again(partition, offset)

    async def crash_told(self) -> None:
        """Return never; raise what made Faust give up.

        Raises:
            MustStop: A part of Faust crashed.
        """
        await self._crashed.wait()
        raise MustStop(f"Faust crashed: {self.crash_reason!r}") from self.crash_reason

    def _create_directories(self) -> None:
        """Nothing is kept in files."""

    def _new_transport(self) -> Any:
        return self._transport_type(self.conf.broker_consumer, self)

    def _new_producer_transport(self) -> Any:
        return self._transport_type(self.conf.broker_producer, self)


class BytesTable:
    """A Faust table of bytes that is written for a partition, outside of any event."""

    def __init__(
        self,
        app: TableApp,
        *,
        name: str,
        partitions: int,
        config: Mapping[str, str],
        on_recover: Callable[[], Awaitable[None]],
    ) -> None:
        """Declare the table.

        Args:
            app: The application.
            name: Of the table.
            partitions: Of the changelog.
            config: Kafka's settings of the changelog.
            on_recover: Called when the table is as its changelog says, after each rebalance.
        """
        self._table = app.Table(
            name,
            key_type=bytes,
            value_type=bytes,
            partitions=partitions,
            extra_topic_configs=config,
            on_recover=on_recover,
        )

    def items(self) -> list[tuple[bytes, bytes]]:
        """All that it holds."""
        return list(self._table.data.items())

    def write(self, partition: int, key: bytes, value: bytes) -> Awaitable[Any]:
        """Set a key; returns what resolves when the changelog has it."""
        self._table.data[key] = value
        return self._table.send_changelog(partition, key, value)

    def remove(self, partition: int, key: bytes) -> Awaitable[Any]:
        """Remove a key; returns what resolves when the changelog has it."""
        self.forget(key)
        return self._table.send_changelog(partition, key, None)

    def forget(self, key: bytes) -> None:
        """Let go of a key that somebody else keeps from now on."""
        self._table.data.pop(key, None)


class _AsTheyAre(faust.Schema[bytes, bytes]):
    """Delivers records as they are, tombstones too: decoding is ours, and a dead letter if not.

    What Faust itself cannot decode it would pass over.
    """

    def compile(self, app: AppT, **_: Any) -> Callable[..., Awaitable[Any]]:
        """Make the function that makes events."""
        create_event = app.create_event

        async def event_of(message: Message, **_: Any) -> Any:
            return create_event(message.key, message.value, None, message)

        return event_of


def consume(app: TableApp, topic: str, take: TakeEvent) -> None:
    """Hand every record of a topic to ``take``, one after the other.

    Args:
        app: The application.
        topic: Name of the topic.
        take: Must not raise: Faust would pass the record over.
    """
    source = app.topic(topic, schema=_AsTheyAre())

    async def fold(stream: StreamT[bytes]) -> None:
        async for event in stream.events():
            await take(event)

    app.agent(source, name=f"{app.conf.id}-fold", concurrency=1)(fold)
