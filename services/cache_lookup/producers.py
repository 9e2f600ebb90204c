"""Admission of records from Kafka producers, on whose account the configuration says."""

import msgspec

from services.cache_lookup.processor import Readmit, Requested
from services.shared.codec.headers import TRACEPARENT, TRACESTATE
from services.shared.domain.admission.accept import Caller
from services.shared.domain.admission.limits import limits_from_configuration
from services.shared.domain.admission.readmit import Arrival, readmit
from services.shared.domain.configuration import Configuration
from services.shared.domain.errors import PublicError
from services.shared.domain.events import InferenceRequested
from services.shared.domain.topics import REQUEST_TOPICS, Topic

_CLOSED = PublicError(
    code="invalid_api_key",
    message=(
        "Records that no gateway signed are not served here. Set 'kafka_producers.enabled' to "
        "serve them on the account that 'kafka_producers' names."
    ),
)


def readmission(configuration: Configuration) -> Readmit:
    """Make the admission of unsigned records of one configuration."""
    producers = configuration.kafka_producers
    caller = Caller(tenant=producers.tenant, tier=producers.tier)
    limits = limits_from_configuration(configuration.limits)

    def admit_again(work: Requested, now_ms: float) -> InferenceRequested | PublicError:
        if not producers.enabled:
            return _CLOSED
        arrival = Arrival(
            now_ms=int(now_ms),
            record_timestamp_ms=work.timestamp_ms,
            priority=REQUEST_TOPICS.index(Topic(work.topic)),
        )
        return readmit(_traced(work), caller=caller, arrival=arrival, limits=limits)

    return admit_again


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
