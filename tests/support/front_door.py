"""A front door on a free port in a thread of its own, and a client that speaks raw bytes."""

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

from starlette.types import ASGIApp

from services.gateway.front_door.door import FrontDoor
from services.gateway.front_door.limits import FrontDoorLimits
from services.gateway.front_door.server import ServerHooks, serve

PATIENCE_S = 10.0
LoopFactory = Callable[[], asyncio.AbstractEventLoop]
_T = TypeVar("_T")


class Answer(NamedTuple):
    """One HTTP answer as it came over the wire."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> dict[str, Any]:
        """OpenAI's error object."""
        error: dict[str, Any] = json.loads(self.body)["error"]
        return error


class Client:
    """A blocking client that sends and receives bytes as it is told."""

    def __init__(self, address: tuple[str, int], *, receive_buffer_bytes: int = 0) -> None:
        """Connect; a small receive buffer makes a reader that stalls early."""
        self.socket = socket.socket()
        self.socket.settimeout(PATIENCE_S)
        if receive_buffer_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        try:
            self.socket.connect(address)
        except OSError:
            self.socket.close()
            raise
        self._received = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send all of it."""
        self.socket.sendall(data)

    def send_slowly(self, data: bytes, *, pause_s: float) -> bytes:
        """Send byte after byte until all is sent or something comes back; returns what came."""
        self.socket.settimeout(pause_s)
        try:
            for byte in data:
                self.socket.send(bytes([byte]))
                with contextlib.suppress(TimeoutError):
                    return self.socket.recv(65536)
        finally:
            self.socket.settimeout(PATIENCE_S)
        return b""

    def send_until_refused(self, data: bytes, *, at_most_bytes: int) -> int:
        """Send ``data`` over and over until the peer ends it; returns how many bytes went out."""
        sent_bytes = 0
        with contextlib.suppress(ConnectionError):
            while sent_bytes < at_most_bytes:
                sent_bytes += self.socket.send(data)
        return sent_bytes

    def read_until_closed(self) -> bytes:
        """Everything until the peer closes; a reset ends it too."""
        data, self._received = self._received, b""
        with contextlib.suppress(ConnectionResetError):
            while part := self.socket.recv(65536):
                data += part
        return data

    def is_reset(self) -> bool:
        """Whether the connection ends by a reset; what comes before is thrown away."""
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionResetError:
            return True
        return False

    def read_until(self, marker: bytes) -> bytes:
        """Everything up to and with ``marker``; the rest is kept for the next call."""
        while marker not in self._received:
            part = self.socket.recv(65536)
            assert part, f"closed before {marker!r}: {self._received!r}"
            self._received += part
        data, _, self._received = self._received.partition(marker)
        return data + marker

    def read_answer(self) -> Answer:
        """One answer with a content length."""
        head = self.read_until(b"\r\n\r\n")
        status, headers = _read_head(head)
        length = int(headers["content-length"])
        while len(self._received) < length:
            part = self.socket.recv(65536)
            assert part, "closed inside an answer"
            self._received += part
        body, self._received = self._received[:length], self._received[length:]
        return Answer(status, headers, body)

    def read_answers(self) -> list[Answer]:
        """Every answer until the peer closes; all must be whole."""
        data = self.read_until_closed()
        answers = []
        while data:
            head, separator, rest = data.partition(b"\r\n\r\n")
            assert separator, f"no answer: {head!r}"
            status, headers = _read_head(head + separator)
            length = int(headers["content-length"])
            assert len(rest) >= length, "closed inside an answer"
            answers.append(Answer(status, headers, rest[:length]))
            data = rest[length:]
        return answers


def _read_head(head: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    pairs = [line.partition(": ") for line in lines]
    headers = {name: value for name, _, value in pairs}
    assert len(headers) == len(pairs), f"a header came twice: {head!r}"
    return int(first.split(" ")[1]), headers


class RunningDoor:
    """A front door that serves in another thread.

    Attributes:
        door: The door; look at it through ``ask`` where the server may be changing it.
        address: Where it listens.
        happened: Which hooks were called, in order.
    """

    def __init__(self, door: FrontDoor, address: tuple[str, int]) -> None:
        """Made in the server's thread, by the hook that says it is ready."""
        self.door = door
        self.address = address
        self.happened: list[str] = []
        self._loop = asyncio.get_running_loop()

    def client(self, *, receive_buffer_bytes: int = 0) -> Client:
        """A new connection."""
        return Client(self.address, receive_buffer_bytes=receive_buffer_bytes)

    def ask(self, question: Callable[[], _T]) -> _T:
        """Call something in the server's thread and return its result."""

        async def answer() -> _T:
            return question()

        return self.run(answer())

    def tell(self, order: Callable[[], object]) -> None:
        """Call something in the server's thread, unless it has ended."""
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(order)

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run a coroutine in the server's loop and return its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_S)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until something holds in the server's thread; it is looked at in every turn."""

        async def wait() -> None:
            async with asyncio.timeout(PATIENCE_S):
                while not condition():  # noqa: ASYNC110 - nothing announces it
                    await asyncio.sleep(0.001)

        self.run(wait())


class DoorThread:
    """The thread of a front door; ``stop`` and ``join`` for tests of its end."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        limits: FrontDoorLimits,
        new_loop: LoopFactory,
        port: int = 0,
        on_drain_over: Callable[[], None] = lambda: None,
    ) -> None:
        """Start it and wait until it listens."""
        self._port = port
        self._on_drain_over = on_drain_over
        self._app = app
        self._limits = limits
        self._new_loop = new_loop
        self._stop: asyncio.Event
        self._running: RunningDoor
        self._failure: BaseException | None = None
        self._is_ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        assert self._is_ready.wait(PATIENCE_S), "the front door did not start"
        if self._failure is not None:
            raise self._failure
        self.running = self._running

    def stop(self) -> None:
        """Begin shutdown, if it has not ended already."""
        self.running.tell(self._stop.set)

    def join(self) -> None:
        """Wait until ``serve`` has returned; what it raised is raised here."""
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), "the front door did not end"
        if self._failure is not None:
            raise self._failure

    def _serve(self) -> None:
        try:
            with asyncio.Runner(loop_factory=self._new_loop) as runner:
                runner.run(self._run())
        except BaseException as failure:  # noqa: BLE001 - raised again in the test's thread
            self._failure = failure
        finally:
            self._is_ready.set()

    async def _run(self) -> None:
        self._stop = asyncio.Event()
        door = FrontDoor(new_request_id=lambda: "req_test", limits=self._limits)

        def ready(host: str, port: int) -> None:
            self._running = RunningDoor(door, (host, port))
            self._is_ready.set()

        def drain_over() -> None:
            self._running.happened.append("drain_over")
            self._on_drain_over()

        hooks = ServerHooks(
            on_ready=ready,
            on_shutdown=lambda: self._running.happened.append("shutdown"),
            on_drain_over=drain_over,
        )
        await serve(
            self._app, door=door, address=("127.0.0.1", self._port), stop=self._stop, hooks=hooks
        )


@contextlib.contextmanager
def running_door(
    app: ASGIApp, *, limits: FrontDoorLimits, new_loop: LoopFactory
) -> Iterator[RunningDoor]:
    """A front door in front of ``app``; stopped at the end, which must be a clean one."""
    thread = DoorThread(app, limits=limits, new_loop=new_loop)
    try:
        yield thread.running
    finally:
        thread.stop()
        thread.join()
