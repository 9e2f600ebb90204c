"""The local Kafka: one KRaft node on loopback, started from jars."""

import contextlib
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from services.cli.errors import CommandError
from services.cli.local_stack.java import Java
from services.cli.local_stack.orphans import guarded
from services.cli.local_stack.ports import HOST
from services.shared.domain.errors import Unavailable
from services.shared.stream.admin import wait_until_ready

CLUSTER_ID = "bWlsbHJhY2UtbG9jYWwtMQ"
MAX_MESSAGE_BYTES = 8 * 1024 * 1024
_FORMAT_TIMEOUT_S = 60
_STOP_TIMEOUT_S = 20
_SERVER_PROPERTIES = "server.properties"
_LOG4J_PROPERTIES = "log4j2.properties"
_NEWEST_QUIET_MAJOR = 23

_LOG4J = """\
rootLogger.level=WARN
# What a lone node says of itself at every start; whoever asks it gets the same errors.
logger.controller.name=org.apache.kafka.controller.QuorumController
logger.controller.level=ERROR
logger.apis.name=kafka.server.ControllerApis
logger.apis.level=FATAL
# At the first start all groups ask at once for __consumer_offsets, and all but one hear that it
# exists already. Where it cannot be made, consumers get COORDINATOR_NOT_AVAILABLE.
logger.internal_topics.name=kafka.server.DefaultAutoTopicCreationManager
logger.internal_topics.level=ERROR
rootLogger.appenderRef.console.ref=CONSOLE
appender.console.type=Console
appender.console.name=CONSOLE
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d{ISO8601} %p %m (%c)%n
"""


class Broker(msgspec.Struct, frozen=True, kw_only=True):
    """A broker, running or not.

    Attributes:
        java: What runs it.
        jars: Folder of its class path.
        folder: Its settings and data.
        port: Where clients connect.
        controller_port: Where it connects to itself.
        fsync: Whether it acknowledges only what it has forced to the disk.
    """

    java: Java
    jars: Path
    folder: Path
    port: int
    controller_port: int
    fsync: bool = False

    @property
    def bootstrap(self) -> str:
        """``host:port`` for clients."""
        return f"{HOST}:{self.port}"

    @property
    def data(self) -> Path:
        """Log segments and cluster metadata."""
        return self.folder / "data"


def server_properties(broker: Broker) -> dict[str, str]:
    """The broker's settings: one node, small, quick to start and to come back."""
    listeners = {"PLAINTEXT": broker.port, "CONTROLLER": broker.controller_port}
    durable = {"log.flush.interval.messages": "1"} if broker.fsync else {}
    return {
        **durable,
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{HOST}:{broker.controller_port}",
        "listeners": ",".join(f"{name}://{HOST}:{port}" for name, port in listeners.items()),
        "advertised.listeners": f"PLAINTEXT://{broker.bootstrap}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": str(broker.data),
        # one node holds the only copy
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "share.coordinator.state.topic.num.partitions": "1",
        # what the pipeline needs
        "auto.create.topics.enable": "false",
        "message.max.bytes": str(MAX_MESSAGE_BYTES),
        "replica.fetch.max.bytes": str(MAX_MESSAGE_BYTES),
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000",
        # a killed broker is let in again when its old session is over (9 s by default)
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "750",
        # little memory and an idle broker that idles
        "log.cleaner.dedupe.buffer.size": "2000000",
        "num.network.threads": "2",
        "num.io.threads": "2",
        "background.threads": "2",
        "group.coordinator.threads": "1",
        "share.coordinator.threads": "1",
        "metadata.max.idle.interval.ms": "5000",
    }


def write_settings(broker: Broker) -> None:
    """Write what the broker reads at its start; ports may differ from the last time."""
    broker.folder.mkdir(parents=True, exist_ok=True)
    lines = [f"{key}={value}\n" for key, value in server_properties(broker).items()]
    (broker.folder / _SERVER_PROPERTIES).write_text("".join(lines))
    (broker.folder / _LOG4J_PROPERTIES).write_text(_LOG4J)


def is_formatted(broker: Broker) -> bool:
    """Whether the data folder belongs to a cluster already."""
    return (broker.data / "meta.properties").exists()


def format_data(broker: Broker) -> None:
    """Give an empty data folder its cluster id. Takes about a second.

    Raises:
        CommandError: Kafka refused; says why.
    """
    settings = str(broker.folder / _SERVER_PROPERTIES)
    command = java_command(
        broker, main=("kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", settings)
    )
    try:
        subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=_FORMAT_TIMEOUT_S
        )
    except subprocess.CalledProcessError as error:
        said = (error.stderr or error.stdout).strip()[-500:]
        raise CommandError(f"Kafka could not prepare {broker.data}: {said}") from error


def broker_command(broker: Broker, *, jvm_options: Sequence[str] = ()) -> tuple[str, ...]:
    """The command that runs the broker until it gets SIGTERM."""
    settings = str(broker.folder / _SERVER_PROPERTIES)
    return java_command(broker, main=("kafka.Kafka", settings), jvm_options=jvm_options)


def java_command(
    broker: Broker, *, main: Sequence[str], jvm_options: Sequence[str] = ()
) -> tuple[str, ...]:
    """A Java command on the broker's class path."""
    newer: tuple[str, ...] = ()
    if broker.java.major > _NEWEST_QUIET_MAJOR:
        newer = ("--sun-misc-unsafe-memory-access=allow",)
    return (
        str(broker.java.executable),
        "-Xms64m",
        "-Xmx384m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",  # the second compiler pays after a minute: `up` can be told
        "-XX:-UsePerfData",
        "-XX:+ExitOnOutOfMemoryError",
        f"-XX:ErrorFile={broker.folder / 'hs_err_%p.log'}",
        "-Djava.awt.headless=true",
        f"-Dlog4j2.configurationFile={broker.folder / _LOG4J_PROPERTIES}",
        f"-Dkafka.logs.dir={broker.folder}",
        *newer,
        *jvm_options,
        "-cp",
        f"{broker.jars}/*",
        *main,
    )


@contextlib.contextmanager
def running(
    broker: Broker, *, log: Path, jvm_options: Sequence[str] = (), timeout_s: float = 60.0
) -> Iterator[subprocess.Popen[bytes]]:
    """Run the broker, ready to be used, for the length of a ``with`` block.

    Enter it on a thread that outlives the block: on Linux the broker ends with that thread.

    Raises:
        CommandError: It ended or did not answer in time; shows the end of its log.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            guarded(broker_command(broker, jvm_options=jvm_options), signal.SIGTERM),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _await_ready(broker, process, log=log, timeout_s=timeout_s)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_ready(
    broker: Broker, process: subprocess.Popen[bytes], *, log: Path, timeout_s: float
) -> None:
    give_up_at_s = time.monotonic() + timeout_s
    while process.poll() is None and time.monotonic() < give_up_at_s:
        with contextlib.suppress(Unavailable):
            return wait_until_ready(broker.bootstrap, timeout_s=1.0)
    last = log.read_text(errors="replace").strip()[-1500:]
    raise CommandError(f"Kafka did not start. The end of {log}:\n{last}")
