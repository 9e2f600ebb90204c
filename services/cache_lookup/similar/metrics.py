"""What the semantic tier says of itself."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge


class SemanticMetrics:
    """What became of requests that could be compared by meaning."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register the metrics."""
        self._lookups = Counter(
            "millrace_semantic_lookups",
            "Requests by what came of comparing them: hit, none (nothing near), near (not near "
            "enough), vetoed (by a guard), held (by the verified mode), gone (no body), late, "
            "unavailable (encoder or index), failed, or not comparable and why.",
            ("outcome",),
            registry=registry,
        )

    def note(self, outcome: str) -> None:
        """Count a request."""
        self._lookups.labels(outcome).inc()


def watch_entries(
    registry: CollectorRegistry, *, entries: Callable[[], float], read_ratio: Callable[[], float]
) -> None:
    """Register what is known of the index.

    Args:
        registry: Where metrics go.
        entries: Counts the entries of ``cache-entries`` that were put into the index.
        read_ratio: How much of ``cache-entries`` was read since the start, 0..1.
    """
    Gauge(
        "millrace_semantic_entries_put",
        "Entries that were put into the semantic index since the start.",
        registry=registry,
    ).set_function(entries)
    Gauge(
        "millrace_semantic_hydration_ratio",
        "How much of cache-entries, as it was at the start, was read; below 1 look-ups may miss.",
        registry=registry,
    ).set_function(read_ratio)
