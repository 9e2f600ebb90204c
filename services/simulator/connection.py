"""uvicorn's HTTP protocol with the two things that ASGI has no word for.

An application finds the connection in ``scope["extensions"]["millrace.connection"]``: it can reset
it, and it is told at once when the client has left while it waits.
"""

import asyncio
import socket
import struct
from typing import Protocol

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

EXTENSION = "millrace.connection"

_NO_LINGER = struct.pack("ii", 1, 0)


class Connection(Protocol):
    """What an application may do with its connection."""

    waiter: asyncio.Future[bool] | None
    """What the application waits for; set to False when the client has left."""

    def is_lost(self) -> bool:
        """Whether the client has left."""

    def reset(self) -> None:
        """Break the connection with a TCP reset; what is not sent yet is lost."""


class SimulatorProtocol(HttpToolsProtocol):
    """One connection."""

    waiter: asyncio.Future[bool] | None = None

    def on_message_begin(self) -> None:
        """Start a request; its scope names the connection."""
        super().on_message_begin()
        self.scope["extensions"] = {EXTENSION: self}  # type: ignore[dict-item]  # uvicorn's type wants dicts of dicts

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell who waits that the client has left."""
        super().connection_lost(exc)
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(False)

    def is_lost(self) -> bool:
        """Whether the client has left."""
        return self.transport.is_closing()

    def reset(self) -> None:
        """Break the connection with a TCP reset; what is not sent yet is lost."""
        connection = self.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self.transport.abort()
