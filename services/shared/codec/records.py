"""Records to bytes and back: the project's structs over Confluent-framed Avro."""

import re
from typing import Final, TypeVar

import msgspec

from services.shared.codec import avro
from services.shared.codec.avro import Undecodable
from services.shared.domain import events
from services.shared.domain.events import Event

E = TypeVar("E", bound=Event)


def record_name(event_type: type[Event]) -> str:
    """Snake-case name of a record, as in ``avro/<name>.v<n>.avsc``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", event_type.__name__).lower()


RECORDS: Final[dict[str, type[Event]]] = {
    record_name(event_type): event_type
    for event_type in (
        events.InferenceRequested,
        events.CacheMissed,
        events.RequestRouted,
        events.RequestBatch,
        events.ResultChunk,
        events.InferenceFinished,
        events.CacheEntry,
        events.CrashSuspected,
    )
}
"""Every record that stands on a topic by itself, by its snake-case name."""

_NAMES: Final = {event_type: name for name, event_type in RECORDS.items()}
_AS_IS: Final = (bytes,)


def encode_record(event: Event) -> bytes:
    """Encode a record in its newest schema, Confluent-framed."""
    return avro.encode(_NAMES[type(event)], msgspec.to_builtins(event, builtin_types=_AS_IS))


def decode_record(value: bytes, event_type: type[E]) -> E:
    """Decode a record of a known type.

    Raises:
        Undecodable: The bytes are no record, or another one. Not retriable.
    """
    name, _version, fields = avro.decode(value)
    if name != _NAMES[event_type]:
        raise Undecodable("schema_subject_mismatch", f"expected {event_type.__name__}, got {name}")
    try:
        return msgspec.convert(fields, event_type)
    except msgspec.ValidationError as error:
        raise Undecodable("decode_error", str(error)) from error
