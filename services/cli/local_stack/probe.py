"""Asks a process how it is: ``/readyz`` and ``/metrics`` over plain HTTP, and Redis' PING."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from urllib.parse import urlsplit

import msgspec

_TIMEOUT_S = 1.0
_MAX_ANSWER_BYTES = 4 * 1024 * 1024
_IN_FLIGHT = ("millrace_in_flight_records", "millrace_simulator_calls_in_flight")
_LAG = ("millrace_consumer_lag_records",)
_PROCESSED = (  # a stage of the pipeline, the gateway, the simulator
    "millrace_processed_records_total",
    "millrace_http_answers_total",
    "millrace_simulator_calls_total",
)
_Read = Callable[[asyncio.StreamReader], Awaitable[bytes]]
_TYPE = re.compile(r"^# TYPE (\w+) ", re.MULTILINE)
_SAMPLE = re.compile(r"^(\w+)(?:\{.*\})? (\S+)", re.MULTILINE)


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """How a process was at one moment.

    Attributes:
        is_ready: Whether it can work.
        in_flight_records: Records in work; null = it does not say.
        lag_records: Records that wait for it, all partitions together; null = it does not say.
        processed_records: Records taken into work since it started; null = it does not say.
    """

    is_ready: bool
    in_flight_records: float | None = None
    lag_records: float | None = None
    processed_records: float | None = None


async def is_ready(url: str) -> bool:
    """Whether ``/readyz`` answers 200."""
    return (await _get(url, "/readyz"))[0] == 200


async def sample(url: str) -> Sample:
    """Ask for readiness and metrics."""
    ready, (status, text) = await asyncio.gather(is_ready(url), _get(url, "/metrics"))
    values = sums(text) if status == 200 else {}
    return Sample(
        is_ready=ready,
        in_flight_records=_first(values, _IN_FLIGHT),
        lag_records=_first(values, _LAG),
        processed_records=_first(values, _PROCESSED),
    )


def sums(exposition: str) -> dict[str, float]:
    """Sum the series of each metric in Prometheus' text format, whatever their labels.

    A metric that is declared and has no series yet is 0.
    """
    totals = dict.fromkeys(_TYPE.findall(exposition), 0.0)
    for name, value in _SAMPLE.findall(exposition):
        totals[name] = totals.get(name, 0.0) + float(value)
    return totals


def _first(values: Mapping[str, float], names: Iterable[str]) -> float | None:
    return next((values[name] for name in names if name in values), None)


async def redis_answers(port: int, *, host: str) -> bool:
    """Whether a Redis answers PING."""
    try:
        answer = await _exchange(host, port, b"PING\r\n", read=asyncio.StreamReader.readline)
    except (OSError, TimeoutError):
        return False
    return answer.startswith(b"+PONG")


async def accepts_connections(port: int, *, host: str) -> bool:
    """Whether anything listens on a port."""
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


async def _get(url: str, path: str) -> tuple[int, str]:
    """Status and body; 0 when there is no answer."""
    place = urlsplit(url)
    request = f"GET {path} HTTP/1.0\r\nHost: {place.netloc}\r\n\r\n".encode()
    try:
        answer = await _exchange(place.hostname or "", place.port or 80, request, read=_read_all)
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split(None, 2)[1]), body.decode()
    except (OSError, TimeoutError, ValueError, IndexError):
        return 0, ""


async def _exchange(host: str, port: int, request: bytes, *, read: _Read) -> bytes:
    async with asyncio.timeout(_TIMEOUT_S):
        reader, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(request)
            return await read(reader)
        finally:
            writer.close()


async def _read_all(reader: asyncio.StreamReader) -> bytes:
    pieces = []
    left_bytes = _MAX_ANSWER_BYTES
    while left_bytes > 0 and (piece := await reader.read(min(65_536, left_bytes))):
        pieces.append(piece)
        left_bytes -= len(piece)
    return b"".join(pieces)
