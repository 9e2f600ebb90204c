"""One keep-alive connection: a request out, its answer in. As little work as possible."""

import asyncio
from time import monotonic  # loops keep time in milliseconds
from typing import Protocol, cast

from httptools import HttpParserError, HttpResponseParser

from tests.load.answers import Answer, Fault

_OK = 200


class Exchange:
    """A request on its way, and what came back for it."""

    __slots__ = ("answer", "cache", "content_type", "intended_s", "request", "request_id", "sent_s")

    def __init__(self, request: bytes, answer: Answer, *, intended_s: float) -> None:
        """Prepare.

        Args:
            request: What to send.
            answer: What reads what comes back.
            intended_s: When it should have been sent, by the monotonic clock.
        """
        self.request = request
        self.answer = answer
        self.intended_s = intended_s
        self.sent_s = intended_s
        self.request_id = b""
        self.content_type = b""
        self.cache = b""

    def fault(self, status: int) -> Fault | None:
        """What is wrong with the answer, which is complete."""
        if status != _OK:
            return self.answer.error_fault(status)
        if not self.content_type.startswith(self.answer.content_type):
            return Fault("wrong content-type", self.content_type.decode(errors="replace"))
        return self.answer.fault()


class Owner(Protocol):
    """Whom a connection tells."""

    def ended(self, connection: "Connection", exchange: Exchange, fault: Fault | None) -> None:
        """An exchange is over, right or not; the connection may be lost already."""

    def lost(self, connection: "Connection") -> None:
        """The connection is closed."""


class Connection(asyncio.Protocol):
    """A connection that carries one exchange at a time."""

    def __init__(self, owner: Owner) -> None:
        """Belong to a pool."""
        self._owner = owner
        self._now_s = 0.0
        self._parser = HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self.exchange: Exchange | None = None

    @property
    def is_open(self) -> bool:
        """Whether it can carry an exchange."""
        return self._transport is not None and not self._transport.is_closing()

    @property
    def ended_at_s(self) -> float:
        """When the last answer arrived, by the monotonic clock."""
        return self._now_s

    def send(self, exchange: Exchange) -> None:
        """Begin an exchange."""
        assert self._transport is not None
        self.exchange = exchange
        exchange.sent_s = monotonic()
        self._transport.write(exchange.request)

    def give_up(self, fault: Fault) -> None:
        """End the exchange under way, and with it the connection."""
        if self._transport is not None:
            self._transport.abort()
        self._end(fault)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """End; an answer that was under way is cut."""
        self._end(Fault("connection lost", str(exc or "closed before the answer's end")))
        self._owner.lost(self)

    def data_received(self, data: bytes) -> None:
        """Read."""
        self._now_s = monotonic()
        try:
            self._parser.feed_data(data)
        except HttpParserError as error:
            self.give_up(Fault("not HTTP", f"{error} {error.__context__ or ''}"))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note what is judged; the parser calls this and the next two."""
        exchange = self.exchange
        if exchange is None:
            return
        match name.lower():
            case b"x-request-id":
                exchange.request_id = value
            case b"content-type":
                exchange.content_type = value
            case b"x-cache":
                exchange.cache = value
            case _:
                pass

    def on_body(self, body: bytes) -> None:
        """Hand on a part of the answer."""
        if self.exchange is not None:
            self.exchange.answer.feed(body, self._now_s)

    def on_message_complete(self) -> None:
        """End an exchange."""
        exchange, self.exchange = self.exchange, None
        if exchange is None:
            return
        status = self._parser.get_status_code()
        if not self._parser.should_keep_alive() and self._transport is not None:
            self._transport.close()
        self._owner.ended(self, exchange, exchange.fault(status))

    def _end(self, fault: Fault) -> None:
        """End an exchange that is under way before its time."""
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            self._now_s = monotonic()
            self._owner.ended(self, exchange, fault)
