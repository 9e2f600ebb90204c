"""What answering takes: the way in, the answers, the configuration, the time, the counters."""

from collections.abc import Callable, Mapping

import msgspec
from prometheus_client import CollectorRegistry, Counter, Histogram

from services.gateway.disk_guard import DiskGuard
from services.gateway.idempotency import Idempotency
from services.gateway.replies import Replies
from services.gateway.streams import Streams
from services.shared.domain.admission.limits import Limits
from services.shared.domain.configuration import Model, VirtualKey
from services.shared.domain.name_patterns import NamePatterns
from services.shared.ports.clock import Clock
from services.shared.ports.control_publisher import ControlPublisher
from services.shared.ports.feedback_publisher import FeedbackPublisher
from services.shared.ports.request_publisher import RequestPublisher
from services.shared.telemetry.metrics import latency_histogram

MS_PER_S = 1000
ASKED = "asked"
CLIENT_GONE = "client_gone"
"""Why a request is to be cancelled: somebody said so, or nobody waits for it."""


class InferenceMetrics:
    """What callers got."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register the metrics."""
        self.answers = Counter(
            "millrace_http_answers",
            "Answers to inference requests by operation, status and error code.",
            ("operation", "status", "code"),
            registry=registry,
        )
        self.feedback = Counter(
            "millrace_feedback",
            "Feedback by source and result: recorded, or the code of the refusal.",
            ("source", "result"),
            registry=registry,
        )
        self.duration: Histogram = latency_histogram(
            "gen_ai_server_request_duration_seconds",
            "From the request's head to the end of its answer.",
            ("operation",),
            registry,
        )
        self.first_token: Histogram = latency_histogram(
            "gen_ai_server_time_to_first_token_seconds",
            "From the request's head to the first output of a stream.",
            ("operation",),
            registry,
        )


class Desk(msgspec.Struct, frozen=True, kw_only=True):
    """What answering takes.

    Attributes:
        publisher: The way into the pipeline.
        controls: The way to those who run requests.
        feedback: The way to those who learn from opinions on answers.
        replies: Where answers arrive.
        streams: Where the answers of any request are followed.
        keys: Virtual keys by id.
        models: Models as callers see them.
        limits: What a request may ask for.
        reply_partition: Where this process reads answers.
        clock: The time.
        metrics: Where answers are counted.
        idempotency: What becomes of requests with an ``Idempotency-Key``.
        disk: How full the disk of the data is; null = nobody looks.
        pass_by: Told ``after_publish``: a request has been recorded, and its answer is awaited.
    """

    publisher: RequestPublisher
    controls: ControlPublisher
    feedback: FeedbackPublisher
    replies: Replies
    streams: Streams
    keys: Mapping[str, VirtualKey]
    models: NamePatterns[Model]
    limits: Limits
    reply_partition: int
    clock: Clock
    metrics: InferenceMetrics
    idempotency: Idempotency
    pass_by: Callable[[str], None]
    disk: DiskGuard | None = None
