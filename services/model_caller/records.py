"""What the model caller writes of a call: to the attempt log, and to the ledger. Pure."""

import msgspec

from services.shared.domain.emit import Emit
from services.shared.domain.events import (
    AttemptKind,
    AttemptOutcome,
    FeedbackGiven,
    InferenceRequested,
    ModelCall,
    ModelCallAttempt,
    Operation,
    Target,
    UsageKind,
)
from services.shared.domain.ledger import row_of
from services.shared.domain.money import Usage, cost_nanousd
from services.shared.domain.topics import Topic

OUTPUT_TOKENS_WITHOUT_CAP = 4096
"""Output that is reserved for a request that names no cap."""


def reserved_nanousd(request: InferenceRequested, target: Target) -> int:
    """Most that a call is expected to cost, nano-USD."""
    output_tokens = 0
    if request.operation != Operation.EMBEDDINGS:
        cap = request.max_output_tokens or OUTPUT_TOKENS_WITHOUT_CAP
        output_tokens = cap * request.choice_count
    usage = Usage(input_tokens=request.estimated_input_tokens, output_tokens=output_tokens)
    return cost_nanousd(usage, target.price)


def started(  # noqa: PLR0913  # a record has these parts
    request: InferenceRequested,
    target: Target,
    *,
    owner: str,
    attempt: int,
    batch_id: str,
    now_ms: float,
) -> Emit:
    """Says that a call is about to be made."""
    return _of_request(
        ModelCallAttempt(
            kind=AttemptKind.STARTED.value,
            owner=owner,
            request_id=request.request_id,
            attempt=attempt,
            batch_id=batch_id,
            tenant=request.tenant,
            provider=target.provider,
            model=target.model,
            at=int(now_ms),
            deadline_at=request.deadline_at,
            reserved_nanousd=reserved_nanousd(request, target),
        )
    )


def finished(  # noqa: PLR0913  # a record has these parts
    request: InferenceRequested,
    call: ModelCall,
    *,
    owner: str,
    batch_id: str,
    now_ms: float,
    outcome: AttemptOutcome,
    result: bytes = b"",
) -> Emit:
    """Says how a call ended, with the terminal record where that ended the request."""
    return _of_request(
        ModelCallAttempt(
            kind=AttemptKind.FINISHED.value,
            owner=owner,
            request_id=request.request_id,
            attempt=call.attempt,
            batch_id=batch_id,
            tenant=request.tenant,
            provider=call.provider,
            model=call.model,
            at=int(now_ms),
            deadline_at=request.deadline_at,
            outcome=outcome.value,
            error_code=call.error_code,
            result=result,
        )
    )


def alive(*, owner: str, partition: int, now_ms: float) -> Emit:
    """Says that a process still makes calls for requests of a partition."""
    record = ModelCallAttempt(kind=AttemptKind.ALIVE.value, owner=owner, at=int(now_ms))
    return Emit(topic=Topic.MODEL_CALL_ATTEMPTS, key=owner, event=record, partition=partition)


def usage_row(
    request: InferenceRequested,
    call: ModelCall,
    *,
    price_version: str,
    now_ms: float,
    kind: UsageKind = UsageKind.ATTEMPT,
) -> Emit:
    """The row of the ledger for a call."""
    row = msgspec.structs.replace(
        row_of(request, kind, attempt=call.attempt, at_ms=now_ms),
        provider=call.provider,
        provider_model=call.model,
        error_code=call.error_code,
        usage=call.usage,
        cost_nanousd=call.cost_nanousd,
        saved_nanousd=call.saved_nanousd,
        price_version=price_version,
    )
    return Emit(topic=Topic.USAGE_LEDGER, key=request.tenant, event=row)


def escalation(request: InferenceRequested, *, attempt: int, score: float, now_ms: float) -> Emit:
    """Says what an answer was worth that was not handed on."""
    given = FeedbackGiven(
        feedback_id=f"{request.request_id}-{attempt}-escalation",
        request_id=request.request_id,
        tenant=request.tenant,
        source="escalation",
        score=score,
        at=int(now_ms),
    )
    return Emit(topic=Topic.FEEDBACK, key=request.tenant, event=given)


def _of_request(record: ModelCallAttempt) -> Emit:
    return Emit(topic=Topic.MODEL_CALL_ATTEMPTS, key=record.request_id, event=record)
