"""What every schema log does, in memory and on Kafka."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from services.shared.adapters.in_memory_schema_log import InMemorySchemaLog
from services.shared.domain.errors import InvalidConfiguration, Unavailable
from services.shared.ports.schema_log import LoggedRecord, SchemaLog
from services.shared.stream.kafka_connection import KafkaConnection
from services.shared.stream.schema_log import KafkaSchemaLog

OpenLog = Callable[[], SchemaLog]
"""Makes one more log over the same records."""

A, B, C = (LoggedRecord(key, b"value of " + key) for key in (b"a", b"b", b"c"))
GONE = LoggedRecord(b"a", None)


class SchemaLogContract:
    """The contract; a subclass says how logs over the same records are made."""

    @pytest.fixture
    async def log(self, open_log: OpenLog) -> AsyncIterator[SchemaLog]:
        """One started log."""
        log = open_log()
        await log.start()
        yield log
        await log.stop()

    async def test_new_log_is_empty(self, log: SchemaLog) -> None:
        """Nothing comes from a log that nobody wrote to; reading it does not wait for news."""
        async with asyncio.timeout(3):
            assert list(await log.read_to_end()) == []

    async def test_what_is_appended_is_read_in_order_and_once(self, log: SchemaLog) -> None:
        """Each read gives what came since the last one."""
        await log.append(A)
        await log.append(B)
        assert list(await log.read_to_end()) == [A, B]
        assert list(await log.read_to_end()) == []
        await log.append(C)
        assert list(await log.read_to_end()) == [C]

    async def test_tombstone_has_no_value(self, log: SchemaLog) -> None:
        """A record that takes back a key is read like any other."""
        await log.append(A)
        await log.append(GONE)
        assert list(await log.read_to_end()) == [A, GONE]

    async def test_append_is_seen_by_every_other_log_at_once(
        self, log: SchemaLog, open_log: OpenLog
    ) -> None:
        """After an append has returned, whoever reads sees it."""
        other = open_log()
        await other.start()
        try:
            for _ in range(5):
                await log.append(A)
                assert list(await other.read_to_end()) == [A]
        finally:
            await other.stop()

    async def test_later_log_reads_from_the_start(self, log: SchemaLog, open_log: OpenLog) -> None:
        """A restarted registry knows what was registered before."""
        for record in (A, B, C):
            await log.append(record)
        later = open_log()
        await later.start()
        try:
            assert list(await later.read_to_end()) == [A, B, C]
        finally:
            await later.stop()

    async def test_large_record_is_kept(self, log: SchemaLog) -> None:
        """The largest schema that is taken, 1 MiB of JSON, fits."""
        large = LoggedRecord(b"large", b"x" * 1024 * 1024)
        await log.append(large)
        assert list(await log.read_to_end()) == [large]

    async def test_started_again_it_goes_on(self, log: SchemaLog) -> None:
        """After a second start, what was read is not read again."""
        await log.append(A)
        assert list(await log.read_to_end()) == [A]
        await log.stop()
        await log.start()
        await log.append(B)
        assert list(await log.read_to_end()) == [B]


class TestInMemorySchemaLog(SchemaLogContract):
    """The fake."""

    @pytest.fixture
    def open_log(self) -> OpenLog:
        """Logs over one list."""
        records: list[LoggedRecord] = []
        return lambda: InMemorySchemaLog(records)

    async def test_unreachable_log_says_so(self) -> None:
        """Every call fails while it is switched off."""
        log = InMemorySchemaLog()
        log.is_reachable = False
        with pytest.raises(Unavailable):
            await log.append(A)
        with pytest.raises(Unavailable):
            await log.read_to_end()


@pytest.mark.kafka
class TestKafkaSchemaLog(SchemaLogContract):
    """The log on a real broker."""

    @pytest.fixture
    def open_log(self, kafka_bootstrap: str) -> OpenLog:
        """Logs over one new topic."""
        topic = f"_schemas-{uuid.uuid4().hex}"
        return lambda: KafkaSchemaLog(KafkaConnection(bootstrap=kafka_bootstrap), topic=topic)

    async def test_topic_that_forgets_is_refused(self, kafka_bootstrap: str) -> None:
        """Schemas are needed as long as records are; retention by time would lose them."""
        topic = f"forgetful-{uuid.uuid4().hex}"
        admin = AdminClient({"bootstrap.servers": kafka_bootstrap})
        created = admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])
        created[topic].result()
        log = KafkaSchemaLog(KafkaConnection(bootstrap=kafka_bootstrap), topic=topic)
        with pytest.raises(InvalidConfiguration, match=r"cleanup\.policy=delete"):
            await log.start()

    async def test_log_that_was_not_started_is_unavailable(self, kafka_bootstrap: str) -> None:
        """Use before ``start`` is an ordinary "not now"."""
        log = KafkaSchemaLog(KafkaConnection(bootstrap=kafka_bootstrap), topic="never")
        with pytest.raises(Unavailable):
            await log.append(A)
        with pytest.raises(Unavailable):
            await log.read_to_end()

    async def test_broker_that_is_not_there_is_unavailable(self) -> None:
        """No answer on the port is an ordinary "not now"."""
        log = KafkaSchemaLog(KafkaConnection(bootstrap="127.0.0.1:1"), topic="never")
        with pytest.raises(Unavailable):
            await log.start()
