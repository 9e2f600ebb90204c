"""The requests that a record is about, and how they end when the record must be given up."""

from collections.abc import Iterator, Mapping
from contextlib import suppress

import msgspec

from services.shared.codec.headers import DEADLINE, REPLY, REQUEST_ID, STREAM, TENANT
from services.shared.domain.emit import Emit
from services.shared.domain.errors import PublicError
from services.shared.domain.events import (
    CacheMissed,
    Event,
    InferenceRequested,
    RequestBatch,
    RequestRouted,
)
from services.shared.domain.ids import NO_REPLY, is_producer_request_id
from services.shared.domain.terminal import Journey, emits_for_failure, journey_of

_POISON = PublicError(code="poison_record", message="The request could not be processed.")


class Subject(msgspec.Struct, frozen=True):
    """A request, and what it went through so far."""

    request: InferenceRequested
    journey: Journey = Journey()


def request_of(event: Event) -> InferenceRequested | None:
    """The one request that a record is about; None for batches and results."""
    match event:
        case InferenceRequested():
            return event
        case CacheMissed() | RequestRouted():
            return event.request
        case _:
            return None


def subjects_of(event: Event) -> tuple[Subject, ...]:
    """The unfinished requests that a record is about."""
    match event:
        case InferenceRequested() | CacheMissed() | RequestRouted():
            request = event if isinstance(event, InferenceRequested) else event.request
            return (Subject(request, journey_of(event)),) if request.request_id else ()
        case RequestBatch():
            return tuple(
                Subject(
                    member.request,
                    msgspec.structs.replace(
                        journey_of(member), batch_id=event.batch_id, batch_size=len(event.members)
                    ),
                )
                for member in event.members
            )
        case _:
            return ()


def subjects_of_public(event: Event) -> tuple[Subject, ...]:
    """The request of a public record, which is believed nothing but its id."""
    if not isinstance(event, InferenceRequested) or not is_producer_request_id(event.request_id):
        return ()
    return (Subject(InferenceRequested(request_id=event.request_id, operation="", body=b"")),)


def subjects_from_headers(
    event_type: type[Event], headers: Mapping[str, bytes]
) -> tuple[Subject, ...]:
    """The request of an internal record that cannot be decoded, as far as its headers say.

    Headers of public records are their producer's own word and say nothing here.
    """
    if event_type not in (CacheMissed, RequestRouted) or not headers.get(REQUEST_ID):
        return ()
    with suppress(ValueError):  # then they are as broken as the value
        request = InferenceRequested(
            request_id=headers[REQUEST_ID].decode(),
            operation="",
            body=b"",
            tenant=headers.get(TENANT, b"").decode(),
            deadline_at=int(headers.get(DEADLINE, b"0")),
            reply_partition=int(headers.get(REPLY, b"%d" % NO_REPLY)),
            stream=STREAM in headers,
        )
        return (Subject(request),)
    return ()


def emits_for_poison(subject: Subject, *, now_ms: float, reply_partitions: int) -> Iterator[Emit]:
    """How a request ends whose record became a dead letter.

    Args:
        subject: The request.
        now_ms: Unix ms.
        reply_partitions: Partitions of the reply topic; a request that names none of them gets no
            chunk.
    """
    request = subject.request
    if not has_reply_partition(request, reply_partitions):
        request = msgspec.structs.replace(request, reply_partition=NO_REPLY)
    yield from emits_for_failure(request, _POISON, now_ms=now_ms, journey=subject.journey)


def has_reply_partition(request: InferenceRequested, reply_partitions: int) -> bool:
    """Whether the reply partition is one, or says that nobody waits."""
    return request.reply_partition == NO_REPLY or 0 <= request.reply_partition < reply_partitions
