"""A real Kafka for tests, started by the local stack's own code on free ports.

``kafka_bootstrap`` is shared by the whole session; ``kafka_server`` gives a test one of its own,
which it may kill. Measured: 2 s to start, 0.3 s to stop; the first on a machine also fetches Kafka.
"""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from services.cli.local_stack.java import find_java
from services.cli.local_stack.kafka import Broker, running
from services.cli.local_stack.ports import free_port
from services.cli.local_stack.prepare import prepare_broker, prepare_jars
from tests.support.temporary_folders import temporary_folder


class KafkaServer:
    """A broker that a test may also kill and start again on the same data and port."""

    def __init__(self, broker: Broker, *, log: Path, jvm_options: tuple[str, ...]) -> None:
        """Remember how to start it; ``start`` does."""
        self._broker = broker
        self._log = log
        self._jvm_options = jvm_options
        self._stack = contextlib.ExitStack()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        """``host:port`` for clients; stays the same over restarts."""
        return self._broker.bootstrap

    @property
    def pid(self) -> int:
        """Process id of the running broker."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it; returns when clients can use it (about 1 s; 4 s after ``kill``)."""
        self._process = self._stack.enter_context(
            running(self._broker, log=self._log, jvm_options=self._jvm_options)
        )

    def stop(self) -> None:
        """Stop it in order (about 0.3 s); its data stays."""
        self._stack.close()

    def kill(self) -> None:
        """End it with SIGKILL; its data stays."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._stack.close()


@contextlib.contextmanager
def kafka_server() -> Iterator[KafkaServer]:
    """A broker of one's own for the length of a ``with`` block; also ends if this process does.

    Enter it on the main thread: on Linux the broker ends with the thread that started it.
    """
    console = Console(stderr=True)
    with temporary_folder("kafka") as folder:
        broker = Broker(
            java=find_java(os.environ),
            jars=prepare_jars(os.environ, console=console),
            folder=folder,
            port=free_port(),
            controller_port=free_port(),
        )
        log = folder / "kafka.log"
        options = prepare_broker(broker, log=log, console=console)
        server = KafkaServer(broker, log=log, jvm_options=options)
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def kafka_bootstrap(request: pytest.FixtureRequest) -> Iterator[str]:
    """Bootstrap servers of a real Kafka, shared by the session: use topics of your own."""
    given: str = request.config.getoption("--kafka-bootstrap-servers")
    if given:
        yield given
        return
    with kafka_server() as server:
        yield server.bootstrap
