"""Serves HTTP until a signal comes."""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Iterator

import uvicorn


class Server(uvicorn.Server):
    """uvicorn's server, but a signal to stop is a normal end: exit status 0."""

    def __init__(self, config: uvicorn.Config, *, log: logging.Logger) -> None:
        """Prepare; ``serve`` runs it.

        Args:
            config: uvicorn's.
            log: Is told where it listens.
        """
        super().__init__(config)
        self._log = log

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say where."""
        await super().startup(sockets)
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        self._log.info("listening", extra={"host": host, "port": port})

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop at SIGTERM and SIGINT without raising them again afterwards."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield
