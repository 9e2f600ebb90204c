"""One request and its answer: what the application sees as ASGI's ``receive`` and ``send``."""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Scope

from services.gateway.front_door.outlet import Outlet
from services.gateway.front_door.refusals import APPLICATION_FAILED, SHUTTING_DOWN
from services.gateway.front_door.request_head import RequestHead
from services.gateway.front_door.response_head import UNKNOWN_LENGTH, ResponseHead, render_head
from services.shared.domain.errors import PublicError

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_LAST_CHUNK = b"0\r\n\r\n"
_logger = logging.getLogger(__name__)


class ClientGone(OSError):
    """The client left, or was cut, before its answer was complete. Not retriable."""


class Carrier(Protocol):
    """What an exchange needs of the connection that carries it."""

    def body_taken(self) -> None:
        """The application took what had arrived: more may be read."""

    def answer_begins(self, exchange: "Exchange") -> bool:
        """An answer begins; returns whether another request may follow it."""

    def answered(self, exchange: "Exchange") -> None:
        """The answer is complete."""

    def fail(self, exchange: "Exchange", error: PublicError) -> None:
        """No answer will come: refuse if nothing of it was written, else cut the connection."""

    @property
    def date_line(self) -> bytes:
        """The rendered ``date`` header."""


class Exchange:
    """One request and its answer.

    Attributes:
        head: The request's head.
        keep_alive: Another request may follow on the connection.
        is_gone: The client left, or was cut or refused; nothing more can be sent.
        on_gone: Called once when the client leaves before its answer is complete. Must not raise.
        is_body_whole: The request was read to its end.
        received_bytes: Body bytes that have arrived.
        untaken_bytes: Body bytes that arrived and the application has not taken.
        held_bytes: Body bytes counted against the limit on all unanswered requests.
        is_on_wire: Bytes of the answer were written.
    """

    __slots__ = (
        "_answer",
        "_carrier",
        "_expects_continue",
        "_is_body_given",
        "_is_complete",
        "_news",
        "_outlet",
        "_parts",
        "_remaining_bytes",
        "head",
        "held_bytes",
        "is_body_whole",
        "is_gone",
        "is_on_wire",
        "keep_alive",
        "on_gone",
        "received_bytes",
        "untaken_bytes",
    )

    def __init__(
        self, carrier: Carrier, outlet: Outlet, head: RequestHead, *, keep_alive: bool
    ) -> None:
        self.head = head
        self.keep_alive = keep_alive
        self.is_gone = False
        self.on_gone: Callable[[], None] | None = None
        self.is_body_whole = False
        self.received_bytes = 0
        self.untaken_bytes = 0
        self.held_bytes = 0
        self.is_on_wire = False
        self._carrier = carrier
        self._outlet = outlet
        self._parts: list[bytes] = []
        self._is_body_given = False
        self._expects_continue = head.body.expects_continue
        self._news: asyncio.Event | None = None
        self._answer: ResponseHead | None = None
        self._remaining_bytes = UNKNOWN_LENGTH
        self._is_complete = False

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        """Let the application answer; whatever it does, the client gets an honest end."""
        try:
            await app(scope, self.receive, self.send)
        except (ClientGone, ClientDisconnect):
            return
        except asyncio.CancelledError:
            self._give_up(SHUTTING_DOWN)
            return
        except Exception:
            # The boundary between application and socket: nothing passes it, nothing is lost.
            _logger.exception("The application failed while it answered")
        else:
            if self._is_complete or self.is_gone:
                return
            _logger.error("The application returned before its answer was complete")
        self._give_up(APPLICATION_FAILED)

    def _give_up(self, error: PublicError) -> None:
        if not self._is_complete and not self.is_gone:
            self._carrier.fail(self, error)

    def body_arrived(self, part: bytes) -> None:
        """Take body bytes from the parser."""
        size = len(part)
        self.received_bytes += size
        self.untaken_bytes += size
        self._parts.append(part)
        if self._news is not None:
            self._news.set()

    def body_ended(self) -> None:
        """The request was read to its end."""
        self.is_body_whole = True
        if self._news is not None:
            self._news.set()

    def gone(self) -> None:
        """The client left, or was cut or refused, before the answer was complete."""
        if self.is_gone or self._is_complete:
            return
        self.is_gone = True
        self._parts.clear()
        if self._news is not None:
            self._news.set()
        if self.on_gone is not None:
            self.on_gone()

    async def receive(self) -> Message:
        """ASGI's ``receive``: body as it arrives, then ``http.disconnect`` when all is over."""
        if self._expects_continue and not self.is_body_whole and self._answer is None:
            self._expects_continue = False
            self._outlet.write(_CONTINUE)
        while not self._parts and (not self.is_body_whole or self._is_body_given):
            if self.is_gone or self._is_complete:
                return {"type": "http.disconnect"}
            if self._news is None:
                self._news = asyncio.Event()
            self._news.clear()
            await self._news.wait()
        if self.is_gone or self._is_complete:
            return {"type": "http.disconnect"}
        body = b"".join(self._parts)
        self._parts.clear()
        self.untaken_bytes = 0
        self._is_body_given = self.is_body_whole
        self._carrier.body_taken()
        return {"type": "http.request", "body": body, "more_body": not self.is_body_whole}

    async def send(self, message: Message) -> None:
        """ASGI's ``send``.

        Raises:
            ClientGone: The client left. Not retriable.
            ValueError: A header cannot be written as it is.
            RuntimeError: The messages break ASGI's order or the announced length.
        """
        if self._outlet.is_congested:
            await self._outlet.drained()
        if self.is_gone:
            raise ClientGone
        kind = message["type"]
        if kind == "http.response.body" and self._answer is not None and not self._is_complete:
            body = message.get("body", b"")
            self._send_body(self._answer, body, is_last=not message.get("more_body", False))
        elif kind == "http.response.start" and self._answer is None:
            self._begin(message)
        else:
            raise RuntimeError(f"ASGI message {kind!r} is out of order")

    def _begin(self, message: Message) -> None:
        answer = render_head(
            message["status"],
            message.get("headers", ()),
            date_line=self._carrier.date_line,
            request=self.head,
            keep_alive=self._carrier.answer_begins(self),
        )
        self.keep_alive = answer.keep_alive
        self._answer = answer
        self._remaining_bytes = answer.length_bytes
        # A head of known length waits for its body, so that both leave in one write. A stream's
        # head goes at once: clients wait for it.
        if answer.length_bytes == UNKNOWN_LENGTH:
            self._write(answer.data)

    def _send_body(self, answer: ResponseHead, body: bytes, *, is_last: bool) -> None:
        if self.head.method == "HEAD":
            body = b""
            self._remaining_bytes = 0
        if answer.is_chunked:
            data = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            if is_last:
                data += _LAST_CHUNK
        else:
            data = self._within_length(body, is_last=is_last)
            if not self.is_on_wire:
                data = answer.data + data
        if data:
            self._write(data)
        if is_last:
            self._is_complete = True
            if self._news is not None:
                self._news.set()
            self._carrier.answered(self)

    def _within_length(self, body: bytes, *, is_last: bool) -> bytes:
        if self._remaining_bytes != UNKNOWN_LENGTH:
            remaining_bytes = self._remaining_bytes - len(body)
            if remaining_bytes < 0 or (is_last and remaining_bytes):
                raise RuntimeError("the answer's body does not have its announced length")
            self._remaining_bytes = remaining_bytes
        return body

    def _write(self, data: bytes) -> None:
        self.is_on_wire = True
        self._outlet.write(data)

    @property
    def is_ended_by_closing(self) -> bool:
        """Whether a plain close would look like a clean end of the answer."""
        answer = self._answer
        return (
            answer is not None and not answer.is_chunked and answer.length_bytes == UNKNOWN_LENGTH
        )
