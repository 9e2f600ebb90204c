"""Listens, serves until told to stop, and then ends within a bounded time."""

import asyncio
import contextlib
import logging
import resource
import signal
import socket
from collections.abc import Callable, Iterator

import msgspec
import uvicorn
from starlette.types import ASGIApp

from services.gateway.front_door.config import FrontDoorConfig
from services.gateway.front_door.connection import Connection
from services.gateway.front_door.door import FrontDoor
from services.gateway.front_door.limits import FrontDoorLimits

_BACKLOG = 2048
_OTHER_FILES = 256
_logger = logging.getLogger(__name__)


def _nothing(*_: object) -> None:
    """Nobody wants to know."""


class ServerHooks(msgspec.Struct, frozen=True, kw_only=True):
    """Who is told what, and when. None may raise or wait.

    Attributes:
        on_ready: Host and port, once connections are accepted.
        on_shutdown: Shutdown begins; called before listening ends.
        on_drain_over: Open answers have had their time: end them now.
    """

    on_ready: Callable[[str, int], None] = _nothing
    on_shutdown: Callable[[], None] = _nothing
    on_drain_over: Callable[[], None] = _nothing


async def serve(
    app: ASGIApp,
    *,
    door: FrontDoor,
    address: tuple[str, int],
    stop: asyncio.Event,
    hooks: ServerHooks,
) -> None:
    """Serve an ASGI application until ``stop`` is set, then drain and return.

    Args:
        app: The application; its lifespan is run if it has one.
        door: Limits and counters; made for this server, in the running loop.
        address: Host and port to listen on; port 0 = any free one.
        stop: Begins shutdown when set.
        hooks: Who is told what.

    Raises:
        OSError: The address cannot be listened on. Not retriable as long as it is in use.
    """
    door.max_connections = _allow_files(door.limits.max_connections)
    with _listen(*address, door.limits) as listener:
        server = _Server(
            FrontDoorConfig(app, door=door, connection=Connection),
            stop=stop,
            hooks=hooks,
            bound=listener.getsockname()[:2],
        )
        await server.serve(sockets=[listener])


def stop_on_signals() -> asyncio.Event:
    """An event that SIGTERM or SIGINT sets, in the running loop of the main thread."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


class _Server(uvicorn.Server):
    """uvicorn's start-up and lifespan with our own end."""

    config: FrontDoorConfig

    def __init__(
        self,
        config: FrontDoorConfig,
        *,
        stop: asyncio.Event,
        hooks: ServerHooks,
        bound: tuple[str, int],
    ) -> None:
        super().__init__(config)
        self._stop = stop
        self._hooks = hooks
        self._bound = bound

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the process: uvicorn would take them and raise them again at the end."""
        yield

    async def main_loop(self) -> None:
        """Wait for the end, without uvicorn's ten looks a second."""
        self.config.door.start_sweeping()
        self._hooks.on_ready(*self._bound)
        await self._stop.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain, then tell, then cancel, then reset: each step only for what is still open."""
        door = self.config.door
        limits = door.limits
        self._hooks.on_shutdown()
        for listening in self.servers:
            listening.close()
        for listener in sockets or []:
            listener.close()
        door.drain()
        if not await door.is_quiet_within(limits.drain_s):
            self._hooks.on_drain_over()
            if not await door.is_quiet_within(limits.notice_s):
                await self._force()
        door.stop_sweeping()
        try:
            async with asyncio.timeout(limits.lifespan_s):
                await self.lifespan.shutdown()
        except TimeoutError:
            _logger.warning("The application's lifespan did not end in %s s", limits.lifespan_s)

    async def _force(self) -> None:
        door = self.config.door
        _logger.warning(
            "Shutdown cancels %d answers on %d connections", len(door.tasks), len(door.connections)
        )
        for task in tuple(door.tasks):
            task.cancel()
        if not await door.is_quiet_within(door.limits.cancel_s):
            door.reset()


def _listen(host: str, port: int, limits: FrontDoorLimits) -> socket.socket:
    """A listening socket whose options the accepted ones inherit.

    Set once here, they cost nothing per connection.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, limits.send_buffer_bytes)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, limits.receive_buffer_bytes)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; elsewhere the sweep alone finds dead readers
        listener.setsockopt(
            socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(limits.write_stall_s * 1000)
        )
    return listener


def _allow_files(max_connections: int) -> int:
    """Raise the limit on open files as far as needed; returns the connections it allows.

    Without this the usual soft limit of 1,024 would end in failing accepts instead of 503s.
    """
    wanted = max_connections + max_connections // 10 + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return max_connections
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed == wanted:
        return max_connections
    affordable = max(1, (allowed - _OTHER_FILES) * 10 // 11)
    _logger.warning("Open files allow %d connections, not %d", affordable, max_connections)
    return affordable
