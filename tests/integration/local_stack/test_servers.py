"""The real Kafka and Redis of the local stack, as tests share and kill them."""

import time
import uuid

import pytest
import redis
from confluent_kafka import Consumer, KafkaError, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from services.shared.domain.errors import Unavailable
from services.shared.stream.admin import wait_until_ready
from tests.support.kafka_broker import kafka_server
from tests.support.redis_server import redis_server

WAIT_S = 30.0
LARGE_BYTES = 8 * 1024 * 1024 - 1024
BACK_S = 10.0


def make_topic(bootstrap: str) -> str:
    """Make a topic of one's own that takes large records."""
    topic = f"test-{uuid.uuid4()}"
    large = {"max.message.bytes": str(8 * 1024 * 1024)}
    admin = AdminClient({"bootstrap.servers": bootstrap})
    (made,) = admin.create_topics([NewTopic(topic, 1, 1, config=large)]).values()
    made.result(WAIT_S)
    return topic


def send(bootstrap: str, topic: str, value: bytes) -> None:
    """Write a record and wait until it is acknowledged."""
    producer = Producer({"bootstrap.servers": bootstrap, "message.max.bytes": 8 * 1024 * 1024})
    producer.produce(topic, value)
    assert producer.flush(WAIT_S) == 0


def first(bootstrap: str, topic: str) -> bytes:
    """Read the first record as a member of a group with a short session."""
    settings: dict[str, str | int] = {
        "bootstrap.servers": bootstrap,
        "group.id": topic,
        "session.timeout.ms": 1_000,
        "heartbeat.interval.ms": 300,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
    }
    consumer = Consumer(settings)
    try:
        consumer.subscribe([topic])
        message = consumer.poll(WAIT_S)
        assert message is not None
        assert message.error() is None
        return message.value() or b""
    finally:
        consumer.close()


def test_records_of_8_mib_pass_and_short_sessions_are_taken(kafka_bootstrap: str) -> None:
    """The broker's limits are those that the pipeline is built for."""
    topic = make_topic(kafka_bootstrap)
    send(kafka_bootstrap, topic, bytes(LARGE_BYTES))
    assert len(first(kafka_bootstrap, topic)) == LARGE_BYTES


def test_no_topic_appears_that_nobody_declared(kafka_bootstrap: str) -> None:
    """A misspelt name is an error, not a topic."""
    admin = AdminClient({"bootstrap.servers": kafka_bootstrap})
    asked = admin.list_topics("misspelt", timeout=WAIT_S).topics["misspelt"]
    assert asked.error is not None
    assert asked.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART
    assert "misspelt" not in admin.list_topics(timeout=WAIT_S).topics


def test_a_killed_broker_comes_back_soon_with_its_records() -> None:
    """SIGKILL loses nothing that was acknowledged, and the same port answers within seconds."""
    with kafka_server() as kafka:
        topic = make_topic(kafka.bootstrap)
        send(kafka.bootstrap, topic, b"kept")
        kafka.kill()
        with pytest.raises(Unavailable, match="no answer"):
            wait_until_ready(kafka.bootstrap, timeout_s=0.2)
        began_s = time.monotonic()
        kafka.start()
        assert time.monotonic() - began_s < BACK_S
        assert first(kafka.bootstrap, topic) == b"kept"


def test_redis_is_shared_bounded_and_empty_after_a_kill(redis_url: str) -> None:
    """Memory is bounded by eviction; a restart begins with nothing, since Redis is no truth."""
    with redis.Redis.from_url(redis_url) as shared:
        memory = shared.info("memory")
    assert (memory["maxmemory"], memory["maxmemory_policy"]) == (128 * 1024 * 1024, "allkeys-lru")
    with redis_server() as own:
        client = redis.Redis.from_url(own.url)
        client.set("key", "value")
        own.kill()
        own.start()
        assert client.get("key") is None
        client.close()
