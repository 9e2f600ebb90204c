"""Many connections, and the end of the server."""

import asyncio
import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from starlette.types import Receive, Scope, Send

from services.gateway.front_door.limits import FrontDoorLimits
from services.gateway.front_door.refusals import SHUTTING_DOWN
from services.gateway.sse import error_event
from tests.support.front_door import Client, DoorThread, LoopFactory, running_door
from tests.support.front_door_application import Application, post

pytest_plugins = ["tests.support.front_door_fixtures"]
QUICK_END = FrontDoorLimits(drain_s=0.3, notice_s=0.3, cancel_s=0.3, sweep_s=0.02)


def test_connections_over_the_bound_are_told_and_then_reset(
    app: Application, new_loop: LoopFactory
) -> None:
    """The bound answers 503 with Retry-After; a tenth beyond it, a reset; then service resumes."""
    limits = FrontDoorLimits(max_connections=10, linger_s=5.0, sweep_s=0.02)
    with (
        running_door(app, limits=limits, new_loop=new_loop) as running,
        contextlib.ExitStack() as stack,
    ):
        served = [stack.enter_context(running.client()) for _ in range(10)]
        running.wait_until(lambda: len(running.door.connections) == 10)
        told = stack.enter_context(running.client())
        answer = told.read_answer()
        assert (answer.status, answer.error["code"]) == (503, "server_is_overloaded")
        assert 1 <= int(answer.headers["retry-after"]) <= 10
        other = stack.enter_context(running.client())
        assert other.read_answer().status == 503
        # the reset may be faster than the client's own connect
        with contextlib.suppress(ConnectionResetError), running.client() as reset:
            assert reset.read_until_closed() == b""
        assert running.ask(lambda: len(running.door.connections)) == 12
        served[0].send(post("/v1"))
        assert served[0].read_answer().status == 200
        told.socket.close()
        other.socket.close()
        served[1].socket.close()
        running.wait_until(lambda: len(running.door.connections) == 9)
        with running.client() as later:
            later.send(post("/v1"))
            assert later.read_answer().status == 200


def test_hundreds_of_slow_heads_do_not_keep_others_from_being_served(
    app: Application, new_loop: LoopFactory
) -> None:
    """Slow clients cost a file each and nothing more; all of them end on time."""
    limits = FrontDoorLimits(head_s=0.5, sweep_s=0.02)
    with (
        running_door(app, limits=limits, new_loop=new_loop) as running,
        contextlib.ExitStack() as stack,
    ):
        slow: list[Client] = [stack.enter_context(running.client()) for _ in range(300)]
        for client in slow:
            client.send(b"POST /v1 HTTP/1.1\r\nHo")
        with running.client() as client:
            for _ in range(50):
                client.send(post("/v1"))
                assert client.read_answer().status == 200
        for client in slow:
            assert client.read_until_closed().startswith(b"HTTP/1.1 408 ")
        running.wait_until(lambda: not running.door.connections)


# Shutdown


@pytest.fixture
def stopping(app: Application, new_loop: LoopFactory) -> Iterator[DoorThread]:
    """A door whose test stops it by itself."""
    thread = DoorThread(app, limits=QUICK_END, new_loop=new_loop)
    yield thread
    thread.stop()
    thread.join()


def test_shutdown_closes_idle_connections_and_ends_at_once(stopping: DoorThread) -> None:
    """Nothing open, nothing to wait for: kept connections close and nobody is cancelled."""
    with stopping.running.client() as kept:
        kept.send(post("/v1"))
        kept.read_answer()
        stopping.stop()
        assert kept.read_until_closed() == b""
        stopping.join()
    assert stopping.running.happened == ["shutdown"]


def test_shutdown_lets_an_open_answer_finish(stopping: DoorThread, app: Application) -> None:
    """A stream that ends in its time ends cleanly; no new connection is taken meanwhile."""
    running = stopping.running
    with running.client() as client:
        client.send(post("/stream"))
        client.read_until(b"data: 1\n\n")
        stopping.stop()
        running.wait_until(lambda: running.door.is_draining)
        with pytest.raises(ConnectionRefusedError):
            running.client()
        running.ask(app.may_answer.set)
        assert client.read_until_closed().endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
        stopping.join()
    assert running.happened == ["shutdown"]


def test_request_that_comes_during_shutdown_is_sent_elsewhere(
    stopping: DoorThread, app: Application
) -> None:
    """A head that was under way is answered 503 with Retry-After, and closes."""
    running = stopping.running
    with running.client() as client:
        client.send(post("/v1")[:20])
        running.wait_until(lambda: len(running.door.connections) == 1)
        client.send(b"")
        running.wait_until(
            lambda: any(c._reader.state.name == "HEAD" for c in running.door.connections)
        )
        stopping.stop()
        running.wait_until(lambda: running.door.is_draining)
        client.send(post("/v1")[20:])
        (answer,) = client.read_answers()
    assert (answer.status, answer.error["code"]) == (503, "server_shutting_down")
    assert 1 <= int(answer.headers["retry-after"]) <= 10
    assert app.paths == []


def test_answer_during_shutdown_says_that_the_connection_closes(
    stopping: DoorThread, app: Application
) -> None:
    """A client learns from the answer itself that it must connect anew."""
    running = stopping.running
    with running.client() as client:
        client.send(post("/wait"))
        running.wait_until(lambda: app.paths == ["/wait"])
        stopping.stop()
        running.wait_until(lambda: running.door.is_draining)
        running.ask(app.may_answer.set)
        (answer,) = client.read_answers()
    assert (answer.body, answer.headers["connection"]) == (b"waited", "close")


def test_answer_that_has_not_begun_when_time_is_up_becomes_503(
    stopping: DoorThread, app: Application
) -> None:
    """The application is told first, then cancelled; the client may ask again elsewhere."""
    running = stopping.running
    with running.client() as client:
        client.send(post("/wait"))
        running.wait_until(lambda: app.paths == ["/wait"])
        stopping.stop()
        (answer,) = client.read_answers()
    assert (answer.status, answer.error["code"]) == (503, "server_shutting_down")
    stopping.join()
    assert running.happened == ["shutdown", "drain_over"]


def test_stream_that_is_told_ends_with_its_own_error_event(
    app: Application, new_loop: LoopFactory
) -> None:
    """``on_drain_over`` is early enough for a last event and a clean end of the bytes."""
    told = asyncio.Event()

    async def polite(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
        await told.wait()
        await send({"type": "http.response.body", "body": error_event(SHUTTING_DOWN)})

    thread = DoorThread(polite, limits=QUICK_END, new_loop=new_loop, on_drain_over=told.set)
    with thread.running.client() as client:
        client.send(post("/v1"))
        client.read_until(b"data: 1\n\n")
        thread.stop()
        data = client.read_until_closed()
    thread.join()
    assert b'"code":"server_shutting_down"' in data
    assert data.endswith(b"\n\n\r\n0\r\n\r\n")


def test_stream_that_does_not_listen_is_cut_and_not_ended(stopping: DoorThread) -> None:
    """Cancelled in the middle, a stream breaks off without the mark of its end."""
    with stopping.running.client() as client:
        client.send(post("/stream"))
        client.read_until(b"data: 1\n\n\r\n")
        stopping.stop()
        assert client.read_until_closed() == b""
    stopping.join()


def test_shutdown_ends_in_time_with_stalled_readers_and_a_deaf_application(
    new_loop: LoopFactory,
) -> None:
    """Neither a client that reads nothing nor an application that resists can hold it up."""

    async def deaf(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            try:
                await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
            except asyncio.CancelledError:
                continue

    thread = DoorThread(deaf, limits=QUICK_END, new_loop=new_loop)
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            client = stack.enter_context(thread.running.client(receive_buffer_bytes=4096))
            client.send(post("/v1"))
        thread.running.wait_until(lambda: len(thread.running.door.tasks) == 3)
        started_at = time.monotonic()
        thread.stop()
        thread.join()
        elapsed_s = time.monotonic() - started_at
    assert elapsed_s < QUICK_END.drain_s + QUICK_END.notice_s + QUICK_END.cancel_s + 2


def test_failing_start_of_the_application_is_raised(new_loop: LoopFactory) -> None:
    """A server whose application cannot start does not serve."""

    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        del scope
        assert (await receive())["type"] == "lifespan.startup"
        await send({"type": "lifespan.startup.failed", "message": "made up"})

    with pytest.raises(SystemExit):
        DoorThread(broken, limits=QUICK_END, new_loop=new_loop)


def test_address_in_use_is_raised(app: Application, new_loop: LoopFactory) -> None:
    """A second server on one port fails with the operating system's own error."""
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        DoorThread(app, limits=QUICK_END, new_loop=new_loop, port=taken.getsockname()[1])


PROCESS = """
import asyncio, signal
from services.gateway.front_door.door import FrontDoor
from services.gateway.front_door.limits import FrontDoorLimits
from services.gateway.front_door.server import ServerHooks, serve, stop_on_signals

async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while True:
        await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})

async def main():
    limits = FrontDoorLimits(drain_s=0.3, notice_s=0.2, cancel_s=0.2)
    stop = stop_on_signals()
    ours = signal.getsignal(signal.SIGTERM)

    def ready(host, port):
        print(port, signal.getsignal(signal.SIGTERM) is ours, flush=True)

    await serve(
        app,
        door=FrontDoor(new_request_id=lambda: "req_test", limits=limits),
        address=("127.0.0.1", 0),
        stop=stop,
        hooks=ServerHooks(on_ready=ready),
    )

asyncio.run(main())
"""


def test_process_exits_0_on_sigterm_with_a_stalled_stream() -> None:
    """The process ends by itself and says that all is well, whatever its clients do."""
    command = [sys.executable, "-c", PROCESS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port, are_signals_ours = process.stdout.readline().split()
        assert are_signals_ours == "True"
        with Client(("127.0.0.1", int(port)), receive_buffer_bytes=4096) as client:
            client.send(post("/v1"))
            client.read_until(b"\r\n\r\n")
            process.terminate()
            assert process.wait(timeout=10) == 0
