"""Asking processes how they are."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from services.cli.local_stack import probe
from services.cli.local_stack.meter import Meter
from services.cli.local_stack.state import ProcessRecord, ProcessState


class FakeService:
    """Answers probes as it is told to."""

    def __init__(self) -> None:
        self.status = 200
        self.metrics = b""
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        path = (await reader.readuntil(b"\r\n")).split()[1]
        body = self.metrics if path == b"/metrics" else b""
        writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (self.status, len(body)))
        writer.write(body)
        writer.close()


@pytest.fixture
async def service() -> AsyncIterator[FakeService]:
    """A service on loopback."""
    fake = FakeService()
    async with await asyncio.start_server(fake.serve, "127.0.0.1", 0) as server:
        fake.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield fake


def test_series_are_summed_whatever_their_labels() -> None:
    """Comments and other metrics do not disturb it, nor does a label that holds a brace."""
    text = (
        "# HELP lag Records.\n# TYPE lag gauge\n"
        'lag{topic="a",partition="0"} 2.0\nlag{topic="}"} 3\nbusy 1e3\nbusy_total 7\n'
    )
    assert probe.sums(text) == {"lag": 5.0, "busy": 1000.0, "busy_total": 7.0}
    assert probe.sums("# TYPE idle_total counter\n") == {"idle_total": 0.0}


async def test_readiness_is_what_readyz_says(service: FakeService) -> None:
    """Only 200 is ready; no answer at all is not."""
    assert await probe.is_ready(service.url)
    service.status = 503
    assert not await probe.is_ready(service.url)
    assert not await probe.is_ready("http://127.0.0.1:1")


async def test_an_answer_that_is_no_http_is_no_answer() -> None:
    """Whatever else listens on a port, it is not a service that is ready."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"\x00\xff")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert not await probe.is_ready(f"http://127.0.0.1:{port}")
        assert not await probe.redis_answers(port, host="127.0.0.1")
        assert await probe.accepts_connections(port, host="127.0.0.1")
    assert not await probe.accepts_connections(port, host="127.0.0.1")


async def test_rates_are_known_from_the_second_reading_on(service: FakeService) -> None:
    """A rate is the growth between two readings of one run; a new process begins anew."""
    times_s = iter([10.0, 12.0, 14.0])
    meter = Meter(monotonic_s=lambda: next(times_s))
    record = ProcessRecord(name="router", pid=1, state=ProcessState.RUNNING, probes=service.url)
    rates = []
    for pid, processed in ((1, 100), (1, 150), (2, 7)):
        record.pid = pid
        service.metrics = b'millrace_processed_records_total{topic="a"} %d\n' % processed
        await meter.read([record])
        rates.append(meter.rows([record])[0].records_per_s)
    assert rates == [None, 25.0, None]


async def test_a_process_without_probes_has_no_figures() -> None:
    """Kafka and Redis are shown by their state alone."""
    record = ProcessRecord(name="kafka", pid=1, state=ProcessState.RUNNING)
    meter = Meter(monotonic_s=lambda: 0.0)
    await meter.read([record])
    (row,) = meter.rows([record])
    assert (row.is_ready, row.lag_records, row.records_per_s) == (None, None, None)
