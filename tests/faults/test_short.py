"""Twelve scenarios, each about half a minute; `make test` runs them too."""

import pytest

from tests.faults.harness.report import Row
from tests.faults.harness.rig import Rig
from tests.faults.harness.scene import Options, scenario

pytestmark = pytest.mark.faults_short


async def test_a_gateway_is_killed(rig: Rig, rows: list[Row], options: Options) -> None:
    """Its streams go on at the other gateway, byte for byte; nothing accepted is lost."""
    async with (
        scenario(rig, "gateway killed", rows, options) as scene,
        scene.fault("gateway killed", victims=("gateway",)) as harm,
    ):
        harm.evidence = await rig.kill("gateway")


async def test_the_router_is_killed(rig: Rig, rows: list[Row], options: Options) -> None:
    """Requests wait for its successor."""
    async with (
        scenario(rig, "router killed", rows, options) as scene,
        scene.fault("router killed", is_total=True) as harm,
    ):
        harm.evidence = await rig.kill("router")
