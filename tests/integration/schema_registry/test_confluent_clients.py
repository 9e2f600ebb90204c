"""The registry as a process on a real broker, used by Confluent's own clients."""

import contextlib
import http.client
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient, SchemaRegistryError
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from services.cli.local_stack.ports import free_port
from services.shared.codec import avro
from services.shared.codec.schemas import SchemaStore

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(60)]
_ROOT = Path(__file__).parents[3]


class RegistryProcess:
    """The service as a process of its own, for the length of a ``with`` block."""

    def __init__(self, bootstrap: str, *, topic: str) -> None:
        """Start it; ``wait_for_log`` waits for it."""
        port = free_port()
        self._address = f"127.0.0.1:{port}"
        self.url = f"http://{self._address}"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "services.schema_registry"],
            cwd=_ROOT,
            env={
                **os.environ,
                "MILLRACE_KAFKA_BOOTSTRAP": bootstrap,
                "MILLRACE_REGISTRY_PORT": str(port),
                "MILLRACE_REGISTRY_TOPIC": topic,
                "MILLRACE_METRICS_PORT": "-1",
            },
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> "RegistryProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def status_of(self, path: str) -> int:
        """The status of a GET."""
        connection = http.client.HTTPConnection(self._address, timeout=5)
        with contextlib.closing(connection):
            connection.request("GET", path)
            return connection.getresponse().status

    def wait_for_log(self, *messages: str) -> None:
        """Read its log until all messages have come; fails when it ends before."""
        assert self._process.stderr is not None
        seen = ""
        for line in self._process.stderr:
            seen += line
            if all(f'"{message}"' in seen for message in messages):
                return
        pytest.fail(f"the registry ended:\n{seen}")

    def end(self) -> tuple[int, str]:
        """Wait until it ends by itself; returns its exit code and what it logged last."""
        _, log = self._process.communicate(timeout=30)
        return self._process.returncode, log

    def stop(self) -> int:
        """Tell it to stop; returns its exit code."""
        self._process.send_signal(signal.SIGTERM)
        self._process.communicate(timeout=10)
        return self._process.returncode


@pytest.fixture(scope="module")
def topic() -> str:
    """The registry's topic."""
    return f"_schemas-{uuid.uuid4().hex}"


@pytest.fixture(scope="module")
def url(kafka_bootstrap: str, topic: str) -> Iterator[str]:
    """A running registry."""
    with RegistryProcess(kafka_bootstrap, topic=topic) as process:
        process.wait_for_log("listening", "ready")
        yield process.url
        assert process.stop() == 0


@pytest.fixture
def client(url: str) -> Iterator[SchemaRegistryClient]:
    """Confluent's client, with an empty cache."""
    with SchemaRegistryClient({"url": url}) as client:
        yield client


@pytest.fixture
def subject() -> str:
    """A new subject."""
    return f"{uuid.uuid4().hex}-value"


def record(*fields: str, name: str = "R") -> Schema:
    """A schema with optional fields of strings."""
    members = ", ".join(f'{{"name": "{f}", "type": "string", "default": ""}}' for f in fields)
    return Schema(f'{{"type": "record", "name": "{name}", "fields": [{members}]}}', "AVRO")


def value_of(topic: str) -> SerializationContext:
    """The value of a record of a topic."""
    return SerializationContext(topic, MessageField.VALUE)


SUSPECT = {"topic": "t", "partition": 1, "offset": 2, "group": "g", "crashes": 3}


def test_packaged_schemas_have_their_packaged_ids(client: SchemaRegistryClient) -> None:
    """Every id that our records carry is served with our own text."""
    for packaged in SchemaStore.packaged().all():
        assert client.get_schema(packaged.schema_id).schema_str == packaged.text
    served = client.get_latest_version("inference-requests-p0-value")
    assert served.schema_id == SchemaStore.packaged().id_of("inference_requested")
    assert served.version == SchemaStore.packaged().newest("inference_requested").version


def test_confluents_deserializer_reads_our_records(client: SchemaRegistryClient) -> None:
    """A consumer that knows only the registry's address gets the fields."""
    value = avro.encode("crash_suspected", SUSPECT)
    assert AvroDeserializer(client)(value, value_of("crash-suspects")) == SUSPECT


@pytest.mark.parametrize(
    "configuration",
    [
        pytest.param({"auto.register.schemas": True}, id="registers"),
        pytest.param({"auto.register.schemas": False}, id="looks_up"),
        pytest.param(
            {"auto.register.schemas": False, "use.latest.version": True}, id="takes_the_latest"
        ),
        pytest.param(
            {"auto.register.schemas": True, "normalize.schemas": True}, id="registers_normalised"
        ),
    ],
)
def test_we_read_records_of_confluents_serializer(
    client: SchemaRegistryClient, configuration: dict[str, Any]
) -> None:
    """However the serializer finds the id, it is the packaged one, and the bytes are ours."""
    text = SchemaStore.packaged().newest("crash_suspected").text
    serialize = AvroSerializer(client, text, conf=configuration)
    value = serialize(SUSPECT, value_of("crash-suspects"))
    assert value == avro.encode("crash_suspected", SUSPECT)


def test_serializers_of_others_use_the_registry_too(client: SchemaRegistryClient, url: str) -> None:
    """A schema of a user's own topic goes the whole way through two clients."""
    topic = uuid.uuid4().hex
    value = AvroSerializer(client, record("a").schema_str)({"a": "x"}, value_of(topic))
    with SchemaRegistryClient({"url": url}) as other:
        assert AvroDeserializer(other)(value, value_of(topic)) == {"a": "x"}


def test_evolution_is_read_in_both_directions(client: SchemaRegistryClient, subject: str) -> None:
    """With FULL compatibility, old and new readers read both versions."""
    topic = subject.removesuffix("-value")
    client.set_compatibility(subject, "FULL")
    values = [
        AvroSerializer(client, record(*fields).schema_str)(fields, value_of(topic))
        for fields in ({"a": "1"}, {"a": "1", "b": "2"})
    ]
    for fields, expected in (({"a"}, {"a": "1"}), ({"a", "b"}, {"a": "1"})):
        read = AvroDeserializer(client, record(*sorted(fields)).schema_str)
        for value in values:
            assert read(value, value_of(topic)).items() >= expected.items()


def test_client_registers_and_finds_versions(client: SchemaRegistryClient, subject: str) -> None:
    """The calls of Confluent's client that concern schemas."""
    first = client.register_schema(subject, record("a"))
    second = client.register_schema(subject, record("a", "b"))
    assert client.register_schema(subject, record("a"), normalize_schemas=True) == first
    assert client.get_versions(subject) == [1, 2]
    assert client.get_latest_version(subject).schema_id == second
    assert client.get_version(subject, 1).schema.schema_str == record("a").schema_str
    assert client.lookup_schema(subject, record("a", "b")).version == 2
    assert subject in client.get_subjects_by_schema_id(first)
    assert (subject, 2) in [(v.subject, v.version) for v in client.get_schema_versions(second)]
    assert client.get_schema_types() == ["AVRO"]
    assert subject in client.get_subjects()
    assert client.get_referenced_by(subject, 1) == []


def test_client_sets_levels_and_is_refused_by_them(
    client: SchemaRegistryClient, subject: str
) -> None:
    """409 with the reason, as Confluent's registry answers."""
    client.register_schema(subject, record("a"))
    assert client.get_compatibility() == "BACKWARD"
    client.set_compatibility(subject, "FORWARD_TRANSITIVE")
    assert client.get_compatibility(subject) == "FORWARD_TRANSITIVE"
    assert client.get_config(subject).compatibility_level == "FORWARD_TRANSITIVE"
    other = Schema('{"type": "record", "name": "Other", "fields": []}', "AVRO")
    assert not client.test_compatibility(subject, other)
    assert not client.test_compatibility_all_versions(subject, other, verbose=True)
    with pytest.raises(SchemaRegistryError) as refused:
        client.register_schema(subject, other)
    assert (refused.value.http_status_code, refused.value.error_code) == (409, 409)
    client.delete_config(subject)
    with pytest.raises(SchemaRegistryError) as refused:
        client.get_compatibility(subject)
    assert refused.value.error_code == 40408
    assert client.get_global_mode() == "READWRITE"


def test_client_deletes_versions_and_subjects(
    client: SchemaRegistryClient, subject: str, url: str
) -> None:
    """Soft, then permanently; the same schema gets its old id back."""
    name = f"R{uuid.uuid4().hex}"
    first = client.register_schema(subject, record("a", name=name))
    client.register_schema(subject, record("a", "b", name=name))
    assert client.delete_version(subject, 2) == 2
    assert client.delete_version(subject, 2, permanent=True) == 2
    assert client.delete_subject(subject) == [1]
    assert client.get_subjects_by_schema_id(first) == []
    assert client.delete_subject(subject, permanent=True) == [1]
    assert subject not in client.get_subjects(deleted=True)
    with SchemaRegistryClient({"url": url}) as other:
        assert other.register_schema(subject, record("a", name=name)) == first


def test_state_outlives_the_process(
    client: SchemaRegistryClient, subject: str, kafka_bootstrap: str, topic: str
) -> None:
    """A second process on the same topic serves what the first was told, and adds nothing."""
    schema_id = client.register_schema(subject, record("a"))
    with RegistryProcess(kafka_bootstrap, topic=topic) as second:
        second.wait_for_log("listening", "ready")
        with SchemaRegistryClient({"url": second.url}) as other:
            assert other.get_latest_version(subject).schema_id == schema_id
        assert second.stop() == 0


def test_registry_waits_for_kafka_and_stops_when_told(topic: str) -> None:
    """Without a broker it is alive, not ready, and ends in time."""
    with RegistryProcess("127.0.0.1:1", topic=topic) as process:
        process.wait_for_log("listening", "waiting for the log")
        assert process.status_of("/livez") == 200
        assert process.status_of("/readyz") == 503
        assert process.stop() == 0


def test_topic_that_forgets_ends_the_registry(kafka_bootstrap: str) -> None:
    """A wrong configuration is exit code 78, with the remedy in the log."""
    topic = f"forgetful-{uuid.uuid4().hex}"
    admin = AdminClient({"bootstrap.servers": kafka_bootstrap})
    admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])[topic].result()
    with RegistryProcess(kafka_bootstrap, topic=topic) as process:
        code, log = process.end()
    assert code == 78
    assert "Set it to compact" in log


@pytest.mark.may_skip
@pytest.mark.skipif(shutil.which("kcat") is None, reason="kcat is not installed")
def test_kcat_reads_our_records(kafka_bootstrap: str) -> None:
    """Key and bytes as they are: Debian's kcat is built without Avro."""
    topic = uuid.uuid4().hex
    admin = AdminClient({"bootstrap.servers": kafka_bootstrap})
    admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])[topic].result()
    value = avro.encode("crash_suspected", SUSPECT)
    producer = Producer({"bootstrap.servers": kafka_bootstrap})
    producer.produce(topic, value, key="a-key")
    assert producer.flush(10) == 0
    command = ["kcat", "-b", kafka_bootstrap, "-t", topic, "-C", "-e", "-q", "-f", "%k=%s"]
    printed = subprocess.run(command, capture_output=True, timeout=30, check=True)
    assert printed.stdout == b"a-key=" + value
