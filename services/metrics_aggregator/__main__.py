"""Wires the metrics aggregator."""

from prometheus_client import CollectorRegistry

from services.metrics_aggregator.decide import Policy
from services.metrics_aggregator.processor import (
    CONSUMES,
    TABLE,
    AggregatorMetrics,
    MetricsAggregatorProcessor,
)
from services.metrics_aggregator.settings import MetricsAggregatorSettings
from services.shared.adapters.environment import process_environment, settings_from_environment
from services.shared.adapters.system_clock import SystemClock
from services.shared.domain.events import InferenceFinished
from services.shared.ports.folding import Fold
from services.shared.stream import faust_light  # noqa: F401  # before anything of Faust
from services.shared.stream.faust_runtime import FoldStage
from services.shared.stream.faust_service import run_fold_stage

SERVICE = "metrics-aggregator"


def main() -> None:
    """Run the service."""
    settings = settings_from_environment(MetricsAggregatorSettings, process_environment())
    policy = Policy(
        fold_s=settings.metrics_fold_s,
        grace_ms=int(settings.metrics_grace_s * 1_000),
        max_series=settings.metrics_max_series,
        max_tenants=settings.metrics_max_tenants,
        remembered_ids=settings.metrics_remembered_ids,
    )

    def build(registry: CollectorRegistry) -> Fold[InferenceFinished]:
        return MetricsAggregatorProcessor(policy=policy, metrics=AggregatorMetrics(registry))

    (topic,) = CONSUMES
    run_fold_stage(
        FoldStage(service=SERVICE, topic=topic, table=TABLE, build=build),
        settings,
        clock=SystemClock(),
    )


if __name__ == "__main__":
    main()
