"""Admission of records that no gateway of ours signed, so any Kafka producer may have written them.

``request_id``, ``operation`` and ``body`` say what is asked; a label, a deadline and cache controls
are wishes, which are checked; the rest follows from the body, from the topic and from whose topic
it is. So a producer's word decides neither whose money is spent, nor what is cached for whom, nor
which waiting client gets the answer.
"""

import msgspec

from services.shared.domain.admission.accept import (
    Acceptance,
    Caller,
    label_error,
    requested_from,
)
from services.shared.domain.admission.admit import Admitted, admit
from services.shared.domain.admission.cache_policy import declared_policy_error, joined
from services.shared.domain.admission.common_fields import user_name
from services.shared.domain.admission.faults import (
    out_of_range,
    public_error,
    shown,
    wrong_value,
)
from services.shared.domain.admission.limits import MAX_RECORD_AGE_MS, Limits
from services.shared.domain.errors import PublicError
from services.shared.domain.events import InferenceRequested, Operation
from services.shared.domain.ids import is_producer_request_id
from services.shared.domain.tracing import read_traceparent, traceparent

_MAX_TRACESTATE_CHARS = 512
_OPERATIONS = {operation.value: operation for operation in Operation}


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """How a record reached us.

    Attributes:
        now_ms: Unix ms.
        record_timestamp_ms: The record's timestamp, unix ms; as wrong as its producer's clock.
        priority: Priority of the topic it was read from.
        header_deadline_at: Deadline of its header, unix ms; 0 = none. It shortens, never prolongs.
    """

    now_ms: int
    record_timestamp_ms: int
    priority: int
    header_deadline_at: int = 0


def readmit(
    record: InferenceRequested, *, caller: Caller, arrival: Arrival, limits: Limits
) -> InferenceRequested | PublicError:
    """Make, from an unsigned record, the record that a gateway would have made of the same wish.

    It never names a reply partition: those belong to the clients of gateways.

    Args:
        record: What the producer wrote.
        caller: On whose account records of producers run.
        arrival: When and where it was read.
        limits: What a request may ask for.
    """
    error = _declared_error(record, caller)
    if error is not None:
        return error
    admitted = admit(_OPERATIONS[record.operation], record.body, limits=limits)
    if isinstance(admitted, PublicError):
        return admitted
    error = _contradiction(record, admitted)
    if error is not None:
        return error
    acceptance = _acceptance(record, arrival, limits)
    if isinstance(acceptance, PublicError):
        return acceptance
    cache_policy = joined(admitted.cache_policy, record.cache_policy)
    if isinstance(cache_policy, PublicError):
        return cache_policy
    if record.user:
        admitted = msgspec.structs.replace(admitted, user=record.user)
    return requested_from(admitted, caller=caller, acceptance=acceptance, cache_policy=cache_policy)


def _declared_error(record: InferenceRequested, caller: Caller) -> PublicError | None:
    """What is wrong with a record whatever its body says."""
    if not is_producer_request_id(record.request_id):  # ids of our own form are such ids too
        fault = wrong_value("expected 8 to 64 letters, digits, '_' and '-'")
        return public_error(fault.within("request_id"))
    if record.operation not in _OPERATIONS:
        known = ", ".join(f"'{operation}'" for operation in _OPERATIONS)
        fault = wrong_value(f"expected one of {known}, but got {shown(record.operation)}")
        return public_error(fault.within("operation"))
    if record.tenant not in ("", caller.tenant):
        return _contradictory("tenant", "it is not the tenant of this topic's producers")
    return (
        _user_error(record.user)
        or label_error("feature", record.feature)
        or label_error("conversation_id", record.conversation_id)
        or declared_policy_error(record.cache_policy)
    )


def _user_error(user: str) -> PublicError | None:
    fault = user_name(user)
    return None if fault is None else public_error(fault.within("user"))


def _contradiction(record: InferenceRequested, admitted: Admitted) -> PublicError | None:
    """Where a record says something else than its body."""
    if record.model not in ("", admitted.model):
        return _contradictory("model", "it is not the 'model' of the body")
    if record.user and admitted.user not in ("", record.user):
        return _contradictory("user", "it is not the 'user' of the body")
    return None


def _contradictory(param: str, why: str) -> PublicError:
    fault = wrong_value(f"{why}; leave it empty", code="contradictory_record")
    return public_error(fault.within(param))


def _acceptance(
    record: InferenceRequested, arrival: Arrival, limits: Limits
) -> Acceptance | PublicError:
    accepted_at = _accepted_at(arrival)
    latest = accepted_at + limits.max_deadline_ms
    if not 0 <= record.deadline_at <= latest:
        return public_error(out_of_range(0, latest).within("deadline_at"))
    deadline_at = record.deadline_at or accepted_at + limits.request_timeout_ms
    context = read_traceparent(record.traceparent)
    state = record.tracestate
    is_state = len(state) <= _MAX_TRACESTATE_CHARS and state.isascii() and state.isprintable()
    return Acceptance(
        request_id=record.request_id,
        accepted_at=accepted_at,
        deadline_at=min(deadline_at, arrival.header_deadline_at or deadline_at),
        priority=arrival.priority,
        feature=record.feature,
        conversation_id=record.conversation_id,
        traceparent=traceparent(context) if context else "",
        tracestate=state if context and is_state else "",
    )


def _accepted_at(arrival: Arrival) -> int:
    """When the record was appended; now, where its timestamp cannot be true."""
    age_ms = arrival.now_ms - arrival.record_timestamp_ms
    return arrival.record_timestamp_ms if 0 <= age_ms <= MAX_RECORD_AGE_MS else arrival.now_ms
