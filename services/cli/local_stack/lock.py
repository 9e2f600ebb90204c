"""One supervisor a data directory: a file lock that ends with the process that holds it."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from services.cli.errors import CommandError
from services.cli.local_stack.state import Layout

_PATIENCE_S = 0.2
_RETRY_S = 0.02


@contextlib.contextmanager
def hold(layout: Layout) -> Iterator[None]:
    """Own the data directory; the system lets go of it however the owner ends.

    Raises:
        CommandError: A running stack owns it, or it cannot be written; says what to do.
    """
    with usable(layout):
        layout.root.mkdir(parents=True, exist_ok=True)
        file = _open(layout.lock)
    with file:
        if not _lock_patiently(file):
            raise CommandError(already_running(layout, _pid_in(file)))
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


@contextlib.contextmanager
def usable(layout: Layout) -> Iterator[None]:
    """Make the first files of a data directory.

    Raises:
        CommandError: It cannot be written; says what to do.
    """
    try:
        yield
    except OSError as error:
        raise CommandError(
            f"{layout.root} cannot be used: {error.strerror}. Choose another with '--data'."
        ) from error


def holder(layout: Layout) -> int | None:
    """Process id of the supervisor that owns the directory; None when nobody does."""
    if not layout.lock.exists():
        return None
    with _open(layout.lock) as file:
        return None if _lock(file, fcntl.LOCK_SH) else _pid_in(file)


def already_running(layout: Layout, pid: int) -> str:
    """Why a second stack may not use the directory, and what to do."""
    return (
        f"A stack is already running on {layout.root} (process {pid}). "
        f"Look at it with '{layout.command('status')}', stop it with '{layout.command('down')}', "
        "or start another with '--data OTHER_DIRECTORY'."
    )


def _open(path: Path) -> IO[str]:
    return path.open("a+", encoding="ascii")


def _lock_patiently(file: IO[str]) -> bool:
    """Try for a moment: ``holder`` locks too, for as long as it looks."""
    give_up_at_s = time.monotonic() + _PATIENCE_S
    while not _lock(file, fcntl.LOCK_EX):
        if time.monotonic() >= give_up_at_s:
            return False
        time.sleep(_RETRY_S)
    return True


def _lock(file: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _pid_in(file: IO[str]) -> int:
    """The owner's process id; 0 in the instant before it has written it."""
    file.seek(0)
    return int(file.read().strip() or "0")
