"""Keep-alive connections to one server: the last one that became idle is used first."""

import asyncio
from collections.abc import Callable
from time import monotonic

from tests.load.answers import Fault
from tests.load.connection import Connection, Exchange

_CONNECT_TIMEOUT_S = 10.0
_LOOK_EVERY_S = 0.25
_MOST_CONNECTIONS = 4096

Ended = Callable[[Exchange, Fault | None, float], None]
"""An exchange is over: what is wrong with it, and when it ended."""


class Pool:
    """Sends exchanges, each on a connection of its own; opens another when all are busy."""

    def __init__(self, *, host: str, port: int, timeout_s: float, ended: Ended) -> None:
        """Connect to nothing yet.

        Args:
            host: Where to.
            port: Its port.
            timeout_s: How long an exchange may take from its sending.
            ended: Told of every exchange.
        """
        self._host = host
        self._port = port
        self._timeout_s = timeout_s
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._watch = self._loop.call_later(_LOOK_EVERY_S, self._look)
        self.opened = 0

    async def open(self, count: int) -> None:
        """Have this many idle connections.

        Raises:
            OSError: The server does not take them.
        """
        self._idle += [await self._connect() for _ in range(count)]

    def submit(self, exchange: Exchange) -> None:
        """Send an exchange now, or as soon as there is a connection for it."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                self._send(connection, exchange)
                return
        if len(self._busy) + len(self._opening) >= _MOST_CONNECTIONS:
            fault = Fault("no connection free", f"{_MOST_CONNECTIONS} are busy")
            self._loop.call_soon(self._ended, exchange, fault, monotonic())
            return
        task = self._loop.create_task(self._open_and_send(exchange))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    def ended(self, connection: Connection, exchange: Exchange, fault: Fault | None) -> None:
        """An exchange is over."""
        self._busy.discard(connection)
        if connection.is_open:
            self._idle.append(connection)
        self._ended(exchange, fault, connection.ended_at_s)

    def lost(self, connection: Connection) -> None:
        """A connection is closed."""
        self._busy.discard(connection)

    def close(self) -> None:
        """Close everything."""
        self._watch.cancel()
        for task in self._opening:
            task.cancel()
        for connection in (*self._busy, *self._idle):
            connection.give_up(Fault("given up"))

    def _send(self, connection: Connection, exchange: Exchange) -> None:
        self._busy.add(connection)
        connection.send(exchange)

    async def _open_and_send(self, exchange: Exchange) -> None:
        try:
            connection = await self._connect()
        except (OSError, TimeoutError) as error:
            self._ended(exchange, Fault("cannot connect", str(error)), monotonic())
        else:
            self._send(connection, exchange)

    async def _connect(self) -> Connection:
        async with asyncio.timeout(_CONNECT_TIMEOUT_S):
            _, connection = await self._loop.create_connection(
                lambda: Connection(self), self._host, self._port
            )
        self.opened += 1
        return connection

    def _look(self) -> None:
        """Give up what takes too long."""
        sent_before_s = monotonic() - self._timeout_s
        for connection in list(self._busy):
            exchange = connection.exchange
            if exchange is not None and exchange.sent_s < sent_before_s:
                connection.give_up(Fault("timeout", f"no end after {self._timeout_s:g} s"))
        self._watch = self._loop.call_later(_LOOK_EVERY_S, self._look)
