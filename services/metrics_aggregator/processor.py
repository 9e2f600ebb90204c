"""Opens the windows of each partition that this process is given."""

from collections.abc import Iterable
from typing import Final, get_args

from prometheus_client import CollectorRegistry, Counter

from services.metrics_aggregator import table_keys
from services.metrics_aggregator.decide import Policy
from services.metrics_aggregator.windows import PartitionWindows, Verdict
from services.shared.domain.topics import Topic

CONSUMES: Final = (Topic.INFERENCE_RESULTS,)
EMITS: Final = (Topic.USAGE_WINDOWS,)
TABLE: Final = "windows"


class AggregatorMetrics:
    """What became of the terminal records."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register the metrics."""
        records = Counter(
            "millrace_aggregated_records",
            "Terminal records: counted, duplicate (another record had ended the request) or "
            "redelivered; of those counted: late, early (in another window than their own) or "
            "overflow (under _other).",
            ("verdict",),
            registry=registry,
        )
        self._records = {verdict: records.labels(verdict) for verdict in get_args(Verdict)}

    def note(self, verdict: Verdict) -> None:
        """Count a record."""
        self._records[verdict].inc()


class MetricsAggregatorProcessor:
    """Terminal records in; windows out."""

    def __init__(self, *, policy: Policy, metrics: AggregatorMetrics) -> None:
        """Keep what a policy says, and count what became of each record."""
        self._policy = policy
        self._metrics = metrics

    def partition_of(self, key: bytes) -> int:
        """The partition that wrote a key of the table."""
        return table_keys.partition_of(key)

    def open(self, partition: int, entries: Iterable[tuple[bytes, bytes]]) -> PartitionWindows:
        """Go on where the table stands."""
        return PartitionWindows(
            partition,
            table_keys.read_entries(entries),
            self._policy,
            note=self._metrics.note,
        )
