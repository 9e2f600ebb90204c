"""Records to bytes and back: the project's structs over Confluent-framed Avro."""

import re
from functools import cache
from typing import Final, TypeVar

import msgspec

from services.shared.codec.avro import Codec, Undecodable
from services.shared.codec.schemas import SchemaStore
from services.shared.domain import events, money
from services.shared.domain.events import Event

E = TypeVar("E", bound=Event)
NAMESPACE: Final = "millrace"


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
        events.UsageWindow,
        events.ModelCallAttempt,
        events.UsageRecorded,
        events.ProviderHealth,
        events.IdempotencyClaimed,
        events.ControlRequested,
        events.AnswerCached,
        events.CandidateJudged,
        events.FeedbackGiven,
    )
}
"""Every record that stands on a topic by itself, by its snake-case name."""

_NAMES: Final = {event_type: name for name, event_type in RECORDS.items()}


def _struct_types() -> dict[str, type]:
    """Every struct that a record may hold, by its full Avro name."""
    modules = (events, money)
    return {
        f"{NAMESPACE}.{name}": value
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, msgspec.Struct) and value is not Event
    }


@cache
def _codec() -> Codec:
    return Codec(SchemaStore.packaged(), structs=_struct_types())


def prepare_codec() -> None:
    """Compile all schemas now (about 25 ms), so that the first record does not wait for it."""
    _codec()


def encode_record(event: Event) -> bytes:
    """Encode a record in its newest schema, Confluent-framed."""
    return _codec().encode(_NAMES[type(event)], event)


def decode_record(value: bytes, event_type: type[E]) -> E:
    """Decode a record of a known type.

    Raises:
        Undecodable: The bytes are no record, or another one. Not retriable.
    """
    name, _version, event = _codec().decode(value)
    if type(event) is not event_type:
        raise Undecodable("schema_subject_mismatch", f"expected {event_type.__name__}, got {name}")
    return event
