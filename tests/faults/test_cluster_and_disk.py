"""Scenarios that need a stack of their own: three brokers, and a disk that is full."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.harness.cluster import Cluster, running_cluster_rig
from tests.faults.harness.disk import can_mount, fill, free, small_disk
from tests.faults.harness.report import Row
from tests.faults.harness.rig import Rig, Rigs, eventually, running_rig
from tests.faults.harness.scene import Options, scenario

pytestmark = pytest.mark.timeout(600)  # each starts a stack of its own

NEARLY_FULL_RATIO = 0.93
"""Beyond the share of a disk at which new requests are refused."""


@pytest.fixture
def on_three_brokers(rigs: Rigs) -> Iterator[tuple[Rig, Cluster]]:
    """A stack on three brokers; the usual one is stopped, for the machine is small."""
    rigs.close()
    with running_cluster_rig() as running:
        yield running


async def test_leaders_are_lost(
    on_three_brokers: tuple[Rig, Cluster], rows: list[Row], options: Options
) -> None:
    """A broker that leads is killed and comes back: a pause, and nothing acknowledged is gone."""
    rig, cluster = on_three_brokers
    async with (
        scenario(rig, "leader lost (3 brokers)", rows, options) as scene,
        scene.fault("leader killed", is_total=True, recovery_s=30) as harm,
    ):
        leader = cluster.leaders("inference-requests-p0")[0]
        pid = cluster.kill(leader)
        await eventually(lambda: cluster.leaders("inference-requests-p0")[0] not in {leader, -1})
        await asyncio.sleep(5)
        cluster.start(leader)
        await eventually(lambda: cluster.is_up(leader), timeout_s=60)
        harm.evidence = f"broker {leader} ({pid}) led no more"


@pytest.fixture
def on_a_small_disk(rigs: Rigs, tmp_path: Path) -> Iterator[Rig]:
    """A stack whose data lies on a disk of its own; the usual one is stopped."""
    if not can_mount(tmp_path / "probe"):
        pytest.skip("only root may mount the small disk that this fills")
    rigs.close()
    with running_rig(small_disk) as rig:
        yield rig


@pytest.mark.may_skip
async def test_the_disk_is_nearly_full(
    on_a_small_disk: Rig, rows: list[Row], options: Options
) -> None:
    """New requests are refused before the log breaks, and taken again when there is room."""
    rig = on_a_small_disk
    folder = rig.stack.data
    async with (
        scenario(rig, "disk 93 % full", rows, options) as scene,
        scene.fault("disk nearly full", is_total=True, recovery_s=30) as harm,
    ):
        begun_s, share = time.time(), fill(folder, ratio=NEARLY_FULL_RATIO)
        await eventually(lambda: scene.was_refused_since(begun_s))
        await asyncio.sleep(3)
        free(folder)
        harm.evidence = f"{share:.0%} used"
        await eventually(lambda: rig.stack.get("/readyz")[0] == 200)


@pytest.mark.may_skip
async def test_the_disk_is_full(on_a_small_disk: Rig, rows: list[Row], options: Options) -> None:
    """The log cannot be written: requests are refused, and all that was acknowledged is kept."""
    rig = on_a_small_disk
    folder = rig.stack.data
    async with (
        scenario(rig, "disk full", rows, options) as scene,
        scene.fault("disk full", is_total=True, lost="kafka", recovery_s=60) as harm,
    ):
        pid = rig.pid("kafka")
        begun_s, share = time.time(), fill(folder, ratio=1.0)
        await eventually(lambda: scene.was_refused_since(begun_s), timeout_s=60)
        await asyncio.sleep(5)
        free(folder)
        await eventually(lambda: rig.stack.is_replaced("kafka", pid=pid), timeout_s=90)
        harm.evidence = f"{share:.0%} used; kafka {pid} -> {rig.pid('kafka')}"
