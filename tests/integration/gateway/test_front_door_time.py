"""Clients that take their time: silent, slow or stalled."""

import asyncio
import time

import pytest
from starlette.types import Receive, Scope, Send

from services.gateway.front_door.limits import FrontDoorLimits
from tests.support.front_door import LoopFactory, RunningDoor, running_door
from tests.support.front_door_application import Application, head, post

pytest_plugins = ["tests.support.front_door_fixtures"]

HOST = "Host: test"
CHUNKED = "Transfer-Encoding: chunked"


def test_silent_connection_is_closed(quick: RunningDoor) -> None:
    """Who connects and says nothing is let go without a word."""
    with quick.client() as client:
        assert client.read_until_closed() == b""


def test_blank_lines_do_not_keep_a_connection_open(quick: RunningDoor) -> None:
    """Line breaks before a request are no request: the clock runs on."""
    with quick.client() as client:
        client.send_slowly(b"\r\n" * 2000, pause_s=0.005)
        assert client.read_until_closed() == b""
    quick.wait_until(lambda: not quick.door.connections)


def test_head_that_comes_byte_by_byte_times_out(quick: RunningDoor, app: Application) -> None:
    """A trickle does not push the end of the time for a head away."""
    with quick.client() as client:
        data = client.send_slowly(head(HOST, "X-A: " + "a" * 1000), pause_s=0.005)
    assert data.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"request_timeout"' in data
    assert app.paths == []


@pytest.mark.parametrize("framing", ["Content-Length: 60000", CHUNKED])
def test_body_that_comes_byte_by_byte_times_out(quick: RunningDoor, framing: str) -> None:
    """Progress alone is not enough: after the grace a body must have kept its rate."""
    start = b"ffff\r\n" if framing == CHUNKED else b""
    with quick.client() as client:
        client.send(head(HOST, framing) + start)
        data = client.send_slowly(b"a" * 2000, pause_s=0.005)
    assert data.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"request_timeout"' in data


def test_body_shorter_than_announced_times_out(quick: RunningDoor, app: Application) -> None:
    """The client gets 408 and the application is told that the request is gone."""
    with quick.client() as client:
        client.send(head(HOST, "Content-Length: 50000") + b"a" * 40_000)
        (answer,) = client.read_answers()
    assert (answer.status, answer.error["code"]) == (408, "request_timeout")
    quick.wait_until(lambda: app.gone == ["on_gone", "left"])


def test_time_in_which_the_application_does_not_read_is_not_the_client_s(
    app: Application, new_loop: LoopFactory
) -> None:
    """A body that waits in the socket because we do not take it does not time out."""
    limits = FrontDoorLimits(body_stall_s=0.15, body_grace_s=0.15, sweep_s=0.02)
    hold = asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await hold.wait()
            await app(scope, receive, send)

    with (
        running_door(slow, limits=limits, new_loop=new_loop) as running,
        running.client() as client,
    ):
        client.send(post("/v1", b"a" * 1_000_000))
        started_at = time.monotonic()
        running.wait_until(lambda: time.monotonic() > started_at + 0.5)
        running.ask(hold.set)
        assert client.read_answer().status == 200


def test_connection_is_kept_for_the_next_request_and_no_longer(quick: RunningDoor) -> None:
    """Requests follow one another on a connection; an idle one is closed without a word."""
    with quick.client() as client:
        for _ in range(3):
            client.send(post("/v1"))
            answer = client.read_answer()
            assert "connection" not in answer.headers
        assert client.read_until_closed() == b""


def test_half_a_head_on_a_kept_connection_times_out(quick: RunningDoor) -> None:
    """The second request of a connection is under the same clock as the first."""
    with quick.client() as client:
        client.send(post("/v1") + b"POST /v1 HT")
        assert client.read_answer().status == 200
        (answer,) = client.read_answers()
    assert answer.status == 408
