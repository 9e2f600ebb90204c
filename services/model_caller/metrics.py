"""What is measured of calls to providers."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from services.model_caller.calls import Reply
from services.model_caller.decide import CallFailed
from services.shared.domain.events import Target
from services.shared.telemetry.metrics import latency_histogram


class CallMetrics:
    """What is measured of calls, by provider and model."""

    def __init__(
        self, registry: CollectorRegistry, *, repetitions_left: Callable[[], float]
    ) -> None:
        """Register the metrics; ``repetitions_left`` says what is left of the retry budget."""
        labels = ("provider", "model")
        self.in_flight = 0
        Gauge(
            "millrace_model_calls_in_flight", "Requests being asked for.", registry=registry
        ).set_function(lambda: self.in_flight)
        Gauge(
            "millrace_model_calls_retry_budget",
            "Calls that may still be repeated; less than one is none.",
            registry=registry,
        ).set_function(repetitions_left)
        self.calls = Counter(
            "millrace_model_calls",
            "Calls to providers by result; code is empty for answers.",
            (*labels, "code"),
            registry=registry,
        )
        self._saved = Counter(
            "millrace_model_calls_saved_nanousd",
            "What calls would have cost more without the provider's prompt cache and without"
            " known vectors, nano-USD.",
            labels,
            registry=registry,
        )
        self.duration: Histogram = latency_histogram(
            "gen_ai_client_operation_duration_seconds", "Duration of calls.", labels, registry
        )
        self.first_output: Histogram = latency_histogram(
            "gen_ai_client_operation_time_to_first_chunk_seconds",
            "From the call to its first output.",
            labels,
            registry,
        )

    def saved(self, target: Target, nanousd: int) -> None:
        """A request cost so much less."""
        if nanousd:
            self._saved.labels(target.provider, target.model).inc(nanousd)

    def note(self, target: Target, reply: Reply, *, duration_s: float, output_s: float) -> None:
        """Count a call, once if it was shared; ``output_s`` is negative when no output came."""
        if reply.is_copy:
            return
        code = reply.result.error.code if isinstance(reply.result, CallFailed) else ""
        self.calls.labels(target.provider, target.model, code).inc()
        self.duration.labels(target.provider, target.model).observe(duration_s)
        if output_s >= 0:
            self.first_output.labels(target.provider, target.model).observe(output_s)
