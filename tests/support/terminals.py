"""Terminal records of requests with a whole journey, for whoever counts them."""

from typing import Any

import msgspec

from services.shared.domain.events import (
    CacheEvidence,
    Failure,
    Hop,
    InferenceFinished,
    ModelCall,
)
from services.shared.domain.money import Usage
from tests.support.example_events import finished
from tests.support.fake_clock import START_MS

T0_MS = int(START_MS) - int(START_MS) % 86_400_000 + 12 * 3_600_000
"""Noon of a day: a start of windows of every length but the day's."""

JOURNEY = (
    Hop(service="gateway", received_ms=0.0, finished_ms=1.5),
    Hop(service="cache-lookup", received_ms=3.0, finished_ms=4.0),
    Hop(service="router", received_ms=6.0, finished_ms=6.25),
    Hop(service="batcher", received_ms=8.0, finished_ms=18.0),
    Hop(service="model-caller", received_ms=20.0, finished_ms=250.5),
)
CALL = ModelCall(
    attempt=1,
    provider="simulator",
    model="sim-chat",
    started_ms=21.0,
    first_chunk_ms=80.125,
    finished_ms=250.0,
    usage=Usage(
        input_tokens=100, output_tokens=40, cached_input_tokens=60, reasoning_output_tokens=8
    ),
    cost_nanousd=1_234,
)


def answered(number: int = 1, *, at_ms: int = T0_MS, **changes: Any) -> InferenceFinished:
    """A streamed request that a model answered, ended at ``at_ms``."""
    event = msgspec.structs.replace(
        finished(number),
        accepted_at=at_ms - 250,
        finished_at=at_ms,
        tier="gold",
        feature="search",
        stream=True,
        calls=(CALL,),
        batch_id="batch_1",
        batch_size=3,
        cost_nanousd=1_234,
        hops=JOURNEY,
    )
    return msgspec.structs.replace(event, **changes)


def hit(number: int = 1, *, at_ms: int = T0_MS, **changes: Any) -> InferenceFinished:
    """A request that the exact cache answered."""
    event = answered(
        number,
        at_ms=at_ms,
        calls=(),
        batch_id="",
        batch_size=0,
        cost_nanousd=0,
        stream=False,
        cache=CacheEvidence(outcome="exact_hit", age_s=5, source_request_id="request-00000000"),
        hops=JOURNEY[:2],
    )
    return msgspec.structs.replace(event, **changes)


def failed(number: int = 1, *, at_ms: int = T0_MS, **changes: Any) -> InferenceFinished:
    """A request whose only call failed."""
    event = answered(
        number,
        at_ms=at_ms,
        outcome="failed",
        calls=(msgspec.structs.replace(CALL, error_code="provider_timeout", first_chunk_ms=-1.0),),
        error=Failure(
            code="provider_timeout", message="It timed out.", status=504, fault="provider"
        ),
        response=b"",
    )
    return msgspec.structs.replace(event, **changes)
