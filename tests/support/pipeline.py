"""Runs any stages of the pipeline in one process, on a log in memory and on fake time.

A pipeline test looks like this; nothing sleeps, and an hour of fake time costs nothing::

    pytest_plugins = ["tests.support.pipeline"]

    STAGE = Stage(service="router", topics=CONSUMES, build=build)     # as in its `__main__`

    async def test_a_miss_is_routed(pipeline: Pipeline) -> None:
        await pipeline.start(STAGE)                                    # one or several stages
        pipeline.pipe_input(Topic.CACHE_MISSES, missed(1))
        await pipeline.run_until_quiet()
        assert pipeline.read_output(Topic.ROUTED_REQUESTS) == [...]    # decoded; new since last

Tests that take the fixture ``pipeline`` must run on a loop with fake time: put this into the
folder's ``conftest.py``::

    from tests.support.pipeline import fake_time_only as pytest_asyncio_loop_factories

``pipe_input`` writes a record as its real producer would (key, partition, headers, checksum);
``pipe_raw`` writes any bytes. ``run_until_quiet`` lets everything happen, timers included, until no
stage has a record left; it raises what ended a stage. ``advance`` lets time pass. ``read_output``
gives events, ``read_records`` raw records with key and headers. ``cluster`` is the broker: stop it,
delay its acknowledgements, truncate it (see ``tests.support.memory_log``). ``start`` returns a
``StageProcess``, which can be stopped, killed and started again, with a crash history in a slot.
``tests.support.example_events`` has events to begin with.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path

import pytest

from services.shared.codec.headers import (
    CRC32C,
    REQUEST_ID,
    TENANT,
    checksum,
    headers_of_request,
)
from services.shared.codec.records import RECORDS, decode_record, encode_record
from services.shared.codec.topics import packaged_topics
from services.shared.domain.events import Event, InferenceFinished, RequestBatch
from services.shared.domain.ids import partition_for
from services.shared.ports.clock import Clock
from services.shared.stream.admin import FIXED_PARTITIONS
from services.shared.stream.client import Raw
from services.shared.stream.runtime import Runtime
from services.shared.stream.slots import Slot
from services.shared.stream.stage import Stage
from services.shared.stream.subjects import request_of
from tests.support.fake_clock import FakeClock, TimeTravelLoop, clock_of_loop
from tests.support.log_backend import ProcessLog
from tests.support.memory_log import MemoryCluster
from tests.support.memory_partition import Headers

_STEP_S = 0.02
_QUIET_STEPS = 3
SESSION_TIMEOUT_S = 10.0


def fake_time_only(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """A ``pytest_asyncio_loop_factories`` hook: every test of the folder runs on fake time."""
    del config, item
    return {"fake-time": TimeTravelLoop}


@pytest.fixture
async def pipeline() -> AsyncIterator["Pipeline"]:
    """A pipeline without stages, one partition a topic; ended after the test."""
    async with running_pipeline() as running:
        yield running


@contextlib.asynccontextmanager
async def running_pipeline(*, partitions: int = 1) -> AsyncIterator["Pipeline"]:
    """A pipeline without stages; its processes are killed at the end."""
    running = Pipeline(clock_of_loop(), partitions=partitions)
    try:
        yield running
    finally:
        for process in running.processes:
            await process.kill()


class StageProcess:
    """One process of a stage.

    Attributes:
        stage: What it runs.
        runtime: Its runtime.
        is_killed: Whether ``kill`` was called.
    """

    def __init__(
        self,
        stage: Stage,
        log: ProcessLog,
        *,
        clock: Clock,
        slot: Slot | None = None,
        session_timeout_s: float = SESSION_TIMEOUT_S,
    ) -> None:
        """Start it, with a connection and perhaps a slot of its own."""
        self.stage = stage
        self.is_killed = False
        self._slot = slot
        self._log = log
        self.runtime = Runtime(
            stage=stage, log=log, clock=clock, slot=slot, session_timeout_s=session_timeout_s
        )
        self._running = asyncio.Event()
        self.runtime.on_running = self._running.set
        self._task = asyncio.ensure_future(self.runtime.run())

    @property
    def has_ended(self) -> bool:
        """Whether it ended, by itself or by ``stop`` or ``kill``."""
        return self._task.done()

    async def until_running(self) -> None:
        """Wait until it has joined its groups; raises what ended it before."""
        running = asyncio.ensure_future(self._running.wait())
        await asyncio.wait((running, self._task), return_when=asyncio.FIRST_COMPLETED)
        running.cancel()
        self.check()

    async def until_ended(self, *, timeout_s: float = 20.0) -> None:
        """Wait until it ends by itself; raises what ended it."""
        async with asyncio.timeout(timeout_s):
            await asyncio.shield(self._task)

    def check(self) -> None:
        """Raise what ended it."""
        if self._task.done():
            self._task.result()

    async def stop(self) -> None:
        """Stop it as SIGTERM does; raises what went wrong."""
        self.runtime.stopping.set()
        await self._task
        if self._slot is not None:
            self._slot.release()

    async def kill(self) -> None:
        """End it as SIGKILL does: nothing is written or committed any more."""
        self.is_killed = True
        self._log.kill()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        if self._slot is not None:
            self._slot._file.close()  # the lock goes with its process


class Pipeline:
    """Stages on one cluster.

    Attributes:
        clock: The time.
        cluster: The broker.
        processes: All that were started.
    """

    def __init__(self, clock: FakeClock, *, partitions: int = 1) -> None:
        """Make all topics."""
        self.clock = clock
        specs = packaged_topics()
        counts = {
            name: spec.partitions if name in FIXED_PARTITIONS else partitions
            for name, spec in specs.items()
        }
        counts |= {spec.dlq: counts[name] for name, spec in specs.items() if spec.dlq}
        self.cluster = MemoryCluster(clock, topics=counts, session_timeout_s=SESSION_TIMEOUT_S)
        self.processes: list[StageProcess] = []
        self._read: dict[str, int] = {}

    async def start(
        self, stage: Stage, *, slots: Path | None = None, ordinal: int = 0
    ) -> StageProcess:
        """Start a process of a stage; returns when it has joined its groups.

        Args:
            stage: The stage.
            slots: Folder of the locks and crash histories of instances; None = no slot.
            ordinal: Which instance it is, where it has a slot.
        """
        slot = None
        if slots is not None:
            slot = Slot.hold(
                data=slots, service=stage.service, ordinal=ordinal, now_ms=self.clock.now_ms()
            )
        process = StageProcess(stage, self.cluster.log(), clock=self.clock, slot=slot)
        self.processes.append(process)
        await process.until_running()
        return process

    def pipe_input(
        self,
        topic: str,
        event: Event,
        *,
        key: bytes | None = None,
        headers: Headers | None = None,
        partition: int | None = None,
    ) -> int:
        """Write an event as its real producer would, but for what is given; returns its offset."""
        value = encode_record(event)
        key = _key(event).encode() if key is None else key
        if headers is None:
            headers = default_headers(event, value)
        return self.pipe_raw(topic, value, key=key, headers=headers, partition=partition)

    def pipe_raw(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: Headers = (),
        partition: int | None = None,
    ) -> int:
        """Write bytes; returns their offset."""
        if partition is None:
            count = self.cluster.topics[topic]
            partition = partition_for((key or b"").decode(errors="replace"), count)
        return self.cluster.append(
            topic, partition=partition, key=key, value=value, headers=headers
        )

    def read_output(self, topic: str) -> list[Event]:
        """The events of a topic that were not read yet, in the order in which they were written."""
        event_type = RECORDS[packaged_topics()[topic].record]
        return [decode_record(raw.value or b"", event_type) for raw in self.read_records(topic)]

    def read_records(self, topic: str) -> Sequence[Raw]:
        """The records of a topic that were not read yet."""
        records = self.cluster.records(topic)
        new = records[self._read.get(topic, 0) :]
        self._read[topic] = len(records)
        return new

    async def advance(self, seconds: float) -> None:
        """Let time pass, with everything that happens in it; raises what ended a stage."""
        await asyncio.sleep(seconds)
        self._check()

    async def run_until_quiet(self, *, timeout_s: float = 600.0) -> None:
        """Let everything happen until no stage has a record in work or to read.

        Args:
            timeout_s: Fake seconds after which it is a failure, which says what is left.
        """
        quiet = 0
        until_s = self.clock.monotonic_s() + timeout_s
        while quiet < _QUIET_STEPS:
            await self.advance(_STEP_S)
            left = self._left()
            quiet = 0 if left else quiet + 1
            assert self.clock.monotonic_s() < until_s, f"never quiet: {left}"

    def committed(self, group: str, topic: str, partition: int = 0) -> int | None:
        """The offset that a group has committed."""
        return self.cluster.committed(group, topic, partition)

    def _check(self) -> None:
        for process in self.processes:
            if not process.runtime.stopping.is_set() and not process.is_killed:
                process.check()

    def _left(self) -> list[str]:
        left = []
        for process in self.processes:
            if process.has_ended:
                continue
            runtime = process.runtime
            if runtime.in_flight:
                left.append(f"{process.stage.service} has {runtime.in_flight} records in work")
            left += [
                f"{process.stage.service} has {lag:g} records to read in {topic} {partition}"
                for (topic, partition), lag in runtime.lag().items()
                if lag
            ]
        return left


def default_headers(event: Event, value: bytes) -> list[tuple[str, bytes]]:
    """The headers that a real producer gives a record."""
    request = request_of(event)
    headers = [] if request is None else headers_of_request(request)
    if isinstance(event, InferenceFinished):
        headers = [(REQUEST_ID, event.request_id.encode()), (TENANT, event.tenant.encode())]
    return [*headers, (CRC32C, checksum(value))]


def _key(event: Event) -> str:
    request = request_of(event)
    if request is not None:
        return request.request_id
    if isinstance(event, RequestBatch):
        return event.batch_id
    return str(getattr(event, "request_id", ""))
