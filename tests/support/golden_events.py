"""Events of every record, as they came to be written into ``avro/examples``.

They are the source of new files only: what stands in ``avro/examples`` is a promise to every log
that holds such bytes, and is never written again.
"""

import json
from typing import Any

import msgspec

from services.shared.domain.events import (
    AnswerCached,
    CacheEntry,
    CacheEvidence,
    CacheMissed,
    CachePolicy,
    CandidateJudged,
    ControlRequested,
    CrashSuspected,
    ErrorCount,
    Event,
    Failure,
    FeedbackGiven,
    Hop,
    HopTimes,
    IdempotencyClaimed,
    InferenceFinished,
    InferenceRequested,
    ModelCall,
    ModelCallAttempt,
    ProviderHealth,
    RequestBatch,
    RequestRouted,
    ResultChunk,
    Route,
    SemanticKey,
    Sketch,
    Target,
    UsageRecorded,
    UsageWindow,
)
from services.shared.domain.money import Price, Usage

T0 = 1_780_000_000_000
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ID = "req_019e6f6e5c007d0aa0b1c2d3e4f5061703"
OTHER_ID = "order-4711-summary"
HASH = "5f" * 32
USAGE = Usage(
    input_tokens=1200, output_tokens=85, cached_input_tokens=1024, reasoning_output_tokens=32
)
PRICE = Price(
    input_nanousd_per_mtok=150_000_000,
    cached_input_nanousd_per_mtok=75_000_000,
    output_nanousd_per_mtok=600_000_000,
    version="genai-prices 0.2",
)


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


CHAT = InferenceRequested(
    request_id=ID,
    operation="chat",
    body=_json(
        {
            "model": "assistant",
            "stream": True,
            "messages": [{"role": "user", "content": "Wie tief ist das Meer? 🌊"}],
        }
    ),
    tenant="acme",
    key_id="prod-7",
    tier="gold",
    feature="search",
    user="u-1",
    model="assistant",
    stream=True,
    include_usage=True,
    estimated_input_tokens=12,
    max_output_tokens=256,
    temperature=0.7,
    choice_count=2,
    has_tools=True,
    has_images=True,
    has_response_format=True,
    conversation_id="c-9",
    priority=1,
    accepted_at=T0,
    deadline_at=T0 + 60_000,
    reply_partition=3,
    fingerprint=HASH,
    cache_policy=CachePolicy(no_cache=True, no_store=True, max_age_s=60, namespace="beta"),
    traceparent=TRACEPARENT,
    tracestate="vendor=1",
)
PRODUCED = InferenceRequested(
    request_id=OTHER_ID,
    operation="text_completion",
    body=_json({"model": "assistant", "prompt": "Once upon a time"}),
)
EMBEDDINGS = InferenceRequested(
    request_id="req_019e6f6e5c017d0aa0b1c2d3e4f50617ff",
    operation="embeddings",
    body=_json({"model": "embedder", "input": ["one", "two"]}),
    tenant="acme",
    key_id="prod-7",
    model="embedder",
    estimated_input_tokens=2,
    accepted_at=T0,
    deadline_at=T0 + 600_000,
    fingerprint=HASH,
)
HOPS = (
    Hop(service="gateway", finished_ms=1.25),
    Hop(
        service="cache-lookup",
        topic="inference-requests-p1",
        partition=2,
        offset=41,
        received_ms=2.5,
        finished_ms=3.125,
    ),
    Hop(
        service="router",
        topic="cache-misses",
        partition=7,
        offset=40,
        received_ms=4.5,
        finished_ms=4.75,
    ),
)
ROUTE = Route(
    alias="assistant",
    strategy="weighted",
    reason="weight 9 of 10, by conversation",
    config_version="9f86d081884c7d65",
    expected_cost_nanousd=153_600,
    targets=(
        Target(provider="openai", model="gpt-4o-mini", price=PRICE),
        Target(provider="simulator", model="sim-chat"),
    ),
)
MISS = CacheEvidence(outcome="miss")
ROUTED = RequestRouted(
    request=CHAT, cache=MISS, route=ROUTE, lane="openai/gpt-4o-mini/chat", hops=HOPS
)
EMBEDDED = RequestRouted(
    request=EMBEDDINGS,
    cache=MISS,
    route=Route(
        alias="embedder",
        strategy="fixed",
        reason="first in order that can serve it",
        config_version="9f86d081884c7d65",
        targets=(Target(provider="simulator", model="sim-embed"),),
    ),
    lane="simulator/sim-embed/embeddings",
)
CALLS = (
    ModelCall(
        attempt=1,
        provider="openai",
        model="gpt-4o-mini",
        started_ms=9.5,
        finished_ms=120.0,
        error_code="provider_overloaded",
        upstream_status=503,
    ),
    ModelCall(
        attempt=2,
        provider="simulator",
        model="sim-chat",
        started_ms=230.0,
        first_chunk_ms=310.5,
        finished_ms=990.25,
        upstream_status=200,
        upstream_request_id="up-1",
        usage=USAGE,
        cost_nanousd=154_200,
    ),
)
ANSWER = _json(
    {
        "id": "chatcmpl-019e6f6e5c007d0aa0b1c2d3e4f5061703",
        "object": "chat.completion",
        "created": 1_780_000_000,
        "model": "sim-chat",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Bis zu 11 km.", "refusal": None},
                "finish_reason": "stop",
                "logprobs": None,
            }
        ],
        "usage": {"prompt_tokens": 1200, "completion_tokens": 85, "total_tokens": 1285},
    }
)
COMPLETED = InferenceFinished(
    request_id=ID,
    outcome="completed",
    tenant="acme",
    key_id="prod-7",
    tier="gold",
    feature="search",
    user="u-1",
    operation="chat",
    model="assistant",
    stream=True,
    priority=1,
    accepted_at=T0,
    finished_at=T0 + 991,
    fingerprint=HASH,
    cache_policy=CachePolicy(namespace="beta"),
    cache=MISS,
    route=ROUTE,
    calls=CALLS,
    batch_id="batch_0123",
    batch_size=4,
    usage=USAGE,
    cost_nanousd=154_200,
    finish_reason="stop",
    response_model="sim-chat",
    response=ANSWER,
    hops=HOPS,
)
FAILED = InferenceFinished(
    request_id=OTHER_ID,
    outcome="failed",
    tenant="kafka",
    operation="text_completion",
    model="nobody",
    priority=2,
    accepted_at=T0,
    finished_at=T0 + 6,
    error=Failure(
        code="model_not_found",
        message="The model 'nobody' does not exist or you do not have access to it.",
        param="model",
        status=404,
        fault="caller",
    ),
    hops=(Hop(service="producer"), *HOPS[1:]),
)
HIT = InferenceFinished(
    request_id="req_019e6f6e5c027d0aa0b1c2d3e4f5061703",
    outcome="completed",
    tenant="acme",
    key_id="prod-7",
    operation="chat",
    model="assistant",
    accepted_at=T0 + 60_000,
    finished_at=T0 + 60_004,
    fingerprint=HASH,
    cache=CacheEvidence(outcome="exact_hit", age_s=59, source_request_id=ID),
    usage=USAGE,
    finish_reason="stop",
    response_model="sim-chat",
    response=ANSWER,
    hops=HOPS[:2],
)
SKETCH = Sketch(
    count=3, total=2_500_000, minimum=500_000, maximum=1_000_000, buckets=(657, 691), counts=(1, 2)
)

SEMANTIC = SemanticKey(
    scope="5c" * 16,
    encoder="minilm-int8-0f1e2d3c",
    text="how deep is the sea",
    vector=b"\x00<" + b"\x00" * 6,
    quotes=("a1" * 8,),
)
NEAR = CacheEvidence(
    outcome="semantic_hit",
    age_s=59,
    source_request_id=OTHER_ID,
    similarity=0.9375,
    score=0.875,
    candidate_id=OTHER_ID,
    semantic=SEMANTIC,
)
RISKY = msgspec.structs.replace(
    CHAT, cache_policy=CachePolicy(no_semantic=True, min_similarity=0.97)
)
SHADOW = CacheEvidence(
    outcome="bypass",
    shadow_of=ID,
    candidate_id=OTHER_ID,
    candidate_fingerprint="f0" * 32,
    score=0.875,
    shadow_weight=10.0,
)
CASCADED = msgspec.structs.replace(
    ROUTE, score=0.625, tier="easy", is_cascade=True, conversation="0c" * 8
)
CASCADED_REQUEST = msgspec.structs.replace(ROUTED, cache=SHADOW, route=CASCADED)

PROMPT_CACHED = msgspec.structs.replace(USAGE, cache_write_input_tokens=7)

GOLDEN: dict[str, Event] = {
    "inference_requested.v2.no-semantic": RISKY,
    "inference_requested.v2.plain": EMBEDDINGS,
    "cache_missed.v2.with-a-candidate": CacheMissed(
        request=CHAT, cache=msgspec.structs.replace(NEAR, outcome="miss")
    ),
    "cache_missed.v2.asked-again": CacheMissed(request=RISKY, cache=SHADOW, hops=HOPS[:2]),
    "request_routed.v2.cascade": CASCADED_REQUEST,
    "request_routed.v2.plain": EMBEDDED,
    "request_batch.v2.cascade": RequestBatch(
        batch_id="batch_0125",
        lane=ROUTED.lane,
        merge=False,
        closed_by="lone",
        opened_at=T0 + 5,
        members=(CASCADED_REQUEST,),
    ),
    "request_batch.v2.merged": RequestBatch(
        batch_id="batch_0126",
        lane=EMBEDDED.lane,
        merge=True,
        closed_by="time",
        opened_at=T0 + 5,
        members=(EMBEDDED, EMBEDDED),
    ),
    "inference_finished.v2.escalated": msgspec.structs.replace(
        COMPLETED,
        route=CASCADED,
        calls=(
            msgspec.structs.replace(
                CALLS[0], error_code="", confidence=0.25, verdict="asks back; escalated"
            ),
            msgspec.structs.replace(CALLS[1], saved_nanousd=88_000),
        ),
    ),
    "inference_finished.v2.semantic-hit": msgspec.structs.replace(HIT, cache=NEAR),
    "answer_cached.v1.semantic": AnswerCached(
        entry_id=OTHER_ID,
        tenant="acme",
        model="assistant",
        operation="chat",
        fingerprint=HASH,
        answer_hash="b2" * 8,
        semantic=SEMANTIC,
        stored_at=T0 + 991,
        expires_at=T0 + 3_600_991,
    ),
    "answer_cached.v1.exact-only": AnswerCached(
        entry_id=ID, tenant="acme", model="embedder", operation="embeddings", fingerprint=HASH
    ),
    "candidate_judged.v1.miss": CandidateJudged(
        request_id=ID,
        tenant="acme",
        entry_id=OTHER_ID,
        scope="5c" * 16,
        score=0.875,
        is_right=True,
        was_served=False,
        weight=1.0,
        at=T0 + 991,
        without_candidate=3,
    ),
    "candidate_judged.v1.asked-again": CandidateJudged(
        request_id=f"{ID}-shadow",
        tenant="acme",
        entry_id=OTHER_ID,
        scope="5c" * 16,
        score=0.9375,
        is_right=False,
        was_served=True,
        weight=10.0,
        at=T0 + 1_991,
    ),
    "feedback_given.v1.user": FeedbackGiven(
        feedback_id="fb-1", request_id=ID, tenant="acme", source="user", score=1.0, at=T0 + 5_000
    ),
    "feedback_given.v1.escalation": FeedbackGiven(
        feedback_id="fb-2",
        request_id=OTHER_ID,
        tenant="acme",
        source="escalation",
        score=0.0,
        at=T0 + 6_000,
    ),
    "inference_requested.v1.chat-of-a-gateway": CHAT,
    "inference_requested.v1.completion-of-a-producer": PRODUCED,
    "inference_requested.v1.embeddings": EMBEDDINGS,
    "cache_missed.v1.miss": CacheMissed(request=CHAT, cache=MISS, hops=HOPS[:2]),
    "cache_missed.v1.bypass": CacheMissed(
        request=EMBEDDINGS, cache=CacheEvidence(outcome="bypass")
    ),
    "request_routed.v1.with-a-fallback": ROUTED,
    "request_routed.v1.embeddings": EMBEDDED,
    "request_batch.v1.alone": RequestBatch(
        batch_id="batch_0123",
        lane=ROUTED.lane,
        merge=False,
        closed_by="lone",
        opened_at=T0 + 5,
        members=(ROUTED,),
    ),
    "request_batch.v1.merged": RequestBatch(
        batch_id="batch_0124",
        lane=EMBEDDED.lane,
        merge=True,
        closed_by="time",
        opened_at=T0 + 5,
        members=(EMBEDDED, EMBEDDED),
    ),
    "result_chunk.v1.first-words": ResultChunk(
        request_id=ID,
        run="0f1e2d3c4b5a",
        attempt=2,
        seq=0,
        kind="delta",
        payload=b'{"choices":[{"index":0,"delta":{"content":"Bis"}}]}',
        headers={"x-cache": "miss", "x-millrace-attempts": "2"},
    ),
    "result_chunk.v1.end": ResultChunk(
        request_id=ID, run="0f1e2d3c4b5a", attempt=2, seq=9, kind="end", payload=b""
    ),
    "result_chunk.v1.error": ResultChunk(
        request_id=ID,
        attempt=0,
        seq=0,
        kind="error",
        payload=b'{"error":{"message":"No.","type":"server_error","param":null,"code":"x"}}',
        status=504,
        headers={"x-should-retry": "false"},
    ),
    "inference_finished.v1.answered": COMPLETED,
    "inference_finished.v1.refused": FAILED,
    "inference_finished.v1.hit": HIT,
    "cache_entry.v2.written-to-the-prompt-cache": CacheEntry(
        fingerprint=HASH,
        tenant="acme",
        request_id=ID,
        operation="chat",
        response=ANSWER,
        usage=PROMPT_CACHED,
        stored_at=T0 + 991,
        cost_nanousd=154_200,
        price_version="genai-prices 0.2",
    ),
    "cache_entry.v2.embeddings": CacheEntry(
        fingerprint="60" * 32,
        tenant="acme",
        request_id="req_019e6f6e5c017d0aa0b1c2d3e4f50617ff",
        operation="embeddings",
        response=b'{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.5]}]}',
        finish_reason="",
    ),
    "cache_entry.v1.chat": CacheEntry(
        fingerprint=HASH,
        tenant="acme",
        request_id=ID,
        operation="chat",
        response=ANSWER,
        response_model="sim-chat",
        finish_reason="stop",
        usage=USAGE,
        stored_at=T0 + 991,
    ),
    "cache_entry.v1.embeddings": CacheEntry(
        fingerprint="60" * 32,
        tenant="acme",
        request_id="req_019e6f6e5c017d0aa0b1c2d3e4f50617ff",
        operation="embeddings",
        response=b'{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.5]}]}',
        finish_reason="",
    ),
    "crash_suspected.v1.first-time": CrashSuspected(
        topic="cache-misses", partition=7, offset=40, group="router", crashes=1
    ),
    "crash_suspected.v1.poison": CrashSuspected(
        topic="request-batches-p0", partition=0, offset=2**40, group="model-caller-p0", crashes=3
    ),
    "usage_window.v1.of-one-partition": UsageWindow(
        window_start=T0,
        window_s=10,
        source_partition=3,
        through_offset=4711,
        tenant="acme",
        model="assistant",
        provider="simulator",
        provider_model="sim-chat",
        tier="gold",
        feature="search",
        operation="chat",
        requests=6,
        completed=2,
        failed=1,
        cancelled=1,
        expired=2,
        streams=3,
        exact_hits=1,
        semantic_hits=1,
        cache_misses=3,
        cache_bypasses=1,
        model_calls=3,
        failed_calls=2,
        late=1,
        early=1,
        input_tokens=2400,
        output_tokens=170,
        cached_input_tokens=2048,
        reasoning_output_tokens=64,
        estimated_calls=1,
        cost_nanousd=308_400,
        errors=(
            ErrorCount(
                code="provider_overloaded", fault="provider", service="model-caller", count=1
            ),
        ),
        duration=SKETCH,
        first_chunk=SKETCH,
        batch_size=SKETCH,
        hops=(HopTimes(service="router", waited=SKETCH, worked=SKETCH),),
    ),
    "usage_window.v1.empty": UsageWindow(window_start=T0, window_s=86_400),
    "usage_window.v2.shared-calls": UsageWindow(
        window_start=T0, window_s=60, tenant="acme", requests=5, completed=5, joined=4
    ),
    "usage_window.v2.empty": UsageWindow(window_start=T0, window_s=86_400),
    "model_call_attempt.v1.started": ModelCallAttempt(
        kind="started",
        owner="model-caller-0.5f5f5f5f5f5f",
        request_id=ID,
        attempt=2,
        batch_id="batch-17",
        tenant="acme",
        provider="simulator",
        model="sim-chat",
        at=T0 + 12,
        deadline_at=T0 + 600_000,
        reserved_nanousd=231_000,
    ),
    "model_call_attempt.v1.finished": ModelCallAttempt(
        kind="finished",
        owner="model-caller-1.a0a0a0a0a0a0",
        request_id=OTHER_ID,
        attempt=1,
        batch_id="batch-18",
        tenant="other",
        provider="openai",
        model="gpt-4o-mini",
        at=T0 + 1_912,
        deadline_at=T0 + 30_000,
        outcome="failed",
        error_code="provider_timeout",
        result=b"the terminal record",
    ),
    "model_call_attempt.v1.alive": ModelCallAttempt(
        kind="alive", owner="model-caller-0.5f5f5f5f5f5f", at=T0 + 2_000
    ),
    "usage_recorded.v2.prompt-cache": UsageRecorded(
        row_id=f"{ID}-1",
        kind="attempt",
        tenant="acme",
        operation="chat",
        model="assistant",
        request_id=ID,
        attempt=1,
        provider="simulator",
        provider_model="sim-chat",
        at=T0 + 1_912,
        usage=PROMPT_CACHED,
        cost_nanousd=154_200,
        saved_nanousd=88_000,
        price_version="genai-prices 0.2",
    ),
    "usage_recorded.v2.hit": UsageRecorded(
        row_id=f"{OTHER_ID}-hit",
        kind="hit",
        tenant="kafka",
        operation="embeddings",
        model="millrace-embed",
        request_id=OTHER_ID,
        at=T0 + 2_500,
        usage=Usage(input_tokens=12),
        saved_nanousd=1_200,
    ),
    "usage_recorded.v1.attempt": UsageRecorded(
        row_id=f"{ID}-1",
        kind="attempt",
        tenant="acme",
        key_id="team-a",
        tier="gold",
        feature="search",
        user="user-17",
        operation="chat",
        model="assistant",
        request_id=ID,
        attempt=1,
        provider="simulator",
        provider_model="sim-chat",
        at=T0 + 1_912,
        error_code="stream_interrupted",
        usage=USAGE,
        cost_nanousd=154_200,
        price_version="genai-prices 0.2",
    ),
    "usage_recorded.v1.hit": UsageRecorded(
        row_id=f"{OTHER_ID}-0",
        kind="hit",
        tenant="kafka",
        operation="text_completion",
        model="millrace-demo",
        request_id=OTHER_ID,
        source_request_id=ID,
        at=T0 + 2_500,
        usage=Usage(input_tokens=12, output_tokens=3),
        saved_nanousd=154_200,
    ),
    "provider_health.v1.open": ProviderHealth(
        provider="openai",
        model="gpt-4o-mini",
        state="open",
        at=T0,
        until=T0 + 30_000,
        failures=5,
        reason="provider_overloaded",
        owner="model-caller-0.5f5f5f5f5f5f",
    ),
    "provider_health.v1.closed": ProviderHealth(
        provider="simulator", model="sim-chat", state="closed", at=T0 + 31_000
    ),
    "idempotency_claimed.v1.first": IdempotencyClaimed(
        tenant="acme", key_hash=HASH, fingerprint="a0" * 32, request_id=ID, at=T0
    ),
    "idempotency_claimed.v1.takeover": IdempotencyClaimed(
        tenant="other",
        key_hash="17" * 32,
        fingerprint=HASH,
        request_id=OTHER_ID,
        at=T0 + 10_000,
        takes_over=ID,
    ),
    "control_requested.v1.asked": ControlRequested(
        action="cancel", request_id=ID, tenant="acme", at=T0 + 900, reason="asked"
    ),
    "control_requested.v1.client-gone": ControlRequested(
        action="cancel", request_id=OTHER_ID, tenant="other", at=T0 + 901
    ),
    "control_requested.v2.asked": ControlRequested(
        action="cancel", request_id=ID, tenant="acme", at=T0 + 900, reason="asked"
    ),
    "control_requested.v2.held": ControlRequested(
        action="hold", request_id=OTHER_ID, tenant="other", at=T0 + 901, holder="cache-lookup-0"
    ),
}
