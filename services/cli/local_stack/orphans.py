"""No process outlives its supervisor, even one that is killed with -9."""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import psutil

from services.cli.local_stack.state import ProcessRecord

_GUARD = Path(__file__).with_name("guard.py")
_CREATED_WITHIN_S = 2.0  # the kernel's idea of its boot time moves a little
_PATIENCE_S = 5.0
_POLL_S = 0.02


def guarded(command: Sequence[str], with_signal: signal.Signals) -> tuple[str, ...]:
    """A command that Linux sends a signal when this process ends, however it ends.

    Elsewhere there is no such thing: the command stays as it is, and ``end_orphans`` at the next
    start is what ends it. The thread that starts the command must live as long as this process.
    """
    if sys.platform != "linux":
        return tuple(command)
    # Not a preexec_fn: forking Python is unsafe, and deprecated, beside other threads.
    bare_python = (sys.executable, "-I", "-S", str(_GUARD))
    return (*bare_python, str(int(with_signal)), str(os.getpid()), *command)


def created_at_s(pid: int) -> float:
    """When a process was created, unix seconds; 0 when there is none of that id."""
    try:
        return psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return 0.0


def is_alive(record: ProcessRecord) -> bool:
    """Whether the very process of a record still runs (its id may be another's by now)."""
    return record.pid is not None and _process(record) is not None


def end_orphans(records: Iterable[ProcessRecord]) -> list[str]:
    """End what a killed supervisor left behind, gently and then firmly.

    Returns:
        Names of the processes that were still there.
    """
    left = [record for record in records if is_alive(record)]
    for number in (signal.SIGTERM, signal.SIGKILL):
        for record in left:
            _signal(record, number)
        if _all_end(left):
            break
    return [record.name for record in left]


def _all_end(records: Sequence[ProcessRecord]) -> bool:
    """Wait for processes that are not our children, so nothing tells us of their end."""
    give_up_at_s = time.monotonic() + _PATIENCE_S
    while any(is_alive(record) for record in records):
        if time.monotonic() >= give_up_at_s:
            return False
        time.sleep(_POLL_S)
    return True


def _process(record: ProcessRecord) -> psutil.Process | None:
    """The process of a record; None when it has ended, also where nobody has reaped it yet."""
    if record.pid is None:
        return None
    try:
        process = psutil.Process(record.pid)
        same = abs(process.create_time() - record.created_at_s) < _CREATED_WITHIN_S
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None


def _signal(record: ProcessRecord, number: signal.Signals) -> None:
    process = _process(record)
    if process is not None:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)
