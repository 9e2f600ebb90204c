"""Stops a stack from another process."""

import os
import signal
import time
from pathlib import Path

from services.cli.errors import CommandError
from services.cli.local_stack.lock import holder
from services.cli.local_stack.orphans import end_orphans
from services.cli.local_stack.state import Layout, read_stack

_TIMEOUT_S = 20.0
_POLL_S = 0.05


def stop_stack(data: Path) -> str:
    """Stop the stack of a data directory, or what a killed one left running.

    Returns:
        What happened, for people.

    Raises:
        CommandError: It does not end; says what else to do.
    """
    layout = Layout(data)
    supervisor = holder(layout)
    if supervisor is None:
        stack = read_stack(layout)
        ended = end_orphans(stack.processes) if stack else []
        left = f" Ended what it had left running: {', '.join(ended)}." if ended else ""
        return f"No stack runs on {data}.{left}"
    _ask_to_end(supervisor)
    give_up_at_s = time.monotonic() + _TIMEOUT_S
    while holder(layout) is not None:
        if time.monotonic() >= give_up_at_s:
            raise CommandError(
                f"Process {supervisor} does not end. 'kill -9 {supervisor}' ends it and, with it, "
                "everything that it runs; nothing that was acknowledged is lost."
            )
        time.sleep(_POLL_S)
    return f"Stopped the stack on {data}."


def _ask_to_end(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return
