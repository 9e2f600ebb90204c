"""How the local broker is set up."""

import os
from pathlib import Path

import msgspec
import pytest

from services.cli.local_stack.class_archive import archive_options, java_key
from services.cli.local_stack.java import Java
from services.cli.local_stack.kafka import Broker, broker_command, is_formatted, write_settings
from services.cli.local_stack.plan import kafka_process
from services.cli.local_stack.state import Layout


@pytest.fixture
def broker(tmp_path: Path) -> Broker:
    """A broker that never runs."""
    home = tmp_path / "java"
    (home / "lib").mkdir(parents=True)
    (home / "lib" / "modules").touch()
    jars = tmp_path / "jars"
    jars.mkdir()
    return Broker(
        java=Java(home=home, version="17.0.1", source="PATH"),
        jars=jars,
        folder=tmp_path / "kafka",
        port=19092,
        controller_port=19093,
    )


def settings(broker: Broker) -> dict[str, str]:
    """The settings as the broker reads them."""
    write_settings(broker)
    lines = (broker.folder / "server.properties").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines)


def test_it_is_reachable_from_this_machine_alone(broker: Broker) -> None:
    """Both listeners are on loopback, and clients are told so."""
    written = settings(broker)
    assert written["listeners"] == "PLAINTEXT://127.0.0.1:19092,CONTROLLER://127.0.0.1:19093"
    assert written["advertised.listeners"] == f"PLAINTEXT://{broker.bootstrap}"


def test_it_forces_each_write_to_the_disk_when_asked(broker: Broker) -> None:
    """Usually the kernel decides when; with the option an acknowledged record is on the disk."""
    assert "log.flush.interval.messages" not in settings(broker)
    assert (
        settings(msgspec.structs.replace(broker, fsync=True))["log.flush.interval.messages"] == "1"
    )


def test_it_takes_what_the_pipeline_sends(broker: Broker) -> None:
    """Records of 8 MiB, groups with short sessions, and no topic that nobody declared."""
    written = settings(broker)
    assert int(written["message.max.bytes"]) == 8 * 1024 * 1024
    assert int(written["replica.fetch.max.bytes"]) >= int(written["message.max.bytes"])
    assert int(written["group.min.session.timeout.ms"]) <= 1_000
    assert written["auto.create.topics.enable"] == "false"


def test_a_later_start_on_other_ports_keeps_the_data(broker: Broker) -> None:
    """Settings are written anew; the data folder is formatted once."""
    assert not is_formatted(broker)
    broker.data.mkdir(parents=True)
    (broker.data / "meta.properties").touch()
    write_settings(broker)
    assert is_formatted(broker)


def test_its_memory_is_bounded(broker: Broker) -> None:
    """The whole stack is to stay below 1.2 GB when idle."""
    assert "-Xmx384m" in broker_command(broker)


def test_options_of_the_environment_are_the_last_word(broker: Broker, tmp_path: Path) -> None:
    """Java heeds the last of several; they come behind the class archive's."""
    process = kafka_process(
        broker,
        layout=Layout(tmp_path),
        jvm_options=("-XX:SharedArchiveFile=a",),
        environ={"KAFKA_JVM_PERFORMANCE_OPTS": " -XX:TieredStopAtLevel=4  -Xmx1g "},
    )
    asked_for = [option for option in process.command if option.startswith("-X")][-3:]
    assert asked_for == ["-XX:SharedArchiveFile=a", "-XX:TieredStopAtLevel=4", "-Xmx1g"]
    assert "-XX:TieredStopAtLevel=1" in process.command


def test_the_class_archive_is_used_only_by_the_java_that_made_it(broker: Broker) -> None:
    """Another build of Java under the same path has another archive; Java's own one comes first."""
    assert archive_options(broker) == ()
    key = java_key(broker.java)
    archive = broker.jars / f"broker-{key}.jsa"
    archive.touch()
    assert archive_options(broker) == (f"-XX:SharedArchiveFile={archive}",)
    base = broker.jars / f"java-{key}.jsa"
    base.touch()
    assert archive_options(broker) == (f"-XX:SharedArchiveFile={base}:{archive}",)
    os.utime(broker.java.home / "lib" / "modules", (1, 1))
    assert archive_options(broker) == ()


def test_a_first_start_says_nothing_of_internal_topics(broker: Broker) -> None:
    """All groups ask for them at once; that all but one come too late is no warning."""
    write_settings(broker)
    lines = (broker.folder / "log4j2.properties").read_text().splitlines()
    levels = dict(line.split("=", 1) for line in lines if line[:1] not in "#")
    (name,) = (it for it, it_names in levels.items() if "AutoTopicCreationManager" in it_names)
    assert levels[name.replace(".name", ".level")] == "ERROR"
