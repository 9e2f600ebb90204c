"""Chooses the TCP ports of the stack: the well-known ones, else free ones."""

import socket
from collections.abc import Container, Mapping

from services.cli.errors import CommandError

HOST = "127.0.0.1"


def is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def choose_ports(wanted: Mapping[str, int], *, demanded: Mapping[str, int]) -> dict[str, int]:
    """Choose a port for each name.

    Args:
        wanted: The usual port of each name; another is taken where that one is not free.
            0 = any.
        demanded: Ports that the user asked for; they are taken or refused.

    Returns:
        A distinct port for each name of ``wanted``. Nothing holds them: who uses one binds it soon.

    Raises:
        CommandError: A demanded port is taken.
    """
    chosen: dict[str, int] = {}
    for name, port in demanded.items():
        if not is_free(port):
            raise CommandError(
                f"Port {port} is taken. Choose another for {name}, or leave the choice out "
                "and a free one is found."
            )
        chosen[name] = port
    for name, port in wanted.items():
        if name not in chosen:
            usable = port and port not in chosen.values() and is_free(port)
            chosen[name] = port if usable else free_port(avoid=chosen.values())
    return chosen


def free_port(*, avoid: Container[int] = ()) -> int:
    """A loopback port that is free now and is not among those to avoid."""
    while True:
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            port: int = probe.getsockname()[1]
        if port not in avoid:
            return port
