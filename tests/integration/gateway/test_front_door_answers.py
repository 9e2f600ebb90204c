"""Answers of the front door: order, framing, and readers that do not read."""

import contextlib
import json
import socket
import time

import pytest

from tests.support.front_door import RunningDoor
from tests.support.front_door_application import QUICK, Application, head, post

pytest_plugins = ["tests.support.front_door_fixtures"]

HOST = "Host: test"
CHUNKED = "Transfer-Encoding: chunked"


def test_pipelined_requests_are_answered_in_order(patient: RunningDoor) -> None:
    """A moderate pipeline is served whole, whatever its cuts on the wire."""
    data = b"".join(post("/v1", b"%d" % number) for number in range(12))
    with patient.client() as client:
        client.send(data[:100])
        client.send(data[100:])
        bodies = [json.loads(client.read_answer().body)["body"] for _ in range(12)]
    assert bodies == [str(number) for number in range(12)]


def test_thousand_pipelined_requests_end_in_order_and_early(
    patient: RunningDoor, app: Application
) -> None:
    """A deep pipeline is cut: a prefix is answered in order, then the connection ends."""
    with patient.client() as client:
        client.send(b"".join(post("/v1", b"%d" % number) for number in range(1000)))
        bodies = [json.loads(answer.body)["body"] for answer in client.read_answers()]
    assert 1 <= len(bodies) < 1000
    assert bodies == [str(number) for number in range(len(bodies))]
    assert len(app.paths) == len(bodies)


def test_pipelining_behind_a_waiting_request_is_not_read(
    patient: RunningDoor, app: Application
) -> None:
    """While one request waits, requests behind it fill the socket and not our memory."""
    with patient.client() as client:
        client.send(post("/wait"))
        patient.wait_until(lambda: app.paths == ["/wait"])
        client.socket.settimeout(0.3)
        with contextlib.suppress(TimeoutError):
            client.send_until_refused(post("/v1", b"a" * 60_000) * 10, at_most_bytes=2**27)
        assert patient.ask(lambda: patient.door.unanswered_body_bytes) < 300_000
        assert app.paths == ["/wait"]


def test_garbage_behind_a_request_does_not_spoil_its_answer(patient: RunningDoor) -> None:
    """The good request is answered; the connection then ends without a second answer."""
    with patient.client() as client:
        client.send(post("/v1", b"good") + b"\x00garbage\r\n\r\n")
        (answer,) = client.read_answers()
    assert json.loads(answer.body)["body"] == "good"


def test_smuggled_second_request_is_not_answered(patient: RunningDoor, app: Application) -> None:
    """Content-Length with chunks, and a request hidden in the body: one refusal, nothing else."""
    with patient.client() as client:
        client.send(head(HOST, "Content-Length: 6", CHUNKED) + b"0\r\n\r\n" + post("/admin", b"{}"))
        (answer,) = client.read_answers()
    assert (answer.status, app.paths) == (400, [])


# Answers


def test_stream_is_chunked_and_ends_with_the_last_chunk(
    patient: RunningDoor, app: Application
) -> None:
    """Events leave when they are sent, each as one chunk; a clean end is marked as one."""
    with patient.client() as client:
        client.send(post("/stream"))
        assert b"transfer-encoding: chunked\r\n" in client.read_until(b"\r\n\r\n")
        assert client.read_until(b"data: 1\n\n\r\n") == b"9\r\ndata: 1\n\n\r\n"
        patient.ask(app.may_answer.set)
        assert client.read_until(b"0\r\n\r\n") == b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"


def test_stream_to_an_http_1_0_client_has_no_chunks(patient: RunningDoor, app: Application) -> None:
    """A client of that age, such as an unconfigured nginx, gets plain bytes until the close."""
    app.may_answer.set()
    with patient.client() as client:
        client.send(head(first="POST /stream HTTP/1.0"))
        answer_head, _, body = client.read_until_closed().partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in answer_head
    assert b"connection: close" in answer_head
    assert body == b"data: 1\n\ndata: [DONE]\n\n"


def test_failed_stream_to_an_http_1_0_client_is_reset(patient: RunningDoor) -> None:
    """Where closing means the end, a failure must not look like one."""
    with patient.client() as client:
        client.send(head(first="POST /crash/late HTTP/1.0"))
        assert client.is_reset()


def test_failed_application_is_answered_with_the_error_object(patient: RunningDoor) -> None:
    """An exception before the answer is a 500 in OpenAI's form, with a request id."""
    with patient.client() as client:
        client.send(post("/crash"))
        (answer,) = client.read_answers()
    assert (answer.status, answer.error["code"]) == (500, "internal_error")
    assert answer.headers["x-request-id"] == "req_test"
    assert "made up" not in answer.error["message"]


def test_line_break_in_a_response_header_is_never_written(patient: RunningDoor) -> None:
    """A value that would add a header becomes a 500 instead."""
    with patient.client() as client:
        client.send(post("/inject"))
        (answer,) = client.read_answers()
    assert answer.status == 500
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("path", ["/crash/late", "/return/early"])
def test_answer_that_breaks_off_never_looks_complete(patient: RunningDoor, path: str) -> None:
    """The connection ends without the last chunk, which clients report as an error."""
    with patient.client() as client:
        client.send(post(path))
        data = client.read_until_closed()
    assert data.endswith(b"9\r\ndata: 1\n\n\r\n")


def test_head_request_gets_the_length_and_no_body(patient: RunningDoor) -> None:
    """HEAD is answered as GET would be, without the body, and the connection goes on."""
    with patient.client() as client:
        client.send(head(HOST, first="HEAD /v1 HTTP/1.1"))
        assert b"content-length: " in client.read_until(b"\r\n\r\n")
        client.send(post("/v1"))
        assert client.read_answer().status == 200


def test_client_that_leaves_is_told_to_the_application(
    patient: RunningDoor, app: Application
) -> None:
    """``on_gone`` is called once and ``receive`` says so."""
    with patient.client() as client:
        client.send(post("/watch"))
        patient.wait_until(lambda: app.received_bytes == [2])
    patient.wait_until(lambda: len(app.gone) == 2)
    assert sorted(app.gone) == ["http.disconnect", "on_gone"]


def test_reader_that_stalls_is_cut_and_costs_little_meanwhile(
    quick: RunningDoor, app: Application
) -> None:
    """A client that takes nothing is closed, and never holds more than the high-water mark."""
    unsent_bytes: list[int] = []

    def most_unsent() -> bool:
        unsent_bytes.extend(
            connection._transport.get_write_buffer_size() for connection in quick.door.connections
        )
        return "left" in app.gone

    with quick.client(receive_buffer_bytes=4096) as client:
        client.send(post("/flood"))
        quick.wait_until(most_unsent)
    assert max(unsent_bytes) <= 256 * 1024 + 16384 + 16
    assert quick.ask(lambda: dict(quick.door.refusals)) == {"stalled_reader": 1}
    assert app.gone == ["on_gone", "left"]


def test_reader_that_is_slow_but_reads_is_served(quick: RunningDoor) -> None:
    """A reader is judged by its progress, not by how long its answer takes."""
    with quick.client(receive_buffer_bytes=65536) as client:
        client.send(post("/flood"))
        read_bytes = 0
        for _ in range(30):
            next_at = time.monotonic() + QUICK.write_stall_s / 10
            quick.wait_until(lambda at=next_at: time.monotonic() >= at)  # type: ignore[misc]
            read_bytes += len(client.socket.recv(65536))
        assert read_bytes > 10 * 65536
        assert quick.ask(lambda: dict(quick.door.refusals)) == {}


def test_finished_answer_to_a_stalled_reader_does_not_stay_for_ever(quick: RunningDoor) -> None:
    """The application is done, but the bytes are not taken: the connection ends all the same."""
    with quick.client(receive_buffer_bytes=4096) as client:
        client.send(head(HOST, "Connection: close", first="POST /flood HTTP/1.1"))
        quick.wait_until(lambda: bool(quick.door.connections))
        quick.wait_until(lambda: not quick.door.connections)
    assert quick.ask(lambda: quick.door.refusals["stalled_reader"]) == 1


def test_socket_options_are_inherited_from_the_listener(patient: RunningDoor) -> None:
    """No delay, small kernel buffers, and a dead peer is noticed: without a call a connection."""
    with patient.client() as client:
        client.send(post("/v1"))
        client.read_answer()

        def options() -> tuple[int, int, int]:
            (connection,) = patient.door.connections
            accepted = connection._transport.get_extra_info("socket")
            return (
                accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY),
                accepted.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF),
                accepted.getsockopt(socket.IPPROTO_TCP, getattr(socket, "TCP_USER_TIMEOUT", 18)),
            )

        no_delay, send_buffer_bytes, user_timeout_ms = patient.ask(options)
    assert no_delay == 1
    assert send_buffer_bytes in (64 * 1024, 128 * 1024)
    assert user_timeout_ms == 20_000 or not hasattr(socket, "TCP_USER_TIMEOUT")
