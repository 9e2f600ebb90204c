"""A process that dies where the product has named a point for it."""

import signal

import msgspec

from tests.faults.harness.report import Row
from tests.faults.harness.rig import PATH, Rig, eventually
from tests.faults.harness.scene import Options, scenario


class CrashPoint(msgspec.Struct, frozen=True):
    """Where to die.

    Attributes:
        service: Which service.
        name: Name of the point.
        passage: At which passage.
    """

    service: str
    name: str
    passage: int

    def __str__(self) -> str:
        """Render for people."""
        return f"{self.service} {self.name}"


async def crash(rig: Rig, rows: list[Row], options: Options, where: CrashPoint) -> None:
    """Have a process die at a named point, once, under load."""
    service = where.service
    mark = rig.crash_at(service, where.name, where.passage)
    try:
        await rig.kill(service, signal.SIGTERM)
        pid = rig.pid(service)
        async with (
            scenario(rig, f"{service} dies {where.name}", rows, options) as scene,
            scene.fault(str(where), is_total=service in PATH, victims=(service,)) as harm,
        ):
            await eventually(mark.exists)
            await eventually(lambda: rig.stack.is_replaced(service, pid=pid))
            harm.evidence = f"{service} {pid} -> {rig.pid(service)}"
    finally:
        rig.crash_no_more()
