"""One supervised process: started, watched until it is ready, started again when it ends."""

import asyncio
import random
import signal
import time
from collections.abc import Callable

from services.cli.local_stack.orphans import created_at_s
from services.cli.local_stack.spawning import Child, ProcessSpec, Spawn, spawn_program
from services.cli.local_stack.state import ProcessRecord, ProcessState

READY_POLL_S = 0.1
STABLE_AFTER_S = 30.0
FIRST_DELAY_S = 0.25
LONGEST_DELAY_S = 30.0


def restart_delay_s(failures: int, *, jitter: float) -> float:
    """How long to wait before the next start, seconds: none, then doubling up to half a minute.

    Args:
        failures: Ends in a row without a stable run between them, from 1.
        jitter: 0 to 1; spreads the waits of processes that fell together.
    """
    if failures == 1:
        return 0.0
    delay_s = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** min(failures - 2, 16))
    return delay_s * (0.5 + 0.5 * jitter)


class ManagedProcess:
    """Keeps one process running until it is told to stop."""

    def __init__(
        self,
        spec: ProcessSpec,
        *,
        on_change: Callable[[], None],
        on_event: Callable[[str], None],
        spawn: Spawn = spawn_program,
    ) -> None:
        """Prepare.

        Args:
            spec: What to run.
            on_change: Called after each change of ``record``.
            on_event: Told what an operator should know.
            spawn: Starts it.
        """
        self.spec = spec
        self.record = ProcessRecord(name=spec.name, probes=spec.probes)
        self.ready = asyncio.Event()
        self.failures = 0
        self._on_change = on_change
        self._on_event = on_event
        self._spawn = spawn
        self._process: Child | None = None
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Keep it running; returns when it has ended after ``stop``."""
        while not self._stopping.is_set():
            started_at_s = time.monotonic()
            ended = await self._run_once()
            if self._stopping.is_set():
                break
            stable = time.monotonic() - started_at_s >= STABLE_AFTER_S
            self.failures = 1 if stable else self.failures + 1
            self.record.restarts += 1
            await self._wait_to_restart(ended)
        self._enter(ProcessState.STOPPED)

    def stop(self) -> None:
        """Ask it to end, and do not start it again."""
        self._stopping.set()
        if self._process is not None:
            self._enter(ProcessState.STOPPING)
            self._send(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, and do not start it again."""
        self._stopping.set()
        self._send(signal.SIGKILL)

    async def _run_once(self) -> str:
        """Run it to its end; says how that was."""
        try:
            process = await self._spawn(self.spec)
        except OSError as error:
            return f"cannot start: {error}"
        self._process = process
        self.record.pid = process.pid
        self.record.created_at_s = created_at_s(process.pid)
        self._enter(ProcessState.STARTING)
        if self._stopping.is_set():  # told to stop while it was being created
            self.stop()
        watch = asyncio.create_task(self._watch_until_ready())
        try:
            code = await process.wait()
        finally:
            watch.cancel()
        self.ready.clear()
        self._process = None
        self.record.pid = None
        return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"

    async def _watch_until_ready(self) -> None:
        while not await self.spec.is_ready():  # noqa: ASYNC110  another process cannot set an event
            await asyncio.sleep(READY_POLL_S)
        if not self._stopping.is_set():
            self.ready.set()
            self._enter(ProcessState.RUNNING)

    async def _wait_to_restart(self, ended: str) -> None:
        jitter = random.random()  # noqa: S311  spreads restarts, guards nothing
        delay_s = restart_delay_s(self.failures, jitter=jitter)
        when = f"in {delay_s:.1f} s" if delay_s else "at once"
        self._on_event(f"{self.spec.name} {ended}; starting it again {when} (log: {self.spec.log})")
        self._enter(ProcessState.RESTARTING)
        try:
            async with asyncio.timeout(delay_s):
                await self._stopping.wait()
        except TimeoutError:
            return

    def _enter(self, state: ProcessState) -> None:
        self.record.state = state
        self._on_change()

    def _send(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)
