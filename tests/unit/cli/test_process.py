"""A supervised process."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cli.local_stack import process as process_module
from services.cli.local_stack.process import (
    LONGEST_DELAY_S,
    ManagedProcess,
    restart_delay_s,
)
from services.cli.local_stack.spawning import ProcessSpec
from services.cli.local_stack.state import ProcessState

SLEEPER = (sys.executable, "-S", "-c", "import time; time.sleep(600)")
FAILING = (sys.executable, "-S", "-c", "raise SystemExit(3)")


@given(jitter=st.floats(0, 1))
def test_the_first_end_costs_no_wait(jitter: float) -> None:
    """Whoever was stable is back at once."""
    assert restart_delay_s(1, jitter=jitter) == 0


@given(failures=st.integers(2, 10_000), jitter=st.floats(0, 1))
def test_the_wait_before_a_restart_is_bounded(failures: int, jitter: float) -> None:
    """However often it failed, the next start comes within half a minute, and not at once."""
    assert 0.1 < restart_delay_s(failures, jitter=jitter) <= LONGEST_DELAY_S


@given(failures=st.integers(2, 7), jitter=st.floats(0, 1))
def test_the_wait_doubles_with_each_failure(failures: int, jitter: float) -> None:
    """A process that keeps failing does not keep the machine busy."""
    doubled = 2 * restart_delay_s(failures, jitter=jitter)
    assert restart_delay_s(failures + 1, jitter=jitter) == pytest.approx(doubled)


async def _always() -> bool:
    return True


def managed(
    command: tuple[str, ...], folder: Path, on_event: Callable[[str], None]
) -> tuple[ManagedProcess, list[ProcessState]]:
    """A process, and the states that it goes through."""
    states: list[ProcessState] = []
    spec = ProcessSpec(
        name="it",
        command=command,
        environ={},
        folder=folder,
        log=folder / "it.log",
        is_ready=_always,
    )

    def note() -> None:
        if states[-1:] != [process.record.state]:
            states.append(process.record.state)

    process = ManagedProcess(spec, on_change=note, on_event=on_event)
    return process, states


async def test_it_runs_until_it_is_told_to_stop(tmp_path: Path) -> None:
    """It is ready, stops when asked, and is not started again."""
    process, states = managed(SLEEPER, tmp_path, print)
    running = asyncio.create_task(process.run())
    await process.ready.wait()
    assert process.record.pid is not None
    assert process.record.created_at_s > 0
    process.stop()
    await running
    assert states == [
        ProcessState.STARTING,
        ProcessState.RUNNING,
        ProcessState.STOPPING,
        ProcessState.STOPPED,
    ]
    assert process.record.pid is None


@pytest.mark.parametrize(
    ("command", "why"),
    [(FAILING, "it exited with 3"), (("/no/such/program",), "it exited with 127")],
)
async def test_one_that_ends_is_started_again_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], why: str
) -> None:
    """Its end is told with its cause and its log, and counted."""
    monkeypatch.setattr(process_module, "FIRST_DELAY_S", 0.0)
    twice = asyncio.Event()
    said: list[str] = []

    def on_event(text: str) -> None:
        said.append(text)
        if len(said) == 2:
            twice.set()

    process, states = managed(command, tmp_path, on_event)
    running = asyncio.create_task(process.run())
    await twice.wait()
    process.stop()
    await running
    assert all(text.startswith(why) and "it.log" in text for text in said)
    assert process.record.restarts >= 2
    assert ProcessState.RESTARTING in states
    assert states[-1] is ProcessState.STOPPED


async def test_one_that_waits_for_its_restart_can_be_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop does not wait for the delay to pass."""
    monkeypatch.setattr(process_module, "FIRST_DELAY_S", 3_600.0)
    monkeypatch.setattr(process_module, "LONGEST_DELAY_S", 3_600.0)
    failed = asyncio.Event()
    process, _ = managed(FAILING, tmp_path, lambda _: failed.set())
    running = asyncio.create_task(process.run())
    await failed.wait()
    process.stop()
    async with asyncio.timeout(5):
        await running
    assert process.record.state is ProcessState.STOPPED
