"""Things die under load: Kafka, Redis, every service. Nothing accepted is lost; no stream lies.

Each scenario sends requests at a steady rate, kills something with -9, goes on until answers flow
again, and then holds what clients saw against what the log says, read from its first offset on.
"""

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import msgspec
import psutil
import pytest

from tests.support.history import (
    Operation,
    Tally,
    Terminal,
    contradictions,
    lost,
    table,
    tally,
    terminal_of,
)
from tests.support.kafka_topics import LogRecord, SchemaReader, topic_reader
from tests.support.stack import RunningStack, running_stack, wait_until
from tests.support.workload import INSTANT_MODEL, Workload, workload

pytestmark = pytest.mark.slow

RATE = 20.0
SEED = 20_260_101
WARM_UP_S = 1.5
AFTER_S = 3.0
"""How long requests are sent before a fault, and after answers flow again."""

RECOVERY_S = 20.0
REFUSED_WITHIN_S = 5.0
UNREADY_WITHIN_S, READY_WITHIN_S = 5.0, 10.0
CACHE_GIVEN_UP_S = 0.4
"""An instant answer with a cache that does not answer: 50 ms for that, and the usual way."""

MARGIN_S = 1.0  # for a busy machine
ON_PATH = ("gateway", "cache-lookup", "router", "batcher", "model-caller")
BESIDE = ("cache-writer", "metrics-aggregator", "trace-exporter", "schema-registry")


class Scene(msgspec.Struct):
    """A stack of its own, what the log says, and what was counted so far."""

    stack: RunningStack
    schemas: SchemaReader
    tallies: list[Tally] = []

    def terminals(self) -> list[Terminal]:
        """Every terminal record in the log, read by somebody who was not there before."""
        with topic_reader(self.stack.kafka, "inference-results") as results:
            return [self._terminal(record) for record in results.read_to_end()]

    def _terminal(self, record: LogRecord) -> Terminal:
        assert record.value is not None
        document = self.schemas.decode(record.value)
        response: dict[str, Any] = json.loads(document["response"] or b"{}")
        choices = response.get("choices") or [{"message": {"content": ""}}]
        return terminal_of(
            document,
            partition=record.partition,
            offset=record.offset,
            text=choices[0]["message"]["content"],
        )


@pytest.fixture(scope="module")
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    """A stack to be harmed; what was counted is shown at the end."""
    with running_stack() as stack:
        scene = Scene(stack, SchemaReader(stack.addresses["schema_registry"]))
        yield scene
        capture = request.config.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled():
            print(f"\n\n{table(scene.tallies)}\n")


@asynccontextmanager
async def under_load(scene: Scene, name: str, *, harms_answers: bool) -> AsyncIterator[Workload]:
    """Load around a fault, which the body of the ``with`` block does; then the reckoning.

    Args:
        scene: The stack.
        name: The scenario's.
        harms_answers: Whether the body ends as soon as the harm is done; answers are then waited
            for.
    """
    stack = scene.stack
    assert stack.status()["is_ready"]
    async with workload(stack.addresses["openai"], stack.key, rate=RATE, seed=SEED) as load:
        await asyncio.sleep(WARM_UP_S)
        fault_s = time.monotonic()
        yield load
        if harms_answers:
            await eventually(lambda: _is_answered_since(load, fault_s), timeout_s=RECOVERY_S)
        await asyncio.sleep(AFTER_S)
    await eventually(lambda: stack.status()["is_ready"], timeout_s=RECOVERY_S)
    reckon(scene, name, load.operations, fault_s=fault_s)


def reckon(scene: Scene, name: str, operations: Sequence[Operation], *, fault_s: float) -> None:
    """Hold what clients saw against the log."""
    wait_until(lambda: not lost(operations, scene.terminals()), timeout_s=RECOVERY_S)
    terminals = scene.terminals()
    counted = tally(name, operations, terminals, fault_s=fault_s)
    scene.tallies.append(counted)
    assert contradictions(operations, terminals) == []
    assert counted.lost == 0
    assert counted.ok > counted.requests / 3
    for operation in operations:
        if operation.is_refused:
            assert operation.status in {502, 503}, operation
        if operation.status == 503:
            assert operation.retry_after, operation


async def eventually(condition: Callable[[], object], *, timeout_s: float) -> None:
    """Wait until something is so, while the load goes on."""
    give_up_at_s = time.monotonic() + timeout_s
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < give_up_at_s, f"it did not happen in {timeout_s:g} s"
        await asyncio.sleep(0.02)


def _is_answered_since(load: Workload, moment_s: float) -> bool:
    return any(o.is_ok and o.invoked_s > moment_s for o in load.operations)


async def kill_and_await_successor(stack: RunningStack, name: str) -> None:
    """Kill a process with -9; the supervisor starts another, and it works."""
    pid = stack.signal(name, signal.SIGKILL)
    await eventually(lambda: stack.is_replaced(name, pid=pid), timeout_s=RECOVERY_S)


@contextmanager
def frozen(stack: RunningStack, name: str) -> Iterator[None]:
    """A process that stands still for the length of a ``with`` block."""
    process = psutil.Process(stack.process(name)["pid"])
    process.suspend()
    try:
        yield
    finally:
        process.resume()


@pytest.mark.parametrize("name", ON_PATH)
async def test_a_service_on_the_path_is_killed(scene: Scene, name: str) -> None:
    """Requests wait for its successor; streams that it was serving end with an error."""
    async with under_load(scene, name, harms_answers=True):
        await kill_and_await_successor(scene.stack, name)


async def test_services_beside_the_path_are_killed(scene: Scene) -> None:
    """Nobody notices: not one request fails, not one stream breaks."""
    async with under_load(scene, "all beside the path", harms_answers=False) as load:
        for name in BESIDE:
            await kill_and_await_successor(scene.stack, name)
    assert all(operation.is_ok for operation in load.operations)


async def test_the_provider_is_killed(scene: Scene) -> None:
    """Calls that had begun fail as the provider's fault; later ones are repeated."""
    async with under_load(scene, "simulator", harms_answers=True) as load:
        await kill_and_await_successor(scene.stack, "simulator")
    codes = {operation.error_code for operation in load.operations} - {""}
    assert codes <= {
        "stream_interrupted",
        "provider_unreachable",
        "provider_error",
        "provider_unavailable",  # by a circuit that has opened
    }


async def test_redis_is_killed(scene: Scene) -> None:
    """Answers go on as if nothing had happened."""
    async with under_load(scene, "redis", harms_answers=False) as load:
        await kill_and_await_successor(scene.stack, "redis")
    assert all(operation.is_ok for operation in load.operations)


async def test_redis_answers_no_more(scene: Scene) -> None:
    """Slow is worse than dead: a frozen Redis costs each request little, and no answer."""
    async with under_load(scene, "redis frozen 4 s", harms_answers=False) as load:
        with frozen(scene.stack, "redis"):
            frozen_s = time.monotonic()
            await asyncio.sleep(4.0)
            thawed_s = time.monotonic()
    assert all(operation.is_ok for operation in load.operations)
    durations_s = sorted(
        operation.duration_s
        for operation in load.operations
        if operation.model == INSTANT_MODEL and frozen_s < operation.invoked_s < thawed_s - 1
    )
    assert durations_s[len(durations_s) // 2] < CACHE_GIVEN_UP_S


async def test_everything_on_the_path_is_killed_at_once(scene: Scene) -> None:
    """As if the machine had been switched off, but for Kafka and Redis."""
    stack = scene.stack
    async with under_load(scene, "all on the path", harms_answers=True):
        pids = {name: stack.signal(name, signal.SIGKILL) for name in ON_PATH}
        for name, pid in pids.items():
            await eventually(
                lambda name=name, pid=pid: stack.is_replaced(name, pid=pid),  # type: ignore[misc]
                timeout_s=RECOVERY_S,
            )


async def test_kafka_is_killed(scene: Scene) -> None:
    """503 with a hint within 5 s; streams end honestly; the service resumes by itself."""
    stack = scene.stack
    async with under_load(scene, "kafka", harms_answers=True) as load:
        killed_s = time.monotonic()
        pid = stack.signal("kafka", signal.SIGKILL)
        await eventually(
            lambda: _was_refused(load) or _is_answered_since(load, killed_s),
            timeout_s=UNREADY_WITHIN_S + MARGIN_S,
        )
        await eventually(lambda: stack.is_replaced("kafka", pid=pid), timeout_s=RECOVERY_S)
        back_s = time.monotonic()
        await eventually(
            lambda: stack.get("/readyz")[0] == 200, timeout_s=READY_WITHIN_S + MARGIN_S
        )
        assert time.monotonic() - back_s < READY_WITHIN_S + MARGIN_S
    for operation in load.operations:
        if operation.is_refused:
            assert operation.duration_s < REFUSED_WITHIN_S + MARGIN_S, operation
            assert operation.error_code in {"upstream_unavailable", "provider_error"}


async def test_kafka_is_away_for_a_while(scene: Scene) -> None:
    """Frozen instead of dead: requests are refused in time, and accepted again when it thaws."""
    stack = scene.stack
    async with under_load(scene, "kafka frozen 8 s", harms_answers=True) as load:
        with frozen(stack, "kafka"):
            await eventually(lambda: stack.get("/readyz")[0] == 503, timeout_s=UNREADY_WITHIN_S)
            await eventually(lambda: _was_refused(load), timeout_s=REFUSED_WITHIN_S)
            await asyncio.sleep(4.0)
        await eventually(lambda: stack.get("/readyz")[0] == 200, timeout_s=READY_WITHIN_S)
    refusals = [operation for operation in load.operations if operation.is_refused]
    assert refusals
    for operation in refusals:
        assert operation.duration_s < REFUSED_WITHIN_S + MARGIN_S, operation


def _was_refused(load: Workload) -> bool:
    return any(operation.status == 503 for operation in load.operations)


async def test_the_supervisor_counts_what_it_started_anew(scene: Scene) -> None:
    """``status`` tells of every restart; the killed processes are really gone."""
    pid = scene.stack.signal("schema-registry", signal.SIGKILL)
    await eventually(lambda: scene.stack.is_replaced("schema-registry", pid=pid), timeout_s=10)
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    assert scene.stack.process("schema-registry")["restarts"] >= 1
