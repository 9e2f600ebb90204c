"""A TCP proxy between two processes that does to their connections what networks do."""

import asyncio
import contextlib
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum

HOST = "127.0.0.1"
_READ_BYTES = 65_536
_END_S = 5.0
_RESET = struct.pack("ii", 1, 0)


class Mode(StrEnum):
    """What becomes of connections."""

    PASS = "pass"
    CUT = "cut"
    RESET = "reset"
    BLACKHOLE = "blackhole"


class FaultProxy:
    """Passes bytes on to a target, unless told otherwise; every fault is counted.

    Attributes:
        counts: How often what happened: ``connections``, ``cut``, ``reset``, ``refused``,
            ``swallowed``, ``truncated``, ``delayed``, ``throttled``.
    """

    def __init__(self) -> None:
        """Pass everything on; ``start`` listens and ``aim`` says where to."""
        self.counts: Counter[str] = Counter()
        self._target: tuple[str, int] = (HOST, 0)
        self._mode = Mode.PASS
        self._latency_s = 0.0
        self._bytes_per_s = 0.0
        self._truncate_after = -1
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._passing = asyncio.Event()
        self._passing.set()

    async def start(self, port: int = 0) -> int:
        """Listen; returns the port."""
        self._server = await asyncio.start_server(self._serve, HOST, port)
        listening: int = self._server.sockets[0].getsockname()[1]
        return listening

    def aim(self, port: int, host: str = HOST) -> None:
        """Say where bytes go."""
        self._target = (host, port)

    # -- faults ----------------------------------------------------------------------------------

    def cut(self) -> None:
        """Close every connection in order, and new ones as soon as they are made."""
        self._break(Mode.CUT)

    def reset(self) -> None:
        """Reset every connection, and new ones as soon as they are made."""
        self._break(Mode.RESET)

    def blackhole(self) -> None:
        """Keep connections open and pass nothing on, in neither direction."""
        self._mode = Mode.BLACKHOLE
        self._passing.clear()

    def delay(self, seconds: float) -> None:
        """Hold each piece back for a while."""
        self._latency_s = seconds

    def throttle(self, bytes_per_s: float) -> None:
        """Pass answers on no faster than this."""
        self._bytes_per_s = bytes_per_s

    def truncate(self, after_bytes: int) -> None:
        """Close a connection in order when so many bytes of answers have passed on it."""
        self._truncate_after = after_bytes

    def heal(self) -> None:
        """Pass everything on again; what was swallowed stays lost with its connection."""
        if self._mode is Mode.BLACKHOLE:
            self._end_all(with_reset=True)
        self._mode = Mode.PASS
        self._latency_s = self._bytes_per_s = 0.0
        self._truncate_after = -1
        self._passing.set()

    def _break(self, mode: Mode) -> None:
        self._mode = mode
        self.counts[mode] += self._end_all(with_reset=mode is Mode.RESET)

    def _end_all(self, *, with_reset: bool) -> int:
        writers = list(self._writers)
        for writer in writers:
            _end(writer, with_reset=with_reset)
        return len(writers) // 2

    # -- connections -----------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.counts["connections"] += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._connect_and_pass(reader, writer)
        finally:
            self._tasks.discard(task)
            _end(writer, with_reset=False)

    async def _connect_and_pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if self._mode in {Mode.CUT, Mode.RESET}:
            self.counts["refused"] += 1
            _end(writer, with_reset=self._mode is Mode.RESET)
            return
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:
            _end(writer, with_reset=True)
            return
        pair = {writer, far_writer}
        self._writers |= pair
        try:
            await asyncio.gather(
                self._pump(reader, far_writer, is_answer=False),
                self._pump(far_reader, writer, is_answer=True),
            )
        finally:
            self._writers -= pair
            _end(far_writer, with_reset=False)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_answer: bool
    ) -> None:
        passed = 0
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(_READ_BYTES):
                await self._hold(data, is_answer=is_answer)
                if is_answer and 0 <= self._truncate_after < passed + len(data):
                    writer.write(data[: max(0, self._truncate_after - passed)])
                    self.counts["truncated"] += 1
                    break
                writer.write(data)
                await writer.drain()
                passed += len(data)
        _end(writer, with_reset=False)

    async def _hold(self, data: bytes, *, is_answer: bool) -> None:
        if not self._passing.is_set():
            self.counts["swallowed"] += 1
            await self._passing.wait()
        if self._latency_s:
            self.counts["delayed"] += 1
            await asyncio.sleep(self._latency_s)
        if self._bytes_per_s and is_answer:
            self.counts["throttled"] += 1
            await asyncio.sleep(len(data) / self._bytes_per_s)

    async def close(self) -> None:
        """Stop listening and end every connection."""
        if self._server is not None:
            self._server.close()
        self._passing.set()
        self._end_all(with_reset=True)
        if self._tasks:  # they end by themselves, as their connections have
            await asyncio.wait(self._tasks, timeout=_END_S)


def _end(writer: asyncio.StreamWriter, *, with_reset: bool) -> None:
    if with_reset:
        raw = writer.get_extra_info("socket")
        if raw is not None and raw.fileno() >= 0:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        writer.transport.abort()
    else:
        writer.close()


@asynccontextmanager
async def fault_proxy(target_port: int, *, port: int = 0) -> AsyncIterator[tuple[FaultProxy, int]]:
    """A proxy and its port for the length of an ``async with`` block."""
    proxy = FaultProxy()
    proxy.aim(target_port)
    listening = await proxy.start(port)
    try:
        yield proxy, listening
    finally:
        await proxy.close()
