"""Starts the stack in the background and waits until it answers requests."""

import subprocess
import sys
import time
from collections.abc import Mapping

from rich.console import Console

from services.cli.errors import CommandError
from services.cli.local_stack.java import find_java
from services.cli.local_stack.lock import already_running, holder, usable
from services.cli.local_stack.logs import tail
from services.cli.local_stack.plan import checkout
from services.cli.local_stack.prepare import prepare_jars
from services.cli.local_stack.redis import find_redis
from services.cli.local_stack.start import StartRequest
from services.cli.local_stack.state import Layout, StackState, read_stack

_START_TIMEOUT_S = 180.0
_POLL_S = 0.1
_LOG = "supervisor"


def start_detached(request: StartRequest, *, environ: Mapping[str, str], console: Console) -> None:
    """Start the stack in a process of its own; returns when requests can be answered.

    Raises:
        CommandError: It does not start; shows what it said.
    """
    layout = Layout(request.data)
    owner = holder(layout)
    if owner is not None:
        raise CommandError(already_running(layout, owner))
    log = layout.log_of(_LOG)
    with usable(layout):
        layout.logs.mkdir(parents=True, exist_ok=True)
        log.unlink(missing_ok=True)
    find_java(environ)
    find_redis(environ)
    prepare_jars(environ, console=console)  # shows its progress here, where somebody looks
    with log.open("ab") as output:
        supervisor = subprocess.Popen(
            (sys.executable, "-m", "services.cli", "up", "--background", *_options(request)),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=dict(environ),
            cwd=checkout(),
            start_new_session=True,
        )
    _await_running(layout, supervisor)
    console.print(log.read_text().strip(), soft_wrap=True, markup=False, highlight=False)


def _await_running(layout: Layout, supervisor: subprocess.Popen[bytes]) -> None:
    log = layout.log_of(_LOG)
    give_up_at_s = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < give_up_at_s:
        if supervisor.poll() is not None:
            raise CommandError(f"The stack did not start:\n{tail(log, lines=30)}")
        stack = read_stack(layout)
        if stack and stack.pid == supervisor.pid and stack.state is StackState.RUNNING:
            return
        time.sleep(_POLL_S)
    raise CommandError(
        f"The stack is not ready after {_START_TIMEOUT_S:.0f} s but goes on trying. See "
        f"'{layout.command('status')}' and {layout.logs}; '{layout.command('down')}' stops it. "
        f"It said:\n{tail(log, lines=30)}"
    )


def _options(request: StartRequest) -> list[str]:
    """The options that say the same again."""
    options = ["--data", str(request.data)]
    if request.config is not None:
        options += ["--config", str(request.config)]
    if request.port is not None:
        options += ["--port", str(request.port)]
    if request.partitions is not None:
        options += ["--partitions", str(request.partitions)]
    for name, count in request.scale.items():
        options += ["--scale", f"{name}={count}"]
    return [*options, "--fsync"] if request.fsync else options
