"""From bytes to a record that may be believed, as far as bytes, headers and key can tell."""

import contextlib

import msgspec

from services.shared.codec.headers import (
    REQUEST_ID,
    TENANT,
    check_against_request,
    check_checksum,
    read_headers,
)
from services.shared.codec.records import decode_record
from services.shared.domain.errors import PoisonRecord
from services.shared.domain.events import (
    CacheMissed,
    Event,
    InferenceFinished,
    InferenceRequested,
    RequestBatch,
    RequestRouted,
    ResultChunk,
)
from services.shared.stream.client import Raw
from services.shared.stream.source import Source
from services.shared.stream.subjects import (
    Subject,
    has_reply_partition,
    request_of,
    subjects_from_headers,
    subjects_of,
    subjects_of_public,
)


class Taken(msgspec.Struct):
    """What could be read of a delivered record.

    Attributes:
        headers: Its headers; empty when they cannot be read.
        event: The record; None when it cannot be decoded.
        poison: Why it must not be processed; None = it may be.
    """

    headers: dict[str, bytes] = {}
    event: Event | None = None
    poison: PoisonRecord | None = None


def read(raw: Raw, source: Source, *, reply_partitions: int) -> Taken:
    """Decode a record and check that value, headers and key tell the same story.

    Args:
        raw: The record, with a value.
        source: Where it comes from.
        reply_partitions: Partitions of the reply topic.
    """
    taken = Taken()
    value = raw.value or b""
    try:
        taken.headers = read_headers(raw.headers)
    except PoisonRecord as poison:
        taken.poison = poison
        with contextlib.suppress(PoisonRecord):  # for who waits; the value has a say of its own
            taken.event = decode_record(value, source.event_type)
        return taken
    try:
        check_checksum(value, taken.headers)
        taken.event = decode_record(value, source.event_type)
        _check_headers(taken.event, taken.headers, source, reply_partitions)
        if not source.is_public:
            _check_key(taken.event, raw.key)
    except PoisonRecord as poison:
        taken.poison = poison
    return taken


def subjects_of_taken(taken: Taken, source: Source) -> tuple[Subject, ...]:
    """The requests of a record that is given up."""
    if taken.event is None:
        return subjects_from_headers(source.event_type, taken.headers)
    if source.is_public:
        return subjects_of_public(taken.event)
    return subjects_of(taken.event)


def _check_headers(
    event: Event, headers: dict[str, bytes], source: Source, reply_partitions: int
) -> None:
    request = request_of(event)
    if request is not None:
        _check_request(request, headers, is_public=source.is_public)
        if not has_reply_partition(request, reply_partitions):
            raise PoisonRecord("reply_out_of_range", f"partition {request.reply_partition}")
        return
    match event:
        case InferenceFinished():
            _check_result(event, headers)
        case RequestBatch(members=()):
            raise PoisonRecord("semantic_invalid", "a batch without members")
        case _:
            pass


def _check_request(
    request: InferenceRequested, headers: dict[str, bytes], *, is_public: bool
) -> None:
    if not request.request_id:
        raise PoisonRecord("semantic_invalid", "request_id is empty")
    check_against_request(request, headers, required=not is_public)


def _check_result(result: InferenceFinished, headers: dict[str, bytes]) -> None:
    for name, text in ((REQUEST_ID, result.request_id), (TENANT, result.tenant)):
        claimed = headers.get(name)
        if claimed is None:
            raise PoisonRecord("missing_header", name)
        if claimed != text.encode():
            raise PoisonRecord("tenant_mismatch" if name == TENANT else "header_mismatch", name)


def _check_key(event: Event, key: bytes | None) -> None:
    match event:
        case InferenceRequested() | InferenceFinished() | ResultChunk():
            identity = event.request_id
        case CacheMissed() | RequestRouted():
            identity = event.request.request_id
        case RequestBatch():
            identity = event.batch_id
        case _:
            return
    if not identity:
        raise PoisonRecord("semantic_invalid", f"{type(event).__name__} without an id")
    if key != identity.encode():
        raise PoisonRecord("bad_key", f"expected the id of the {type(event).__name__}")
