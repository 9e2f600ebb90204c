"""Runs the stack in this process until a signal ends it."""

import asyncio
import contextlib
import resource
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from services.cli.local_stack.logs import LogFollower, bound
from services.cli.local_stack.meter import Meter
from services.cli.local_stack.plan import Plan
from services.cli.local_stack.screen import Screen
from services.cli.local_stack.supervisor import Supervisor

FOLLOW_EVERY_S = 0.25
SAMPLE_EVERY_S = 2.0
BOUND_EVERY_S = 10.0
_OPEN_FILES = 65_536
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


async def run(
    plan: Plan,
    *,
    screen: Screen,
    greeting: str,
    follow_logs: bool,
    demo: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Start the stack, show it, and stop it in order on Ctrl-C, SIGTERM or SIGHUP.

    A second signal ends everything at once.

    Args:
        plan: What to run.
        screen: Where to show it.
        greeting: What to say when requests can be answered.
        follow_logs: Whether to show log lines and the table.
        demo: What to show once requests can be answered.

    Raises:
        CommandError: Kafka does not start.
        InvalidConfiguration: Its topics do not fit.
    """
    _allow_many_files()
    supervisor = Supervisor(plan, on_event=screen.event)
    meter = Meter(monotonic_s=time.monotonic)
    stop = _stop_on_signals(supervisor)
    watching = [asyncio.create_task(_bound_logs(supervisor, screen))]
    if follow_logs:
        watching += [
            asyncio.create_task(_follow_logs(supervisor, screen)),
            asyncio.create_task(_show_table(supervisor, meter, screen)),
        ]
    starting = asyncio.create_task(supervisor.start())
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            screen.event(greeting)
            if demo is not None:
                await _until(asyncio.ensure_future(demo()), stopping)
        await stopping
        screen.event("Stopping ...")
    finally:
        starting.cancel()
        await supervisor.stop()
        for task in watching:
            task.cancel()
    screen.table(meter.rows(supervisor.records))
    screen.event("Stopped.")


async def _until(showing: "asyncio.Future[None]", stopping: "asyncio.Task[bool]") -> None:
    """Let something be shown to its end, or to the end of the stack."""
    await asyncio.wait((showing, stopping), return_when=asyncio.FIRST_COMPLETED)
    if showing.done():
        showing.result()
    else:
        showing.cancel()


def _stop_on_signals(supervisor: Supervisor) -> asyncio.Event:
    stop = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            supervisor.kill()
        stop.set()

    for number in _SIGNALS:
        if number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
            continue  # nohup: it is to survive its terminal
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    return stop


async def _follow_logs(supervisor: Supervisor, screen: Screen) -> None:
    follower = LogFollower(_log_files(supervisor))
    while True:
        for line in follower.new_lines():
            screen.log(line)
        await asyncio.sleep(FOLLOW_EVERY_S)


async def _show_table(supervisor: Supervisor, meter: Meter, screen: Screen) -> None:
    """Show each change of state soon, and figures every now and then."""
    sample_at_s = 0.0
    while True:
        if time.monotonic() >= sample_at_s:
            await meter.read(supervisor.records)
            sample_at_s = time.monotonic() + SAMPLE_EVERY_S
        supervisor.changed.clear()
        screen.table(meter.rows(supervisor.records))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(sample_at_s - time.monotonic()):
                await supervisor.changed.wait()
        await asyncio.sleep(FOLLOW_EVERY_S)


async def _bound_logs(supervisor: Supervisor, screen: Screen) -> None:
    said = ""
    while True:
        try:
            for path in supervisor.plan.layout.logs.glob("*.log"):
                bound(path)
        except OSError as error:  # a full disk: there will be room again
            if not said:
                screen.event(f"Logs cannot be cut: {error.strerror}; trying again.")
            said = str(error)
        else:
            said = ""
        await asyncio.sleep(BOUND_EVERY_S)


def _log_files(supervisor: Supervisor) -> dict[str, Path]:
    return {process.spec.name: process.spec.log for process in supervisor.processes}


def _allow_many_files() -> None:
    """Raise this process' limit on open files, which its children inherit, as far as allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
