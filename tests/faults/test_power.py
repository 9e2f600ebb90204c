"""Power lost with one broker: what it acknowledged and nobody forced to the disk is gone.

Each scenario needs a file system that can be cut off, so root on Linux, and a minute of load first:
the kernel writes back what is half a minute old.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.checker.history import REQUESTS, RESULTS, Operation, requests_in
from tests.faults.checker.log_reader import read_topics
from tests.faults.harness.power import Loss, can_lose_power, lose_power, lossy_disk
from tests.faults.harness.report import Row
from tests.faults.harness.rig import BESIDE, PATH, Rig, Rigs, eventually, running_rig
from tests.faults.harness.scene import Options, Scene, scenario

pytestmark = [pytest.mark.timeout(600), pytest.mark.may_skip]

LOADED_S = 60.0
RECOVERY_S = 90.0
GATEWAYS = ("gateway", "gateway-1")
MACHINE = (*GATEWAYS, "redis", *PATH, *BESIDE)
"""All but the broker and the provider, who is elsewhere."""

_LOOKS = 12


@pytest.fixture
def rig_with(rigs: Rigs, tmp_path: Path) -> Iterator[Callable[..., Rig]]:
    """Starts a stack whose log lies on a file system that can be cut off; the usual one stops."""
    if not can_lose_power(tmp_path / "probe"):
        pytest.skip("only root may mount the file system that this cuts off")
    rigs.close()
    with ExitStack() as life:
        yield lambda *options: life.enter_context(running_rig(lossy_disk, *options))


@pytest.mark.parametrize("also", [MACHINE, ()], ids=["the machine", "the broker alone"])
async def test_power_is_lost(
    rig_with: Callable[..., Rig], rows: list[Row], options: Options, also: tuple[str, ...]
) -> None:
    """The last half minute is lost and says so; whatever is accepted afterwards is kept."""
    rig = rig_with()
    name = "power lost" if also else "broker's power lost"
    async with scenario(rig, name, rows, options) as scene:
        await asyncio.sleep(LOADED_S)
        async with scene.fault(
            name, is_total=True, victims=GATEWAYS, recovery_s=RECOVERY_S, forgets=True
        ) as harm:
            loss = await lose_power(rig, also=also)
            harm.evidence = str(loss)
            assert loss.lost_bytes, "the log lost nothing"
        await eventually(rig.is_ready, timeout_s=RECOVERY_S)
        await _say_what_is_lost(scene, loss)


async def test_power_is_lost_and_every_write_was_forced_to_the_disk(
    rig_with: Callable[..., Rig], rows: list[Row], options: Options
) -> None:
    """With ``--fsync`` the log has all that was acknowledged, and every promise is kept."""
    rig = rig_with("--fsync")
    async with scenario(rig, "power lost, fsync", rows, options) as scene:
        await asyncio.sleep(LOADED_S)
        async with scene.fault(
            "power lost", is_total=True, victims=GATEWAYS, recovery_s=RECOVERY_S
        ) as harm:
            loss = await lose_power(rig, also=MACHINE)
            harm.evidence = str(loss) if loss.has_lost_witness else ""
            assert not loss.lost_bytes
        await eventually(rig.is_ready, timeout_s=RECOVERY_S)


async def _say_what_is_lost(scene: Scene, loss: Loss) -> None:
    """Count it, and ask for it as its clients would: they are told that it is not there."""
    rig = scene.rig
    topics = await asyncio.to_thread(
        lambda: read_topics(rig.kafka, rig.schemas, only={*REQUESTS, RESULTS})
    )
    known = {id_ for records in topics.values() for id_ in requests_in(iter(records))}
    lost = [o for o in scene.accepted() if o.request_id not in known and o.ended_s < loss.at_s]
    answered = {o.request_id for o in lost if o.is_ok}
    print(
        f"{loss}; {len({o.request_id for o in lost})} accepted requests lost, "
        f"{len(answered)} of them answered; oldest {_age_s(lost, loss):.1f} s; by topic: "
        f"{loss.lost_bytes}"
    )
    tenants = {tenant.name: tenant for tenant in rig.tenants}
    for operation in lost[-_LOOKS:]:
        gateway = sorted(scene.clients.gateways)[operation.op % 2]
        seen = await scene.clients.look(
            operation.request_id, tenant=tenants[operation.tenant], gateway=gateway
        )
        assert seen.status == 404, f"{operation.request_id} is lost and {seen.status} was said"


def _age_s(lost: list[Operation], loss: Loss) -> float:
    return loss.at_s - min((o.invoked_s for o in lost), default=loss.at_s)
