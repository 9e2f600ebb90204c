"""Reads requests from a connection's bytes: state, bounds on size, bounds on time."""

from collections.abc import Callable
from enum import Enum, auto
from typing import NoReturn, Protocol

import httptools

from services.gateway.front_door import refusals
from services.gateway.front_door.exchange import Exchange
from services.gateway.front_door.limits import FrontDoorLimits
from services.gateway.front_door.request_head import BodyFraming, RequestHead, read_head
from services.shared.domain.errors import PublicError

_UNSET = -1.0
# The head of a request whose wish to upgrade was declined, for its body's sake.
_HEAD_OF_CHUNKED = b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n"
_HEAD_OF_LENGTH = b"POST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n"
_FREE_FRAMING_BYTES = 64 * 1024


class Reading(Enum):
    """What is being read."""

    SILENT = auto()  # connected; no request has begun
    HEAD = auto()
    BODY = auto()
    WHOLE = auto()  # the last request was read whole, the next has not begun
    DEAF = auto()  # nothing is read any more


class RequestTaker(Protocol):
    """Who takes the requests that are read."""

    def request_begins(self, head: RequestHead, *, keep_alive: bool) -> Exchange | PublicError:
        """Take a request whose head is complete, or refuse it."""

    def body_arrived(self, exchange: Exchange, part: bytes) -> PublicError | None:
        """Take a part of its body, or refuse it."""


class _Refused(Exception):
    """Stops the parser from inside its callbacks; why is kept by the reader."""


class RequestReader:
    """The parser of one connection. Its ``on_`` methods are httptools' callbacks.

    Times are those of ``clock``, in seconds.

    Attributes:
        state: What is being read.
    """

    def __init__(
        self,
        taker: RequestTaker,
        *,
        limits: FrontDoorLimits,
        clock: Callable[[], float],
    ) -> None:
        self.state = Reading.SILENT
        self._taker = taker
        self._limits = limits
        self._clock = clock
        self._parser = httptools.HttpRequestParser(self)
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._exchange: Exchange | None = None
        self._refusal: PublicError | None = None
        self._upgrade_declined: BodyFraming | None = None
        # Since when the current head or body is being read, and what came of it in later buffers
        # than its first: a request that arrives in one buffer costs no look at the clock.
        self._since_at = _UNSET
        self._since_bytes = 0
        self._later_bytes = 0
        self._progress_at = 0.0
        self._progress_bytes = 0

    def feed(self, data: bytes) -> PublicError | None:
        """Read on; returns the reason when what came must be refused."""
        try:
            self._parse(data)
        except httptools.HttpParserCallbackError:
            if self._refusal is None:
                raise
            return self._refusal
        except httptools.HttpParserError as error:
            return refusals.unparseable(str(error), data)
        if self.state is Reading.HEAD or self.state is Reading.BODY:
            return self._note_unfinished(len(data))
        return None

    def overdue(self, now: float) -> PublicError | None:
        """The reason when a head or a body takes too long.

        Args:
            now: The loop's time.
        """
        limits = self._limits
        elapsed_s = now - self._since_at
        if self.state is Reading.HEAD:
            return refusals.HEAD_TIMED_OUT if elapsed_s >= limits.head_s else None
        if self.state is Reading.BODY and self._exchange is not None:
            arrived_bytes = self._exchange.received_bytes - self._since_bytes
            is_stalled = now - self._progress_at >= limits.body_stall_s
            is_slow = (
                elapsed_s >= limits.body_grace_s
                and arrived_bytes < elapsed_s * limits.min_body_bytes_per_s
            )
            return refusals.BODY_TIMED_OUT if is_stalled or is_slow else None
        return None

    def resumed(self) -> None:
        """Reading goes on after we had paused it; that time is not the client's."""
        self._since_at = self._progress_at = self._clock()
        if self._exchange is not None:
            self._since_bytes = self._exchange.received_bytes

    def deafen(self) -> None:
        """Read nothing more."""
        self.state = Reading.DEAF
        self._exchange = None

    def close(self) -> None:
        """The connection is lost: let go of those who refer back to us, so that all is freed."""
        self.deafen()
        del self._parser, self._taker

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._upgrade_declined is not None:
                self._decline_upgrade(self._upgrade_declined, data[upgrade.args[0] :])

    def _decline_upgrade(self, framing: BodyFraming, rest: bytes) -> None:
        """Read on as if no upgrade had been asked for, which HTTP leaves to the server.

        Java's HTTP client asks for h2c in its first request. The parser takes what follows for
        another protocol, so a new parser gets the head again, without that wish.
        """
        parser = self._parser = httptools.HttpRequestParser(self)
        if framing.is_chunked:
            parser.feed_data(_HEAD_OF_CHUNKED)
        else:
            parser.feed_data(_HEAD_OF_LENGTH % (framing.length_bytes or 0))
        self._parse(rest)

    def _note_unfinished(self, size: int) -> PublicError | None:
        now = self._clock()
        if self._since_at == _UNSET:
            self._since_at = self._progress_at = now
            return None
        self._later_bytes += size
        if self.state is Reading.HEAD:
            limits = self._limits
            if self._later_bytes > limits.max_header_bytes + limits.max_uri_bytes:
                return refusals.HEADERS_TOO_LARGE
        elif self._exchange is not None:
            received_bytes = self._exchange.received_bytes
            if received_bytes != self._progress_bytes:
                self._progress_bytes = received_bytes
                self._progress_at = now
            if self._later_bytes > 2 * received_bytes + _FREE_FRAMING_BYTES:
                return refusals.CHUNKS_TOO_SMALL
        return None

    def _stop(self, error: PublicError) -> NoReturn:
        self._refusal = error
        raise _Refused

    def on_message_begin(self) -> None:
        """A request's first byte."""
        self.state = Reading.HEAD
        self._target = b""
        self._headers = []
        self._since_at = _UNSET
        self._later_bytes = 0

    def on_url(self, part: bytes) -> None:
        """A part of the request target."""
        self._target += part
        if len(self._target) > self._limits.max_uri_bytes:
            self._stop(refusals.URI_TOO_LONG)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer of a chunked body."""
        headers = self._headers
        headers.append((name.lower(), value))
        if len(headers) > self._limits.max_headers:
            self._stop(refusals.TOO_MANY_HEADERS)

    def on_headers_complete(self) -> None:
        """A head is complete."""
        parser = self._parser
        self.state = Reading.BODY
        if self._upgrade_declined is not None:  # the same request again
            self._upgrade_declined = None
            return
        head = read_head(
            version=parser.get_http_version(),
            method=parser.get_method().decode(),
            target=self._target,
            headers=self._headers,
            limits=self._limits,
        )
        if isinstance(head, PublicError):
            self._stop(head)
        if parser.should_upgrade():
            self._upgrade_declined = head.body
        keep_alive = head.version == "1.1" and parser.should_keep_alive()
        exchange = self._taker.request_begins(head, keep_alive=keep_alive)
        if isinstance(exchange, PublicError):
            self._stop(exchange)
        self._exchange = exchange
        self._headers = []  # trailers are bounded like headers, and dropped
        self._since_at = _UNSET
        self._since_bytes = self._later_bytes = self._progress_bytes = 0

    def on_body(self, part: bytes) -> None:
        """A part of the body, without chunk framing."""
        if self._exchange is not None:
            refusal = self._taker.body_arrived(self._exchange, part)
            if refusal is not None:
                self._stop(refusal)

    def on_message_complete(self) -> None:
        """A request's last byte."""
        exchange = self._exchange
        if self._upgrade_declined is not None or exchange is None:
            return
        self.state = Reading.WHOLE
        self._exchange = None
        exchange.body_ended()
