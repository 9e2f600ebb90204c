"""Chooses the TCP ports of the stack: the well-known ones, else free ones.

A port is used only seconds after it was chosen, so it is reserved meanwhile: by a file lock that
other stacks on this machine respect, held for as long as this process lives. Free ports are taken
from below the range that the system gives to outgoing connections.
"""

import fcntl
import os
import random
import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from services.cli.errors import CommandError

HOST = "127.0.0.1"
_FREE_RANGE = (12_000, 32_000)
_TRIES = 2_000


def is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


class Reservations:
    """Ports that this process has reserved among the stacks of this machine."""

    def __init__(self, folder: Path | None = None) -> None:
        """Reserve nothing yet.

        Args:
            folder: Where the locks are; None = the user's own in the temporary folder.
        """
        self._folder = folder or Path(tempfile.gettempdir()) / f"millrace-ports-{os.getuid()}"
        self._held: dict[int, BinaryIO] = {}

    def take(self, port: int) -> bool:
        """Reserve a port; False where somebody uses or has reserved it."""
        if port in self._held or not is_free(port):
            return False
        self._folder.mkdir(mode=0o700, exist_ok=True)
        file = (self._folder / f"{port}.lock").open("wb")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        self._held[port] = file
        return True

    def take_any(self) -> int:
        """Reserve some port that is free.

        Raises:
            CommandError: None was found.
        """
        for _ in range(_TRIES):
            port = random.randrange(*_FREE_RANGE)  # noqa: S311  # no secret
            if self.take(port):
                return port
        first, last = _FREE_RANGE
        raise CommandError(f"No free port was found between {first} and {last}.")

    def release(self) -> None:
        """Let go of all of them."""
        for file in self._held.values():
            file.close()
        self._held.clear()


def choose_ports(
    wanted: Mapping[str, int], *, demanded: Mapping[str, int], reservations: Reservations
) -> dict[str, int]:
    """Choose and reserve a port for each name.

    Args:
        wanted: The usual port of each name; another is taken where that one is not free.
            0 = any.
        demanded: Ports that the user asked for; they are taken or refused.
        reservations: Holds them.

    Returns:
        A distinct port for each name of ``wanted``.

    Raises:
        CommandError: A demanded port is taken.
    """
    chosen: dict[str, int] = {}
    for name, port in demanded.items():
        if not reservations.take(port):
            raise CommandError(
                f"Port {port} is taken. Choose another for {name}, or leave the choice out "
                "and a free one is found."
            )
        chosen[name] = port
    for name, port in wanted.items():
        if name not in chosen:
            usable = port != 0 and reservations.take(port)
            chosen[name] = port if usable else reservations.take_any()
    return chosen


def free_port() -> int:
    """A loopback port that is free now; nothing holds it, so who uses it binds it soon."""
    reservations = Reservations()
    port = reservations.take_any()
    reservations.release()
    return port
