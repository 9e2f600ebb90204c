"""The stack under test: one of our own, one that runs already, or just an address."""

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from services.cli.local_stack.lock import holder
from services.cli.local_stack.plan import checkout
from services.cli.local_stack.ports import free_port
from services.cli.local_stack.report import Report, read_report
from services.cli.local_stack.state import Layout, read_stack
from tests.support.temporary_folders import temporary_folder

_FOREIGN_SETTINGS = ("OPENAI_", "MILLRACE_", "OTEL_", "SCHEMA_REGISTRY_")
_KEPT_SETTINGS = ("MILLRACE_MAVEN_REPOSITORY",)
_START_TIMEOUT_S = 300.0
_QUIET_TIMEOUT_S = 60.0
_LOOK_EVERY_S = 0.1
_QUIET_LOOKS = 2


class StackFailed(Exception):
    """The stack does not do what it must; the text is what it said."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """An address that serves OpenAI's API.

    Attributes:
        name: For tables.
        url: Its root, with ``/v1``.
        key: Its bearer token.
    """

    name: str
    url: str
    key: str


class StackUnderTest(msgspec.Struct, frozen=True, kw_only=True):
    """What is measured.

    Attributes:
        millrace: The endpoint.
        direct: The simulator itself; null = not known.
        data: Its data directory; null = only an address is known, and no process can be looked at.
        bootstrap: Its Kafka; empty = not known.
        is_own: Whether it was started here, and so may be restarted here.
        upstream: Process id of the simulator that it calls, where that is not its own.
    """

    millrace: Target
    direct: Target | None = None
    data: Path | None = None
    bootstrap: str = ""
    is_own: bool = False
    upstream: int | None = None

    def wait_until_quiet(self) -> float:
        """Wait until no record is under way in any service.

        Returns:
            How long that took, seconds.

        Raises:
            StackFailed: Something is left after a minute.
        """
        began_s = time.monotonic()
        quiet_looks = 0 if self.data is not None else _QUIET_LOOKS
        while self.data is not None and quiet_looks < _QUIET_LOOKS:
            report = asyncio.run(read_report(self.data))
            quiet_looks = 0 if _at_work(report) else quiet_looks + 1
            if time.monotonic() - began_s > _QUIET_TIMEOUT_S:
                raise StackFailed(f"still at work after a minute: {', '.join(_at_work(report))}")
            time.sleep(_LOOK_EVERY_S)
        return time.monotonic() - began_s


@contextlib.contextmanager
def own_stack(data: Path | None) -> Iterator[StackUnderTest]:
    """A stack for the length of a ``with`` block; one that runs on the directory is left running.

    Args:
        data: The data directory; None = a temporary one.

    Raises:
        StackFailed: It does not start.
    """
    with contextlib.ExitStack() as cleanup:
        folder = data or cleanup.enter_context(temporary_folder("bench"))
        runs_already = holder(Layout(folder)) is not None
        if not runs_already:
            cleanup.callback(stop, folder)
            start(folder, port=free_port())
        yield describe(folder, is_own=not runs_already)


def remote_stack(url: str, key: str) -> StackUnderTest:
    """A stack of which only the address is known."""
    return StackUnderTest(millrace=Target(name="millrace", url=url.rstrip("/"), key=key))


def start(data: Path, *, port: int, config: Path | None = None) -> None:
    """Start a stack; returns when it answers requests.

    Args:
        data: The data directory.
        port: Port of its gateway; the others are free ones.
        config: Its configuration; None = everything on its own simulator.

    Raises:
        StackFailed: It does not start.
    """
    configured = () if config is None else ("--config", str(config))
    done = _millrace("up", "--data", str(data), "--port", str(port), "--detach", *configured)
    if done.returncode != 0:
        raise StackFailed(done.stdout + done.stderr)


def stop(data: Path) -> None:
    """Stop it.

    Raises:
        StackFailed: It does not end.
    """
    done = _millrace("down", "--data", str(data))
    if done.returncode != 0:
        raise StackFailed(done.stdout + done.stderr)


def describe(data: Path, *, is_own: bool) -> StackUnderTest:
    """Look at the stack that runs on a directory.

    Raises:
        StackFailed: None does, or it has no gateway.
    """
    layout = Layout(data)
    stack = read_stack(layout)
    if stack is None or "openai" not in stack.addresses:
        raise StackFailed(f"no stack with a gateway runs on {data}")
    key = layout.dev_key.read_text().strip()
    simulator = stack.addresses.get("simulator")
    direct = Target(name="direct", url=f"{simulator}/v1", key="none") if simulator else None
    return StackUnderTest(
        millrace=Target(name="millrace", url=stack.addresses["openai"], key=key),
        direct=direct,
        data=data,
        bootstrap=stack.addresses["kafka"],
        is_own=is_own,
    )


def _at_work(report: Report) -> list[str]:
    """What is not done yet, for people."""
    return [
        f"{row.name} ({row.state}, {row.in_flight_records or 0:.0f} in flight, "
        f"lag {row.lag_records or 0:.0f})"
        for row in report.rows
        if row.in_flight_records or row.lag_records or row.is_ready is False
    ]


def _millrace(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line where it finds no configuration and nobody's settings."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in _KEPT_SETTINGS or not name.startswith(_FOREIGN_SETTINGS)
    }
    with temporary_folder("bench-cli") as empty:
        return subprocess.run(
            [sys.executable, "-m", "services.cli", *arguments],
            cwd=empty,
            env={**kept, "PYTHONPATH": str(checkout())},
            capture_output=True,
            text=True,
            check=False,
            timeout=_START_TIMEOUT_S,
        )
