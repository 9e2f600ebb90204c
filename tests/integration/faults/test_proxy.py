"""The fault proxy does what it says, and counts it: an idle injector proves nothing."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import pytest

from tests.faults.harness.proxy import HOST, FaultProxy, fault_proxy


@pytest.fixture
async def echo_port() -> AsyncIterator[int]:
    """A server that sends back what it gets."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            return
        finally:
            writer.close()

    server = await asyncio.start_server(echo, HOST, 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


class Client:
    """A connection through the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self, data: bytes) -> bytes:
        """Send and wait for as much."""
        self.writer.write(data)
        return await asyncio.wait_for(self.reader.readexactly(len(data)), 5)


@pytest.fixture
async def proxy(echo_port: int) -> AsyncIterator[tuple[FaultProxy, int]]:
    """A proxy before the server."""
    async with fault_proxy(echo_port) as started:
        yield started


@pytest.fixture
async def client(proxy: tuple[FaultProxy, int]) -> AsyncIterator[Client]:
    """A client that has been answered once."""
    connected = Client(*await asyncio.open_connection(HOST, proxy[1]))
    assert await connected.ask(b"hello") == b"hello"
    yield connected
    connected.writer.close()


async def test_bytes_pass_both_ways(proxy: tuple[FaultProxy, int], client: Client) -> None:
    """Without a fault nothing is changed, however much it is."""
    data = bytes(range(256)) * 4_000
    assert await client.ask(data) == data
    assert proxy[0].counts == {"connections": 1}


async def test_a_cut_connection_ends_in_order(
    proxy: tuple[FaultProxy, int], client: Client
) -> None:
    """A cut is a clean end, also of connections made during it; healed, new ones work."""
    proxy[0].cut()
    assert await asyncio.wait_for(client.reader.read(), 5) == b""
    reader, writer = await asyncio.open_connection(HOST, proxy[1])
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()
    assert (proxy[0].counts["cut"], proxy[0].counts["refused"]) == (1, 1)
    proxy[0].heal()
    again = Client(*await asyncio.open_connection(HOST, proxy[1]))
    assert await again.ask(b"back") == b"back"
    again.writer.close()


async def test_a_reset_is_an_error(proxy: tuple[FaultProxy, int], client: Client) -> None:
    """A reset is no clean end: who reads gets an error."""
    proxy[0].reset()
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(client.reader.read(), 5)
    assert proxy[0].counts["reset"] == 1


async def test_a_black_hole_answers_nothing(proxy: tuple[FaultProxy, int], client: Client) -> None:
    """Connections stay open and silent; healing ends them, since what they lost is lost."""
    proxy[0].blackhole()
    client.writer.write(b"anybody?")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(client.reader.read(1), 0.2)
    assert proxy[0].counts["swallowed"] == 1
    proxy[0].heal()
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(client.reader.read(), 5)


async def test_an_answer_is_truncated(proxy: tuple[FaultProxy, int], client: Client) -> None:
    """So many bytes come, counted from the connection's start, and then its end."""
    proxy[0].truncate(8)
    client.writer.write(b"0123456789")
    assert await asyncio.wait_for(client.reader.read(), 5) == b"012"
    assert proxy[0].counts["truncated"] == 1


@pytest.mark.parametrize(
    ("count", "harm"),
    [("delayed", lambda p: p.delay(0.1)), ("throttled", lambda p: p.throttle(50.0))],
)
async def test_a_slow_network_is_slow(
    proxy: tuple[FaultProxy, int],
    client: Client,
    count: str,
    harm: Callable[[FaultProxy], None],
) -> None:
    """Latency and bandwidth cost the time that they say, and change no byte."""
    harm(proxy[0])
    begun_s = time.monotonic()
    assert await client.ask(b"0123456789") == b"0123456789"
    assert time.monotonic() - begun_s >= 0.1
    assert proxy[0].counts[count] >= 1
