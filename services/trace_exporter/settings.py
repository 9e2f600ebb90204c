"""Settings of the trace exporter."""

from services.shared.domain.settings import ServiceSettings


class TraceExporterSettings(ServiceSettings, frozen=True, kw_only=True):
    """Which requests are traced.

    Attributes:
        trace_sample_ratio: Share of plain successes, 0..1; failures and slow ones always are.
        trace_slow_ms: From when on a request is slow.
    """

    trace_sample_ratio: float = 0.01
    trace_slow_ms: int = 10_000
