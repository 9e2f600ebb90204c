"""The rest of the scenarios; `make test-faults` runs them with the short ones."""

import asyncio
import random
import signal
import time
from collections import Counter

import psutil
import pytest

from tests.faults.checker.history import BATCHES, MISSES, REQUESTS, ROUTED, Poison
from tests.faults.checker.journal import calls_from_journal
from tests.faults.checker.log_reader import groups_of, read_lags
from tests.faults.harness.crashing import CrashPoint, crash
from tests.faults.harness.offsets import await_empty, rewind
from tests.faults.harness.report import Row
from tests.faults.harness.rig import BESIDE, PATH, Rig, eventually
from tests.faults.harness.scene import Options, scenario
from tests.support.kafka_topics import TopicWriter

SESSION_S = 10.0
"""After so much silence a group gives a member's partitions away."""


@pytest.mark.parametrize("name", ["simulator", *BESIDE])
async def test_a_service_beside_the_path_is_killed(
    rig: Rig, rows: list[Row], options: Options, name: str
) -> None:
    """Nobody but those who wait for the provider notices."""
    async with (
        scenario(rig, f"{name} killed", rows, options) as scene,
        scene.fault(f"{name} killed", is_total=name == "simulator") as harm,
    ):
        harm.evidence = await rig.kill(name)


CRASHES = [
    *(CrashPoint("model-caller", point, passage=60) for point in ("after_started", "after_call")),
    *(CrashPoint(service, "after_poll", passage=100) for service in PATH),
    *(CrashPoint(service, "before_commit", passage=6) for service in PATH),
    CrashPoint("gateway", "after_publish", passage=40),
]


@pytest.mark.parametrize("where", CRASHES, ids=str)
async def test_a_process_dies_at_a_point(
    rig: Rig, rows: list[Row], options: Options, where: CrashPoint
) -> None:
    """Wherever a process dies, nothing is lost and nothing is paid twice unknowingly."""
    await crash(rig, rows, options, where)


async def test_a_caller_comes_back_from_a_long_pause(
    rig: Rig, rows: list[Row], options: Options
) -> None:
    """Its partitions are another's by then; what it still writes nobody believes."""
    async with rig.another("model-caller", slot=1):
        await asyncio.sleep(SESSION_S)  # until both have their partitions
        async with (
            scenario(rig, "caller frozen 14 s", rows, options) as scene,
            scene.fault("caller frozen") as harm,
        ):
            with rig.frozen("model-caller") as pid:
                await asyncio.sleep(SESSION_S + 4)
                if psutil.Process(pid).status() == psutil.STATUS_STOPPED:
                    harm.evidence = f"{pid} stood still"


async def test_everything_is_rolled(rig: Rig, rows: list[Row], options: Options) -> None:
    """Each service is told to stop and ends in order, one after the other."""
    names = ("gateway", "gateway-1", *PATH, *BESIDE)
    async with (
        scenario(rig, "rolling restart", rows, options) as scene,
        scene.fault("rolling restart", victims=("gateway", "gateway-1")) as harm,
    ):
        harm.evidence = "; ".join([await rig.kill(name, signal.SIGTERM) for name in names])
    said = rig.stack.log("supervisor")
    assert not [name for name in names if f"{name} exited with 0" not in said]


async def test_kafka_stands_still(rig: Rig, rows: list[Row], options: Options) -> None:
    """Gateways say within 5 s that they cannot serve, and serve again when it goes on."""
    async with (
        scenario(rig, "kafka frozen 12 s", rows, options) as scene,
        scene.fault("kafka frozen", is_total=True, lost="kafka") as harm,
    ):
        with rig.frozen("kafka") as pid:
            await asyncio.sleep(12)
            harm.evidence = f"{pid} {psutil.Process(pid).status()}"


async def test_redis_stands_still(rig: Rig, rows: list[Row], options: Options) -> None:
    """Slow is worse than dead: every look-up is a miss within its time, and answers go on."""
    async with (
        scenario(rig, "redis frozen 6 s", rows, options) as scene,
        scene.fault("redis frozen") as harm,
    ):
        with rig.frozen("redis") as pid:
            await asyncio.sleep(6)
            harm.evidence = f"{pid} {psutil.Process(pid).status()}"


@pytest.mark.timeout(480)
async def test_callers_come_and_go_in_mid_call(rig: Rig, rows: list[Row], options: Options) -> None:
    """With sixty half-minute calls under way, 1 -> 2 -> 1 callers and a roll: none is repeated."""
    slow = Options(seed=options.seed, unchecked=options.unchecked, rate=2.0)
    begun_ms = time.time() * 1000
    async with scenario(rig, "callers 1-2-1 and rolled", rows, slow, slow=True) as scene:
        await asyncio.sleep(26)  # until sixty calls are under way
        async with scene.fault("rebalances", recovery_s=60) as harm:
            async with rig.another("model-caller", slot=1) as pid:
                await asyncio.sleep(SESSION_S)
                harm.evidence = f"second caller {pid}"
            await asyncio.sleep(SESSION_S + 2)
            harm.evidence += f"; {await rig.kill('model-caller', signal.SIGTERM)}"
        await asyncio.sleep(5)
    calls = [c for c in calls_from_journal(rig.journal) if c.started_ms > begun_ms]
    counts = Counter(call.request_id for call in calls)
    assert not [request_id for request_id, count in counts.items() if count > 1]


async def test_records_are_delivered_again(rig: Rig, rows: list[Row], options: Options) -> None:
    """Every stage is taken back by 200 records: no second effect, no second call."""
    taken = {*REQUESTS, MISSES, ROUTED, *BATCHES}
    async with (
        scenario(rig, "offsets rewound by 200", rows, options) as scene,
        scene.fault("offsets rewound", is_total=True, recovery_s=30) as harm,
    ):
        with rig.unsupervised():
            pids = {name: rig.stack.signal(name, signal.SIGKILL) for name in PATH}
            lags = await asyncio.to_thread(
                lambda: [
                    lag
                    for lag in read_lags(rig.kafka, groups_of(rig.kafka))
                    if lag.topic in taken and lag.committed > 0
                ]
            )
            groups = sorted({lag.group for lag in lags})
            await asyncio.to_thread(await_empty, rig.kafka, groups)
            count = await asyncio.to_thread(lambda: rewind(rig.kafka, lags, records=200))
        harm.evidence = f"{count} records again" if count else ""
        for name, pid in pids.items():
            await eventually(lambda name=name, pid=pid: rig.stack.is_replaced(name, pid=pid))  # type: ignore[misc]


async def test_poison_under_load(rig: Rig, rows: list[Row], options: Options) -> None:
    """Bad records on public and internal topics, and a kill while they are dealt with."""
    async with (
        scenario(rig, "poison, router killed", rows, options) as scene,
        scene.fault("poison", is_total=True) as harm,
    ):
        writer = TopicWriter(rig.kafka)
        for topic in (*REQUESTS, MISSES, ROUTED):
            offset = await asyncio.to_thread(
                lambda topic=topic: writer.write(topic, b"\x00\x00\x00\x00\x01junk")  # type: ignore[misc]
            )
            scene.poisons.append(Poison(topic=topic, partition=0, offset=offset))
        harm.evidence = f"{len(scene.poisons)} bad records; {await rig.kill('router')}"


async def test_the_provider_is_away_for_long(rig: Rig, rows: list[Row], options: Options) -> None:
    """The breaker opens, the provider is not stormed, and answers flow again soon after."""
    async with (
        scenario(rig, "provider away 15 s", rows, options) as scene,
        scene.fault("provider away", is_total=True) as harm,
    ):
        scene.proxy.cut()
        await asyncio.sleep(15)
        tried = scene.proxy.counts["refused"]
        scene.proxy.heal()
        harm.evidence = f"{tried} connections refused" if tried else ""
        assert tried <= 1.2 * 15 * options.rate, f"{tried} tries in 15 s"


async def test_the_provider_swallows_everything(
    rig: Rig, rows: list[Row], options: Options
) -> None:
    """Connections stay open and silent: time limits end the calls, and streams say so."""
    async with (
        scenario(rig, "provider silent 10 s", rows, options) as scene,
        scene.fault("black hole", is_total=True) as harm,
    ):
        scene.proxy.blackhole()
        await asyncio.sleep(10)
        scene.proxy.heal()
        swallowed = scene.proxy.counts["swallowed"]
        harm.evidence = f"{swallowed} pieces swallowed" if swallowed else ""


async def test_two_faults_overlap(rig: Rig, rows: list[Row], options: Options) -> None:
    """Three rounds of two processes killed at about the same time, drawn by the seed."""
    draw = random.Random(options.seed)
    names = ("gateway", *PATH, "redis", "cache-writer")
    async with (
        scenario(rig, "random pairs killed", rows, options) as scene,
        scene.fault("pairs", is_total=True, victims=("gateway",), recovery_s=30) as harm,
    ):
        for _ in range(3):
            pair = draw.sample(names, 2)
            harm.evidence += "; ".join(await asyncio.gather(*map(rig.kill, pair))) + "; "
            await asyncio.sleep(draw.uniform(0.5, 3.0))
