"""Metrics that every service has; its own ones live beside what they measure.

``docs/operations.md`` lists all names.
"""

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

HOP_BUCKETS_S = (
    0.0005, 0.001, 0.002, 0.004, 0.008, 0.015, 0.03, 0.06, 0.125, 0.25, 0.5, 1, 2, 5, 15, 60,
)  # fmt: skip
"""From a fast hop to a slow model, seconds."""


class _Observed(Collector):
    """A gauge that is computed when it is read."""

    def __init__(
        self, name: str, meaning: str, read: Callable[[], Mapping[tuple[str, str], float]]
    ) -> None:
        self._name = name
        self._meaning = meaning
        self._read = read

    def collect(self) -> Iterable[GaugeMetricFamily]:
        family = GaugeMetricFamily(self._name, self._meaning, labels=("topic", "partition"))
        for labels, value in self._read().items():
            family.add_metric(labels, value)
        yield family


class StageMetrics:
    """What the runtime measures for every stage.

    ``millrace_processed_records_total{topic}``, ``millrace_poison_records_total{topic,reason}``,
    ``millrace_skipped_records_total{topic}``, ``millrace_polls_total{topic}``,
    ``millrace_in_flight_records``, ``millrace_consumer_lag_records{topic,partition}``.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register them."""
        self.registry = registry
        self._processed = Counter(
            "millrace_processed_records", "Records taken into work.", ("topic",), registry=registry
        )
        self._polls = Counter(
            "millrace_polls", "Polls that brought records.", ("topic",), registry=registry
        )
        self._poison = Counter(
            "millrace_poison_records",
            "Records that became dead letters.",
            ("topic", "reason"),
            registry=registry,
        )
        self._skipped = Counter(
            "millrace_skipped_records", "Records without a value.", ("topic",), registry=registry
        )
        self._in_flight = Gauge(
            "millrace_in_flight_records", "Records in work now.", registry=registry
        )

    def observe(
        self,
        *,
        in_flight: Callable[[], int],
        lag: Callable[[], Mapping[tuple[str, str], float]],
    ) -> None:
        """Say where the current values come from."""
        self._in_flight.set_function(in_flight)
        self.registry.register(
            _Observed("millrace_consumer_lag_records", "Records not yet taken.", lag)
        )

    def polled(self, topic: str, records: int) -> None:
        """A poll brought records."""
        self._processed.labels(topic).inc(records)
        self._polls.labels(topic).inc()

    def poison(self, topic: str, reason: str) -> None:
        """A record became a dead letter."""
        self._poison.labels(topic, reason).inc()

    def skipped(self, topic: str) -> None:
        """A record had no value."""
        self._skipped.labels(topic).inc()


def latency_histogram(
    name: str, meaning: str, labels: tuple[str, ...], registry: CollectorRegistry
) -> Histogram:
    """A histogram of seconds with the buckets of a hop."""
    return Histogram(name, meaning, labels, buckets=HOP_BUCKETS_S, registry=registry)


def exposition(registry: CollectorRegistry) -> bytes:
    """All metrics in Prometheus' text format."""
    return generate_latest(registry)
