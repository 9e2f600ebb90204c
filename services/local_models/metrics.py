"""What the local models measure."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter

from services.shared.telemetry.metrics import exposition, latency_histogram

_NAMESPACE: Final = "millrace_local_models"


class LocalModelsMetrics:
    """Requests by status and their duration; texts and tokens encoded."""

    def __init__(self) -> None:
        """Register them in a registry of their own."""
        self._registry = CollectorRegistry()
        self._requests = Counter(
            f"{_NAMESPACE}_requests",
            "Embeddings requests answered.",
            ("status",),
            registry=self._registry,
        )
        self._texts = Counter(f"{_NAMESPACE}_texts", "Texts encoded.", registry=self._registry)
        self._tokens = Counter(f"{_NAMESPACE}_tokens", "Their tokens.", registry=self._registry)
        self._duration = latency_histogram(
            f"{_NAMESPACE}_duration_seconds",
            "From the whole request to its answer.",
            (),
            self._registry,
        )

    def answered(self, status: int, *, duration_s: float) -> None:
        """A request was answered."""
        self._requests.labels(str(status)).inc()
        self._duration.observe(duration_s)

    def encoded(self, texts: int, *, tokens: int) -> None:
        """Texts were encoded."""
        self._texts.inc(texts)
        self._tokens.inc(tokens)

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return exposition(self._registry)
