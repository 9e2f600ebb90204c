"""Runs every test of this folder on the log in memory and, marked ``kafka``, on a real broker.

In memory the loop is on fake time, so nothing waits; on the broker time is real.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.contract.stream.rig import Rig
from tests.support.fake_clock import TimeTravelLoop
from tests.support.kafka_broker import KafkaServer, kafka_server
from tests.support.kafka_log_backend import kafka_backend
from tests.support.log_backend import LogBackend, MemoryBackend

_FOLDER = Path(__file__).parent
_KAFKA = "kafka"
_PATIENT_SESSION_S = 6.0  # clients need a second or two to find a broker that is back
_OF_RUNTIME = frozenset(
    f"test_{name}.py"
    for name in (
        "backpressure",
        "crash_loop",
        "fence",
        "offsets",
        "poison",
        "poison_limits",
        "rebalance",
        "stopping",
        "unwritable_dead_letters",
    )
)
"""On a broker these wait for sessions to end and need a machine that does nothing else."""


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run each test once a backend; which one it is, its loop says.

    Not uvloop, on which services run: its ``close`` may never return where a client was left in the
    middle of a write, as by a kill (services leave by ``os._exit``).
    """
    del config, item
    return {"memory": TimeTravelLoop, _KAFKA: asyncio.SelectorEventLoop}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the runs that need a broker."""
    for item in items:
        parameters = item.name.partition("[")[2].rstrip("]").split("-")
        if _KAFKA in parameters and item.path.is_relative_to(_FOLDER):
            item.add_marker(pytest.mark.kafka)
            if item.path.name in _OF_RUNTIME:
                item.add_marker(pytest.mark.patient)


@pytest.fixture
async def backend(request: pytest.FixtureRequest) -> AsyncIterator[LogBackend]:
    """A cluster of the test's own."""
    if isinstance(asyncio.get_running_loop(), TimeTravelLoop):
        yield MemoryBackend()
        return
    async with kafka_backend(request.getfixturevalue("kafka_bootstrap")) as kafka:
        yield kafka


@pytest.fixture(scope="session")
def stoppable_broker() -> Iterator[KafkaServer]:
    """A broker that tests may stop without asking the others."""
    with kafka_server() as server:
        yield server


@pytest.fixture
async def stoppable_backend(request: pytest.FixtureRequest) -> AsyncIterator[LogBackend]:
    """A cluster of the test's own that may have an outage."""
    if isinstance(asyncio.get_running_loop(), TimeTravelLoop):
        yield MemoryBackend()
        return
    server: KafkaServer = request.getfixturevalue("stoppable_broker")
    async with kafka_backend(server.bootstrap, server=server) as kafka:
        yield kafka


@pytest.fixture
async def mortal_backend() -> AsyncIterator[LogBackend]:
    """A cluster of the test's own whose broker may be killed and started again."""
    if isinstance(asyncio.get_running_loop(), TimeTravelLoop):
        yield MemoryBackend()
        return
    with kafka_server() as server:
        async with kafka_backend(
            server.bootstrap, server=server, session_timeout_s=_PATIENT_SESSION_S
        ) as kafka:
            yield kafka


@pytest.fixture
async def mortal_rig(mortal_backend: LogBackend) -> AsyncIterator[Rig]:
    """Processes on a cluster whose broker may be killed and started again."""
    async for running in _rig(mortal_backend):
        yield running


@pytest.fixture
async def rig(backend: LogBackend) -> AsyncIterator[Rig]:
    """Processes on a cluster of the test's own, with the pipeline's topics of one partition."""
    async for running in _rig(backend):
        yield running


@pytest.fixture
async def stoppable_rig(stoppable_backend: LogBackend) -> AsyncIterator[Rig]:
    """The same on a cluster that may have an outage."""
    async for running in _rig(stoppable_backend):
        yield running


async def _rig(backend: LogBackend) -> AsyncIterator[Rig]:
    running = Rig(backend)
    await running.make_topics()
    try:
        yield running
    finally:
        for process in running.processes:
            await process.kill()
