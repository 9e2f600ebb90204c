"""What a call becomes in the journey of each of its requests. Pure."""

from typing import NamedTuple

from services.model_caller.calls import Reply
from services.model_caller.decide import CallFailed
from services.shared.domain.events import InferenceRequested, ModelCall, Target
from services.shared.domain.money import (
    Usage,
    cost_nanousd,
    saved_by_prompt_cache_nanousd,
)


class CallTimes(NamedTuple):
    """When a call took place, unix ms; output that never came is -1."""

    started_ms: float
    output_ms: float
    finished_ms: float


def call_record(  # noqa: PLR0913  # named, and all of one call
    request: InferenceRequested,
    target: Target,
    reply: Reply,
    i: int,
    *,
    times: CallTimes,
    attempt: int,
) -> ModelCall:
    """A call as one of its requests sees it.

    Args:
        request: The request.
        target: Who was called.
        reply: What came of it.
        i: Which of the requests of the call it is.
        times: When it took place.
        attempt: Number of the call within the request.
    """
    accepted_at = request.accepted_at
    result = reply.result
    told = usage = reply.billed
    if not isinstance(result, CallFailed):
        told, usage = result[i].usage, result[i].billed or result[i].usage
    known = Usage(input_tokens=told.input_tokens - usage.input_tokens)
    has_output = times.output_ms >= 0
    return ModelCall(
        attempt=attempt,
        provider=target.provider,
        model=target.model,
        started_ms=round(times.started_ms - accepted_at, 3),
        first_chunk_ms=round(times.output_ms - accepted_at, 3) if has_output else -1.0,
        finished_ms=round(times.finished_ms - accepted_at, 3),
        error_code=result.error.code if isinstance(result, CallFailed) else "",
        upstream_status=reply.status,
        upstream_request_id=reply.upstream_request_id,
        usage=usage,
        cost_nanousd=cost_nanousd(usage, target.price),
        saved_nanousd=saved_by_prompt_cache_nanousd(usage, target.price)
        + cost_nanousd(known, target.price),
    )
