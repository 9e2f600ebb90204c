"""What is measured of calls that have to wait or may not be made."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from services.shared.domain.events import CircuitState, Target

_CIRCUITS = {CircuitState.CLOSED: 0, CircuitState.HALF_OPEN: 1, CircuitState.OPEN: 2}


class GateMetrics:
    """Circuits, limits and waits, by provider and model."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register the metrics."""
        labels = ("provider", "model")
        self._circuit = Gauge(
            "millrace_provider_circuit",
            "Circuit breaker: 0 closed, 1 half open, 2 open.",
            labels,
            registry=registry,
        )
        self._limit = Gauge(
            "millrace_provider_concurrency_limit",
            "Calls at once that the provider's model is found to bear.",
            labels,
            registry=registry,
        )
        self._waits = Counter(
            "millrace_model_call_wait_seconds",
            "Time that calls waited to start, by what for: rate or slots.",
            (*labels, "on"),
            registry=registry,
        )
        self._shut = Counter(
            "millrace_model_call_skips",
            "Calls not made because they could not start in time, by why: circuit, rate or slots.",
            (*labels, "on"),
            registry=registry,
        )

    def circuit(self, target: Target, state: CircuitState) -> None:
        """A circuit changed."""
        self._circuit.labels(target.provider, target.model).set(_CIRCUITS[state])

    def limit(self, target: Target, calls: int) -> None:
        """A limit changed."""
        self._limit.labels(target.provider, target.model).set(calls)

    def waited(self, target: Target, on: str, seconds: float) -> None:
        """A call waited."""
        self._waits.labels(target.provider, target.model, on).inc(seconds)

    def shut(self, target: Target, on: str) -> None:
        """A call was not made."""
        self._shut.labels(target.provider, target.model, on).inc()
