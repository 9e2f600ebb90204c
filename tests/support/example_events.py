"""Whole, plausible events for tests; each takes changes to its fields as keyword arguments."""

from typing import Any, TypeVar

import msgspec

from services.shared.domain.events import (
    CacheEvidence,
    CacheMissed,
    Event,
    Hop,
    InferenceFinished,
    InferenceRequested,
    RequestBatch,
    RequestRouted,
    Route,
    Target,
)
from services.shared.domain.money import Price, Usage
from tests.support.fake_clock import START_MS

E = TypeVar("E", bound=Event)

BODY = b'{"model":"small","messages":[{"role":"user","content":"How deep is the sea?"}]}'
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def request_id(number: int = 1) -> str:
    """A request id as a producer may choose it."""
    return f"request-{number:08d}"


def requested(number: int = 1, **changes: Any) -> InferenceRequested:
    """A chat request of tenant ``acme``, accepted now, due in a minute, with nobody waiting."""
    request = InferenceRequested(
        request_id=request_id(number),
        operation="chat",
        body=BODY,
        tenant="acme",
        key_id="key-1",
        model="small",
        estimated_input_tokens=9,
        max_output_tokens=64,
        temperature=0.0,
        accepted_at=int(START_MS),
        deadline_at=int(START_MS) + 60_000,
        fingerprint=f"{number:064x}",
        traceparent=TRACEPARENT,
    )
    return _changed(request, changes)


def missed(number: int = 1, *, request: InferenceRequested | None = None) -> CacheMissed:
    """A request that the cache could not answer."""
    hop = Hop(service="cache-lookup", topic="inference-requests-p0", partition=0, offset=number)
    return CacheMissed(request=request or requested(number), cache=CacheEvidence(), hops=(hop,))


def routed(
    number: int = 1, *, request: InferenceRequested | None = None, **changes: Any
) -> RequestRouted:
    """A request that goes to ``simulator/small``."""
    request = request or requested(number)
    target = Target(
        provider="simulator",
        model="small",
        price=Price(input_nanousd_per_mtok=150_000_000, output_nanousd_per_mtok=600_000_000),
    )
    event = RequestRouted(
        request=request,
        cache=CacheEvidence(),
        route=Route(
            alias="small",
            strategy="fixed",
            reason="the only target",
            config_version="0000000000000000",
            targets=(target,),
        ),
        lane="simulator/small/chat",
        hops=(Hop(service="router", topic="cache-misses", partition=0, offset=number),),
    )
    return _changed(event, changes)


def batch(*members: RequestRouted, batch_id: str = "batch_1", **changes: Any) -> RequestBatch:
    """A batch of these members, or of one."""
    event = RequestBatch(
        batch_id=batch_id,
        lane="simulator/small/chat",
        merge=False,
        closed_by="lone",
        opened_at=int(START_MS),
        members=members or (routed(),),
    )
    return _changed(event, changes)


def finished(number: int = 1, **changes: Any) -> InferenceFinished:
    """A completed request."""
    request = requested(number)
    event = InferenceFinished(
        request_id=request.request_id,
        outcome="completed",
        tenant=request.tenant,
        operation=request.operation,
        model=request.model,
        accepted_at=request.accepted_at,
        finished_at=request.accepted_at + 250,
        fingerprint=request.fingerprint,
        usage=Usage(input_tokens=9, output_tokens=12),
        finish_reason="stop",
        response_model="small",
        response=b'{"choices":[]}',
    )
    return _changed(event, changes)


def _changed(event: E, changes: dict[str, Any]) -> E:
    return msgspec.structs.replace(event, **changes)
