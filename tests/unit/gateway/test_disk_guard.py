"""No new requests on a disk that is nearly full."""

import asyncio
import logging

import pytest
from prometheus_client import CollectorRegistry

from services.gateway.disk_guard import LOOK_EVERY_S
from services.gateway.health_api import HealthApi
from services.gateway.inference import inference
from services.shared.domain.disk import DiskLevel
from services.shared.domain.events import ChunkKind, Operation
from tests.support.disks import FakeDisk, guard_of
from tests.support.fake_clock import clock_of_loop
from tests.support.gateway_desk import (
    STRANGER_KEY,
    FakePublisher,
    Sent,
    chat_request,
    chunk,
    deliver,
    desk_of,
    http_request,
    on_fake_time,
    settled,
)


@on_fake_time
async def test_new_requests_are_refused_and_taken_again_when_there_is_room() -> None:
    """503 ``disk_full`` with Retry-After, nothing published; what was accepted goes on."""
    disk, publisher = FakeDisk(0.89), FakePublisher()
    guard = guard_of(disk)
    desk = desk_of(clock_of_loop(), publisher, disk=guard)
    handle = inference(Operation.CHAT, desk)
    watching = asyncio.ensure_future(guard.watch())
    await asyncio.sleep(LOOK_EVERY_S)
    accepted = Sent()
    before = asyncio.ensure_future(handle(chat_request(), accepted))
    await settled()

    disk.ratio = 0.93
    await asyncio.sleep(LOOK_EVERY_S)
    refused = Sent()
    await handle(chat_request(), refused)
    assert (refused.status, refused.error["code"]) == (503, "disk_full")
    assert refused.headers["retry-after"] == "10"
    assert len(publisher.published) == 1
    assert desk.metrics.answers.labels("chat", 503, "disk_full")._value.get() == 1

    deliver(desk.replies, chunk(0, ChunkKind.END, payload=b"{}"))
    await before
    assert accepted.status == 200

    disk.ratio = 0.5
    await asyncio.sleep(LOOK_EVERY_S)
    after = asyncio.ensure_future(handle(chat_request(), Sent()))
    await settled()
    assert len(publisher.published) == 2
    for task in (after, watching):
        task.cancel()


@on_fake_time
async def test_a_stranger_is_not_told_of_the_disk() -> None:
    """Without a good key the answer is 401 as ever."""
    guard = guard_of(FakeDisk(1.0))
    await guard.look()
    sent = Sent()
    desk = desk_of(clock_of_loop(), FakePublisher(), disk=guard)
    await inference(Operation.CHAT, desk)(chat_request(key=STRANGER_KEY), sent)
    assert sent.status == 401


@pytest.mark.parametrize(
    ("ratio", "component", "status"),
    [(0.5, "ok", 200), (0.85, "filling", 200), (0.93, "full", 503)],
)
async def test_health_shows_the_disk_and_only_a_full_one_is_not_ready(
    ratio: float, component: str, status: int
) -> None:
    """``/health`` has three words for it, ``/readyz`` a yes and a no."""
    guard = guard_of(FakeDisk(ratio))
    await guard.look()
    api = HealthApi(
        registry=CollectorRegistry(),
        checks={"disk": lambda: guard.why_not_ready},
        levels={"disk": lambda: guard.level.value},
    )
    health, ready = Sent(), Sent()
    await api.health(http_request(method="GET"), health)
    await api.readyz(http_request(method="GET"), ready)
    assert (health.status, health.document["components"]["disk"]) == (status, component)
    assert ready.status == status


async def test_each_change_is_said_once_and_measured(caplog: pytest.LogCaptureFixture) -> None:
    """One line a change, a warning while room is needed; the gauge has the last look."""
    caplog.set_level(logging.INFO)
    disk, registry = FakeDisk(0.5), CollectorRegistry()
    guard = guard_of(disk, registry)
    for ratio in (0.5, 0.85, 0.86, 0.95, 0.96, 0.5):
        disk.ratio = ratio
        await guard.look()
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING", "INFO"]
    assert registry.get_sample_value("millrace_data_disk_used_ratio") == 0.5


async def test_a_disk_that_cannot_be_seen_stays_what_it_was(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is said once each time that it goes away."""
    disk = FakeDisk(0.95)
    guard = guard_of(disk)
    await guard.look()
    caplog.clear()
    for is_away in (True, True, False, True):
        disk.is_away = is_away
        await guard.look()
        assert guard.level is DiskLevel.FULL
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
