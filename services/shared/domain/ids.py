"""Request ids and what can be read from them.

A request id is ``req_`` + a UUIDv7 in hex + the reply partition in two hex digits (``ff``: none).
Its time leads any gateway to the right offsets and its partition to the right chunks, so a stream
is found by the id alone. Ids of OpenAI objects are the same digits behind OpenAI's prefix.
"""

import re
import zlib

import msgspec

NO_REPLY = -1
_NO_REPLY_DIGITS = "ff"
_OWN_ID = re.compile(r"req_([0-9a-f]{12}7[0-9a-f]{3}[89ab][0-9a-f]{15})([0-9a-f]{2})")
_PRODUCER_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")
RANDOM_BYTES = 10


class RequestOrigin(msgspec.Struct, frozen=True, kw_only=True):
    """When a request was accepted and where its answer goes, as read from its id.

    Attributes:
        accepted_at_ms: Unix ms.
        reply_partition: Partition of ``result-chunks``, or ``NO_REPLY``.
    """

    accepted_at_ms: int
    reply_partition: int


def new_request_id(*, now_ms: int, random: bytes, reply_partition: int) -> str:
    """Make a request id (UUIDv7, RFC 9562 §5.7).

    Args:
        now_ms: Unix ms of acceptance.
        random: ``RANDOM_BYTES`` unpredictable bytes.
        reply_partition: 0..254, or ``NO_REPLY``.
    """
    noise = int.from_bytes(random, "big")
    rand_a = (noise >> 62) & 0xFFF
    rand_b = noise & 0x3FFFFFFFFFFFFFFF
    uuid = (now_ms << 80) | (0x7 << 76) | (rand_a << 64) | (0b10 << 62) | rand_b
    partition = _NO_REPLY_DIGITS if reply_partition == NO_REPLY else f"{reply_partition:02x}"
    return f"req_{uuid:032x}{partition}"


def origin_from_request_id(request_id: str) -> RequestOrigin | None:
    """Read a request id of ours; None when it is not one."""
    match = _OWN_ID.fullmatch(request_id)
    if match is None:
        return None
    digits, partition = match.groups()
    return RequestOrigin(
        accepted_at_ms=int(digits[:12], 16),
        reply_partition=NO_REPLY if partition == _NO_REPLY_DIGITS else int(partition, 16),
    )


def is_producer_request_id(request_id: str) -> bool:
    """Whether a Kafka producer may use this text as a request id."""
    return _PRODUCER_ID.fullmatch(request_id) is not None


def object_id(prefix: str, request_id: str) -> str:
    """OpenAI's object id for a request, e.g. ``chatcmpl-`` + the request's own digits."""
    return f"{prefix}-{request_id.removeprefix('req_')}"


def partition_for(request_id: str, partitions: int) -> int:
    """The one partition of a request on every topic of ``partitions`` partitions.

    CRC-32 modulo the count, which is also librdkafka's ``consistent`` partitioner.
    """
    return zlib.crc32(request_id.encode()) % partitions
