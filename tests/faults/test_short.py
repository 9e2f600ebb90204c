"""Twelve scenarios, each about half a minute; `make test` runs them too."""

import asyncio
import os

import pytest
import redis

from tests.faults.checker.journal import calls_from_journal
from tests.faults.harness.client import Question
from tests.faults.harness.crashing import CrashPoint, crash
from tests.faults.harness.report import Row
from tests.faults.harness.rig import PATH, Rig
from tests.faults.harness.scene import Options, Scene, scenario

pytestmark = pytest.mark.faults_short

OUTAGE_S = 5.0


@pytest.mark.parametrize("name", ["gateway", *PATH])
async def test_a_service_is_killed(rig: Rig, rows: list[Row], options: Options, name: str) -> None:
    """Requests wait for its successor, or are served by the other gateway."""
    async with (
        scenario(rig, f"{name} killed", rows, options) as scene,
        scene.fault(f"{name} killed", is_total=name in PATH, victims=(name,)) as harm,
    ):
        harm.evidence = await rig.kill(name)


async def test_streams_go_on_at_another_gateway(
    rig: Rig, rows: list[Row], options: Options
) -> None:
    """Thirty streams lose their gateway in the middle; each is read to its end elsewhere."""
    async with (
        scenario(rig, "gateway killed in mid-stream", rows, options) as scene,
        scene.fault("gateway killed", victims=("gateway",)) as harm,
    ):
        questions = [_long_stream(rig, number) for number in range(30)]
        async with asyncio.TaskGroup() as group:
            reading = [
                group.create_task(scene.load.stream_and_come_back(q, gateway="gateway"))
                for q in questions
            ]
            await asyncio.sleep(1.5)
            harm.evidence = await rig.kill("gateway")
        assert all(read.result().is_done for read in reading), "a stream was not read to its end"


def _long_stream(rig: Rig, number: int) -> Question:
    tenant = rig.tenants[number % len(rig.tenants)]
    prompt = f"{tenant.canary} {os.urandom(8).hex()} " + "once more " * 30
    return Question(tenant=tenant, model="sim-fast:echo:ttft=100ms:tps=20", prompt=prompt)


@pytest.mark.parametrize("point", ["after_first_chunk", "before_terminal"])
async def test_the_caller_dies_in_mid_call(
    rig: Rig, rows: list[Row], options: Options, point: str
) -> None:
    """What was paid is known or recorded as unknown; streams end by policy, never silently."""
    await crash(rig, rows, options, CrashPoint("model-caller", point, passage=60))


async def test_kafka_is_killed(rig: Rig, rows: list[Row], options: Options) -> None:
    """Requests are refused meanwhile; what was accepted goes on when it is back."""
    async with (
        scenario(rig, "kafka killed", rows, options) as scene,
        scene.fault("kafka killed", is_total=True, lost="kafka") as harm,
    ):
        harm.evidence = await rig.kill("kafka")


async def test_redis_forgets_everything(rig: Rig, rows: list[Row], options: Options) -> None:
    """Keys still stand for their answers, because Kafka is the truth."""
    async with scenario(rig, "redis flushed, then killed", rows, options) as scene:
        keyed = [_keyed(rig, number) for number in range(6)]
        await _ask_all(scene, keyed)
        async with scene.fault("FLUSHALL") as harm:
            with redis.Redis.from_url(rig.stack.addresses["redis"]) as client:
                before = client.dbsize()
                client.flushall()
                harm.evidence = f"{before} entries gone" if before else ""
            await _ask_all(scene, keyed)
        async with scene.fault("redis killed") as harm:
            harm.evidence = await rig.kill("redis")
            await _ask_all(scene, keyed)


def _keyed(rig: Rig, number: int) -> Question:
    tenant, is_stream = rig.tenants[number % len(rig.tenants)], bool(number % 2)
    prompt = f"{tenant.canary} {os.urandom(8).hex()} remember this"
    return Question(
        tenant=tenant, model="sim-fast:echo", prompt=prompt, is_stream=is_stream,
        key=f"kept-{os.urandom(6).hex()}",
    )  # fmt: skip


async def _ask_all(scene: Scene, questions: list[Question]) -> None:
    gateways = sorted(scene.clients.gateways)
    async with asyncio.TaskGroup() as group:
        for number, question in enumerate(questions):
            gateway = gateways[number % len(gateways)]
            group.create_task(scene.clients.ask(question, gateway=gateway, process=number))


async def test_the_provider_is_cut_off(rig: Rig, rows: list[Row], options: Options) -> None:
    """Calls under way fail as the provider's fault; none is repeated without end."""
    async with (
        scenario(rig, "provider reset for 5 s", rows, options) as scene,
        scene.fault("provider reset", is_total=True) as harm,
    ):
        scene.proxy.reset()
        await asyncio.sleep(OUTAGE_S)
        scene.proxy.heal()
        broken = scene.proxy.counts["reset"] + scene.proxy.counts["refused"]
        harm.evidence = f"{broken} connections broken" if broken else ""


async def test_a_crowd_asks_the_same(rig: Rig, rows: list[Row], options: Options) -> None:
    """A hundred identical requests are one call and a hundred answers, a router's death or not."""
    tenant = rig.tenants[0]
    prompt = f"{tenant.canary} {os.urandom(8).hex()} " + "all together now " * 12
    question = Question(tenant=tenant, model="sim-fast:echo:ttft=1s:tps=20", prompt=prompt)
    async with (
        scenario(rig, "100 ask the same, router killed", rows, options) as scene,
        scene.fault("router killed", is_total=True) as harm,
    ):
        gateways = sorted(scene.clients.gateways)
        async with asyncio.TaskGroup() as group:
            asking = [
                group.create_task(scene.clients.ask(question, gateway=gateways[n % 2], process=n))
                for n in range(100)
            ]
            await asyncio.sleep(0.5)
            harm.evidence = await rig.kill("router")
        seen = [task.result() for task in asking]
        assert all(each.is_done for each in seen)
        ids = {each.request_id for each in seen}
        called = [c for c in calls_from_journal(rig.journal) if c.request_id in ids]
        assert len(called) == 1, f"{len(called)} calls for one question"
