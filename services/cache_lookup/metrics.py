"""What is measured of single-flight."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge


class JoinMetrics:
    """What became of requests that joined identical ones."""

    def __init__(self, registry: CollectorRegistry, *, waiting: Callable[[], int]) -> None:
        """Register the metrics.

        Args:
            registry: Where they go.
            waiting: Counts the requests that wait for another now.
        """
        Gauge(
            "millrace_joiners_waiting",
            "Requests that wait for the answer of an identical one.",
            registry=registry,
        ).set_function(waiting)
        self._joined = Counter(
            "millrace_joined_requests",
            "Requests that joined an identical one, by what came of it.",
            ("ended",),
            registry=registry,
        )

    def note(self, ended: str) -> None:
        """Count a joiner: completed, failed, cancelled, expired or run_again."""
        self._joined.labels(ended).inc()
