"""Wires the trace exporter."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.shared.adapters.environment import process_environment, settings_from_environment
from services.shared.adapters.system_clock import SystemClock
from services.shared.domain.events import InferenceFinished
from services.shared.stream.loop import Process
from services.shared.stream.service import run_stage
from services.shared.stream.shapes import polled
from services.shared.stream.stage import Stage, Tools
from services.trace_exporter.processor import CONSUMES, Sampling, TraceExporterProcessor
from services.trace_exporter.settings import TraceExporterSettings

SERVICE = "trace-exporter"
_PAUSE_S = 0.25
_ENDPOINT_VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def main() -> None:
    """Run the service."""
    environ = process_environment()
    settings = settings_from_environment(TraceExporterSettings, environ)
    sampling = Sampling(ratio=settings.trace_sample_ratio, slow_ms=settings.trace_slow_ms)

    @asynccontextmanager
    async def build(tools: Tools) -> AsyncIterator[Process[InferenceFinished]]:
        sink = None
        if any(environ.get(variable) for variable in _ENDPOINT_VARIABLES):
            # The SDK and its exporter take 15 MB that nobody needs without an endpoint.
            from services.shared.telemetry.otlp_spans import otlp_sink  # noqa: PLC0415

            sink = otlp_sink()
        processor = TraceExporterProcessor(sink=sink, sampling=sampling)
        yield polled(processor.process, clock=tools.clock)
        processor.close()
        if sink is not None:
            sink.close()

    stage = Stage(service=SERVICE, topics=CONSUMES, build=build, pause_s=_PAUSE_S)
    run_stage(stage, settings, clock=SystemClock())


if __name__ == "__main__":
    main()
