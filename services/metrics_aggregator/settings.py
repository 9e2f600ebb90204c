"""Settings of the metrics aggregator."""

from services.shared.domain.settings import ServiceSettings


class MetricsAggregatorSettings(ServiceSettings, frozen=True, kw_only=True):
    """How much is told apart and remembered; memory grows with each.

    Attributes:
        metrics_fold_s: How long records are gathered before the table is written, seconds.
        metrics_grace_s: How long a window waits for requests that come late, seconds.
        metrics_max_series: Combinations of dimensions kept for a tenant and day.
        metrics_max_tenants: Tenants kept for a day.
        metrics_remembered_ids: Request ids remembered for a partition, to count each request
            once.
    """

    metrics_fold_s: float = 1.0
    metrics_grace_s: float = 60.0
    metrics_max_series: int = 200
    metrics_max_tenants: int = 1_000
    metrics_remembered_ids: int = 100_000
