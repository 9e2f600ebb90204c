"""Record headers: what each one means, how they follow from a request, how they are checked.

Every header but the checksum and the signature repeats a field of the record, so that a consumer
may route, drop or trace a record without decoding it. One that contradicts its record makes the
record poison.
"""

import hashlib
import hmac
from collections.abc import Iterable

import google_crc32c

from services.shared.domain.emit import Delay
from services.shared.domain.errors import PoisonRecord
from services.shared.domain.events import InferenceRequested
from services.shared.domain.ids import NO_REPLY

TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"
REQUEST_ID = "millrace-request-id"
TENANT = "millrace-tenant"
DEADLINE = "millrace-deadline"
REPLY = "millrace-reply"
STREAM = "millrace-stream"
"""There where the answer is a stream."""

ATTEMPT = "millrace-attempt"
"""Number of calls that were made for a request that was put off; none = no call."""

CRC32C = "millrace-crc32c"
SIGNATURE = "millrace-signature"
RETRY = "millrace-retry"
"""A client asks again for what it gave up waiting for: it may join the request that still runs."""

DUE = "millrace-due"
"""When a record of a retry topic may be taken, unix ms."""

RETRY_TURNS = "retry_topic-attempts"
"""How often a record was put off; Spring's name, and its four bytes with the highest first."""

MAX_HEADER_BYTES = 8192

Headers = list[tuple[str, bytes]]


def headers_of_request(request: InferenceRequested) -> Headers:
    """Headers that every record of a request carries, without checksum and signature."""
    headers = [
        (REQUEST_ID, request.request_id.encode()),
        (TENANT, request.tenant.encode()),
        (DEADLINE, b"%d" % request.deadline_at),
        (REPLY, b"%d" % request.reply_partition),
    ]
    if request.stream:
        headers.append((STREAM, b"1"))
    if request.traceparent:
        headers.append((TRACEPARENT, request.traceparent.encode()))
    if request.tracestate:
        headers.append((TRACESTATE, request.tracestate.encode()))
    return headers


def headers_of_delay(delay: Delay) -> Headers:
    """Headers that put a record off."""
    headers = [(DUE, b"%d" % delay.due_ms), (RETRY_TURNS, delay.turns.to_bytes(4, "big"))]
    if delay.attempts:
        headers.append((ATTEMPT, b"%d" % delay.attempts))
    return headers


def time_from(value: bytes | None) -> int:
    """A time that a header names, unix ms; 0 = none, also where it says nothing or no time."""
    return int(value) if value is not None and value.isdigit() and len(value) < 16 else 0


def turns_from(value: bytes | None) -> int:
    """How often a record was put off; 0 where the header says nothing."""
    return int.from_bytes(value, "big") if value is not None and len(value) == 4 else 0


def attempts_from(value: bytes | None) -> int:
    """How many calls were made for a record that was put off; 0 where the header says nothing."""
    return int(value) if value is not None and value.isdigit() and len(value) < 10 else 0


def checksum(value: bytes) -> bytes:
    """CRC-32C of a record's value as eight hex digits."""
    return b"%08x" % google_crc32c.value(value)


def signature(secret: bytes, value: bytes) -> bytes:
    """HMAC-SHA256 of a record's value, hex: proof that a gateway of ours made it."""
    return hmac.digest(secret, value, hashlib.sha256).hex().encode()


def is_signed(secret: bytes, value: bytes, headers: dict[str, bytes]) -> bool:
    """Whether a gateway of ours made the record; constant time in the signature."""
    claimed = headers.get(SIGNATURE)
    return claimed is not None and hmac.compare_digest(claimed, signature(secret, value))


def read_headers(headers: Iterable[tuple[str, bytes | None]]) -> dict[str, bytes]:
    """Turn a record's headers into a dict.

    Raises:
        PoisonRecord: One of ours is there twice, or one is larger than ``MAX_HEADER_BYTES``.
    """
    found: dict[str, bytes] = {}
    for name, value in headers:
        if value is None:
            continue
        if len(value) > MAX_HEADER_BYTES:
            raise PoisonRecord("oversize_header", f"a header has {len(value)} bytes")
        if name in found and name.startswith("millrace-"):
            raise PoisonRecord("duplicate_header", f"{name} is there twice")
        found[name] = value
    return found


def check_checksum(value: bytes, headers: dict[str, bytes]) -> None:
    """Compare the checksum header with the value, where there is one.

    Raises:
        PoisonRecord: They differ.
    """
    claimed = headers.get(CRC32C)
    if claimed is not None and claimed != checksum(value):
        raise PoisonRecord("checksum_mismatch", f"the value has {len(value)} bytes")


def check_against_request(
    request: InferenceRequested, headers: dict[str, bytes], *, required: bool
) -> None:
    """Compare the headers with the request in the value.

    Args:
        request: The request that the record is about.
        headers: The record's headers.
        required: True on internal topics, where all must be there; on public ones a field that the
            producer left to admission contradicts nothing.

    Raises:
        PoisonRecord: One is missing or says something else.
    """
    for name, value, is_set in (
        (REQUEST_ID, request.request_id, True),
        (TENANT, request.tenant, bool(request.tenant)),
        (DEADLINE, str(request.deadline_at), request.deadline_at != 0),
        (REPLY, str(request.reply_partition), request.reply_partition != NO_REPLY),
    ):
        claimed = headers.get(name)
        if claimed is None:
            if required:
                raise PoisonRecord("missing_header", name)
        elif (required or is_set) and claimed != value.encode():
            raise PoisonRecord("tenant_mismatch" if name == TENANT else "header_mismatch", name)
