"""One HTTP exchange: reads a request and plays a reply in time."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from services.simulator.connection import EXTENSION, Connection
from services.simulator.replies import Ending, Headers, Reply
from services.simulator.ticker import Ticker

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

MAX_WRITE_BYTES = 65_536
MAX_HANG_MS = 600_000.0
"""A hanging answer is reset after this long, should the client be even more patient."""

_RESET_MS = 1_000.0
"""How long a reset may take; the loop does it at once."""

_BEFORE_RESET_MS = 2.0
"""Lets what was sent before a reset reach the socket."""


class BodyTooLarge(Exception):
    """A request's body is beyond the limit. Not retriable."""


class ClientGone(Exception):
    """The client left before its request was complete."""


class Exchange:
    """One request and its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, ticker: Ticker) -> None:
        self._receive = receive
        self._send = send
        self._ticker = ticker
        self._connection: Connection = scope["extensions"][EXTENSION]

    async def read_body(self, *, most_bytes: int) -> bytes:
        """Read the whole body.

        Raises:
            BodyTooLarge: It is longer than ``most_bytes``. Not retriable.
            ClientGone: The connection broke. Not retriable.
        """
        pieces: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] != "http.request":
                raise ClientGone
            body: bytes = message["body"]
            size += len(body)
            if size > most_bytes:
                raise BodyTooLarge
            if not message["more_body"]:
                return b"".join([*pieces, body]) if pieces else body
            pieces.append(body)

    async def play(self, reply: Reply, *, headers: Headers, start_ms: float) -> str:
        """Send a reply, each of its frames when it is due.

        Args:
            reply: What to send.
            headers: More headers.
            start_ms: When the call got its server, on the ticker's clock.

        Returns:
            How it ended: ``ok``, ``eof``, ``reset``, ``hang`` or ``client_gone``.
        """
        begins_ms = start_ms + reply.starts_ms
        if begins_ms > self._ticker.now_ms() and not await self._is_there_at(begins_ms):
            return "client_gone"
        headers = [*reply.headers, *headers]
        if reply.body_bytes is not None:
            headers.append((b"content-length", b"%d" % reply.body_bytes))
        await self._send(
            {"type": "http.response.start", "status": reply.status, "headers": headers}
        )
        rest = await self._play_frames(reply, start_ms)
        if rest is None:
            return "client_gone"
        return await self._end(reply.ending, rest)

    async def _play_frames(self, reply: Reply, start_ms: float) -> bytes | None:
        """Send what is due, when it is due; returns the last piece, None if nobody is there."""
        now_ms = self._ticker.now_ms() - start_ms
        pending: list[bytes] = []
        pending_bytes = 0
        for due_ms, data in reply.frames:
            is_early = due_ms > now_ms
            if pending and (is_early or pending_bytes > MAX_WRITE_BYTES):
                await self._send_piece(b"".join(pending))
                pending.clear()
                pending_bytes = 0
            if is_early:
                if not await self._is_there_at(start_ms + due_ms):
                    return None
                now_ms = max(due_ms, self._ticker.now_ms() - start_ms)
            pending.append(data)
            pending_bytes += len(data)
        return b"".join(pending)

    async def _end(self, ending: Ending, rest: bytes) -> str:
        if ending in (Ending.COMPLETE, Ending.EOF):
            if self._connection.is_lost():
                return "client_gone"
            await self._send({"type": "http.response.body", "body": rest, "more_body": False})
            return "ok" if ending is Ending.COMPLETE else "eof"
        if rest:
            await self._send_piece(rest)
        if ending is Ending.HANG:
            return await self.hang()
        return await self._reset(after_ms=_BEFORE_RESET_MS, outcome="reset")

    async def hang(self) -> str:
        """Send nothing more until the client leaves."""
        return await self._reset(after_ms=MAX_HANG_MS, outcome="hang")

    async def _reset(self, *, after_ms: float, outcome: str) -> str:
        if await self._is_there_at(self._ticker.now_ms() + after_ms):
            lost = self._wait_until(self._ticker.now_ms() + _RESET_MS)
            self._connection.reset()
            await lost
        return outcome

    async def _send_piece(self, body: bytes) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": True})

    def _wait_until(self, when_ms: float) -> Awaitable[bool]:
        waiter = self._ticker.at(when_ms)
        self._connection.waiter = waiter
        return waiter

    async def _is_there_at(self, when_ms: float) -> bool:
        """Wait; False as soon as the client has left."""
        return not self._connection.is_lost() and await self._wait_until(when_ms)
