"""Admission of records from Kafka producers, on whose account the configuration says."""

import msgspec

from services.cache_lookup.joining import Requested
from services.cache_lookup.processor import Admitted, NotAdmitted, Readmit
from services.cache_lookup.producer_ids import ProducerIds
from services.shared.codec.headers import DEADLINE, TRACEPARENT, TRACESTATE, time_from
from services.shared.domain.admission.accept import Caller
from services.shared.domain.admission.limits import limits_from_configuration
from services.shared.domain.admission.readmit import Arrival, readmit
from services.shared.domain.configuration import Configuration
from services.shared.domain.errors import PoisonRecord, PublicError
from services.shared.domain.events import InferenceRequested, Operation
from services.shared.domain.ids import is_producer_request_id
from services.shared.domain.topics import REQUEST_TOPICS, Topic
from services.shared.domain.tracing import read_traceparent, traceparent

_MAX_MODEL_CHARACTERS = 128
_OPERATIONS = frozenset(Operation)
_CLOSED = PublicError(
    code="invalid_api_key",
    message=(
        "Records that no gateway signed are not served here. Set 'kafka_producers.enabled' to "
        "serve them on the account that 'kafka_producers' names."
    ),
)

_CONFLICT = "another request has this request_id; each needs one of its own"


def readmission(configuration: Configuration) -> Readmit:
    """Make the admission of unsigned records of one configuration."""
    producers = configuration.kafka_producers
    caller = Caller(tenant=producers.tenant, tier=producers.tier)
    limits = limits_from_configuration(configuration.limits)
    ids = ProducerIds()

    def admit_again(work: Requested, now_ms: float) -> Admitted:
        if not producers.enabled:
            return NotAdmitted(_believed(work, producers.tenant, now_ms), _CLOSED)
        if is_producer_request_id(work.event.request_id) and ids.is_taken(work.event):
            return PoisonRecord("id_conflict", _CONFLICT, ends_request=False)
        arrival = Arrival(
            now_ms=int(now_ms),
            record_timestamp_ms=work.timestamp_ms,
            priority=REQUEST_TOPICS.index(Topic(work.topic)),
            header_deadline_at=time_from(work.headers.get(DEADLINE)),
        )
        admitted = readmit(_traced(work), caller=caller, arrival=arrival, limits=limits)
        if isinstance(admitted, PublicError):
            return NotAdmitted(_believed(work, producers.tenant, now_ms), admitted)
        return admitted

    return admit_again


def _believed(work: Requested, tenant: str, now_ms: float) -> InferenceRequested:
    """What of a refused record goes into its end: no tenant, client or time of its own choosing."""
    record = _traced(work)
    context = read_traceparent(record.traceparent)
    is_known = record.operation in _OPERATIONS
    return InferenceRequested(
        request_id=record.request_id,
        operation=record.operation if is_known else "",
        body=b"",
        tenant=tenant,
        model=record.model[:_MAX_MODEL_CHARACTERS],
        priority=REQUEST_TOPICS.index(Topic(work.topic)),
        accepted_at=int(now_ms),
        traceparent=traceparent(context) if context else "",
    )


def _traced(work: Requested) -> InferenceRequested:
    """The record, with the trace context of its headers where it has none itself."""
    record = work.event
    if record.traceparent:
        return record
    return msgspec.structs.replace(
        record,
        traceparent=work.headers.get(TRACEPARENT, b"").decode("ascii", "replace"),
        tracestate=work.headers.get(TRACESTATE, b"").decode("ascii", "replace"),
    )
