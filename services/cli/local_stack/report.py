"""What a stack is doing, read from outside it."""

import time
from pathlib import Path
from typing import Any

import msgspec

from services.cli.local_stack.lock import holder
from services.cli.local_stack.meter import Meter, Row
from services.cli.local_stack.state import (
    Layout,
    ProcessState,
    Stack,
    StackState,
    read_stack,
)


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A stack at one moment.

    Attributes:
        data: The data directory.
        stack: What its supervisor says; null = none runs.
        rows: Its processes.
    """

    data: Path
    stack: Stack | None
    rows: list[Row]

    @property
    def is_ready(self) -> bool:
        """Whether everything can work."""
        return (
            self.stack is not None
            and self.stack.state is StackState.RUNNING
            and all(
                row.state is ProcessState.RUNNING and row.is_ready is not False for row in self.rows
            )
        )

    def document(self) -> dict[str, Any]:
        """For programs."""
        if self.stack is None:
            return {"state": "stopped", "data": str(self.data), "processes": [], "addresses": {}}
        probes = {p.name: f"{p.probes}/metrics" for p in self.stack.processes if p.probes}
        return {
            "state": self.stack.state.value,
            "is_ready": self.is_ready,
            "data": str(self.data),
            "pid": self.stack.pid,
            "partitions": self.stack.partitions,
            "processes": msgspec.to_builtins(self.rows),
            "addresses": {**self.stack.addresses, "metrics": probes},
        }


async def read_report(data: Path) -> Report:
    """Read the state of a stack and ask its processes how they are.

    Raises:
        CommandError: The state file is damaged.
    """
    layout = Layout(data)
    stack = read_stack(layout) if holder(layout) is not None else None
    meter = Meter(monotonic_s=time.monotonic)
    records = stack.processes if stack else []
    await meter.read(records)
    return Report(data=data, stack=stack, rows=meter.rows(records))
