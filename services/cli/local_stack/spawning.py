"""Starts processes: as programs of their own, or forked where their imports are done already."""

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from services.cli.local_stack.nursery import FAILED, Birth
from services.cli.local_stack.orphans import guarded

_PR_SET_CHILD_SUBREAPER = 36
_ANSWER_BYTES = 32


class ProcessSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What to run.

    Attributes:
        name: Unique in the stack.
        command: Program and arguments.
        module: The package that the command runs with ``python -m``; empty = another program.
        environ: Its whole environment.
        folder: Its working folder.
        log: File that gets its output, appended.
        is_ready: Asks whether it can work.
        orphan_signal: What the system sends it when the supervisor is gone.
        probes: URL of its ``/metrics`` and ``/readyz``; empty = it has none.
    """

    name: str
    command: tuple[str, ...]
    module: str = ""
    environ: Mapping[str, str]
    folder: Path
    log: Path
    is_ready: Callable[[], Awaitable[bool]]
    orphan_signal: signal.Signals = signal.SIGKILL
    probes: str = ""


class Child(Protocol):
    """A process of ours."""

    @property
    def pid(self) -> int:
        """Its id."""

    @property
    def returncode(self) -> int | None:
        """How it ended; minus the signal that ended it; None while it runs."""

    async def wait(self) -> int:
        """Wait for its end."""

    def send_signal(self, signal: int, /) -> None:
        """Send it a signal."""


Spawn = Callable[[ProcessSpec], Awaitable[Child]]


async def spawn_program(spec: ProcessSpec) -> Child:
    """Start a program.

    Raises:
        OSError: The system has no room for it.
    """
    with spec.log.open("ab") as output:
        return await asyncio.create_subprocess_exec(
            *guarded(spec.command, spec.orphan_signal),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=dict(spec.environ),
            cwd=spec.folder,
            start_new_session=True,  # Ctrl-C reaches the supervisor alone, which stops in order
        )


class Nursery:
    """Forks services from a process that has imported what they need.

    Where there is none, on systems other than Linux or because it ended, services are started as
    programs: later, but no worse.
    """

    def __init__(
        self, modules: Sequence[str], *, log: Path, on_event: Callable[[str], None]
    ) -> None:
        """Prepare; ``start`` starts.

        Args:
            modules: What it is to import.
            log: File that gets its output.
            on_event: Told when it is gone.
        """
        self._modules = tuple(modules)
        self._log = log
        self._on_event = on_event
        self._asking: socket.socket | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._one_at_a_time = asyncio.Lock()

    async def start(self, *, environ: Mapping[str, str], folder: Path) -> None:
        """Start it; it may still import when this returns."""
        if sys.platform != "linux" or not self._modules:
            return
        asking, asked = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        asking.settimeout(0)
        # Whoever is forked there by a go-between becomes a child of this process.
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        command = (sys.executable, "-m", "services.cli.local_stack.nursery", str(asked.fileno()))
        with asked, self._log.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *guarded((*command, *self._modules), signal.SIGKILL),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=dict(environ),
                cwd=folder,
                pass_fds=(asked.fileno(),),
                start_new_session=True,
            )
        self._asking = asking

    async def spawn(self, spec: ProcessSpec) -> Child:
        """Start a process; one that runs a module is forked, where that can be.

        Raises:
            OSError: The system has no room for it.
        """
        if not spec.module:
            return await spawn_program(spec)
        async with self._one_at_a_time:
            if self._asking is None:
                return await spawn_program(spec)
            with contextlib.suppress(ConnectionError):
                return _Forked(await self._ask(self._asking, spec))
            self._on_event(
                "The process that services are forked from has ended; they start as programs now, "
                f"which takes a second longer (log: {self._log})"
            )
            await self.stop()
            return await spawn_program(spec)

    async def stop(self) -> None:
        """Let it end; what it bore lives on."""
        if self._asking is not None:
            self._asking.close()
            self._asking = None
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
            self._process = None

    @staticmethod
    async def _ask(asking: socket.socket, spec: ProcessSpec) -> int:
        birth = Birth(
            module=spec.module,
            environ=dict(spec.environ),
            folder=str(spec.folder),
            orphan_signal=int(spec.orphan_signal),
        )
        with spec.log.open("ab") as output:
            socket.send_fds(asking, [msgspec.json.encode(birth)], [output.fileno()])
            answer = await asyncio.get_running_loop().sock_recv(asking, _ANSWER_BYTES)
        if not answer:
            raise ConnectionResetError
        if answer == FAILED:
            raise OSError("the system has no room for another process")
        return int(answer)


class _Forked:
    """A child of this process that it did not start itself."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ended = asyncio.Event()
        self._watched = os.pidfd_open(pid)
        asyncio.get_running_loop().add_reader(self._watched, self._on_end)

    def _on_end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._watched)
        os.close(self._watched)
        _, status = os.waitpid(self.pid, 0)
        self.returncode = os.waitstatus_to_exitcode(status)
        self._ended.set()

    async def wait(self) -> int:
        """See ``Child``."""
        await self._ended.wait()
        assert self.returncode is not None  # noqa: S101  set before the event
        return self.returncode

    def send_signal(self, signal: int, /) -> None:
        """See ``Child``."""
        if self.returncode is None:  # not waited for yet, so the id is still its own
            os.kill(self.pid, signal)
