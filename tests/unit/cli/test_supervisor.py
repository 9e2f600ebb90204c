"""The supervisor on a disk that is full."""

import asyncio
import errno
import signal
import sys
from io import StringIO
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from services.cli.local_stack import process as process_module
from services.cli.local_stack import run as run_module
from services.cli.local_stack import supervisor as supervisor_module
from services.cli.local_stack.plan import Plan
from services.cli.local_stack.screen import Screen
from services.cli.local_stack.spawning import ProcessSpec
from services.cli.local_stack.state import (
    Layout,
    ProcessState,
    StackState,
    read_stack,
    write_json,
)
from services.cli.local_stack.supervisor import Supervisor

SLEEPER = (sys.executable, "-S", "-c", "import time; time.sleep(600)")


class FullDisk:
    """What is written to the state file fails while the disk is full.

    Attributes:
        is_full: Whether it is.
    """

    def __init__(self) -> None:
        """Have room."""
        self.is_full = False

    def write(self, path: Path, value: msgspec.Struct) -> None:
        """Write, or fail as the system does."""
        if self.is_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        write_json(path, value)


def a_plan(folder: Path) -> Plan:
    """A stack whose every process only sleeps."""

    async def is_ready() -> bool:
        return True

    def spec(name: str) -> ProcessSpec:
        return ProcessSpec(
            name=name, command=SLEEPER, environ={}, folder=folder,
            log=folder / f"{name}.log", is_ready=is_ready,
        )  # fmt: skip

    return Plan(
        layout=Layout(folder), config="/etc/m.yaml", partitions=1, topics_digest="",
        topics_exist=True, addresses={},
        bootstrap="", kafka=spec("kafka"), redis=spec("redis"), on_path=(), beside=(),
        environ={},
    )  # fmt: skip


async def until(supervisor: Supervisor, state: ProcessState) -> None:
    """Wait for the broker to be in a state, change by change."""
    while supervisor._kafka.record.state is not state:
        supervisor.changed.clear()
        await supervisor.changed.wait()


async def test_a_full_disk_ends_no_restarts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ends while nothing can be written is started again; the state is written later."""
    monkeypatch.setattr(process_module, "FIRST_DELAY_S", 0.0)
    monkeypatch.setattr(supervisor_module, "WRITE_AGAIN_S", 0.01)
    disk, said = FullDisk(), list[str]()
    monkeypatch.setattr(supervisor_module, "write_json", disk.write)
    supervisor = Supervisor(a_plan(tmp_path), on_event=said.append)
    supervisor._run([supervisor._kafka])
    async with asyncio.timeout(30):
        await until(supervisor, ProcessState.RUNNING)
        disk.is_full = True
        supervisor._kafka._send(signal.SIGKILL)
        await until(supervisor, ProcessState.RESTARTING)
        await until(supervisor, ProcessState.RUNNING)
        assert supervisor._kafka.record.restarts == 1
        assert sum("state.json cannot be written" in text for text in said) == 1

        disk.is_full = False
        while (stack := read_stack(Layout(tmp_path))) and not stack.processes[0].restarts:
            supervisor.changed.clear()
            await supervisor.changed.wait()
        assert supervisor._unwritten is None
        await supervisor.stop()
    stack = read_stack(Layout(tmp_path))
    assert stack is not None
    assert stack.config == "/etc/m.yaml"
    assert stack.state is StackState.STOPPED


async def test_logs_are_cut_again_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log that cannot be copied now is said once, and tried again."""
    monkeypatch.setattr(run_module, "BOUND_EVERY_S", 0.0)
    layout = Layout(tmp_path)
    layout.logs.mkdir()
    layout.log_of("kafka").touch()
    cut, tries = asyncio.Event(), list[Path]()

    def bound(path: Path) -> None:
        tries.append(path)
        if len(tries) < 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        cut.set()

    monkeypatch.setattr(run_module, "bound", bound)
    shown = StringIO()
    screen = Screen(Console(file=shown, width=200), names=[], with_table=False)
    supervisor = Supervisor(a_plan(tmp_path), on_event=print)
    bounding = asyncio.create_task(run_module._bound_logs(supervisor, screen))
    async with asyncio.timeout(10):
        await cut.wait()
    bounding.cancel()
    assert shown.getvalue().count("Logs cannot be cut: No space left on device") == 1


class FullFile(StringIO):
    """A file that takes nothing."""

    def __init__(self, number: int) -> None:
        """Fail with this error number."""
        super().__init__()
        self._number = number

    def flush(self) -> None:
        """Fail."""
        raise OSError(self._number, "it fails")


def test_what_cannot_be_shown_on_a_full_disk_stops_nobody() -> None:
    """Only that error is borne: any other one is told."""
    full = Screen(Console(file=FullFile(errno.ENOSPC)), names=[], with_table=False)
    full.event("it ended; starting it again")
    broken = Screen(Console(file=FullFile(errno.EIO)), names=[], with_table=False)
    with pytest.raises(OSError, match="it fails"):
        broken.event("it ended; starting it again")
