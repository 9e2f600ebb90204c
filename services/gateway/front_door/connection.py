"""One client's socket: admits requests in order, carries their answers, ends in time."""

import asyncio
import socket
import struct
from typing import Any, cast

from starlette.types import Scope
from uvicorn.server import ServerState

from services.gateway.front_door import refusals
from services.gateway.front_door.config import FrontDoorConfig
from services.gateway.front_door.exchange import Exchange
from services.gateway.front_door.outlet import Outlet
from services.gateway.front_door.request_head import RequestHead
from services.gateway.front_door.request_reader import Reading, RequestReader
from services.shared.domain.errors import PublicError

_NEVER = float("inf")
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_UNTAKEN_HIGH_BYTES = 64 * 1024
_ASGI = {"version": "3.0", "spec_version": "2.4"}


class Connection(asyncio.Protocol):
    """A connection of the front door; uvicorn makes one for each accepted socket.

    Requests stand in a line: the first is being answered, the last may still be arriving.
    """

    def __init__(
        self,
        config: FrontDoorConfig,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        del server_state  # the door keeps what uvicorn would keep there
        self._app = config.application
        self._app_state = app_state
        self._door = config.door
        self._limits = config.door.limits
        self._loop = _loop or asyncio.get_running_loop()
        self._reader = RequestReader(self, limits=self._limits, clock=self._loop.time)
        self._transport: asyncio.Transport
        self._outlet: Outlet
        self._client: tuple[str, int] | None = None
        self._server: tuple[str, int] | None = None
        self._line: list[Exchange] = []
        self._is_answering = False
        self._is_reading_paused = False
        self._deadline_at = _NEVER
        self._discarded_bytes = 0

    # The socket's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Admit the connection; refuse it; or reset it when even refusing is too much."""
        # uvloop's transports do not derive from asyncio's
        self._transport = cast("asyncio.Transport", transport)
        now = self._loop.time()
        self._outlet = Outlet(self._transport, now=now)
        door = self._door
        if len(door.connections) >= door.max_connections + door.max_connections // 10 + 1:
            self.reset()
            return
        door.connections.add(self)
        self._transport.set_write_buffer_limits(high=self._limits.max_unsent_bytes)
        self._client = _address(transport.get_extra_info("peername"))
        self._server = _address(transport.get_extra_info("sockname"))
        self._deadline_at = now + self._limits.idle_s
        if len(door.connections) > door.max_connections:
            self._say(refusals.TOO_MANY_CONNECTIONS)

    def data_received(self, data: bytes) -> None:
        """Read what came and let the first request in line be answered."""
        reader = self._reader
        if reader.state is Reading.DEAF:
            self._discard(len(data))
            return
        refusal = reader.feed(data)
        if refusal is not None:
            self._refuse(refusal)
        elif self._line and not self._is_answering:
            self._answer_next()

    def eof_received(self) -> None:
        """The client sends no more: asyncio closes the connection, as it does by default."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the applications that their client is gone."""
        del exc  # however it left, it is gone
        self._reader.close()
        self._drop_line()
        self._outlet.free()
        self._door.connections.discard(self)
        self._door.note_departure()

    def pause_writing(self) -> None:
        """More than ``max_unsent_bytes`` are unsent."""
        self._outlet.congest()

    def resume_writing(self) -> None:
        """The client has taken most of it."""
        self._outlet.free()

    # The reader's side

    def request_begins(self, head: RequestHead, *, keep_alive: bool) -> Exchange | PublicError:
        """Take a request whose head is complete, or refuse it."""
        door = self._door
        announced_bytes = head.body.length_bytes or 0
        if door.is_draining:
            return refusals.SHUTTING_DOWN
        if door.unanswered_body_bytes + announced_bytes > self._limits.max_unanswered_body_bytes:
            return refusals.TOO_MANY_BODY_BYTES
        if len(self._line) > self._limits.max_pipelined:
            return refusals.PIPELINE_TOO_DEEP
        exchange = Exchange(self, self._outlet, head, keep_alive=keep_alive)
        self._line.append(exchange)
        self._deadline_at = _NEVER
        if self._is_answering:
            self._pause_reading()  # answer what is here before more comes
        return exchange

    def body_arrived(self, exchange: Exchange, part: bytes) -> PublicError | None:
        """Take a part of a request's body, or refuse it."""
        door = self._door
        exchange.body_arrived(part)
        exchange.held_bytes += len(part)
        door.unanswered_body_bytes += len(part)
        if exchange.received_bytes > self._limits.max_body_bytes:
            return refusals.BODY_TOO_LARGE
        if door.unanswered_body_bytes > self._limits.max_unanswered_body_bytes:
            return refusals.TOO_MANY_BODY_BYTES
        if exchange.untaken_bytes > _UNTAKEN_HIGH_BYTES:
            self._pause_reading()
        return None

    # The exchange's side

    @property
    def date_line(self) -> bytes:
        """The rendered ``date`` header."""
        return self._door.date_line

    def body_taken(self) -> None:
        """The application took what had arrived: more may be read."""
        if self._is_reading_paused and len(self._line) == 1:
            self._resume_reading()

    def answer_begins(self, exchange: Exchange) -> bool:
        """An answer begins; returns whether another request may follow it."""
        self._release(exchange)
        return exchange.keep_alive and exchange.is_body_whole and not self._door.is_draining

    def answered(self, exchange: Exchange) -> None:
        """The answer of the first in line is complete."""
        self._release(exchange)
        del self._line[0]
        self._is_answering = False
        if not exchange.keep_alive or self._door.is_draining:
            self._drop_line()
            self._finish()
            return
        if self._line:
            self._answer_next()
        elif self._reader.state is Reading.WHOLE:
            self._deadline_at = self._loop.time() + self._limits.keep_alive_s
        if self._is_reading_paused and len(self._line) <= 1:
            self._resume_reading()

    def fail(self, exchange: Exchange, error: PublicError) -> None:
        """No answer will come: refuse if nothing of it was written, else cut the connection."""
        self._drop_line()
        if not exchange.is_on_wire:
            self._say(error)
            return
        self._reader.deafen()
        self._door.refusals[error.code] += 1
        if exchange.is_ended_by_closing:
            self.reset()
        else:
            self._transport.close()

    # The door's side

    def sweep(self, now: float) -> None:
        """Enforce the limits on time.

        Args:
            now: The loop's time.
        """
        if self._outlet.stalled_s(now) >= self._limits.write_stall_s:
            self._door.refusals["stalled_reader"] += 1
            self.reset()
            return
        if self._reader.state in (Reading.HEAD, Reading.BODY):
            refusal = None if self._is_reading_paused else self._reader.overdue(now)
            if refusal is not None:
                self._refuse(refusal)
        elif now >= self._deadline_at and not self._outlet.unsent_bytes():
            self._transport.abort()

    def drain(self) -> None:
        """Shutdown has begun: leave unless a request is in hand or may be about to come."""
        if self._line:
            return
        if self._reader.state is Reading.WHOLE:
            self._transport.close()
        elif self._reader.state is Reading.SILENT:
            self._deadline_at = min(self._deadline_at, self._loop.time() + self._limits.linger_s)

    def reset(self) -> None:
        """End the connection at once, so that the client sees a failure and the kernel forgets it.

        Without the option the kernel would go on sending what it holds, and end cleanly.
        """
        accepted = self._transport.get_extra_info("socket")
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._transport.abort()

    # Steps

    def _answer_next(self) -> None:
        exchange = self._line[0]
        self._is_answering = True
        task = self._loop.create_task(exchange.run(self._app, self._scope(exchange)))
        self._door.tasks.add(task)
        task.add_done_callback(self._door.application_ended)

    def _scope(self, exchange: Exchange) -> Scope:
        head = exchange.head
        return {
            "type": "http",
            "asgi": _ASGI,
            "http_version": head.version,
            "method": head.method,
            "scheme": "http",
            "path": head.path.decode("ascii"),
            "raw_path": head.path,
            "query_string": head.query,
            "root_path": "",
            "headers": head.headers,
            "client": self._client,
            "server": self._server,
            "state": self._app_state.copy(),
            "millrace.exchange": exchange,
        }

    def _refuse(self, error: PublicError) -> None:
        """Refuse what is being read; what was read before it is still answered."""
        self._reader.deafen()
        line = self._line
        if line and not line[-1].is_body_whole:  # its body is at fault
            if len(line) == 1:
                self.fail(line[0], error)
                return
            self._leave(line.pop())
        if not line:
            self._say(error)
            return
        self._door.refusals[error.code] += 1
        line[-1].keep_alive = False
        if not self._is_answering:
            self._answer_next()

    def _say(self, error: PublicError) -> None:
        self._outlet.write(self._door.refusal(error))
        self._linger()

    def _finish(self) -> None:
        """All is answered. Unread bytes would turn a plain close into a reset: linger then."""
        if self._reader.state is Reading.WHOLE:
            self._transport.close()
        else:
            self._linger()

    def _linger(self) -> None:
        """End our side; give the client time to read it before the socket goes."""
        self._reader.deafen()
        self._deadline_at = self._loop.time() + self._limits.linger_s
        if not self._transport.is_closing():
            self._transport.write_eof()
        if self._is_reading_paused:
            self._resume_reading()

    def _discard(self, size: int) -> None:
        self._discarded_bytes += size
        if self._discarded_bytes > self._limits.linger_bytes or self._line:
            self._pause_reading()

    def _drop_line(self) -> None:
        for exchange in self._line:
            self._leave(exchange)
        self._line.clear()

    def _leave(self, exchange: Exchange) -> None:
        self._release(exchange)
        exchange.gone()

    def _release(self, exchange: Exchange) -> None:
        self._door.unanswered_body_bytes -= exchange.held_bytes
        exchange.held_bytes = 0

    def _pause_reading(self) -> None:
        if not self._is_reading_paused:
            self._is_reading_paused = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        self._is_reading_paused = False
        self._reader.resumed()
        self._transport.resume_reading()


def _address(name: object) -> tuple[str, int] | None:
    """Host and port of a socket's name; None for a client that left already."""
    match name:
        case (str(host), int(port), *_):
            return host, port
        case _:
            return None
