"""Renders the head of an answer and decides how its end is marked. Pure."""

from collections.abc import Iterable
from http import HTTPStatus

import msgspec

from services.gateway.front_door.request_head import RequestHead

_STATUS_LINES = {
    status.value: b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode())
    for status in HTTPStatus
}
_BODILESS = frozenset({204, 304})
UNKNOWN_LENGTH = -1


class ResponseHead(msgspec.Struct, frozen=True, gc=False):
    """A rendered head and what follows from it.

    Attributes:
        data: Status line, headers and the blank line.
        length_bytes: Body bytes announced; ``UNKNOWN_LENGTH`` when none were.
        is_chunked: The body must be sent in chunks.
        keep_alive: Another request may follow on the connection.
    """

    data: bytes
    length_bytes: int
    is_chunked: bool
    keep_alive: bool


def render_head(
    status: int,
    headers: Iterable[tuple[bytes, bytes]],
    *,
    date_line: bytes,
    request: RequestHead,
    keep_alive: bool,
) -> ResponseHead:
    """Render the head of an answer.

    Args:
        status: HTTP status.
        headers: Names in lower case and values, from the application.
        date_line: The rendered ``date`` header, or empty.
        request: What is answered. HTTP/1.0 has no chunks: its answers of unknown length are ended
            by closing the connection.
        keep_alive: Whether the request and the server allow another request.

    Raises:
        ValueError: A header holds a line break or NUL, or frames the body by itself.
    """
    length_bytes = UNKNOWN_LENGTH
    says_close = False
    parts = [_STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status, date_line]
    lines = 2 if date_line else 1
    for name, value in headers:
        if name == b"content-length":
            length_bytes = int(value)
        elif name == b"connection":
            says_close = says_close or b"close" in value.lower()
        elif name == b"transfer-encoding":
            raise ValueError("transfer-encoding is the server's to choose")
        parts += (name, b": ", value, b"\r\n")
        lines += 1
    bodiless = request.method == "HEAD" or status in _BODILESS
    is_chunked = length_bytes == UNKNOWN_LENGTH and not bodiless and request.version != "1.0"
    if is_chunked:
        parts.append(b"transfer-encoding: chunked\r\n")
        lines += 1
    is_endless = length_bytes == UNKNOWN_LENGTH and not bodiless and not is_chunked
    keep_alive = keep_alive and not says_close and not is_endless
    if not keep_alive and not says_close:
        parts.append(b"connection: close\r\n")
        lines += 1
    parts.append(b"\r\n")
    data = b"".join(parts)
    # Every line brought one CR LF and the blank line another; more can only come from a value.
    if data.count(b"\n") != lines + 1 or data.count(b"\r") != lines + 1 or b"\0" in data:
        raise ValueError("a response header holds a line break or NUL")
    return ResponseHead(data, 0 if bodiless else length_bytes, is_chunked, keep_alive)
