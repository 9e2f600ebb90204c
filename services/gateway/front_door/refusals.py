"""What the front door says when it refuses: OpenAI's error object in a closing HTTP answer."""

import math
from http import HTTPStatus

from services.shared.domain.errors import PublicError, error_document

HEAD_TIMED_OUT = PublicError(
    code="request_timeout", message="The request's headers did not arrive in time."
)
BODY_TIMED_OUT = PublicError(
    code="request_timeout", message="The request's body did not arrive in time."
)
URI_TOO_LONG = PublicError(code="uri_too_long", message="The request's URI is too long.")
TOO_MANY_HEADERS = PublicError(
    code="headers_too_large", message="The request has too many headers."
)
HEADERS_TOO_LARGE = PublicError(
    code="headers_too_large", message="The request's headers are too large."
)
BODY_TOO_LARGE = PublicError(code="body_too_large", message="The request's body is too large.")
HOST_NOT_ONE = PublicError(
    code="invalid_http", message="The request must have exactly one Host header."
)
TRANSFER_ENCODING_UNKNOWN = PublicError(
    code="invalid_http", message="The only Transfer-Encoding understood is a single 'chunked'."
)
FRAMED_TWICE = PublicError(
    code="invalid_http",
    message="The request must not have both Content-Length and Transfer-Encoding.",
)
CHUNKS_TOO_SMALL = PublicError(
    code="invalid_http", message="The body's chunks carry more framing than data."
)
VERSION_UNKNOWN = PublicError(
    code="invalid_http", message="The HTTP version is not supported; use HTTP/1.1."
)
TARGET_INVALID = PublicError(code="invalid_http", message="The request's target is not valid.")
PIPELINE_TOO_DEEP = PublicError(
    code="invalid_http", message="Too many requests were pipelined on one connection."
)
TLS_SPOKEN = PublicError(
    code="invalid_http",
    message="This port speaks plain HTTP, not TLS. Use http://, or a proxy that ends TLS.",
)
SHUTTING_DOWN = PublicError(
    code="server_shutting_down", message="The server is shutting down. Try again."
)
TOO_MANY_CONNECTIONS = PublicError(
    code="server_is_overloaded", message="The server has too many connections. Try again."
)
TOO_MANY_BODY_BYTES = PublicError(
    code="server_is_overloaded", message="The server is busy with large requests. Try again."
)
APPLICATION_FAILED = PublicError(
    code="internal_error", message="The server failed to answer. Try again."
)


def unparseable(reason: str, received: bytes) -> PublicError:
    """Say why bytes are no HTTP request, without repeating any of them.

    Args:
        reason: The parser's own words, one of a fixed set.
        received: The bytes at fault; a few well-known mistakes are recognised by them.
    """
    if received.startswith(b"\x16\x03"):
        return TLS_SPOKEN
    if received.startswith(b"PRI * HTTP/2"):
        return VERSION_UNKNOWN
    return PublicError(code="invalid_http", message=f"The request is not valid HTTP/1.1: {reason}.")


def refusal_bytes(
    error: PublicError, *, request_id: str, date_line: bytes, retry_after_s: int
) -> bytes:
    """Render a refusal as a whole HTTP answer that ends its connection.

    Args:
        error: What to say.
        request_id: Value of ``x-request-id``.
        date_line: The rendered ``date`` header, or empty.
        retry_after_s: Value of ``retry-after`` where the refusal is a 503.
    """
    document = error_document(error)
    status = HTTPStatus(error.meaning.status)
    retry_after = b""
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        seconds = math.ceil(error.retry_after_ms / 1000) or retry_after_s
        retry_after = b"retry-after: %d\r\n" % seconds
    return (
        b"HTTP/1.1 %d %b\r\n%bcontent-type: application/json\r\ncontent-length: %d\r\n"
        b"x-request-id: %b\r\n%bconnection: close\r\n\r\n%b"
    ) % (
        status.value,
        status.phrase.encode(),
        date_line,
        len(document),
        request_id.encode(),
        retry_after,
        document,
    )
