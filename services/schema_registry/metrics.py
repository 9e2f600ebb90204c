"""What the registry measures."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from services.schema_registry.state import RegistryState
from services.shared.telemetry.metrics import exposition

_NAMESPACE: Final = "millrace_schema_registry"


class RegistryMetrics:
    """``…_requests_total{method,path,status}``, ``…_subjects`` and ``…_versions``."""

    def __init__(self) -> None:
        """Register them in a registry of their own."""
        self.registry = CollectorRegistry()
        self._requests = Counter(
            f"{_NAMESPACE}_requests",
            "Requests answered.",
            ("method", "path", "status"),
            registry=self.registry,
        )
        self._subjects = Gauge(f"{_NAMESPACE}_subjects", "Subjects.", registry=self.registry)
        self._versions = Gauge(
            f"{_NAMESPACE}_versions", "Versions of all subjects.", registry=self.registry
        )

    def count_request(self, *, method: str, path: str, status: int) -> None:
        """Count an answer under its route, never under the path that was asked for."""
        self._requests.labels(method, path, str(status)).inc()

    def exposition(self, state: RegistryState) -> bytes:
        """Write all metrics in Prometheus' text format."""
        self._subjects.set(len(state.subjects()))
        self._versions.set(sum(1 for _ in state.entries()))
        return exposition(self.registry)
