"""The supervisor with a real Kafka, a real Redis and dummies for services."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from services.cli.local_stack.plan import checkout
from services.cli.local_stack.report import read_report
from services.cli.local_stack.state import Layout, ProcessState, Stack, StackState, read_stack
from services.cli.local_stack.stop import stop_stack
from services.shared.stream.admin import wait_until_ready
from tests.support.temporary_folders import temporary_folder

NAMES = ["kafka", "redis", "gateway", "worker", "worker-1", "caller", "deaf"]
START_S = 60.0
STOP_S = 10.0
PROVIDER_KEY = "key-of-a-provider"


class DummyStack:
    """A supervisor in a process of its own."""

    def __init__(self, data: Path) -> None:
        self.layout = Layout(data)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *arguments: str) -> str:
        """Start it; returns what it said until it was ready."""
        output = self.layout.root / "output"
        self.process = process = _spawn(self.layout.root, output, *arguments)
        wait_for(lambda: process.poll() is not None or "stops it" in output.read_text())
        assert process.poll() is None, output.read_text()
        return output.read_text()

    def refused(self, *arguments: str) -> str:
        """Start another on the same directory; returns why it gave up."""
        output = self.layout.root / "refused"
        assert _spawn(self.layout.root, output, *arguments).wait(START_S) == 1
        return output.read_text()

    def stop(self) -> None:
        """Stop it from outside, as ``millrace down`` does."""
        assert self.process is not None
        assert "Stopped" in stop_stack(self.layout.root)
        assert self.process.wait(STOP_S) == 0

    def kill(self) -> None:
        """End the supervisor alone, with SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    @property
    def stack(self) -> Stack:
        """What the supervisor says."""
        stack = read_stack(self.layout)
        assert stack is not None
        return stack

    def pid(self, name: str) -> int | None:
        """Process id of a process of the stack."""
        return next(p.pid for p in self.stack.processes if p.name == name)

    def pids(self) -> list[int]:
        """Process ids of everything that runs."""
        return [p.pid for p in self.stack.processes if p.pid is not None]

    def is_running(self, name: str, *, instead_of: int | None) -> bool:
        """Whether a process runs that is not the one of that id."""
        record = next(p for p in self.stack.processes if p.name == name)
        return record.state is ProcessState.RUNNING and record.pid != instead_of


def _spawn(data: Path, output: Path, *arguments: str) -> subprocess.Popen[bytes]:
    with output.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.support.dummy_stack", str(data), *arguments],
            stdout=file,
            stderr=file,
            cwd=checkout(),
            env={
                **os.environ,
                "OPENAI_API_KEY": PROVIDER_KEY,
                "MILLRACE_MODELS": "a-model",
                "COLUMNS": "500",
            },
        )


@pytest.fixture
def stack() -> Iterator[DummyStack]:
    """A stack that was not started yet."""
    with temporary_folder("stack") as folder:
        stack = DummyStack(folder)
        try:
            yield stack
        finally:
            if stack.process is not None:
                stack.kill()
            stop_stack(folder)  # where the system does not end orphans by itself


def wait_for(condition: Callable[[], bool], *, timeout_s: float = START_S) -> None:
    """Wait until something outside this process is so."""
    give_up_at_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < give_up_at_s, "it did not happen in time"
        time.sleep(0.05)


async def test_the_whole_life_of_a_stack(stack: DummyStack) -> None:
    """It starts, says what runs where, refuses a second owner, and stops everything in order."""
    said = stack.start("--with-deaf")

    assert re.search(r"Key +gw_dev_\S+ +\(new", said), "the first start shows the key"
    report = await read_report(stack.layout.root)
    assert [row.name for row in report.rows] == NAMES
    wait_for(lambda: all(p.state is ProcessState.RUNNING for p in stack.stack.processes))
    report = await read_report(stack.layout.root)
    assert report.is_ready
    worker = next(row for row in report.rows if row.name == "worker")
    assert (worker.in_flight_records, worker.lag_records) == (3.0, 9.0)
    addresses = report.document()["addresses"]
    assert addresses["openai"] == f"{addresses['gateway']}/v1"
    wait_until_ready(addresses["kafka"], timeout_s=5)

    assert "already running" in stack.refused()

    pids = stack.pids()
    began_s = time.monotonic()
    stack.stop()
    assert time.monotonic() - began_s <= STOP_S, "one that is deaf to SIGTERM holds nobody up"
    assert not [pid for pid in pids if psutil.pid_exists(pid)]
    assert stack.stack.state is StackState.STOPPED
    trace = (stack.layout.root / "trace").read_text().split("\n")
    assert trace.index("gateway stopped") < trace.index("worker told"), "gateways stop first"

    said = stack.start()
    assert "gw_dev_" not in said, "later starts only say where the key is"


def test_a_killed_supervisor_takes_everything_with_it_and_the_next_start_recovers(
    stack: DummyStack,
) -> None:
    """No process outlives a supervisor that was killed with -9; its data directory is free."""
    stack.start()
    pids = stack.pids()

    stack.kill()

    wait_for(lambda: not any(_is_alive(pid) for pid in pids), timeout_s=STOP_S)
    stack.start()
    assert not set(pids) & set(stack.pids())


def test_a_killed_process_is_started_again(stack: DummyStack) -> None:
    """The supervisor replaces a killed service, Redis and Kafka, which come back on their ports."""
    stack.start()
    bootstrap = stack.stack.addresses["kafka"]
    for name in ("worker", "redis", "kafka"):
        killed = stack.pid(name)
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        wait_for(lambda name=name, killed=killed: stack.is_running(name, instead_of=killed))  # type: ignore[misc]
    wait_until_ready(bootstrap, timeout_s=START_S)
    assert {p.name for p in stack.stack.processes if p.restarts} == {"worker", "redis", "kafka"}


def test_taken_ports_are_replaced_and_that_is_said(stack: DummyStack) -> None:
    """A stack starts beside a program that listens on a usual port, and says which port it uses."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):  # taken by another program: as good
            other.bind(("127.0.0.1", 8080))
            other.listen()
        said = stack.start()
    port = re.search(r"Port 8080 is taken; gateway uses (\d+)", said)
    assert port is not None
    assert stack.stack.addresses["gateway"].endswith(f":{port[1]}")


def test_another_partition_count_is_refused(stack: DummyStack) -> None:
    """The count of the first start is kept by later ones; asking for another one is refused."""
    stack.start("--partitions", "2")
    stack.stop()

    assert "have 2 partitions each, not 3" in stack.refused("--partitions", "3")

    stack.start()
    assert stack.stack.partitions == 2


def test_a_broker_that_cannot_start_ends_the_stack_with_its_reason(stack: DummyStack) -> None:
    """What Kafka said is shown, nothing is left running, and the directory is free."""
    stack.start()
    stack.stop()
    meta = stack.layout.kafka / "data" / "meta.properties"
    meta.write_text(meta.read_text().replace("node.id=1", "node.id=7"))

    said = stack.refused()

    assert "Kafka does not start" in said
    assert "Stored node id 7 doesn't match" in said
    assert stack.stack.state is StackState.STOPPED
    assert stack.pids() == []


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_providers_key_reaches_only_the_process_that_calls_providers(stack: DummyStack) -> None:
    """Another process' environment never holds it, so a fault there cannot give it away."""
    stack.start()
    holders = [
        p.name
        for p in stack.stack.processes
        if PROVIDER_KEY in Path(f"/proc/{p.pid}/environ").read_text()
    ]
    assert holders == ["caller"]


def _is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
