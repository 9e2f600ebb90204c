"""Checks of a parsed request head that the parser leaves to others. Pure."""

import msgspec

from services.gateway.front_door import refusals
from services.gateway.front_door.limits import FrontDoorLimits
from services.shared.domain.errors import PublicError

_SEPARATOR_BYTES = len(b": \r\n")
_FRAMING = frozenset({b"host", b"content-length", b"transfer-encoding", b"expect"})


class RequestHead(msgspec.Struct, frozen=True, kw_only=True):
    """A request before its body.

    Attributes:
        version: "1.1" or "1.0".
        method: As sent, upper case.
        path: As sent: neither decoded nor normalised.
        query: Without the question mark.
        headers: Names in lower case, values as sent.
        body: How the body is framed.
    """

    version: str
    method: str
    path: bytes
    query: bytes
    headers: list[tuple[bytes, bytes]]
    body: "BodyFraming"


class BodyFraming(msgspec.Struct, frozen=True, kw_only=True):
    """How a body is framed.

    Attributes:
        length_bytes: Announced length; None when it is chunked or there is none.
        is_chunked: The body comes in chunks.
        expects_continue: The client waits for ``100 Continue`` before it sends the body.
    """

    length_bytes: int | None = None
    is_chunked: bool = False
    expects_continue: bool = False


def read_head(
    *,
    version: str,
    method: str,
    target: bytes,
    headers: list[tuple[bytes, bytes]],
    limits: FrontDoorLimits,
) -> RequestHead | PublicError:
    """Check a request head whole.

    The parser has already refused what breaks the grammar: control characters, folded lines, bare
    line feeds, malformed or doubled lengths. Here is what its grammar allows and HTTP does not.

    Args:
        version: As parsed, e.g. "1.1".
        method: As parsed.
        target: Request target as sent.
        headers: Names in lower case, values as sent.
        limits: Bounds on sizes.
    """
    if version not in ("1.1", "1.0"):
        return refusals.VERSION_UNKNOWN
    size_bytes = _SEPARATOR_BYTES * len(headers)
    framing: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        size_bytes += len(name) + len(value)
        if name in _FRAMING:
            framing.setdefault(name, []).append(value.strip().lower())
    if size_bytes > limits.max_header_bytes:
        return refusals.HEADERS_TOO_LARGE
    split = _split_target(target, method=method)
    if split is None:
        return refusals.TARGET_INVALID
    body = _read_framing(framing, version=version, limits=limits)
    if isinstance(body, PublicError):
        return body
    path, query = split
    return RequestHead(
        version=version, method=method, path=path, query=query, headers=headers, body=body
    )


def _read_framing(
    values: dict[bytes, list[bytes]], *, version: str, limits: FrontDoorLimits
) -> BodyFraming | PublicError:
    hosts = values.get(b"host", [])
    lengths = values.get(b"content-length", [])
    encodings = values.get(b"transfer-encoding", [])
    if len(hosts) != 1 and (hosts or version != "1.0"):
        return refusals.HOST_NOT_ONE
    if encodings and lengths:
        return refusals.FRAMED_TWICE
    # HTTP/1.0 knows no chunks: a relay of that age would see the body end elsewhere than we do.
    if encodings and (version == "1.0" or encodings != [b"chunked"]):
        return refusals.TRANSFER_ENCODING_UNKNOWN
    length_bytes = int(lengths[0]) if lengths else None
    if length_bytes is not None and length_bytes > limits.max_body_bytes:
        return refusals.BODY_TOO_LARGE
    return BodyFraming(
        length_bytes=length_bytes,
        is_chunked=bool(encodings),
        expects_continue=version != "1.0" and values.get(b"expect") == [b"100-continue"],
    )


def _split_target(target: bytes, *, method: str) -> tuple[bytes, bytes] | None:
    """Path and query of a request target; None when it is none that an origin server serves."""
    if b"#" in target or not target.isascii():
        return None
    if not target.startswith(b"/"):
        if target == b"*" and method == "OPTIONS":
            return target, b""
        scheme, separator, rest = target.partition(b"://")
        if not separator or scheme.lower() not in (b"http", b"https"):
            return None
        # The authority says where a proxy would go; who we are is not the client's to say.
        authority = rest.partition(b"?")[0].partition(b"/")[0]
        target = rest[len(authority) :]
    path, _, query = target.partition(b"?")
    return path or b"/", query
