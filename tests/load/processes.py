"""CPU and memory of the stack's processes."""

import contextlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
import psutil

from services.cli.local_stack.state import Layout, read_stack

SUPERVISOR = "supervisor"
SIMULATOR = "simulator"
"""Stands for providers: its figures are shown, and are no part of the stack's."""


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """What a process holds.

    Attributes:
        resident_bytes: Its pages in memory, also those that it shares with others.
        proportional_bytes: The same with a fair share of each shared page; these add up.
    """

    resident_bytes: int
    proportional_bytes: int


def process_ids(data: Path) -> dict[str, int]:
    """Every process of a running stack, its supervisor included, by name."""
    stack = read_stack(Layout(data))
    if stack is None:
        return {}
    running = {p.name: p.pid for p in stack.processes if p.pid is not None}
    return {**running, SUPERVISOR: stack.pid}


class CpuMeter:
    """CPU that a stack uses from here on."""

    def __init__(self, data: Path, *, upstream: int | None = None) -> None:
        """Begin.

        Args:
            data: The stack's data directory.
            upstream: Process id of the simulator that is called, where it is not the stack's own.
        """
        self._data = data
        self._upstream = upstream
        self._ids = self._process_ids()
        self._before_s = cpu_s(self._ids)
        self._busy_before_s = _busy_s()
        self._began_s = time.monotonic()

    @property
    def elapsed_s(self) -> float:
        """Time since the begin."""
        return time.monotonic() - self._began_s

    def used_s(self) -> dict[str, float]:
        """CPU seconds since the begin by process; one that was restarted counts from its start."""
        ids = self._process_ids()
        now_s = cpu_s(ids)
        same = {name for name, pid in ids.items() if pid == self._ids.get(name)}
        return {
            name: used_s - (self._before_s.get(name, 0.0) if name in same else 0.0)
            for name, used_s in now_s.items()
        }

    def others_cores(self, *, own_s: float) -> float:
        """Cores that programs beside the stack used on average since the begin.

        Args:
            own_s: CPU seconds of the stack, the simulator and who drives them.
        """
        return max(0.0, _busy_s() - self._busy_before_s - own_s) / self.elapsed_s

    def restarted(self) -> list[str]:
        """Processes that are not those of the begin: no figure of this run means anything."""
        ids = self._process_ids()
        return sorted(name for name, pid in self._ids.items() if ids.get(name) != pid)

    def _process_ids(self) -> dict[str, int]:
        ids = process_ids(self._data)
        return ids if self._upstream is None else {**ids, SIMULATOR: self._upstream}


def of_the_stack(by_process: Mapping[str, float]) -> float:
    """The sum over the stack: everything but the simulator."""
    return sum(value for name, value in by_process.items() if name != SIMULATOR)


def memory(data: Path) -> dict[str, Memory]:
    """What each process of a stack holds now."""
    found = {}
    for name, process in _running(process_ids(data)):
        info = process.memory_full_info()
        shared_fairly = getattr(info, "pss", info.rss)  # only Linux knows it
        found[name] = Memory(resident_bytes=info.rss, proportional_bytes=shared_fairly)
    return found


def cpu_s(ids: Mapping[str, int]) -> dict[str, float]:
    """CPU seconds of each process since it started; none of one that is not there."""
    used = {}
    for name, process in _running(ids):
        times = process.cpu_times()
        used[name] = times.user + times.system
    return used


def _busy_s() -> float:
    """CPU seconds of everything on this machine since it started."""
    times = psutil.cpu_times()
    return float(times.user + times.system + getattr(times, "nice", 0.0))  # iowait is idle


def _running(ids: Mapping[str, int]) -> Iterator[tuple[str, psutil.Process]]:
    """Those that are there; the supervisor may not know yet that one died."""
    for name, pid in ids.items():
        with contextlib.suppress(psutil.NoSuchProcess):
            yield name, psutil.Process(pid)
