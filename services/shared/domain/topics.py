"""Names of the topics. What each one holds and keeps is data: ``topics/<name>.yaml``."""

from enum import StrEnum


class Topic(StrEnum):
    """Every topic of the pipeline; a test holds this list and ``topics/`` together."""

    INFERENCE_REQUESTS_P0 = "inference-requests-p0"
    INFERENCE_REQUESTS_P1 = "inference-requests-p1"
    INFERENCE_REQUESTS_P2 = "inference-requests-p2"
    CACHE_MISSES = "cache-misses"
    ROUTED_REQUESTS = "routed-requests"
    REQUEST_BATCHES_P0 = "request-batches-p0"
    REQUEST_BATCHES_P1 = "request-batches-p1"
    REQUEST_BATCHES_P2 = "request-batches-p2"
    RESULT_CHUNKS = "result-chunks"
    INFERENCE_RESULTS = "inference-results"
    MODEL_CALL_ATTEMPTS = "model-call-attempts"
    MODEL_CALLER_RETRY_5S = "model-caller-retry-5s"
    MODEL_CALLER_RETRY_30S = "model-caller-retry-30s"
    MODEL_CALLER_RETRY_5M = "model-caller-retry-5m"
    USAGE_LEDGER = "usage-ledger"
    PROVIDER_HEALTH = "provider-health"
    IDEMPOTENCY_KEYS = "idempotency-keys"
    CONTROL = "control"
    USAGE_WINDOWS = "usage-windows"
    CACHE_ENTRIES = "cache-entries"
    CACHE_JUDGEMENTS = "cache-judgements"
    FEEDBACK = "feedback"
    CRASH_SUSPECTS = "crash-suspects"


REQUEST_TOPICS = (
    Topic.INFERENCE_REQUESTS_P0,
    Topic.INFERENCE_REQUESTS_P1,
    Topic.INFERENCE_REQUESTS_P2,
)
"""Public topics by priority: 0 = a user waits, 1 = near real time, 2 = background."""

BATCH_TOPICS = (Topic.REQUEST_BATCHES_P0, Topic.REQUEST_BATCHES_P1, Topic.REQUEST_BATCHES_P2)
"""Batches by the same priorities."""

RETRY_TOPICS = (
    Topic.MODEL_CALLER_RETRY_5S,
    Topic.MODEL_CALLER_RETRY_30S,
    Topic.MODEL_CALLER_RETRY_5M,
)
"""Calls that could not start, by how long they wait before they are tried again."""


def dead_letters(topic: str) -> str:
    """The dead-letter topic of a topic."""
    return f"{topic}-dlq"
